"""The webshop's and app's event stream: JSON Lines per day, in the manner of Segment.

Some sessions are logged in, some take place on a family's tablet or a store's kiosk.
Keeps out: who comes when (that is `sessions`), and the orders themselves.
"""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.demo import consents as consent
from cx_pipeline.demo.catalogue import CAMPAIGNS, CATEGORIES, STORES
from cx_pipeline.demo.consents import Consents
from cx_pipeline.demo.formatting import (
    day_text,
    decimals,
    digits,
    hexadecimal,
    join_text,
    look_up,
    text_column,
    time_text,
)
from cx_pipeline.demo.identifiers import (
    APP_SLOT,
    TABLET_OWNER,
    TABLET_SLOT,
    VISITOR,
    Identifiers,
    cookie_era,
    cookies,
    installations,
)
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import Columns, Purchases, stack, take
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.sessions import (
    DIRECT,
    GLANCES,
    ORGANIC,
    SECONDS_PER_EVENT,
    VISITS,
    make_sessions,
    make_visitor_sessions,
)
from cx_pipeline.demo.world import World

DUPLICATE_SHARE = 0.0015
_LOGIN_RATES = np.array([0.75, 0.30, 0.25, 1.0, 0.0, 1.0, 0.0, 0.30])
"""Share of logged-in sessions of account holders, by kind of session."""
_MOBILE, _DESKTOP, _TABLET, _APP, _KIOSK = range(5)
_DEVICE_TYPES = ("mobile", "desktop", "tablet", "app", "kiosk")

_TERMS = (
    "vitamin d",
    "linser",
    "lenses",
    "gavekort",
    "ring",
    "halskæde",
    "smykke",
    "wasserfilter",
    "lampe",
    "solkräm",
    "tandborste",
    "omega 3",
    "plaid",
    "ur",
    "bedding",
    "kniv",
)
_REFERRERS = (
    "",
    "https://www.google.com/",
    "https://www.facebook.com/",
    "https://www.amazon.com/",
    "https://www.bing.com/",
)
_CAMPAIGN_OF_SOURCE: tuple[dict[str, str], ...] = (
    *[
        {
            "id": campaign.campaign_id,
            "source": {"meta": "facebook", "google": "google", "amazon": "amazon"}[
                campaign.platform
            ],
            "medium": "paid_social" if campaign.platform == "meta" else "cpc",
            "name": campaign.name,
        }
        for campaign in CAMPAIGNS
    ],
    {},
    {"source": "newsletter", "medium": "email", "name": "newsletter"},
    {},
)
_REFERRER_OF_SOURCE = np.array(
    [*[{"meta": 2, "google": 1, "amazon": 3}[c.platform] for c in CAMPAIGNS], 1, 0, 0]
)

# Pages of the shop, before the goods' own pages.
_HOME, _SEARCH, _CART, _CHECKOUT, _THANKS, _ACCOUNT, _CLUB = range(7)
_PAGES = ("", "search", "cart", "checkout", "checkout/thanks", "account", "club")

(
    SIGNED_IN,
    PAGE,
    PROMOTION,
    SEARCHED,
    VIEWED,
    ADDED,
    CART,
    CHECKOUT,
    PAYMENT,
    COMPLETED,
    CHAT,
    JOINED,
    PREFERENCE,
) = range(13)
_EVENTS = (
    "Signed In",
    "",
    "Promotion Clicked",
    "Products Searched",
    "Product Viewed",
    "Product Added",
    "Cart Viewed",
    "Checkout Started",
    "Payment Info Entered",
    "Order Completed",
    "Live Chat Conversation Started",
    "Newsletter Signed Up",
    "Consent Preference Updated",
)


@dataclass
class WebExport:
    """The lines of a chunk and which device belongs to whom."""

    lines: pa.Array
    at: Integers
    day: Integers
    cookies: pa.Table
    """Every cookie and installation with the person who used it (truth)."""
    duplicates: pa.Array
    """Message ids that were sent twice (truth)."""
    ad_visits: Integers
    """How many sessions bear each campaign, by campaign and day."""


def export_web(
    world: World,
    people: People,
    purchases: Purchases,
    consents: Consents,
    identifiers: Identifiers,
) -> WebExport:
    """Return the lines of all events of the chunk, and the truth about its devices."""
    dice = world.dice
    own = make_sessions(world, people, purchases, consents)
    strange, strange_country = make_visitor_sessions(world, people)
    sessions = stack([own, strange])
    is_visitor = np.arange(len(sessions["row"])) >= len(own["row"])
    row = np.where(is_visitor, 0, sessions["row"])
    country = np.concatenate([people.country[own["row"]], strange_country])
    key, start = sessions["key"], sessions["start"]

    # Which device, which cookie, logged in or not.
    index = people.index[row]
    in_app = people.uses_app[row] & dice.chance("in app", 0.4, key) & ~is_visitor
    on_tablet = people.shares_tablet[row] & dice.chance("on tablet", 0.3, key) & ~is_visitor
    second = dice.chance("second device", 0.55, index) & dice.chance("on second", 0.4, key)
    slot = np.where(in_app, APP_SLOT, np.where(on_tablet, TABLET_SLOT, np.where(second, 1, 0)))
    slot = np.where(is_visitor, 0, slot)
    owner = np.where(is_visitor, sessions["row"] + VISITOR, index)
    owner = np.where(slot == TABLET_SLOT, people.household[row] + TABLET_OWNER, owner)
    mobile_first = dice.chance("mobile first", 0.65, owner)
    device = np.where(
        slot == APP_SLOT,
        _APP,
        np.where(
            slot == TABLET_SLOT, _TABLET, np.where(mobile_first ^ (slot == 1), _MOBILE, _DESKTOP)
        ),
    )
    at_kiosk = sessions["kiosk"] >= 0
    device = np.where(at_kiosk, _KIOSK, device)
    rate = _LOGIN_RATES[sessions["kind"]]
    logged_in = people.has_account[row] & (start >= people.joined_at[row]) & ~is_visitor
    logged_in &= (dice.uniform("logged in", key) < rate) | in_app
    logged_in |= at_kiosk
    buys = sessions["order"] >= 0
    logged_in &= ~(buys & identifiers.is_guest_order[sessions["order"]])

    era = cookie_era(world, owner, slot, start)
    cookie = cookies(world, owner, slot, era)
    kiosk_id = look_up([f"KIOSK-{store.number}-1" for store in STORES], sessions["kiosk"])
    anonymous = pc.coalesce(kiosk_id, cookie)
    installation = installations(world, index)
    device_id = pc.coalesce(
        kiosk_id, pc.if_else(pa.array(in_app), installation, pa.scalar(None, pa.utf8()))
    )
    user = look_up(identifiers.crm_id, np.where(logged_in, row, -1))

    # The part of a line that all events of a session share.
    locales = [f"{c.language if c.language != 'no' else 'nb'}-{c.code}" for c in COUNTRIES]
    who = join_text(
        '","anonymousId":"',
        anonymous,
        '"',
        pc.coalesce(join_text(',"userId":"', user, '"'), pa.scalar("")),
    )
    contexts = [
        f'"device":{{"type":"{device_type}"' for device_type in _DEVICE_TYPES
    ]  # fmt: skip
    campaign_text = [
        ',"campaign":' + json.dumps(campaign, separators=(",", ":")) if campaign else ""
        for campaign in _CAMPAIGN_OF_SOURCE
    ]
    context = join_text(
        look_up(contexts, device),
        pc.coalesce(join_text(',"id":"', device_id, '"'), pa.scalar("")),
        "}",
        look_up(campaign_text, np.where(at_kiosk, DIRECT, sessions["source"])),
        ',"locale":"',
        look_up(locales, country),
        '"',
    )
    events = _events(world, people, purchases, consents, sessions, logged_in)
    events = take(events, events["at"] < world.now)
    repeated = dice.chance("sent twice", DUPLICATE_SHARE, events["id"].view(np.int64))
    twice = take(events, repeated)
    order = np.argsort(np.concatenate([events["at"], twice["at"] + 1]), kind="stable")
    events = take(stack([events, twice]), order)

    # The email of newsletter forms and of orders without a login; ids and amounts of orders.
    email = _emails(people, purchases, consents, identifiers, events, sessions, row, logged_in)
    lines = _lines(world, purchases, consents, sessions, events, who, context, country, email)
    used = np.flatnonzero(~at_kiosk)
    truth = pa.table(
        {
            "person": pa.array(np.where(is_visitor, sessions["row"] + VISITOR, index)[used]),
            "cookie_id": cookie.take(pa.array(used)),
            "device_id": device_id.take(pa.array(used)),
        }
    )
    truth = truth.group_by(["person", "cookie_id", "device_id"]).aggregate([])
    message_ids = text_column(hexadecimal(twice["id"]))
    ad_visits = np.zeros((len(CAMPAIGNS), world.days), dtype=np.int64)
    from_ad = sessions["source"] < ORGANIC
    np.add.at(ad_visits, (sessions["source"][from_ad], world.day_of(start[from_ad])), 1)
    return WebExport(lines, events["at"], world.day_of(events["at"]), truth, message_ids, ad_visits)


def _events(
    world: World,
    people: People,
    purchases: Purchases,
    consents: Consents,
    sessions: Columns,
    logged_in: np.ndarray,
) -> Columns:
    """Return one row per event: session, kind, time, product."""
    dice, products = world.dice, world.products
    size = len(sessions["row"])
    one = np.ones(size, dtype=np.int64)
    deep = sessions["deep"]
    only_form = (sessions["joined"] > 0) | (sessions["preference"] >= 0)
    said_at = consents.statements["at"]
    signs_in = logged_in & dice.chance("signs in", 0.6, sessions["key"])
    signs_in &= sessions["kind"] != GLANCES
    steps = (
        (SIGNED_IN, signs_in.astype(np.int64), _ACCOUNT),
        (PAGE, np.where(only_form, 0, one), _HOME),
        (PROMOTION, sessions["promotion"], _HOME),
        (SEARCHED, sessions["searches"], _SEARCH),
        (VIEWED, sessions["views"], -1),
        (ADDED, sessions["adds"], -1),
        (CART, (deep >= 1).astype(np.int64), _CART),
        (CHECKOUT, (deep >= 2).astype(np.int64), _CHECKOUT),
        (PAYMENT, (deep >= 3).astype(np.int64), _CHECKOUT),
        (COMPLETED, (sessions["order"] >= 0).astype(np.int64), _THANKS),
        (CHAT, sessions["chat"], _HOME),
        (JOINED, sessions["joined"], _CLUB),
        (PREFERENCE, (sessions["preference"] >= 0).astype(np.int64), _ACCOUNT),
    )
    parts = []
    before = np.zeros(size, dtype=np.int64)
    for kind, count, page in steps:
        session = np.repeat(np.arange(size), count)
        turn = np.arange(len(session)) - np.repeat(np.cumsum(count) - count, count)
        place = before[session] + turn
        key = sessions["key"][session]
        identity = dice.bits("event", key, [kind], turn)
        at = sessions["start"][session] + place * SECONDS_PER_EVENT
        at += (identity >> np.uint64(40)).astype(np.int64) % (SECONDS_PER_EVENT - 4)
        if kind == COMPLETED:
            at = purchases.orders["placed_at"][sessions["order"][session]] + 1
        if kind == PREFERENCE:
            at = said_at[sessions["preference"][session]]
        product = np.full(len(session), -1, dtype=np.int64)
        if page < 0:
            # The last product viewed, and the first added, is the one that is bought.
            target = sessions["product"][session]
            views = sessions["views"][session]
            is_target = (target >= 0) & (turn == np.where(kind == VIEWED, views - 1, 0))
            known = sessions["kind"][session] != VISITS
            favourite = people.favourite_category[np.where(known, sessions["row"][session], 0)]
            category = np.where(
                known & dice.chance("views favourite", 0.5, key, turn),
                favourite,
                dice.below("views category", len(CATEGORIES), key, turn),
            )
            other = products.first_of_category[category] + (
                products.size_of_category[category] * dice.uniform("views product", key, turn)
            ).astype(np.int64)
            product = np.where(is_target, target, other)
        parts.append(
            {
                "session": session,
                "kind": np.full(len(session), kind),
                "at": at,
                "id": identity,
                "product": product,
                "page": np.where(product >= 0, len(_PAGES) + product, page),
            }
        )
        before += count
    return stack(parts)


def _emails(
    people: People,
    purchases: Purchases,
    consents: Consents,
    identifiers: Identifiers,
    events: Columns,
    sessions: Columns,
    row: Integers,
    logged_in: np.ndarray,
) -> pa.Array:
    """Return the e-mail address that an event carries, empty for nearly all."""
    session, kind = events["session"], events["kind"]
    guest = (kind == COMPLETED) & ~logged_in[session]
    about_email = kind == PREFERENCE
    if len(consents.statements["row"]):
        told = sessions["preference"][session]
        about_email &= consents.statements["channel"][told] == consent.EMAIL
    both = pa.concat_arrays([identifiers.order_email(purchases.orders), people.emails[0]])
    position = np.where(guest, sessions["order"][session], -1)
    own = len(purchases.orders["key"]) + row[session]
    position = np.where((kind == JOINED) | about_email, own, position)
    return look_up(both, position)


def _lines(
    world: World,
    purchases: Purchases,
    consents: Consents,
    sessions: Columns,
    events: Columns,
    who: pa.Array,
    context: pa.Array,
    country: Integers,
    email: pa.Array,
) -> pa.Array:
    """Return the JSON text of each event with its line end."""
    products, orders = world.products, purchases.orders
    session, kind, at = events["session"], events["kind"], events["at"]
    session_array = pa.array(session)

    stamp = np.empty((len(at), 24), dtype=np.uint8)
    stamp[:, :10] = day_text(at)
    stamp[:, 10] = ord("T")
    stamp[:, 11:19] = time_text(at)
    milliseconds = ((events["id"] >> np.uint64(20)) % np.uint64(1_000)).astype(np.int64)
    # A preference is stored with the second that the form shows.
    milliseconds[kind == PREFERENCE] = 0
    stamp[:, 19] = ord(".")
    for place, power in enumerate((100, 10, 1)):
        stamp[:, 20 + place] = milliseconds // power % 10 + ord("0")
    stamp[:, 23] = ord("Z")

    heads = [
        f',"type":"track","event":"{name}","timestamp":"' if name
        else ',"type":"page","name":"Home","timestamp":"'
        for name in _EVENTS
    ]  # fmt: skip
    pages = [
        f"https://shop.example.com/{land.code.lower()}/{page}"
        for land in COUNTRIES
        for page in (*_PAGES, *[f"p/{number}" for number in products.number])
    ]
    width = len(_PAGES) + products.count
    page = look_up(
        [f'{{"page":{{"url":"{address}"' for address in pages],
        country[session] * width + events["page"],
    )
    # Only the first page of a visit has a foreign referrer.
    source = sessions["source"][session]
    landed = (kind == PAGE) & (sessions["kiosk"][session] < 0)
    referrer = look_up(
        ["},", *[f',"referrer":"{address}"}},' for address in _REFERRERS[1:]]],
        np.where(landed, _REFERRER_OF_SOURCE[source], 0),
    )

    # Properties: a table of ready texts for most, built ones for orders and consents.
    product_texts = [
        f'"productId":"{products.number[p]}","price":{products.price_cents[p, c] / 100:.2f},'
        f'"currency":"{land.currency}"'
        for c, land in enumerate(COUNTRIES)
        for p in range(products.count)
    ]
    term_texts = [f'"query":"{term}"' for term in _TERMS]
    base = 1 + len(product_texts)
    search = base + (events["id"] % np.uint64(len(_TERMS))).astype(np.int64)
    which = np.where(
        events["product"] >= 0, 1 + country[session] * products.count + events["product"], 0
    )
    which = np.where(kind == SEARCHED, search, which)
    fixed = look_up(["", *product_texts, *term_texts], which)

    order = np.where(kind == COMPLETED, sessions["order"][session], -1)
    made = np.unique(order[order >= 0])
    order_texts = join_text(
        '"orderId":"',
        digits(orders["number"][made], 11, "SO"),
        '","total":',
        decimals(orders["total"][made]),
        ',"currency":"',
        look_up([land.currency for land in COUNTRIES], orders["country"][made]),
        '"',
    )
    ordered = look_up(order_texts, np.where(order >= 0, np.searchsorted(made, order), -1))
    said = consents.statements
    told = np.where(kind == PREFERENCE, sessions["preference"][session], -1)
    statement_texts = [
        f'"purpose":"{purpose}","channel":"{channel}","status":"{status}"'
        for purpose in consent.PURPOSES
        for channel in consent.CHANNELS
        for status in consent.STATUSES
    ]
    code = (
        (said["purpose"][told] * len(consent.CHANNELS) + said["channel"][told])
        * len(consent.STATUSES)
        + said["status"][told]
        if len(said["row"])
        else told
    )
    preference = look_up(statement_texts, np.where(told >= 0, code, -1))
    properties = pc.coalesce(ordered, preference, fixed)
    mail = pc.coalesce(
        join_text(look_up([',"email":"', '"email":"'], (kind == JOINED).astype(int)), email, '"'),
        pa.scalar(""),
    )
    return join_text(
        '{"messageId":"',
        text_column(hexadecimal(events["id"])),
        who.take(session_array),
        look_up(heads, kind),
        text_column(stamp),
        '","context":',
        page,
        referrer,
        context.take(session_array),
        '},"properties":{',
        properties,
        mail,
        "}}\n",
    )
