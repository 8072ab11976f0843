"""Sessions in the webshop and the app: who comes when, from where, and how far they get.

Sessions lead to orders, precede store visits on the same day or come to nothing; visitors never
say who they are. A session never hangs on what happens on a later day.
Keeps out: single events and their export (that is `webshop`).
"""

import numpy as np

from cx_pipeline.demo import consents as consent
from cx_pipeline.demo.catalogue import CAMPAIGNS
from cx_pipeline.demo.consents import Consents
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.identifiers import VISITOR
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People, country_of
from cx_pipeline.demo.purchases import STORE, WEB, Columns, Purchases, is_known_at_till, stack, take
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import BLOCK_DAYS, World

SECONDS_PER_EVENT = 34
VISITORS_PER_CUSTOMER = 0.3
BUYS, BROWSES, RESEARCHES, AT_KIOSK, SIGNS_UP, SETS_PREFERENCE, VISITS = range(7)
"""Kinds of sessions."""
ORGANIC = len(CAMPAIGNS)
NEWSLETTER = len(CAMPAIGNS) + 1
DIRECT = len(CAMPAIGNS) + 2


def make_sessions(
    world: World, people: People, purchases: Purchases, consents: Consents
) -> Columns:
    """Return all sessions of the chunk's persons."""
    dice, orders = world.dice, purchases.orders
    parts: list[Columns] = []

    def add(
        row: Integers, key: Integers, start: Integers, purpose: int, **columns: np.ndarray | int
    ) -> None:
        base: dict[str, np.ndarray | int] = {
            "searches": 0, "views": 0, "adds": 0, "deep": 0, "order": -1, "source": DIRECT,
            "kiosk": -1, "chat": 0, "joined": 0, "preference": -1, "promotion": 0, "product": -1,
        }  # fmt: skip
        base.update(columns)
        parts.append(
            {
                "row": row,
                "key": key,
                "start": start,
                "kind": np.full(len(row), purpose),
                **{name: np.broadcast_to(value, len(row)).copy() for name, value in base.items()},
            }
        )

    # 1. Sessions that end in an order.
    bought = np.flatnonzero(orders["channel"] == WEB)
    key = orders["key"][bought] * 16 + 1
    views = 1 + dice.below("buy views", 4, key)
    caused = orders["campaign"][bought]
    add(
        orders["row"][bought],
        key,
        orders["placed_at"][bought] - SECONDS_PER_EVENT * (views + 9),
        BUYS,
        searches=dice.chance("buy search", 0.35, key).astype(np.int64),
        views=views,
        adds=np.minimum(1 + dice.chance("second add", 0.3, key), views).astype(np.int64),
        deep=np.full(len(bought), 4),
        order=bought,
        source=np.where(caused >= 0, caused, _source(world, people, orders["row"][bought], key)),
        product=orders["product"][bought],
    )

    # 2. Browsing, by person and block of days.
    online = people.web_share > 0
    activity = np.where(online, 0.12 + 0.62 * dice.exponential("activity", people.index), 0.0)
    activity = np.where(~online & people.has_account, 0.12, activity)
    block = np.arange(world.blocks)
    grid_row = np.repeat(np.arange(people.size), world.blocks)
    grid_block = np.tile(block, people.size)
    count = dice.poisson(
        "browses", np.minimum(activity, 3.0)[grid_row], people.index[grid_row], grid_block
    )
    row = np.repeat(grid_row, count)
    in_block = np.repeat(grid_block, count)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    key = ((people.index[row] * 4_096 + in_block) * 16 + turn) * 16 + 2
    day = in_block * BLOCK_DAYS + dice.below("browse day", BLOCK_DAYS, key)
    draw = dice.uniform("browse hour", key)
    hour = np.where(dice.chance("browse evening", 0.55, key), 17 + 5.5 * draw, 6 + 11.5 * draw)
    start = world.begins + day * DAY_SECONDS + (hour * 3_600).astype(np.int64)
    alive = (start < world.now) & (start > people.joined_at[row])
    row, key, start = row[alive], key[alive], start[alive]
    views = dice.below("browse views", 4, key)
    adds = np.minimum(dice.chance("browse add", 0.14, key), views).astype(np.int64)
    deep = np.where(adds > 0, dice.below("browse deep", 4, key), 0)
    source = _source(world, people, row, key)
    mailed = (source == NEWSLETTER) & ~consents.may_email(row, start)
    add(
        row,
        key,
        start,
        BROWSES,
        searches=dice.chance("browse search", 0.2, key).astype(np.int64),
        views=views,
        adds=adds,
        deep=deep,
        source=np.where(mailed, ORGANIC, source),
        chat=dice.chance("chat", 0.006, key).astype(np.int64),
        promotion=dice.chance("promotion", 0.05, key).astype(np.int64),
    )

    # 3. Looking on the web before buying in a store.
    researched = np.flatnonzero(
        (orders["channel"] == STORE)
        & online[orders["row"]]
        & dice.chance("researches", 0.25, orders["key"])
    )
    key = orders["key"][researched] * 16 + 3
    # On the same day: what happened may not hang on what has not happened yet.
    start = orders["placed_at"][researched] - 1_800
    since_five = start % DAY_SECONDS - 5 * 3_600
    start -= (dice.uniform("research lead", key) * since_five).astype(np.int64)
    add(
        orders["row"][researched],
        key,
        start,
        RESEARCHES,
        views=1 + dice.below("research views", 3, key),
        searches=np.ones(len(researched), dtype=np.int64),
        source=_source(world, people, orders["row"][researched], key),
        product=orders["product"][researched],
    )

    # 4. Kiosks in stores, where a member scans the card.
    known = is_known_at_till(world, people, orders)
    kiosk = np.flatnonzero(known & dice.chance("kiosk", 0.02, orders["key"]))
    key = orders["key"][kiosk] * 16 + 4
    add(
        orders["row"][kiosk],
        key,
        orders["placed_at"][kiosk] - 600,
        AT_KIOSK,
        views=1 + dice.below("kiosk views", 2, key),
        kiosk=orders["store"][kiosk],
        product=orders["product"][kiosk],
    )

    # 5. Signing up for the newsletter, and the preference centre.
    new = np.flatnonzero(
        people.wants_newsletter
        & (people.joined_at >= world.begins)
        & (people.joined_at < world.now)
    )
    add(new, people.index[new] * 16 + 5, people.joined_at[new] - 60, SIGNS_UP, joined=1)
    said = consents.statements
    told = np.flatnonzero(said["system"] == consent.WEBSHOP)
    about = people.index[said["row"][told]] * 8 + said["purpose"][told]
    key = (about * 2**31 + said["at"][told] - world.begins) * 16 + 6
    add(said["row"][told], key, said["at"][told] - 70, SETS_PREFERENCE, preference=told)

    sessions = stack(parts)
    return take(sessions, (sessions["start"] >= world.begins) & (sessions["start"] < world.now))


def _source(world: World, people: People, row: Integers, key: Integers) -> Integers:
    """Return where a session that no ad caused came from; some clicked one all the same."""
    dice = world.dice
    draw = dice.uniform("source", key)
    source = np.where(draw < 0.22, ORGANIC, np.where(draw < 0.30, NEWSLETTER, DIRECT))
    clicked = draw > 0.88
    for position, country in enumerate(COUNTRIES):
        running = np.array([m for m, c in enumerate(CAMPAIGNS) if country.code in c.countries])
        here = clicked & (people.country[row] == position)
        if len(running):
            source[here] = running[dice.below("clicked ad", len(running), key[here])]
    return source


def make_visitor_sessions(world: World, people: People) -> tuple[Columns, Integers]:
    """Return sessions of visitors who stay unknown, and their countries."""
    dice = world.dice
    first = int(people.index[0] * VISITORS_PER_CUSTOMER)
    last = int((people.index[-1] + 1) * VISITORS_PER_CUSTOMER)
    visitor = np.arange(first, last)
    count = 1 + dice.below("visits", 3, visitor)
    who = np.repeat(visitor, count)
    turn = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
    start = world.begins + (dice.uniform("visitor from", who) * 415 * DAY_SECONDS).astype(np.int64)
    start += (turn * (0.2 + 8 * dice.uniform("visit gap", who, turn)) * DAY_SECONDS).astype(
        np.int64
    )
    start = world.at_hour(start, 7 + 15 * dice.uniform("visit hour", who, turn))
    zero = np.zeros(len(who), dtype=np.int64)
    columns = {
        "row": who,
        "key": (who * 16 + turn) * 16 + 7,
        "start": start,
        "kind": zero + VISITS,
        "searches": dice.chance("visitor search", 0.3, who, turn).astype(np.int64),
        "views": dice.below("visitor views", 3, who, turn),
        "adds": zero,
        "deep": zero,
        "order": zero - 1,
        "source": np.where(
            dice.chance("visitor ad", 0.4, who, turn),
            dice.below("visitor campaign", 9, who),
            ORGANIC,
        ),
        "kiosk": zero - 1,
        "chat": zero,
        "joined": zero,
        "preference": zero - 1,
        "promotion": zero,
        "product": zero - 1,
    }
    alive = start < world.now
    country = country_of(world, who + VISITOR)
    return take(columns, alive), country[alive]
