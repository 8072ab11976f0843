"""How the warehouse file is opened: schemas, limits, and what SQL is given to work with.

Python rooms come through `connect`; dbt comes through `dbt_plugin`, which prepares its
connections with the same `prepare_session`.
Keeps out: what the tables mean; who may write (lease.py); what a phone number is
           (phone_numbers.py)
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from duckdb.sqltypes import VARCHAR

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.engine import engine_of
from cx_pipeline.warehouse.lease import lease
from cx_pipeline.warehouse.phone_numbers import normalise_phone, plain_phone_pattern

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
