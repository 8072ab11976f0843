"""The numbers and addresses under which each system knows a person.

Every number is a scrambled position, so it is unique and says nothing; who owns which is told
only in the truth folder.
Keeps out: the systems' files.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cx_pipeline.demo.formatting import digits, look_up, uuids
from cx_pipeline.demo.people import NUMBER_BITS, People
from cx_pipeline.demo.purchases import STORE, Columns, Leases
from cx_pipeline.demo.randomness import Flags, Integers
from cx_pipeline.demo.world import NEVER, World

TABLET_OWNER = 1 << 40
"""Added to a household's number where its tablet owns a cookie."""
VISITOR = 1 << 31
"""Added to the number of a visitor who never says who they are."""
APP_SLOT = 2
TABLET_SLOT = 3


@dataclass
class Identifiers:
    """The identifiers of a chunk of persons."""

    crm_id: pa.Array
    second_crm_id: pa.Array
    second_crm_at: Integers
    loyalty: pa.Array
    erp_number: pa.Array
    second_erp_number: pa.Array
    erp_at: Integers
    """When the ERP made the record; far in the future when it has none."""
    second_erp_at: Integers
    erp_email: pa.Array
    guest_email: pa.Array
    is_guest_order: Flags
    """Per order: bought as a guest, under the second number and address."""

    def crm_email(self, people: People, at: int) -> pa.Array:
        """Return the address in the CRM at a moment: after a change of name the new one."""
        later = people.name_changed_at <= at
        size = people.size
        both = pa.concat_arrays([people.emails[0], people.emails[3]])
        return look_up(both, np.arange(size) + np.where(later, size, 0))

    def order_email(self, orders: Columns) -> pa.Array:
        """Return the address given with each order."""
        size = len(self.erp_email)
        both = pa.concat_arrays([self.erp_email, self.guest_email])
        return look_up(both, orders["row"] + np.where(self.is_guest_order, size, 0))


def make_identifiers(world: World, people: People, orders: Columns, leases: Leases) -> Identifiers:
    """Return the identifiers of the persons, given what they bought."""
    dice, index = world.dice, people.index
    loyalty = dice.scramble("loyalty", index, NUMBER_BITS)
    is_duplicate = people.in_crm & dice.chance("second crm", 0.025, index)
    is_duplicate &= (people.email_count > 1) & people.has_phone
    second_crm_at = people.joined_at + (dice.uniform("second crm at", index) * 2.6e7).astype(int)

    # ERP: old web customers have a record, others get it with the first order or lease.
    in_erp = orders["channel"] != STORE
    rows, first = np.unique(orders["row"][in_erp], return_index=True)
    erp_at = np.full(people.size, NEVER)
    erp_at[rows] = orders["placed_at"][in_erp][first] - 45
    np.minimum.at(erp_at, leases.person, leases.started_at - 3_600)
    old = (people.joined_at < world.begins) & (people.web_share > 0)
    old &= dice.chance("is in erp", 0.85, index)
    erp_at = np.where(old, np.minimum(people.joined_at, erp_at), erp_at)

    may_be_guest = (people.email_count > 1) & dice.chance("shops as guest", 0.14, index)
    is_guest_order = (
        may_be_guest[orders["row"]] & in_erp & dice.chance("guest order", 0.35, orders["key"])
    )
    guest_rows, first = np.unique(orders["row"][is_guest_order], return_index=True)
    second_erp_at = np.full(people.size, NEVER)
    second_erp_at[guest_rows] = orders["placed_at"][is_guest_order][first] - 45

    size = people.size
    slot = np.where((people.email_count > 1) & dice.chance("erp email", 0.2, index), 1, 0)
    emails = pa.concat_arrays(people.emails[:3])
    guest_slot = np.where(people.email_count > 2, 2, 1)
    return Identifiers(
        crm_id=digits(people.number, 7, "C0"),
        second_crm_id=digits(people.number, 7, "C9"),
        second_crm_at=np.where(is_duplicate, second_crm_at, NEVER),
        loyalty=digits(loyalty, 7, "77"),
        erp_number=digits(people.number * 7 + 10_000_019, 8),
        second_erp_number=digits(people.number * 7 + 10_000_021, 8),
        erp_at=erp_at,
        second_erp_at=second_erp_at,
        erp_email=look_up(emails, np.arange(size) + slot * size),
        guest_email=look_up(emails, np.arange(size) + guest_slot * size),
        is_guest_order=is_guest_order,
    )


def cookie_era(world: World, owner: Integers, slot: Integers, at: Integers) -> Integers:
    """Return which cookie of a device is alive: browsers drop it after four to thirteen months."""
    days = 120 + 280 * world.dice.uniform("cookie life", owner, slot)
    phase = world.dice.uniform("cookie phase", owner, slot)
    era = np.floor((at - world.begins) / (days * 86_400) + phase).astype(np.int64)
    return np.where(slot == APP_SLOT, 0, era)


def cookies(world: World, owner: Integers, slot: Integers, era: Integers) -> pa.Array:
    """Return the anonymous ids of devices' cookies."""
    dice = world.dice
    return uuids(
        dice.bits("cookie high", owner, slot, era), dice.bits("cookie low", owner, slot, era)
    )


def installations(world: World, person: Integers) -> pa.Array:
    """Return the ids of persons' app installations."""
    return uuids(world.dice.bits("app high", person), world.dice.bits("app low", person))
