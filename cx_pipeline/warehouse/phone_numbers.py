"""Phone numbers as people write them, in E.164.

Keeps out: where SQL gets it from (session.py, the engine's macros)
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache
from string import digits

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonenumberutil import REGION_CODE_FOR_NON_GEO_ENTITY


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
