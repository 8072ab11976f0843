"""Sessions in the webshop and the app: who comes when, from where, and how far they get.

Sessions lead to orders, precede store visits on the same day or come to nothing, as nearly all
that an ad brings do; visitors never say who they are. A session never hangs on what happens on a
later day.
Keeps out: single events and their export (that is `webshop`).
"""

import numpy as np

from cx_pipeline.demo import consents as consent
from cx_pipeline.demo.catalogue import CAMPAIGNS, KRONER_PER_VISIT
from cx_pipeline.demo.consents import Consents
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.identifiers import VISITOR
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import NUMBER_BITS, ONLINE_SHARE, People, country_of
from cx_pipeline.demo.purchases import STORE, WEB, Columns, Purchases, is_known_at_till, stack, take
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import BLOCK_DAYS, HOME_ZONE, World, to_utc

SECONDS_PER_EVENT = 34
VISITORS_PER_CUSTOMER = 0.3
_VISITOR_DAYS = 415
"""So many visitors come over these days, and as many others over as many days again."""
BUYS, BROWSES, RESEARCHES, AT_KIOSK, SIGNS_UP, SETS_PREFERENCE, VISITS, GLANCES = range(8)
"""Kinds of sessions; a glance ends on its first page."""
ORGANIC = len(CAMPAIGNS)
NEWSLETTER = len(CAMPAIGNS) + 1
DIRECT = len(CAMPAIGNS) + 2
_CAMPAIGNS_OF_COUNTRY = tuple(
    np.array([position for position, c in enumerate(CAMPAIGNS) if country.code in c.countries])
    for country in COUNTRIES
)


def make_sessions(
    world: World, people: People, purchases: Purchases, consents: Consents
) -> Columns:
    """Return all sessions of the chunk's persons."""
    dice, orders = world.dice, purchases.orders
    parts: list[Columns] = []

    def add(
        row: Integers,
        key: Integers,
        start: Integers,
        purpose: Integers | int,
        **columns: np.ndarray | int,
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

    def look_around(
        row: Integers, key: Integers, start: Integers, source: Integers, stay_rate: float
    ) -> None:
        stays = dice.chance("stays", stay_rate, key)
        views = dice.below("browse views", 4, key) * stays
        adds = np.minimum(dice.chance("browse add", 0.14, key), views).astype(np.int64)
        add(
            row,
            key,
            start,
            np.where(stays, BROWSES, GLANCES),
            searches=(stays & dice.chance("browse search", 0.2, key)).astype(np.int64),
            views=views,
            adds=adds,
            deep=np.where(adds > 0, dice.below("browse deep", 4, key), 0),
            source=source,
            chat=(stays & dice.chance("chat", 0.006, key)).astype(np.int64),
            promotion=(stays & dice.chance("promotion", 0.05, key)).astype(np.int64),
        )

    def source_of(row: Integers, key: Integers, start: Integers) -> Integers:
        return _source(world, people.country[row], key, start)

    # 1. Sessions that end in an order.
    bought = np.flatnonzero(orders["channel"] == WEB)
    key = orders["key"][bought] * 16 + 1
    views = 1 + dice.below("buy views", 4, key)
    caused = orders["campaign"][bought]
    start = orders["placed_at"][bought] - SECONDS_PER_EVENT * (views + 9)
    add(
        orders["row"][bought],
        key,
        start,
        BUYS,
        searches=dice.chance("buy search", 0.35, key).astype(np.int64),
        views=views,
        adds=np.minimum(1 + dice.chance("second add", 0.3, key), views).astype(np.int64),
        deep=np.full(len(bought), 4),
        order=bought,
        source=np.where(caused >= 0, caused, source_of(orders["row"][bought], key, start)),
        product=orders["product"][bought],
    )

    # 2. Looking around, by person and block of days. Seven of ten visits end on the first page: a
    # tenth of all sessions buy. The 2 to 4 in 100 of real shops would take twice as many rows.
    online = people.web_share > 0
    activity = np.where(online, 0.3 + 1.5 * dice.exponential("activity", people.index), 0.0)
    activity = np.where(~online & people.has_account, 0.3, activity)
    block = np.arange(world.blocks)
    grid_row = np.repeat(np.arange(people.size), world.blocks)
    grid_block = np.tile(block, people.size)
    count = dice.poisson(
        "browses", np.minimum(activity, 7.0)[grid_row], people.index[grid_row], grid_block
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
    source = source_of(row, key, start)
    mailed = (source == NEWSLETTER) & ~consents.may_email(row, start)
    look_around(row, key, start, np.where(mailed, ORGANIC, source), 0.3)
    look_around(*_ad_visits(world, people), 0.15)

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
        source=source_of(orders["row"][researched], key, start),
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


def _ad_visits(world: World, people: People) -> tuple[Integers, Integers, Integers, Integers]:
    """Return row, key, start and campaign of visits that ads bring, as many as the spend pays."""
    dice, parts = world.dice, []
    online = people.web_share > 0
    rates = world.spend_per_customer / KRONER_PER_VISIT / ONLINE_SHARE
    for position in range(len(COUNTRIES)):
        rows = np.flatnonzero(online & (people.country == position))
        running = _CAMPAIGNS_OF_COUNTRY[position]
        for block in range(world.blocks):
            days = slice(block * BLOCK_DAYS, (block + 1) * BLOCK_DAYS)
            cumulated = np.cumsum(rates[running, days])
            count = dice.poisson("ad visits", cumulated[-1], people.index[rows], [block])
            row = np.repeat(rows, count)
            turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            key = ((people.index[row] * 4_096 + block) * 16 + turn) * 16 + 8
            which = np.searchsorted(cumulated, dice.uniform("ad visit", key) * cumulated[-1])
            campaign, day = np.divmod(np.minimum(which, len(cumulated) - 1), BLOCK_DAYS)
            # By the company's clock, so that the visit lies on the day that is paid for.
            hour = 7 + 16 * dice.uniform("ad visit hour", key)
            local = world.begins + (block * BLOCK_DAYS + day) * DAY_SECONDS
            start = to_utc(world.at_hour(local, hour), HOME_ZONE)
            alive = (start < world.now) & (start > people.joined_at[row])
            parts.append([column[alive] for column in (row, key, start, running[campaign])])
    row, key, start, campaign = (np.concatenate(column) for column in zip(*parts, strict=True))
    return row, key, start, campaign


def _source(world: World, country: Integers, key: Integers, start: Integers) -> Integers:
    """Return where sessions that no ad caused came from; some clicked one all the same."""
    draw = world.dice.uniform("source", key)
    source = np.where(draw < 0.22, ORGANIC, np.where(draw < 0.30, NEWSLETTER, DIRECT))
    return np.where(draw > 0.88, _clicked(world, country, key, start), source)


def _clicked(world: World, country: Integers, key: Integers, start: Integers) -> Integers:
    """Return a campaign of the country that runs on the day; a search where the one drawn rests."""
    campaign = np.zeros(len(key), dtype=np.int64)
    for position, running in enumerate(_CAMPAIGNS_OF_COUNTRY):
        here = country == position
        campaign[here] = running[world.dice.below("clicked ad", len(running), key[here])]
    # Sessions outside the world are dropped later.
    day = np.clip(world.day_of(start), 0, world.days - 1)
    return np.where(world.spend[campaign, day] > 0, campaign, ORGANIC)


def make_visitor_sessions(world: World, people: People) -> tuple[Columns, Integers]:
    """Return sessions of visitors who stay unknown, and their countries."""
    dice = world.dice
    first, last = (
        int(min(position, world.customers) * VISITORS_PER_CUSTOMER)
        for position in (people.index[0], people.index[-1] + 1)
    )
    rounds = np.arange(-(-world.days // _VISITOR_DAYS))
    visitor = (rounds[:, None] * 2**NUMBER_BITS + np.arange(first, last)).ravel()
    count = 1 + dice.below("visits", 3, visitor)
    who = np.repeat(visitor, count)
    turn = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
    day = (who // 2**NUMBER_BITS + dice.uniform("visitor from", who)) * _VISITOR_DAYS
    start = world.begins + (day * DAY_SECONDS).astype(np.int64)
    start += (turn * (0.2 + 8 * dice.uniform("visit gap", who, turn)) * DAY_SECONDS).astype(
        np.int64
    )
    start = world.at_hour(start, 7 + 15 * dice.uniform("visit hour", who, turn))
    alive = start < world.now
    who, turn, start = who[alive], turn[alive], start[alive]
    country = country_of(world, who + VISITOR)
    zero = np.zeros(len(who), dtype=np.int64)
    key = (who * 16 + turn) * 16 + 7
    columns = {
        "row": who,
        "key": key,
        "start": start,
        "kind": zero + VISITS,
        "searches": dice.chance("visitor search", 0.3, who, turn).astype(np.int64),
        "views": dice.below("visitor views", 3, who, turn),
        "adds": zero,
        "deep": zero,
        "order": zero - 1,
        "source": np.where(
            dice.chance("visitor ad", 0.4, who, turn),
            _clicked(world, country, key, start),
            ORGANIC,
        ),
        "kiosk": zero - 1,
        "chat": zero,
        "joined": zero,
        "preference": zero - 1,
        "promotion": zero,
        "product": zero - 1,
    }
    return columns, country
