"""What the persons buy: occasions, packs that run out, orders that ads cause; lines and parcels.

An order's outcome (is it late, who serves, how long is the queue) is drawn from its own key, and
an unhappy customer comes back later or not at all.
Keeps out: how the orders are exported.
"""

from dataclasses import dataclass

import numpy as np

from cx_pipeline.demo.catalogue import (
    BASE_LATE_PROBABILITY,
    CAMPAIGNS,
    CARRIERS,
    CATEGORIES,
    CATEGORY_WEIGHTS,
    CHURN_AFTER_LATE,
    DAYS_LATE_EFFECT,
    LATE_EFFECT,
    LEASED_DEVICES,
    PEAK_LATE_PROBABILITY,
    QUALITY_EFFECT,
    QUEUE_EFFECT_PER_MINUTE,
    SLOWER_PER_UNHAPPY_POINT,
    STAFF_PER_STORE,
    STORES_OF_COUNTRY,
    queue_minutes,
)
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import ONLINE_SHARE, People
from cx_pipeline.demo.randomness import Flags, Floats, Integers
from cx_pipeline.demo.world import BLOCK_DAYS, HOME_ZONE, NEVER, World, by_country, to_local, to_utc

Columns = dict[str, np.ndarray]

WEB, STORE, PHONE = 0, 1, 2
KEYS_PER_PERSON = 2_048
ORDER_NUMBER_BITS = 34
PACK_SLOTS = 2
PURCHASES_PER_SLOT = 256


def take(columns: Columns, rows: Integers | Flags) -> Columns:
    """Return the chosen rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def stack(parts: list[Columns]) -> Columns:
    """Return the rows of all parts below each other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass
class Leases:
    """Who leases which device, one row each."""

    person: Integers
    device: Integers
    started_at: Integers
    cancelled_at: Integers
    number: Integers


@dataclass
class Purchases:
    """What one chunk of persons bought, in columns."""

    orders: Columns
    lines: Columns
    packs: Columns
    leases: Leases


def choose_leases(world: World, people: People) -> Leases:
    """Return the leased devices: a twentieth of the persons has one."""
    dice = world.dice
    rows = np.flatnonzero(dice.chance("leases", 0.05, people.index))
    person = people.index[rows]
    wait = ((1 + 239 * dice.uniform("lease wait", person)) * DAY_SECONDS).astype(np.int64)
    started = people.joined_at[rows] + wait
    ends = dice.chance("lease ends early", 0.12, person)
    kept = ((90 + 500 * dice.uniform("lease kept", person)) * DAY_SECONDS).astype(np.int64)
    return Leases(
        person=rows,
        device=dice.below("leased device", len(LEASED_DEVICES), person),
        started_at=started,
        cancelled_at=np.where(ends, started + kept, NEVER),
        number=dice.scramble("lease", person, 23),
    )


def _choose_product(world: World, people: People, rows: Integers, key: Integers) -> Integers:
    """Return the product of an occasion line: half the time of the favourite category."""
    dice, products = world.dice, world.products
    own = dice.chance("from favourite", 0.45, key)
    category = np.where(
        own, people.favourite_category[rows], dice.pick("category", CATEGORY_WEIGHTS, key)
    )
    size = products.size_of_category[category]
    place = (size * dice.uniform("product", key) ** 1.5).astype(np.int64)
    return products.first_of_category[category] + place


def _is_sunday(day: Integers) -> Flags:
    """Return whether days since 1970 are Sundays."""
    return (day + 3) % 7 == 6


def complete_orders(
    world: World,
    people: People,
    rows: Integers,
    key: Integers,
    at: Integers,
    product: Integers,
    only_web: bool = False,
) -> Columns:
    """Return orders with place, time, service, delivery and the latent satisfaction.

    Args:
        world: The frame.
        people: The persons.
        rows: Position of each order's person in `people`.
        key: The order's number in the world; every draw hangs on it.
        at: When the person felt like buying, UTC seconds.
        product: Main product.
        only_web: Whether all of them are bought on the web.
    """
    dice = world.dice
    country = people.country[rows]
    web_share = people.web_share[rows]
    on_web = (dice.uniform("on web", key) < web_share) | only_web
    by_phone = on_web & dice.chance("by phone", 0.025, key) & (not only_web)
    channel = np.where(by_phone, PHONE, np.where(on_web, WEB, STORE))

    # Times of day: the shop is busiest in the evening, stores open 9 to 18 and not on Sundays.
    # The day is the company's, whose midnight ends the world, and the hour is the country's: an
    # order never moves to a day that is over.
    local = to_local(at, HOME_ZONE)
    hour_draw = dice.uniform("hour", key)
    web_hour = np.where(dice.chance("evening", 0.55, key), 18 + 5 * hour_draw, 7 + 11 * hour_draw)
    store_hour = np.where(
        dice.chance("rush", 0.5, key), 15.5 + 2.4 * hour_draw, 9.1 + 8.7 * hour_draw
    )
    in_store = channel == STORE
    local = np.where(in_store & _is_sunday(local // DAY_SECONDS), local + DAY_SECONDS, local)
    weekday = (local // DAY_SECONDS + 3) % 7
    hour = np.where(in_store, store_hour, np.where(by_phone, 9 + 7 * hour_draw, web_hour))
    local = world.at_hour(local, hour)
    placed_at = by_country(to_utc, local, country)

    store = people.home_store[rows].copy()
    for position, stores in enumerate(STORES_OF_COUNTRY):
        away = (country == position) & dice.chance("other store", 0.12, key)
        store[away] = stores[dice.below("which store", len(stores), key[away])]
    employee = store * STAFF_PER_STORE + dice.below("employee", STAFF_PER_STORE, key)
    queue = queue_minutes(store, weekday, hour)

    # Delivery.
    collects = ~in_store & dice.chance("collects", 0.11, key)
    cancelled = ~in_store & dice.chance("cancelled", 0.016, key)
    carrier = (dice.uniform("carrier", key) * 2).astype(np.int64)
    carrier_late = np.array([[entry[1] for entry in CARRIERS[c.code]] for c in COUNTRIES])
    base_days = np.array([c.delivery_days for c in COUNTRIES])
    month_day = (local // DAY_SECONDS).astype("datetime64[D]")
    month = month_day.astype("datetime64[M]").astype(np.int64) % 12 + 1
    day = (month_day - month_day.astype("datetime64[M]")).astype(np.int64) + 1
    peak = ((month == 11) & (day >= 20)) | ((month == 12) & (day <= 23))
    late_probability = np.where(
        collects,
        0.02,
        BASE_LATE_PROBABILITY + carrier_late[country, carrier] + peak * PEAK_LATE_PROBABILITY,
    )
    is_late = dice.chance("late", late_probability, key) & ~in_store & ~cancelled
    order_day = local // DAY_SECONDS
    promised_days = np.where(collects, 2, base_days[country] + peak + 1)
    # Stores, where some parcels are collected, are closed on Sundays.
    promised_days += collects & _is_sunday(order_day + promised_days)
    days_late = 1 + np.minimum(dice.exponential("days late", key) * 2.0, 14).astype(np.int64)
    early = np.minimum(dice.below("days early", 3, key), promised_days - 1)
    arrival_days = np.where(is_late, promised_days + days_late, promised_days - early)
    arrival_days += collects & _is_sunday(order_day + arrival_days)
    days_late = arrival_days - promised_days
    arrival_draw = dice.uniform("arrival hour", key)
    arrival_local = world.at_hour(
        local + arrival_days * DAY_SECONDS,
        np.where(collects, 9.1 + 8.4 * arrival_draw, 8 + 9.5 * arrival_draw),
    )
    delivered_at = by_country(to_utc, arrival_local, country)
    shipping = np.minimum(
        placed_at + ((0.3 + 0.9 * dice.uniform("packed", key)) * DAY_SECONDS).astype(np.int64),
        delivered_at - 6 * 3600,
    )

    # What is felt about it.
    felt = 0.7 * dice.normal("felt", key) + people.trait[rows]
    felt += QUALITY_EFFECT * world.products.quality[product]
    felt += np.where(is_late, LATE_EFFECT + DAYS_LATE_EFFECT * days_late, 0.0)
    service = world.staff.effect[employee] + QUEUE_EFFECT_PER_MINUTE * queue
    felt += np.where(in_store, service + 0.25, 0.0)

    return {
        "row": rows,
        "key": key,
        "channel": channel,
        "placed_at": placed_at,
        "local_at": local,
        "country": country,
        "store": store,
        "employee": employee,
        "queue": queue,
        "product": product,
        "collects": collects,
        "cancelled": cancelled,
        "carrier": carrier,
        "promised_day": order_day + promised_days,
        "shipped_at": np.where(in_store | cancelled, NEVER, shipping),
        "delivered_at": np.where(in_store | cancelled, NEVER, delivered_at),
        "is_late": is_late,
        "is_early": (days_late < 0) & ~in_store & ~cancelled,
        "felt": felt,
        "campaign": np.full(len(key), -1, dtype=np.int64),
    }


def _occasions(world: World, people: People) -> list[Columns]:
    """Return occasion purchases: a renewal process per person, slowed by bad experiences."""
    dice = world.dice
    rows = np.arange(people.size)
    old = people.joined_at < world.history_begins
    wait = people.gap_days * dice.exponential("first gap", people.index)
    # New customers buy soon after they joined, and on a later day.
    days = 1 + 5 * dice.exponential("first order wait", people.index)
    first = people.joined_at + (days * DAY_SECONDS).astype(np.int64)
    clock = np.where(old, wait, world.seconds_to_seasonal(first))
    parts = []
    for turn in range(PURCHASES_PER_SLOT):
        at = world.seasonal_to_seconds(clock)
        alive = at < world.now
        rows, clock, at = rows[alive], clock[alive], at[alive]
        if len(rows) == 0:
            break
        key = people.index[rows] * KEYS_PER_PERSON + turn
        product = _choose_product(world, people, rows, key)
        orders = complete_orders(world, people, rows, key, at, product)
        parts.append(orders)
        slower = 1 + SLOWER_PER_UNHAPPY_POINT * np.clip(-orders["felt"], 0, 4)
        gap = people.gap_days[rows] * dice.exponential("gap", key) * slower
        leaves = orders["is_late"] & dice.chance("leaves", CHURN_AFTER_LATE, key)
        clock = np.where(leaves, 1e9, clock + np.maximum(gap, 0.5))
    return parts


def _replenishments(
    world: World, people: People, leases: Leases
) -> tuple[list[Columns], list[Columns]]:
    """Return pack purchases and every pack's opening and running out."""
    dice, products = world.dice, world.products
    filter_of_device = np.array([products.name.index(d.filter_name) for d in LEASED_DEVICES])
    leased = np.full(people.size, -1, dtype=np.int64)
    leased[leases.person] = filter_of_device[leases.device]
    orders, packs = [], []
    for slot in range(PACK_SLOTS):
        uses = dice.chance("uses packs", (0.46, 0.14)[slot], people.index, [slot])
        choice = products.replenishable[
            dice.below("pack product", len(products.replenishable), people.index, [slot])
        ]
        if slot == 0:
            uses |= leased >= 0
            choice = np.where(leased >= 0, leased, choice)
        else:
            uses &= leased != choice
        rows = np.flatnonzero(uses)
        pace = np.exp(0.22 * dice.normal("pace", people.index, [slot]))
        faithful = 0.55 + 0.42 * dice.uniform("faithful", people.index, [slot])
        cycle = products.pack_days[choice] * pace * DAY_SECONDS
        old = people.joined_at < world.history_begins
        phase = dice.uniform("phase", people.index, [slot])
        opened = np.where(old, world.history_begins - phase * cycle, people.joined_at + 0.0)[rows]
        for turn in range(PURCHASES_PER_SLOT):
            alive = opened < world.now
            rows, opened = rows[alive], opened[alive]
            if len(rows) == 0:
                break
            key = people.index[rows] * KEYS_PER_PERSON + 512 * (slot + 1) + turn
            lasts = cycle[rows] * np.exp(0.10 * dice.normal("pack lasts", key))
            run_out = opened + lasts
            lead = (1.5 + 3.5 * dice.normal("lead", key)) * DAY_SECONDS
            buys = (run_out - lead).astype(np.int64)
            here = dice.chance("buys here", faithful[rows], key)
            wanted = here & (buys < world.now) & (buys > opened)
            made = rows[wanted]
            packs.append(
                {
                    "row": rows,
                    "product": choice[rows],
                    "slot": np.full(len(rows), slot),
                    "turn": np.full(len(rows), turn),
                    "opened_at": opened.astype(np.int64),
                    "run_out_at": run_out.astype(np.int64),
                    "buys_next_here": here,
                }
            )
            if len(made):
                orders.append(
                    complete_orders(world, people, made, key[wanted], buys[wanted], choice[made])
                )
            opened = np.maximum(run_out, buys + 2 * DAY_SECONDS)
    return orders, packs


def _caused_orders(world: World, people: People) -> list[Columns]:
    """Return orders that would not have been made without an ad."""
    dice = world.dice
    parts = []
    for position, country in enumerate(COUNTRIES):
        running = [m for m, c in enumerate(CAMPAIGNS) if country.code in c.countries]
        rows = np.flatnonzero((people.country == position) & (people.web_share > 0))
        if not running or len(rows) == 0:
            continue
        # Only those who shop on the web can be moved: their rate is raised to keep the total.
        lift = 1 / ONLINE_SHARE
        for block in range(world.blocks):
            days = slice(block * BLOCK_DAYS, (block + 1) * BLOCK_DAYS)
            rates = world.caused_per_customer[running][:, days] * lift
            cumulated = np.cumsum(rates)
            happens = dice.uniform("caused", people.index[rows], [block]) < cumulated[-1]
            chosen = rows[happens]
            which = np.searchsorted(
                cumulated,
                dice.uniform("caused when", people.index[chosen], [block]) * cumulated[-1],
            )
            which = np.minimum(which, len(cumulated) - 1)
            campaign, day = np.divmod(which, BLOCK_DAYS)
            at = world.begins + (block * BLOCK_DAYS + day) * DAY_SECONDS + 12 * 3600
            fits = (at < world.now) & (at > people.joined_at[chosen])
            chosen, campaign, at = chosen[fits], campaign[fits], at[fits]
            key = people.index[chosen] * KEYS_PER_PERSON + 1_536 + block
            product = _choose_product(world, people, chosen, key)
            orders = complete_orders(world, people, chosen, key, at, product, only_web=True)
            orders["campaign"] = np.array(running)[campaign]
            parts.append(orders)
    return parts


def _lines(world: World, orders: Columns) -> Columns:
    """Return one row per product on an order, with amounts in hundredths."""
    dice, products = world.dice, world.products
    key = orders["key"]
    draw = dice.uniform("line count", key)
    count = 1 + (draw > 0.62).astype(np.int64) + (draw > 0.86) + (draw > 0.96)
    order = np.repeat(np.arange(len(key)), count)
    number = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    line_key = key[order] * 8 + number
    category = dice.pick("extra category", CATEGORY_WEIGHTS, line_key)
    size = products.size_of_category[category]
    extra = products.first_of_category[category] + (
        size * dice.uniform("extra product", line_key) ** 1.5
    ).astype(np.int64)
    product = np.where(number == 0, orders["product"][order], extra)
    repeatable = products.list_price[product] < 300
    is_pack = products.pack_days[product] > 0
    quantity = 1 + (
        dice.chance("two units", 0.14, line_key) & repeatable & ~((number == 0) & is_pack)
    )
    price = products.price_cents[product, orders["country"][order]]
    coupon = dice.chance("coupon", 0.13, key)[order]
    discount = np.where(coupon, quantity * price // 10, 0)
    amount = quantity * price - discount

    # Returns: bad goods and things to wear or look at come back more often.
    delicate = np.isin(
        products.category[product],
        [CATEGORIES.index(name) for name in ("textiles", "rings", "necklaces", "watches")],
    )
    in_store = orders["channel"][order] == STORE
    probability = (
        0.035 + 0.035 * delicate + 0.05 * np.clip(-products.quality[product], 0, 2)
    ) * np.where(in_store, 0.6, 1.0)
    comes_back = dice.chance("returned", probability, line_key) & ~orders["cancelled"][order]
    had_at = np.where(in_store, orders["placed_at"][order], orders["delivered_at"][order])
    wait = ((2 + 18 * dice.uniform("return wait", line_key)) * DAY_SECONDS).astype(np.int64)
    returned_at = np.where(comes_back, had_at + wait, NEVER)
    # Goods come back by day: parcels by 8 to 16, stores take them while they are open.
    hour = 9.2 + 6.5 * dice.uniform("return hour", line_key)
    returned_at = np.where(comes_back, world.at_hour(returned_at, hour), NEVER)
    sunday = _is_sunday(returned_at // DAY_SECONDS)
    returned_at = np.where(comes_back & sunday, returned_at + DAY_SECONDS, returned_at)
    return {
        "order": order,
        "key": line_key,
        "number": number + 1,
        "product": product,
        "quantity": quantity.astype(np.int64),
        "price": price,
        "discount": discount,
        "amount": amount,
        "returned_at": returned_at,
        "return_reason": dice.below("return reason", 4, line_key),
    }


def _totals(world: World, orders: Columns, lines: Columns) -> None:
    """Add the amounts of each order, in hundredths of its currency."""
    dice = world.dice
    rows = len(orders["key"])
    goods = np.bincount(lines["order"], lines["amount"], rows).astype(np.int64)
    discount = np.bincount(lines["order"], lines["discount"], rows).astype(np.int64)
    factors = np.array([country.price_factor for country in COUNTRIES])[orders["country"]]
    vat = np.array([country.vat for country in COUNTRIES])[orders["country"]]
    free = (goods >= 49_900 * factors) | orders["collects"] | (orders["channel"] == STORE)
    freight = np.where(free, 0, np.round(3_900 * factors)).astype(np.int64)
    orders["freight"] = freight
    orders["discount"] = discount
    orders["total"] = goods + freight
    orders["vat"] = np.round((goods + freight) * vat / (1 + vat)).astype(np.int64)
    orders["number"] = dice.scramble("order number", orders["key"], ORDER_NUMBER_BITS)
    orders["person"] = np.zeros(rows, dtype=np.int64)


def shop(world: World, people: People) -> Purchases:
    """Return what the persons bought before `now`, also in the history, and what comes of it."""
    leases = choose_leases(world, people)
    pack_orders, packs = _replenishments(world, people, leases)
    parts = [*_occasions(world, people), *pack_orders, *_caused_orders(world, people)]
    orders = stack(parts)
    inside = (orders["placed_at"] >= world.history_begins) & (orders["placed_at"] < world.now)
    # The hour of an order may lie before the one in which a person joined on the same day.
    inside &= orders["placed_at"] > people.joined_at[orders["row"]]
    orders = take(orders, inside)
    orders = take(orders, np.lexsort((orders["key"], orders["placed_at"])))
    lines = _lines(world, orders)
    _totals(world, orders, lines)
    orders["person"] = people.index[orders["row"]]
    kept = take(stack(packs), np.argsort(stack(packs)["row"], kind="stable"))
    return Purchases(orders, lines, kept, leases)


def is_known_at_till(world: World, people: People, orders: Columns) -> Flags:
    """Return whether a store receipt carries the loyalty number."""
    member = people.is_member[orders["row"]] & (
        orders["placed_at"] >= people.joined_at[orders["row"]]
    )
    return (orders["channel"] == STORE) & member & world.dice.chance("scans", 0.78, orders["key"])


def mean_recent_felt(orders: Columns, row: Integers, at: Integers, days: int) -> Floats:
    """Return the mean of `felt` of a person's orders in the days before a moment, 0 when none."""
    had = np.where(orders["channel"] == STORE, orders["placed_at"], orders["delivered_at"])
    had = np.where(had >= NEVER, orders["placed_at"], had)
    scale = np.int64(2**34)
    composite = orders["row"] * scale + had
    order = np.argsort(composite, kind="stable")
    composite = composite[order]
    sums = np.concatenate([[0.0], np.cumsum(orders["felt"][order])])
    last = np.searchsorted(composite, row * scale + at)
    first = np.searchsorted(composite, row * scale + at - days * DAY_SECONDS)
    return np.where(last > first, (sums[last] - sums[first]) / np.maximum(last - first, 1), 0.0)
