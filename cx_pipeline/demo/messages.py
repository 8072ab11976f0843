"""The e-mail and SMS platform's events: one Parquet file per day.

Marketing goes only to those who truly allow it at that moment; an unsubscribe click is both an
event here and a statement of consent.
Keeps out: who allows what (that is `consents`).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cx_pipeline.demo.consents import Consents, newsletter_days
from cx_pipeline.demo.formatting import (
    DAY_SECONDS,
    hexadecimal,
    join_text,
    look_up,
    text_column,
    timestamp_column,
)
from cx_pipeline.demo.identifiers import Identifiers
from cx_pipeline.demo.opinions import SURVEYS
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import STORE, Columns, Purchases, stack, take
from cx_pipeline.demo.randomness import Flags, Floats, Integers
from cx_pipeline.demo.world import BLOCK_DAYS, NEVER, World, by_country, to_local, to_utc

SENT, DELIVERED, OPENED, CLICKED, BOUNCED, UNSUBSCRIBED = range(6)
EVENTS = ("send", "delivery", "open", "click", "bounce", "unsubscribe")
_CRM_ADDRESS, _ORDER_ADDRESS, _PHONE = range(3)
_KINDS = ("marketing", "transactional", "survey")
_CONFIRMATION, _PARCEL, _REFILL, _FIRST_SURVEY = range(4)
_LASTING_FLOWS = (
    ("FL-100", "Order confirmation", "email", 1),
    ("FL-101", "Parcel on its way", "sms", 1),
    ("FL-200", "Time to refill", "email", 0),
    *[(f"SV-{300 + n}", f"Survey {name}", "email", 2) for n, name in enumerate(SURVEYS)],
)
"""Campaign id, name, channel and kind of the flows that every world has."""
_FIRST_NEWSLETTER = len(_LASTING_FLOWS)
_FIRST_SMS_HOUR, _LAST_SMS_HOUR = 8, 21


@dataclass
class MessageExport:
    """The events of a chunk."""

    table: pa.Table
    at: Integers
    day: Integers
    proofs: pa.Array
    """Events of test messages (truth)."""


def _flows(world: World) -> list[tuple[str, str, str, int]]:
    """Return campaign id, name, channel and kind of every campaign and flow of the blocks begun."""
    flows = [*_LASTING_FLOWS]
    newsletters = len(newsletter_days(world))
    flows += [(f"NL-{n + 1:03d}", f"Newsletter {n + 1}", "email", 0) for n in range(newsletters)]
    flows += [(f"TX-{n + 1:03d}", f"Club text {n + 1}", "sms", 0) for n in range(world.blocks)]
    return flows


def export_messages(
    world: World,
    people: People,
    purchases: Purchases,
    consents: Consents,
    identifiers: Identifiers,
    invites: Columns,
) -> MessageExport:
    """Return all message events of the chunk before `now`."""
    dice, orders = world.dice, purchases.orders
    flows = _flows(world)
    newsletters = newsletter_days(world)
    first_text = _FIRST_NEWSLETTER + len(newsletters)
    parts: list[Columns] = []

    def add(
        flow: Integers | int,
        row: Integers,
        at: Integers,
        key: Integers,
        opens: Floats | float | Flags,
        clicks: Floats | float | Flags,
        address: int,
        about: Integers | None = None,
        draw: Integers | int | None = None,
    ) -> None:
        # `draw` tells campaigns apart for good; a flow's position moves when days are added.
        size = len(row)
        named = np.broadcast_to(np.asarray(flow if draw is None else draw), size)
        parts.append(
            {
                "flow": np.broadcast_to(flow, size).copy(),
                "row": row,
                "at": at,
                "id": dice.bits("message", key, named),
                "opens": np.broadcast_to(opens, size).astype(np.float64),
                "clicks": np.broadcast_to(clicks, size).astype(np.float64),
                "address": np.full(size, address),
                "about": np.full(size, -1) if about is None else about,
            }
        )

    bought = np.flatnonzero((orders["channel"] != STORE) & (orders["placed_at"] < world.now))
    add(_CONFIRMATION, orders["row"][bought], orders["placed_at"][bought] + 40,
        orders["key"][bought], 0.45, 0.04, _ORDER_ADDRESS, bought)  # fmt: skip
    texted = np.flatnonzero((orders["shipped_at"] < NEVER) & people.has_phone[orders["row"]])
    text_at = _in_waking_hours(world, take(orders, texted))
    in_time = text_at < orders["delivered_at"][texted]
    texted, text_at = texted[in_time], text_at[in_time]
    add(_PARCEL, orders["row"][texted], text_at, orders["key"][texted], 0.0, 0.0, _PHONE)

    packs = purchases.packs
    due = packs["run_out_at"] - 7 * DAY_SECONDS
    due = world.at_hour(due, 7.5 + 2 * dice.uniform("refill hour", people.index[packs["row"]]))
    wanted = np.flatnonzero((due >= world.begins) & (due < world.now))
    wanted = wanted[consents.may_email(packs["row"][wanted], due[wanted])]
    key = people.index[packs["row"]] * 2_048 + packs["slot"] * 512 + packs["turn"]
    add(_REFILL, packs["row"][wanted], due[wanted], key[wanted], 0.48, 0.16, _CRM_ADDRESS)

    answered = invites["answered_at"] < NEVER
    add(_FIRST_SURVEY + invites["kind"], invites["row"], invites["at"], invites["key"],
        np.where(answered, 1.0, 0.35), np.where(answered, 1.0, 0.02), _CRM_ADDRESS)  # fmt: skip

    everyone = np.arange(people.size)
    jitter = 8 * 3_600 + dice.below("send jitter", 5_400, people.index)
    for number, day in enumerate(newsletters.tolist()):
        at = world.begins + day * DAY_SECONDS + jitter
        rows = everyone[consents.may_email(everyone, at) & people.in_crm]
        # Who leaves by this newsletter's link has opened it.
        leaves = consents.unsubscribed_at[rows]
        leaves = (leaves > at[rows]) & (leaves < at[rows] + 2 * DAY_SECONDS)
        engaged = 0.15 + 0.45 * dice.uniform("engaged", people.index[rows])
        add(_FIRST_NEWSLETTER + number, rows, at[rows], people.index[rows],
            np.where(leaves, 1.0, engaged), 0.10, _CRM_ADDRESS, draw=1_000 + number)  # fmt: skip
    for number in range(world.blocks):
        day = number * BLOCK_DAYS + 9
        at = world.begins + day * DAY_SECONDS + 9 * 3_600 + jitter // 3
        rows = everyone[consents.may_text(everyone, at)]
        add(first_text + number, rows, at[rows], people.index[rows], 0.0, 0.07, _PHONE,
            draw=100_000 + number)  # fmt: skip

    messages = stack(parts)
    messages = take(messages, (messages["at"] < world.now) & (messages["at"] >= world.begins))
    events = _events(world, messages, consents, first_text)
    events = take(events, events["at"] < world.now)
    events = take(events, np.argsort(events["at"], kind="stable"))
    table = _table(world, people, purchases, identifiers, flows, messages, events)
    at = events["at"]
    proofs = pa.array([], pa.utf8())
    if people.index[0] == 0:
        sent_at, proof_table = _proofs(world, newsletters)
        proofs = proof_table["event_uuid"].combine_chunks()
        table = pa.concat_tables([table, proof_table.cast(table.schema)])
        at = np.concatenate([at, sent_at])
    return MessageExport(table, at, world.day_of(at), proofs)


def _in_waking_hours(world: World, orders: Columns) -> Integers:
    """Return when the SMS about a parcel leaves: when it is shipped, or the morning after a night.

    The platform keeps what comes between 21 and 8 o'clock and sends it in the next half hour.
    """
    country = orders["country"]
    local = by_country(to_local, orders["shipped_at"] + 90, country)
    hour = local % DAY_SECONDS / 3_600
    morning = world.at_hour(
        local + (hour >= _LAST_SMS_HOUR) * DAY_SECONDS,
        _FIRST_SMS_HOUR + 0.5 * world.dice.uniform("sms kept", orders["key"]),
    )
    at_night = (hour < _FIRST_SMS_HOUR) | (hour >= _LAST_SMS_HOUR)
    return by_country(to_utc, np.where(at_night, morning, local), country)


def _proofs(world: World, newsletters: Integers) -> tuple[Integers, pa.Table]:
    """Return the test message that goes to the editor's box before each newsletter."""
    count = len(newsletters)
    at = world.begins + newsletters * DAY_SECONDS + 7 * 3_600 + 1_500
    identity = text_column(hexadecimal(world.dice.bits("proof", newsletters)))
    return at, pa.table(
        {
            "event_uuid": join_text(identity, "-s"),
            "event_ts": timestamp_column(at),
            "event_type": [EVENTS[SENT]] * count,
            "medium": ["email"] * count,
            "message_uuid": identity,
            "campaign_key": [f"NL-{number + 1:03d}" for number in range(count)],
            "campaign_label": [f"TEST Newsletter {number + 1}" for number in range(count)],
            "category": [_KINDS[0]] * count,
            "recipient": ["test@example.com"] * count,
            "profile_ref": pa.array([None] * count, pa.utf8()),
        }
    )


def _events(world: World, messages: Columns, consents: Consents, first_text: int) -> Columns:
    """Return one row per event of a message."""
    dice = world.dice
    key = messages["id"].view(np.int64)
    at = messages["at"]
    everything = np.arange(len(key))
    leaves_at = consents.unsubscribed_at[messages["row"]]
    is_newsletter = (messages["flow"] >= _FIRST_NEWSLETTER) & (messages["flow"] < first_text)
    leaves = is_newsletter & (leaves_at > at) & (leaves_at < at + 2 * DAY_SECONDS)
    # Whoever answers or unsubscribes has the message.
    bounces = dice.chance("bounces", 0.006, key) & (messages["clicks"] < 1) & ~leaves
    opens = ~bounces & (dice.uniform("opens", key) < messages["opens"])
    no_open_needed = messages["address"] == _PHONE
    clicks = (opens | (no_open_needed & ~bounces)) & (
        dice.uniform("clicks", key) < messages["clicks"]
    )
    opened_at = at + 60 + (30_000 * dice.exponential("open wait", key)).astype(np.int64)
    # Whoever answers a survey or unsubscribes has opened the message at once.
    sure = messages["opens"] >= 1
    opened_at = np.where(sure, at + 120, opened_at)
    clicked_at = np.where(no_open_needed, at + 400, opened_at) + 25
    parts = []
    for kind, chosen, moment in (
        (SENT, everything, at),
        (DELIVERED, np.flatnonzero(~bounces), at + 3),
        (BOUNCED, np.flatnonzero(bounces), at + 5),
        (OPENED, np.flatnonzero(opens), opened_at),
        (CLICKED, np.flatnonzero(clicks), clicked_at),
        (UNSUBSCRIBED, np.flatnonzero(leaves), leaves_at),
    ):
        parts.append(
            {
                "message": chosen,
                "kind": np.full(len(chosen), kind, dtype=np.int64),
                "at": moment[chosen],
            }
        )
    return stack(parts)


def _table(
    world: World,
    people: People,
    purchases: Purchases,
    identifiers: Identifiers,
    flows: list[tuple[str, str, str, int]],
    messages: Columns,
    events: Columns,
) -> pa.Table:
    """Return the events under the platform's column names."""
    message = pa.array(events["message"])
    identity = text_column(hexadecimal(messages["id"]))
    size = people.size
    crm_address = identifiers.crm_email(people, world.begins - 1)
    new_address = people.emails[3]
    addresses = pa.concat_arrays(
        [crm_address, new_address, people.phone_e164, identifiers.order_email(purchases.orders)]
    )
    changed = messages["at"] >= people.name_changed_at[messages["row"]]
    position = np.where(
        messages["address"] == _CRM_ADDRESS,
        messages["row"] + np.where(changed, size, 0),
        np.where(
            messages["address"] == _PHONE, messages["row"] + 2 * size, 3 * size + messages["about"]
        ),
    )
    recipient = look_up(addresses, position)
    in_crm = people.in_crm[messages["row"]] & (messages["address"] != _ORDER_ADDRESS)
    profile = look_up(identifiers.crm_id, np.where(in_crm, messages["row"], -1))
    flow = messages["flow"]
    codes = look_up([f"-{code}" for code in "sdocbu"], events["kind"])
    return pa.table(
        {
            "event_uuid": join_text(identity.take(message), codes),
            "event_ts": timestamp_column(events["at"]),
            "event_type": look_up(EVENTS, events["kind"]),
            "medium": look_up([row[2] for row in flows], flow).take(message),
            "message_uuid": identity.take(message),
            "campaign_key": look_up([row[0] for row in flows], flow).take(message),
            "campaign_label": look_up([row[1] for row in flows], flow).take(message),
            "category": look_up([_KINDS[row[3]] for row in flows], flow).take(message),
            "recipient": recipient.take(message),
            "profile_ref": profile.take(message),
        }
    )
