"""How the warehouse file is opened: schemas, limits, the keyed hash and phone numbers.

Python rooms come through `connect`; dbt comes through `dbt_plugin`, which prepares its
connections with the same `prepare_session`.
Keeps out: what the tables mean; who may write (that is `lease`).
"""

import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from string import digits

import duckdb
import phonenumbers
from duckdb.sqltypes import VARCHAR
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonenumberutil import REGION_CODE_FOR_NON_GEO_ENTITY

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.engine import engine_of
from cx_pipeline.warehouse.lease import lease

ROOMS = (
    "sources",
    "staging",
    "identity",
    "consent",
    "journey",
    "experience",
    "media",
    "customer_360",
    "segments",
    "kpis",
)
"""The rooms that are schemas of the warehouse, in the order of the house."""

STORAGE_VERSION = "v1.3.0"
"""Format of a new warehouse file. Writing its tables takes 30% less processor time than in v1.0.0,
the default of DuckDB 1.5, which tries two compressions on each text, where this has DICT_FSST."""

_HASH_BLOCK_BYTES = 64
_OF_A_PROCESS = "process-"


class IdentityKeyMissingError(RuntimeError):
    """No secret is set, so no profile_key can be made."""


@contextmanager
def connect(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse for writing, prepared like every other connection to it.

    Raises:
        LeaseHeldError: Another process is writing.
        IdentityKeyMissingError: CX_IDENTITY_KEY is empty.
    """
    with (
        lease(settings.data_dir, "a single step"),
        duckdb.connect(
            str(settings.warehouse_path), config={"storage_compatibility_version": STORAGE_VERSION}
        ) as connection,
    ):
        for room in ROOMS:
            connection.execute(f"create schema if not exists {room}")
        _drop_leftovers(connection)
        prepare_connection(connection, settings)
        prepare_session(connection, settings)
        engine_of(settings).show_tables(connection, settings)
        yield connection


def _drop_leftovers(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the tables that a killed dbt had not yet renamed, or not yet dropped after renaming."""
    for schema, table in connection.execute(
        "select schema_name, table_name from duckdb_tables() where table_name ~ '.*__dbt_.*'"
    ).fetchall():
        connection.execute(f'drop table {schema}."{table}"')


def set_limits(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Set memory, threads, and the folder for what does not fit into that memory."""
    if settings.memory_limit:
        connection.execute("set memory_limit = $1", [settings.memory_limit])
    if settings.threads:
        connection.execute("set threads = $1", [settings.threads])
    current = connection.execute("select current_setting('temp_directory')").fetchall()
    # DuckDB refuses another folder once it has written to one, even if it is the same.
    if settings.temp_dir and current != [(str(settings.temp_dir),)]:
        # DuckDB makes the last folder of a path alone.
        settings.temp_dir.parent.mkdir(parents=True, exist_ok=True)
        connection.execute("set temp_directory = $1", [str(settings.temp_dir)])


def clear_temp_dir(settings: Settings) -> None:
    """Delete what a killed run could not keep in memory; for the holder of the lease."""
    if settings.temp_dir:
        for left in settings.temp_dir.glob("duckdb_temp_*"):
            left.unlink(missing_ok=True)
        for left in settings.temp_dir.glob(f"{_OF_A_PROCESS}*"):
            if left != process_temp_dir(settings):
                shutil.rmtree(left)


def process_temp_dir(settings: Settings) -> Path:
    """Return the folder for what this process's own helpers, such as a JVM, spill."""
    assert settings.temp_dir is not None
    return settings.temp_dir / f"{_OF_A_PROCESS}{os.getpid()}"


def prepare_connection(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Set the limits and register `normalise_phone(value, country)`, once per open database.

    In SQL it returns an empty text for a number that cannot be one, and null for a null.
    """
    set_limits(connection, settings)
    known = "select 1 from duckdb_functions() where function_name = 'normalise_phone'"
    if connection.execute(known).fetchone() is None:
        # Empty instead of null, and no nulls given: with `null_handling="special"` DuckDB 1.5.5
        # reads memory that is not its own (one of four runs of a two-person company crashed).
        connection.create_function(
            "normalise_phone",
            lambda value, country: normalise_phone(value, country) or "",
            [VARCHAR, VARCHAR],
            VARCHAR,
        )


def identity_secret(settings: Settings) -> bytes:
    """Return the secret of the keyed hash.

    Raises:
        IdentityKeyMissingError: CX_IDENTITY_KEY is empty.
    """
    secret = settings.identity_key.get_secret_value().encode()
    if not secret:
        raise IdentityKeyMissingError(
            "CX_IDENTITY_KEY is not set. `make setup` writes one into the project's .env, which a "
            "run reads where it is started; keep the key for as long as the lake lives, "
            "every profile_key depends on it."
        )
    return secret


def prepare_session(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Set the session variables that the models read: two keys, and which phone numbers are plain.

    The keys are the padded ones of HMAC-SHA256 (RFC 2104):
    `sha256(hmac_outer || unhex(sha256(hmac_inner || value)))` is then HMAC-SHA256, and the
    secret stands in no SQL text, log or compiled model.

    Raises:
        IdentityKeyMissingError: CX_IDENTITY_KEY is empty.
    """
    secret = identity_secret(settings)
    if len(secret) > _HASH_BLOCK_BYTES:
        secret = hashlib.sha256(secret).digest()
    secret = secret.ljust(_HASH_BLOCK_BYTES, b"\0")
    for variable, pad in (("hmac_inner", 0x36), ("hmac_outer", 0x5C)):
        padded = bytes(byte ^ pad for byte in secret)
        connection.execute(f"set variable {variable} = $1::blob", [padded])
    connection.execute("set variable plain_phone = $1", [plain_phone_pattern()])


@cache
def plain_phone_pattern() -> str:
    """Return a regular expression (RE2) of numbers in E.164 that `normalise_phone` leaves alone.

    A country code and as many digits as numbers there can have, the first of which cannot be taken
    for a trunk prefix. Countries with longer prefixes are not in it; theirs take the long way.
    """
    codes_by_rest = defaultdict(list)
    for code, (region, *_) in COUNTRY_CODE_TO_REGION_CODE.items():
        is_a_country = region != REGION_CODE_FOR_NON_GEO_ENTITY
        country = PhoneMetadata.metadata_for_region(region) if is_a_country else None
        rest = _rest_of_plain_numbers(country) if country else None
        if rest:
            codes_by_rest[rest].append(str(code))
    countries = (f"(?:{'|'.join(codes)})(?:{rest})" for rest, codes in codes_by_rest.items())
    return f"[+](?:{'|'.join(countries)})"


def _rest_of_plain_numbers(country: PhoneMetadata) -> str | None:
    """Return a pattern of what follows the country code; None if trunk prefixes are not digits."""
    trunk_prefixes = (country.national_prefix_for_parsing or "0").split("|")
    if not all(map(str.isdigit, trunk_prefixes)):
        return None
    first = set(digits) - {"0", *(prefix[0] for prefix in trunk_prefixes)}
    return "|".join(
        f"[{''.join(sorted(first))}][0-9]{{{length - 1}}}"
        for length in country.general_desc.possible_length
    )


def normalise_phone(value: str | None, country: str | None) -> str | None:
    """Return a phone number in E.164, or None when it cannot be one.

    Args:
        value: The number as somebody wrote it.
        country: ISO 3166-1 alpha-2 code in which a number without a prefix is read.
    """
    if not value:
        return None
    # 4520304050.0 of an export whose column had an empty value; the 0 is no digit of the number.
    if value.endswith(".0") and value[:-2].isdecimal():
        value = value[:-2]
    country = country.strip().upper() if country else None
    number = value.translate(_PUNCTUATION)
    dialling = _dialling_of(country) if country else None
    if dialling and dialling.own_number.fullmatch(number):
        return f"+{dialling.country_code}{number}"
    if dialling and dialling.abroad_is_double_zero and number.startswith("00"):
        number = f"+{number[2:]}"
    if _plain_phone().fullmatch(number):
        return number
    return _parsed_phone(value, country)


_PUNCTUATION = str.maketrans("", "", " ()-.")


@dataclass(frozen=True)
class _Dialling:
    """How people of a country write numbers that need no parsing.

    Parsing costs 15 microseconds a number, this 2.
    """

    country_code: int
    own_number: re.Pattern[str]
    """A number of the country itself whose first digits cannot be taken for a trunk prefix, the
    country code or the way out of the country."""
    abroad_is_double_zero: bool


# What people write as their country has no end.
@lru_cache(maxsize=1_000)
def _dialling_of(country: str) -> _Dialling | None:
    """Return how numbers are written in a country; None where it takes more to tell."""
    metadata = PhoneMetadata.metadata_for_region(country)
    code = metadata.country_code if metadata else None
    # Numbers of a country that shares its code are judged by the rules of the code's main country.
    if not metadata or not code or COUNTRY_CODE_TO_REGION_CODE[code][0] != country:
        return None
    rest = _rest_of_plain_numbers(metadata)
    if rest is None:
        return None
    abroad = metadata.international_prefix or "00"
    own_number = re.compile(f"(?!{code}|{abroad})(?:{rest})")
    return _Dialling(code, own_number, abroad == "00")


@cache
def _plain_phone() -> re.Pattern[str]:
    return re.compile(plain_phone_pattern())


@lru_cache(maxsize=100_000)
def _parsed_phone(value: str, country: str | None) -> str | None:
    try:
        number = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
