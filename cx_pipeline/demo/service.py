"""Service cases, appointments and leased devices: what happens between purchases.

Keeps out: how it is rated (that is `opinions`) and exported.
"""

import numpy as np

from cx_pipeline.demo.catalogue import SERVICE_STAFF, STAFF_PER_STORE
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import (
    KEYS_PER_PERSON,
    STORE,
    Columns,
    Leases,
    Purchases,
    is_known_at_till,
    stack,
    take,
)
from cx_pipeline.demo.randomness import Flags, Integers
from cx_pipeline.demo.texts import CASE_CATEGORIES
from cx_pipeline.demo.world import BLOCK_DAYS, NEVER, World, by_country, to_local, to_utc

_DELIVERY, _RETURN, _PRODUCT, _DEVICE, _INVOICE, _ADVICE, _CLUB = range(len(CASE_CATEGORIES))
_FIRST_MINUTES = np.array([3.0, 260.0, 2.5, 330.0, 110.0])
_HOURS_TO_SOLVE = np.array([0.6, 20.0, 0.8, 26.0, 9.0])
CASE_NUMBER_BITS = 38
LOW_SUPPLY_AT = 0.15
"""Share of a filter's life left at which the device reports it."""
READING_EVERY_DAYS = 3


def monthly_moments(
    world: World, name: str, rate: float, rows: Integers, people: People
) -> tuple[Integers, Integers, Integers]:
    """Return row, key and day second of things that happen at a rate per person and block."""
    dice = world.dice
    grid = np.repeat(rows, world.blocks)
    block = np.tile(np.arange(world.blocks), len(rows))
    happens = dice.chance(name, rate, people.index[grid], block)
    row, block = grid[happens], block[happens]
    key = people.index[row] * KEYS_PER_PERSON + 1_700 + block
    day = block * BLOCK_DAYS + dice.below(name + " day", BLOCK_DAYS, key)
    at = world.begins + day * DAY_SECONDS
    return row, key, at


def make_cases(world: World, people: People, purchases: Purchases, faults: Columns) -> Columns:
    """Return the service cases opened before `now`."""
    dice, orders, lines = world.dice, purchases.orders, purchases.lines
    parts: list[Columns] = []

    def add(row: Integers, key: Integers, at: Integers, category: int, order: Integers,
            product: Integers) -> None:  # fmt: skip
        parts.append(
            {
                "row": row,
                "key": key * 8 + category,
                "opened_at": at,
                "category": np.full(len(row), category),
                "order": order,
                "product": product,
            }
        )

    reachable = (orders["channel"] != STORE) | is_known_at_till(world, people, orders)
    key, felt = orders["key"], orders["felt"]

    def about_orders(chosen: Flags, category: int, at: Integers) -> None:
        picked = np.flatnonzero(chosen & reachable)
        add(orders["row"][picked], key[picked], at[picked], category, picked,
            orders["product"][picked])  # fmt: skip

    # Where a parcel is one asks on the days after the order and before it comes; when it is late,
    # from the promised day on.
    is_parcel = orders["delivered_at"] < NEVER
    first_day = np.where(
        orders["is_late"], orders["promised_day"], orders["local_at"] // DAY_SECONDS + 1
    )
    comes_at = by_country(to_local, orders["delivered_at"], orders["country"])
    days = np.where(is_parcel, comes_at // DAY_SECONDS - first_day, 0)
    day = first_day + dice.below("asks where day", days, key)
    asks = dice.chance("asks where", np.where(orders["is_late"], 0.20, 0.012), key) & (days > 0)
    about_orders(asks, _DELIVERY, by_country(to_utc, day * DAY_SECONDS, orders["country"]))
    had = np.where(orders["channel"] == STORE, orders["placed_at"], orders["delivered_at"])
    kept = ~orders["cancelled"]
    wait = (1 + 25 * dice.uniform("fault wait", key)).astype(np.int64) * DAY_SECONDS
    poor = np.clip(-world.products.quality[orders["product"]], 0, 2)
    about_orders(
        kept & dice.chance("product fault", 0.006 + 0.03 * poor, key), _PRODUCT, had + wait
    )
    about_orders(
        kept & dice.chance("invoice", np.where(felt < -1, 0.015, 0.005), key), _INVOICE,
        orders["placed_at"] + 4 * DAY_SECONDS,
    )  # fmt: skip
    back = np.flatnonzero(
        (lines["returned_at"] < NEVER) & dice.chance("asks return", 0.16, lines["key"])
    )
    back = back[reachable[lines["order"][back]]]
    _, first = np.unique(lines["order"][back], return_index=True)
    back = back[first]
    order = lines["order"][back]
    asked_at = np.maximum(lines["returned_at"][back] - 2 * DAY_SECONDS, had[order])
    add(orders["row"][order], key[order], asked_at, _RETURN, order, lines["product"][back])

    crm = np.flatnonzero(people.in_crm)
    row, moment_key, at = monthly_moments(world, "asks advice", 0.012, crm, people)
    none = np.full(len(row), -1)
    add(row, moment_key, at, _ADVICE, none, none)
    members = np.flatnonzero(people.is_member)
    row, moment_key, at = monthly_moments(world, "asks club", 0.003, members, people)
    none = np.full(len(row), -1)
    add(row, moment_key, at, _CLUB, none, none)
    broken = take(faults, dice.chance("reports fault", 0.6, faults["key"]))
    none = np.full(len(broken["row"]), -1)
    add(broken["row"], broken["key"], broken["at"] + 3_600, _DEVICE, none, none)

    cases = stack(parts)
    country = people.country[cases["row"]]
    case_key = cases["key"]
    # Nobody asks about what has not happened: a case hangs on nothing of a later day.
    since = by_country(to_local, cases["opened_at"], country)
    local = world.at_hour(since, 8 + 11 * dice.uniform("case hour", case_key))
    local += (local < since) * DAY_SECONDS
    cases["opened_at"] = by_country(to_utc, local, country)
    cases = take(
        cases,
        (cases["opened_at"] < world.now)
        & (cases["opened_at"] >= world.begins)
        & (cases["opened_at"] > people.joined_at[cases["row"]]),
    )
    cases = take(cases, np.lexsort((cases["key"], cases["opened_at"])))
    _work_cases(world, people, cases)
    return cases


def _work_cases(world: World, people: People, cases: Columns) -> None:
    """Add who answers a case and when it is answered, solved, opened again; and what is felt."""
    dice, key = world.dice, cases["key"]
    channel = dice.pick("case channel", (0.30, 0.36, 0.19, 0.10, 0.05), key)
    employee = world.staff.first_service + dice.below("case owner", SERVICE_STAFF, key)
    effect = world.staff.effect[employee]
    minutes = _FIRST_MINUTES[channel] * np.exp(0.9 * dice.normal("first answer", key))
    minutes *= np.exp(-0.4 * effect)
    hours = _HOURS_TO_SOLVE[channel] * np.exp(1.0 * dice.normal("solving", key))
    slow = np.isin(cases["category"], [_RETURN, _PRODUCT, _DEVICE])
    hours = hours * np.where(slow, 2.2, 1.0) + minutes / 60
    opened = cases["opened_at"]
    first = opened + np.maximum(minutes * 60, 30).astype(np.int64)
    # Most questions end with the first answer, troublesome ones seldom do.
    at_once = dice.chance("solved at once", np.where(slow, 0.3, 0.65), key)
    hours = np.where(at_once, minutes / 60, hours)
    solved = np.maximum(opened + (hours * 3_600).astype(np.int64), first + 60)
    solved = np.where(at_once, first, solved)
    again = dice.chance("opened again", np.clip(0.09 - 0.06 * effect, 0.01, 0.3), key)
    again_at = solved + ((0.2 + 3 * dice.uniform("again wait", key)) * DAY_SECONDS).astype(np.int64)
    again_solved = again_at + ((2 + 40 * dice.uniform("again solving", key)) * 3_600).astype(
        np.int64
    )
    never_solved = dice.chance("never solved", 0.012, key)
    cases.update(
        channel=channel,
        employee=employee,
        first_at=first,
        solved_at=np.where(never_solved, NEVER, solved),
        again_at=np.where(again & ~never_solved, again_at, NEVER),
        again_solved_at=np.where(again & ~never_solved, again_solved, NEVER),
        priority=dice.pick("priority", (0.15, 0.65, 0.16, 0.04), key),
        number=dice.scramble("case number", key, CASE_NUMBER_BITS),
        hours=hours,
    )
    cases["felt"] = (
        0.9
        + 0.7 * dice.normal("case felt", key)
        + people.trait[cases["row"]]
        + effect
        - 0.28 * np.log1p(minutes / 60)
        - 0.16 * np.log1p(hours)
        - 0.9 * again
    )


def make_visits(world: World, people: People) -> Columns:
    """Return booked appointments in stores."""
    dice = world.dice
    rows = np.flatnonzero(people.in_crm)
    row, key, at = monthly_moments(world, "appointment", 0.022, rows, people)
    sunday = (at // DAY_SECONDS + 3) % 7 == 6
    local = world.at_hour(at + sunday * DAY_SECONDS, 9 + dice.below("slot", 17, key) / 2)
    starts = by_country(to_utc, local, people.country[row])
    store = people.home_store[row]
    visits = {
        "row": row,
        "key": key,
        "booked_at": starts
        - ((0.5 + 9 * dice.uniform("booked", key)) * DAY_SECONDS).astype(np.int64),
        "starts_at": starts,
        "local_at": local,
        "store": store,
        "employee": store * STAFF_PER_STORE + dice.below("adviser", STAFF_PER_STORE, key),
        "kind": dice.below("visit kind", 4, key),
        "came": dice.chance("came", 0.91, key),
        "number": dice.scramble("visit number", key, 34),
    }
    inside = (visits["starts_at"] < world.now) & (visits["starts_at"] > people.joined_at[row])
    visits = take(visits, inside)
    return take(visits, np.lexsort((visits["key"], visits["starts_at"])))


def make_faults(world: World, people: People, leases: Leases) -> Columns:
    """Return faults of leased devices: one in three years and device."""
    row, key, at = monthly_moments(world, "fault", 0.03, leases.person, people)
    at = world.at_hour(at, 24 * world.dice.uniform("fault hour", key))
    lease = np.searchsorted(leases.person, row)
    works = (at > leases.started_at[lease] + 3 * DAY_SECONDS) & (at < leases.cancelled_at[lease])
    works &= at < world.now
    return take({"row": row, "key": key, "at": at, "lease": lease}, works)


def make_signals(world: World, people: People, purchases: Purchases, faults: Columns) -> Columns:
    """Return what the leased devices report: filter left, use, low supply, faults."""
    dice, leases, packs = world.dice, purchases.leases, purchases.packs
    turns = np.arange(-(-world.days // READING_EVERY_DAYS))
    lease = np.repeat(np.arange(len(leases.person)), len(turns))
    turn = np.tile(turns, len(leases.person))
    person = people.index[leases.person[lease]]
    offset = dice.below("reading phase", READING_EVERY_DAYS, person)
    second = dice.below("reading second", DAY_SECONDS, person)
    at = world.begins + (turn * READING_EVERY_DAYS + offset) * DAY_SECONDS + second
    works = (at > leases.started_at[lease] + 3 * DAY_SECONDS) & (at < leases.cancelled_at[lease])
    works &= at < world.now
    lease, turn, at = lease[works], turn[works], at[works]

    # The pack in use at the time of the reading.
    mine = take(packs, packs["slot"] == 0)
    scale = np.int64(2**34)
    composite = mine["row"] * scale + mine["opened_at"]
    order = np.argsort(composite, kind="stable")
    mine, composite = take(mine, order), composite[order]
    pack = np.searchsorted(composite, leases.person[lease] * scale + at, side="right") - 1
    life = mine["run_out_at"][pack] - mine["opened_at"][pack]
    left = np.clip(1 - (at - mine["opened_at"][pack]) / np.maximum(life, 1), 0, 1)
    key = people.index[leases.person[lease]] * 4_096 + turn
    readings = {
        "lease": lease,
        "at": at,
        "kind": np.zeros(len(lease), dtype=np.int64),
        "value": np.round(100 * left, 1),
        "key": key * 8,
    }
    used = take(readings, dice.chance("use reported", 0.4, key))
    used["kind"] = np.full(len(used["at"]), 1)
    used["at"] = used["at"] + 2
    used["value"] = np.round(4 + 20 * dice.uniform("use", used["key"]), 2)
    used["key"] = used["key"] + 1

    # Low supply, once a pack.
    lease_of_row = np.full(people.size, -1)
    lease_of_row[leases.person] = np.arange(len(leases.person))
    mine = take(mine, lease_of_row[mine["row"]] >= 0)
    lease = lease_of_row[mine["row"]]
    life = mine["run_out_at"] - mine["opened_at"]
    low_at = mine["run_out_at"] - (LOW_SUPPLY_AT * life).astype(np.int64)
    low = {
        "lease": lease,
        "at": low_at,
        "kind": np.full(len(lease), 2),
        "value": np.full(len(lease), 100 * LOW_SUPPLY_AT),
        "key": (people.index[mine["row"]] * 4_096 + mine["turn"]) * 8 + 2,
    }
    works = (low_at > leases.started_at[lease] + 3 * DAY_SECONDS) & (
        low_at < leases.cancelled_at[lease]
    )
    low = take(low, works & (low_at >= world.begins) & (low_at < world.now))
    fault = {
        "lease": faults["lease"],
        "at": faults["at"],
        "kind": np.full(len(faults["at"]), 3),
        "value": 1.0 + dice.below("fault code", 5, faults["key"]),
        "key": faults["key"] * 8 + 3,
    }
    return stack([readings, used, low, fault])
