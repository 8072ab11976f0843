"""The persons of the demo company: who they are, how they live, which identifiers they own.

One chunk of persons at a time; a person is the same whatever chunk they are drawn in.
Keeps out: what they do; what they allow (that is `consents`).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cx_pipeline.demo.catalogue import CATEGORY_WEIGHTS, STORES, STORES_OF_COUNTRY
from cx_pipeline.demo.formatting import DAY_SECONDS, look_up
from cx_pipeline.demo.names import (
    BRITISH_DISTRICTS,
    COUNTRIES,
    EMAIL_DOMAINS,
    FAMILY,
    FEMALE,
    MALE,
    STREETS,
    TOWNS,
    plain,
)
from cx_pipeline.demo.randomness import Flags, Floats, Integers
from cx_pipeline.demo.world import JOINING_DAYS, NEW_SHARE, World

HOUSEHOLD_BLOCK = 12
"""Persons in which households are drawn; a chunk never splits one."""
_HOUSEHOLD_PATTERNS = (
    (1, 2, 4, 1, 2, 2),
    (1, 1, 3, 2, 1, 4),
    (2, 2, 2, 1, 1, 4),
    (1, 3, 1, 1, 2, 1, 2, 1),
)
_HISTORY_DAYS = 1_500
ONLINE_SHARE = 0.72
"""Share of the persons who shop on the web, be it now and then."""
NUMBER_BITS = 23
"""Numbers of persons are scrambled below 2**23, which fits seven digits."""


@dataclass
class People:
    """The persons of one chunk, in columns; `index` is their position in the world."""

    index: Integers
    household: Integers
    country: Integers
    is_female: Flags
    birth_day: Integers
    given: list[str]
    family: list[str]
    family_after: list[str]
    """Family name after a change of name."""
    name_changed_at: Integers
    """Second of the change of name, for most far in the future."""
    street: list[str]
    town: list[str]
    postal_code: list[str]
    home_store: Integers
    joined_at: Integers
    web_share: Floats
    has_account: Flags
    is_member: Flags
    wants_newsletter: Flags
    uses_app: Flags
    favourite_category: Integers
    trait: Floats
    """Lasting disposition to be content, in latent points."""
    gap_days: Floats
    """Mean days between occasion purchases, in average days of the season."""
    number: Integers
    phone_national: pa.Array
    phone_e164: pa.Array
    has_phone: Flags
    emails: list[pa.Array]
    """First, second, third address and the one after a change of name."""
    email_count: Integers
    shares_tablet: Flags

    @property
    def size(self) -> int:
        """How many persons."""
        return len(self.index)

    @property
    def in_crm(self) -> Flags:
        """Who has a record in the CRM."""
        return self.is_member | self.has_account | self.wants_newsletter


def _households(world: World, index: Integers) -> Integers:
    """Return each person's household: the position of its first member in the world."""
    firsts = np.zeros((len(_HOUSEHOLD_PATTERNS), HOUSEHOLD_BLOCK), dtype=np.int64)
    for row, pattern in enumerate(_HOUSEHOLD_PATTERNS):
        starts = np.repeat(np.cumsum((0, *pattern[:-1])), pattern)
        firsts[row] = starts
    block, place = np.divmod(index, HOUSEHOLD_BLOCK)
    pattern = world.dice.below("household pattern", len(_HOUSEHOLD_PATTERNS), block)
    return block * HOUSEHOLD_BLOCK + firsts[pattern, place]


def country_of(world: World, household: Integers) -> Integers:
    """Return the country of a household."""
    return world.dice.pick("country", [country.weight for country in COUNTRIES], household)


def _words(source: dict[str, str], separator: str | None = None) -> list[list[str]]:
    return [source[country.code].split(separator) for country in COUNTRIES]


def _pick_words(lists: list[list[str]], country: Integers, draw: Floats) -> list[str]:
    sizes = np.array([len(words) for words in lists])
    place = (draw * sizes[country]).astype(int).tolist()
    return [lists[c][p] for c, p in zip(country.tolist(), place, strict=True)]


def make_people(world: World, first: int, last: int) -> People:
    """Return the persons from position `first` up to but without `last`."""
    dice = world.dice
    index = np.arange(first, last)
    size = len(index)
    household = _households(world, index)
    country = country_of(world, household)
    is_female = dice.chance("gender", 0.56, index)
    age = 18 + 62 * dice.uniform("age", index) ** 1.25
    birth_day = world.begins // DAY_SECONDS - (age * 365.25).astype(np.int64)

    female, male = _words(FEMALE), _words(MALE)
    given_draw = dice.uniform("given name", index)
    given = [
        f if woman else m
        for woman, f, m in zip(
            is_female.tolist(),
            _pick_words(female, country, given_draw),
            _pick_words(male, country, given_draw),
            strict=True,
        )
    ]
    families = _words(FAMILY)
    own_name = np.where(dice.chance("own family name", 0.2, index), index, household)
    family = _pick_words(families, country, dice.uniform("family name", own_name))
    family_after = _pick_words(families, country, dice.uniform("new family name", index))

    home_store = np.zeros(size, dtype=np.int64)
    for position, stores in enumerate(STORES_OF_COUNTRY):
        there = country == position
        home_store[there] = stores[dice.below("home store", len(stores), household[there])]
    street, town, postal_code = _addresses(world, household, country, home_store)

    joins = dice.uniform("joined", index)
    # Whoever comes after the first persons joins in the order of their positions.
    is_first = index < world.customers
    later = (index - world.customers + joins) * JOINING_DAYS / (world.customers * NEW_SHARE)
    days = np.where(is_first, joins * JOINING_DAYS, JOINING_DAYS + later)
    is_old = is_first & dice.chance("is old customer", 1 - NEW_SHARE, index)
    days = np.where(is_old, -(joins**1.3) * _HISTORY_DAYS, days)
    joined_at = world.begins + (days * DAY_SECONDS).astype(np.int64)
    joined_at = world.at_hour(joined_at, 8 + 13 * dice.uniform("joined hour", index))
    # Of women 2.2% a year change their name, of men 0.6%.
    wait = 365 / np.where(is_female, 0.022, 0.006) * dice.exponential("name changed", index)
    changed_at = np.maximum(world.begins, joined_at) + (wait * DAY_SECONDS).astype(np.int64)

    kind = dice.uniform("shopper", index)
    web_share = np.where(
        kind < 1 - ONLINE_SHARE,
        0.0,
        np.where(kind < 0.55, 1.0, 0.2 + 0.6 * dice.uniform("mix", index)),
    )
    online = web_share > 0
    has_account = dice.chance("account", np.where(online, 0.70, 0.08), index)
    member_rate = np.where(web_share == 0, 0.90, np.where(web_share < 1, 0.75, 0.40))
    is_member = dice.chance("member", member_rate, index)
    return People(
        index=index,
        household=household,
        country=country,
        is_female=is_female,
        birth_day=birth_day,
        given=given,
        family=family,
        family_after=family_after,
        name_changed_at=changed_at,
        street=street,
        town=town,
        postal_code=postal_code,
        home_store=home_store,
        joined_at=joined_at,
        web_share=web_share,
        has_account=has_account,
        is_member=is_member,
        wants_newsletter=dice.chance("newsletter", 0.25, index),
        uses_app=has_account & dice.chance("app", 0.28, index),
        favourite_category=dice.pick("favourite", CATEGORY_WEIGHTS, index),
        trait=0.55 * dice.normal("trait", index),
        gap_days=np.clip(190 * np.exp(0.7 * dice.normal("gap", index)), 25, 1_200),
        **_contact_points(world, index, household, country, given, family, family_after, online),
    )  # fmt: skip


def _addresses(
    world: World, household: Integers, country: Integers, home_store: Integers
) -> tuple[list[str], list[str], list[str]]:
    """Return street, town and postal code of each person's household."""
    dice = world.dice
    streets = _pick_words(_words(STREETS, "|"), country, dice.uniform("street", household))
    house = (1 + dice.below("house number", 180, household)).tolist()
    in_store_town = dice.chance("in store town", 0.55, household).tolist()
    other = dice.below("town", 4, household).tolist()
    offset = dice.below("postal offset", 40, household).tolist()
    street, town, postal_code = [], [], []
    for row, (place, store) in enumerate(zip(country.tolist(), home_store.tolist(), strict=True)):
        code = COUNTRIES[place].code
        if in_store_town[row]:
            name, base = STORES[store].city, STORES[store].postal_code
        else:
            name, base = TOWNS[code][other[row]]
        number = base + offset[row]
        town.append(name)
        if code == "GB":
            # No British postal code ends in V, so these are nobody's.
            postal_code.append(f"{BRITISH_DISTRICTS[base]} {offset[row] % 9 + 1}VV")
            street.append(f"{house[row]} {streets[row]}")
        else:
            width = 5 if code in ("SE", "DE") else 4
            postal_code.append(f"{number:0{width}d}")
            street.append(f"{streets[row]} {house[row]}")
    return street, town, postal_code


def _contact_points(
    world: World,
    index: Integers,
    household: Integers,
    country: Integers,
    given: list[str],
    family: list[str],
    family_after: list[str],
    online: Flags,
) -> dict[str, object]:
    """Return numbers, phones and e-mail addresses; each is one person's but for shared ones."""
    dice = world.dice
    number = dice.scramble("person number", index, NUMBER_BITS)
    shares_phone = dice.chance("shares phone", 0.02, household)
    phone_number = dice.scramble(
        "phone number", np.where(shares_phone, household, index), NUMBER_BITS
    ).tolist()
    national, e164 = [], []
    for place, digits in zip(country.tolist(), phone_number, strict=True):
        land = COUNTRIES[place]
        rest = f"{land.unassigned_prefix}{digits:0{land.number_length}d}"
        national.append(f"{land.trunk}{rest}")
        e164.append(f"+{land.calling_code}{rest}")

    domains = dice.below("email domain", len(EMAIL_DOMAINS), index).tolist()
    addresses: list[list[str]] = [[], [], [], []]
    for row, digits in enumerate(number.tolist()):
        first, last, later = plain(given[row]), plain(family[row]), plain(family_after[row])
        domain = EMAIL_DOMAINS[domains[row]]
        other = EMAIL_DOMAINS[(domains[row] + 1) % len(EMAIL_DOMAINS)]
        addresses[0].append(f"{first}.{last}{digits}@{domain}")
        addresses[1].append(f"{first}{digits}@{other}")
        addresses[2].append(f"{first[0]}{last}{digits}@{domain}")
        addresses[3].append(f"{first}.{later}{digits}@{other}")
    # A family address: every member of these households gives the first member's.
    emails = [pa.array(column) for column in addresses]
    shares_email = dice.chance("shares email", 0.004, household)
    rows = np.arange(len(index))
    emails[0] = look_up(emails[0], np.where(shares_email, rows - (index - household), rows))
    count = 1 + dice.chance("two emails", 0.28, index) + dice.chance("three emails", 0.06, index)
    return {
        "number": number,
        "phone_national": pa.array(national),
        "phone_e164": pa.array(e164),
        "has_phone": dice.chance("has phone", 0.92, index),
        "emails": emails,
        "email_count": count.astype(np.int64),
        "shares_tablet": dice.chance("shares tablet", 0.06, household) & online,
    }
