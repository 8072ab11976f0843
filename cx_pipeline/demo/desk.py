"""The service desk's, survey tool's, review site's and booking system's exports.

Tickets come daily as they stand at the end of a day on which they changed; their times are ISO
with an offset, those of messages are epoch seconds.
Keeps out: why a case was opened or what drove a score.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.demo.catalogue import STORES
from cx_pipeline.demo.erp import ORDER_PREFIX
from cx_pipeline.demo.formatting import digits, join_text, look_up, timestamps
from cx_pipeline.demo.identifiers import Identifiers
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.opinions import METRICS, SURVEYS, TOUCHPOINTS
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import STORE, Columns, Purchases, stack, take
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.texts import (
    CASE_CATEGORIES,
    CASES,
    COMMENTS,
    FOLLOW_UPS,
    LANGUAGES,
    REPLIES,
    TOPICS,
)
from cx_pipeline.demo.world import NEVER, World

_TAGS = (
    "where_is_my_order",
    "return_request",
    "product_defect",
    "device_error",
    "billing",
    "advice",
    "loyalty_club",
)
_VIAS = ("voice", "mail", "chat", "web_form", "social")
_PRIORITIES = ("low", "normal", "high", "urgent")
_NULL_TYPED = 0.004
"""Share of tickets whose requester has the text null for an address."""
SURVEY_HEADER = (
    '"Response ID","Survey","Question","Metric","Score","Recorded Date","Invited","Channel",'
    '"Touchpoint","Order Ref","Case Ref","Store","Employee","Comment","Language","Country",'
    '"E-mail","CRM ID"\r\n'
)
_STRAY_BYTE_SHARE = 0.0006


def reference_numbers(purchases: Purchases) -> pa.Array:
    """Return the number by which other systems know each order: ERP order or till receipt."""
    orders = purchases.orders
    number = orders["number"]
    return pc.if_else(
        pa.array(orders["channel"] == STORE),
        digits(number, 11, "R"),
        digits(number, 11, ORDER_PREFIX),
    )


def language_of(people: People, row: Integers) -> Integers:
    """Return each person's language as a position in LANGUAGES."""
    table = np.array([LANGUAGES.index(country.language) for country in COUNTRIES])
    return table[people.country[row]]


def case_numbers(cases: Columns) -> pa.Array:
    """Return the ticket numbers."""
    return digits(cases["number"], 12)


def _json_rows(rows: list[dict[str, Any]]) -> pa.Array:
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return pa.array([dump(row) + "\n" for row in rows], pa.utf8())


def _offset(seconds: Integers) -> list[str | None]:
    """Return ISO times with the offset of the desk's office hours, +01:00 all year."""
    known = seconds < NEVER
    text = timestamps(np.where(known, seconds, 0) + 3_600, between="T", after="+01:00")
    return pc.if_else(pa.array(known), text, pa.scalar(None, pa.utf8())).to_pylist()


def export_tickets(
    world: World, people: People, purchases: Purchases, cases: Columns, identifiers: Identifiers
) -> tuple[Integers, Integers, pa.Array, list[dict[str, str]]]:
    """Return day, moment and line of each ticket as it stood on each day it changed; defects."""
    dice = world.dice
    parts = []
    for moment in ("opened_at", "solved_at", "again_at", "again_solved_at"):
        changed = np.flatnonzero(cases[moment] < world.now)
        parts.append({"case": changed, "at": cases[moment][changed]})
    changes = stack(parts)
    day = world.day_of(changes["at"])
    # One row per ticket and day, stamped with the last change of that day.
    order = np.lexsort((changes["at"], changes["case"], day))
    changes, day = take(changes, order), day[order]
    same = (changes["case"][1:] == changes["case"][:-1]) & (day[1:] == day[:-1])
    keep = np.append(~same, True) if len(day) else np.zeros(0, dtype=bool)
    changes, day = take(changes, keep), day[keep]
    case = changes["case"]
    seen = world.end_of_day(day)

    def known(name: str) -> Integers:
        moments = cases[name][case]
        return np.where(moments < seen, moments, NEVER)

    first, solved = known("first_at"), known("solved_at")
    again, again_solved = known("again_at"), known("again_solved_at")
    status = np.where(first < NEVER, 1, 0)
    status = np.where(solved < NEVER, 2, status)
    status = np.where(again < NEVER, 1, status)
    status = np.where(again_solved < NEVER, 2, status)
    final = np.where(again_solved < NEVER, again_solved, np.where(again < NEVER, NEVER, solved))
    row, key = cases["row"][case], cases["key"][case]
    language = language_of(people, row)
    about = cases["order"][case]
    gives_order = (about >= 0) & dice.chance("gives order", 0.85, key)
    gives_mail = dice.chance("gives mail", 0.9, key)
    gives_phone = dice.chance("gives phone", 0.55, key) & people.has_phone[row]
    recognised = people.in_crm[row] & dice.chance("recognised", 0.5, key)
    null_typed = ~gives_mail & dice.chance("null typed", 10 * _NULL_TYPED, key)
    # An ERP customer writes from the address of the order, others from the CRM's.
    both = pa.concat_arrays([people.emails[0], identifiers.erp_email, pa.array(["null"])])
    mail = look_up(
        both,
        np.where(
            gives_mail,
            row + np.where(people.in_crm[row], 0, people.size),
            np.where(null_typed, 2 * people.size, -1),
        ),
    ).to_pylist()
    columns = zip(
        case_numbers(cases).take(pa.array(case)).to_pylist(),
        _offset(cases["opened_at"][case]),
        _offset(changes["at"]),
        mail,
        look_up(people.phone_e164, np.where(gives_phone, row, -1)).to_pylist(),
        look_up(identifiers.crm_id, np.where(recognised, row, -1)).to_pylist(),
        cases["channel"][case].tolist(),
        cases["category"][case].tolist(),
        cases["priority"][case].tolist(),
        status.tolist(),
        look_up(reference_numbers(purchases), np.where(gives_order, about, -1)).to_pylist(),
        look_up(world.products.number, cases["product"][case]).to_pylist(),
        look_up(world.staff.number, cases["employee"][case]).to_pylist(),
        np.where(first < NEVER, first, 0).tolist(),
        np.where(final < NEVER, final, 0).tolist(),
        (again < NEVER).astype(int).tolist(),
        language.tolist(),
        people.country[row].tolist(),
        strict=True,
    )
    rows = [
        {
            "id": number,
            "created_at": opened,
            "updated_at": updated,
            "requester": {"email": address, "phone": phone, "external_id": crm},
            "via": {"channel": _VIAS[channel]},
            "tags": [_TAGS[category]],
            "priority": _PRIORITIES[priority],
            "status": ("new", "open", "solved")[state],
            "custom_fields": {"order_ref": order_ref, "item_no": item},
            "assignee_id": assignee,
            "first_reply_epoch": first_at or None,
            "solved_epoch": solved_at or None,
            "reopens": reopens,
            "subject": CASES[CASE_CATEGORIES[category]][LANGUAGES[tongue]][0],
            "locale": f"{LANGUAGES[tongue]}-{COUNTRIES[land].code}",
        }
        for (number, opened, updated, address, phone, crm, channel, category, priority, state,
             order_ref, item, assignee, first_at, solved_at, reopens, tongue, land) in columns
    ]  # fmt: skip
    defects = [
        {
            "source": "service_desk",
            "table": "tickets",
            "file": "",
            "kind": "empty id",
            "record": record["id"],
            "detail": "requester.email holds the text null",
        }
        for record in rows
        if record["requester"]["email"] == "null"
    ]
    return day, changes["at"], _json_rows(rows), defects


def export_ticket_messages(
    world: World, people: People, cases: Columns
) -> tuple[Integers, Integers, pa.Array]:
    """Return day, moment and line of each message on a ticket."""
    parts = []
    size = len(cases["key"])
    waiting = np.where(
        cases["hours"] > 60, cases["first_at"] + (cases["hours"] * 1_800).astype(np.int64), NEVER
    )
    # What the first answer solved needs no last one.
    last_answer = np.where(cases["solved_at"] == cases["first_at"], NEVER, cases["solved_at"])
    for place, (moment, is_customer, text) in enumerate(
        (
            (cases["opened_at"], True, "opening"),
            (cases["first_at"], False, "first"),
            (waiting, True, "reminder"),
            (last_answer, False, "last"),
            (cases["again_at"], True, "again"),
            (cases["again_solved_at"], False, "last"),
        )
    ):
        rows = np.flatnonzero(moment < world.now)
        parts.append(
            {
                "case": rows,
                "at": moment[rows],
                "place": np.full(len(rows), place),
                "customer": np.full(len(rows), is_customer),
                "text": np.full(
                    len(rows), ["opening", "first", "reminder", "last", "again"].index(text)
                ),
            }
        )
    messages = stack(parts)
    case = messages["case"]
    language = language_of(people, cases["row"][case]) if size else case
    numbers = case_numbers(cases).take(pa.array(case)).to_pylist()
    employees = look_up(world.staff.number, cases["employee"][case]).to_pylist()
    rows_out = []
    for number, at, place, is_customer, text, tongue, category, employee in zip(
        numbers,
        messages["at"].tolist(),
        messages["place"].tolist(),
        messages["customer"].tolist(),
        messages["text"].tolist(),
        language.tolist(),
        cases["category"][case].tolist(),
        employees,
        strict=True,
    ):
        name = LANGUAGES[tongue]
        body = (
            CASES[CASE_CATEGORIES[category]][name][1],
            REPLIES[name][0],
            FOLLOW_UPS[name][0],
            REPLIES[name][1],
            FOLLOW_UPS[name][1],
        )[text]
        author = (
            {"role": "end-user", "id": None} if is_customer else {"role": "agent", "id": employee}
        )
        rows_out.append(
            {
                "id": f"{number}-{place + 1}",
                "ticket_id": number,
                "created": at,
                "author": author,
                "public": True,
                "body": body,
                "locale": name,
            }
        )
    return world.day_of(messages["at"]), messages["at"], _json_rows(rows_out)


def _comments(world: World, answers: Columns, language: Integers, name: str) -> list[str | None]:
    """Return the texts: one sentence, now and then two on two lines."""
    pick = world.dice.below(name, 3, answers["key"]).tolist()
    two = world.dice.chance(name + " two", 0.15, answers["key"]).tolist()
    texts: list[str | None] = []
    for writes, topic, tongue, place, both in zip(
        answers["writes"].tolist(), answers["topic"].tolist(), language.tolist(), pick, two,
        strict=True,
    ):  # fmt: skip
        if not writes:
            texts.append(None)
            continue
        choices = COMMENTS[TOPICS[topic]][LANGUAGES[tongue]]
        text = choices[place]
        texts.append(f"{text}\n{choices[(place + 1) % 3]}" if both else text)
    return texts


def export_answers(
    world: World,
    people: People,
    purchases: Purchases,
    cases: Columns,
    answers: Columns,
    identifiers: Identifiers,
) -> tuple[Integers, Integers, pa.Array, list[dict[str, str]]]:
    """Return month, moment and CSV line of each answer, and the planted defects."""
    dice = world.dice
    row, key = answers["row"], answers["key"]
    order, case = answers["order"], answers["case"]
    in_store = (order >= 0) & (purchases.orders["channel"][order] == STORE)
    language = language_of(people, row)
    number = dice.scramble("response", key, 45)
    response = join_text(
        digits(number, 14, "r"), "-", pa.array(answers["question"]).cast(pa.utf8())
    )
    size = people.size
    renamed = people.name_changed_at[row] <= answers["at"]
    mails = pa.concat_arrays([people.emails[0], people.emails[3]])
    recognised = dice.chance("survey crm id", 0.8, key)
    employee = np.where(in_store, purchases.orders["employee"][order], -1)
    if len(cases["employee"]):
        employee = np.where(case >= 0, cases["employee"][case], employee)
    comments = _comments(world, answers, language, "survey text")
    stray = dice.chance("stray byte", _STRAY_BYTE_SHARE * 3, key) & answers["writes"]
    cells = [
        response.to_pylist(),
        look_up(SURVEYS, answers["kind"]).to_pylist(),
        [f"Q{question}" for question in answers["question"].tolist()],
        look_up(METRICS, answers["metric"]).to_pylist(),
        [str(int(score)) for score in answers["score"].tolist()],
        timestamps(answers["answered_at"]).to_pylist(),
        timestamps(answers["at"]).to_pylist(),
        ["email"] * len(key),
        look_up(TOUCHPOINTS, answers["kind"]).to_pylist(),
        look_up(reference_numbers(purchases), order).to_pylist(),
        look_up(case_numbers(cases), case).to_pylist() if len(cases["key"]) else [None] * len(key),
        look_up(
            [store.number for store in STORES],
            np.where(in_store, purchases.orders["store"][order], -1),
        ).to_pylist(),
        look_up(world.staff.number, employee).to_pylist(),
        comments,
        [LANGUAGES[tongue] for tongue in language.tolist()],
        look_up([c.code for c in COUNTRIES], people.country[row]).to_pylist(),
        look_up(mails, row + np.where(renamed, size, 0)).to_pylist(),
        look_up(identifiers.crm_id, np.where(recognised, row, -1)).to_pylist(),
    ]
    lines = []
    for values, is_stray in zip(zip(*cells, strict=True), stray.tolist(), strict=True):
        # The stray byte stands for a dash pasted from a word processor (0x96 in cp1252).
        texts = ["" if value is None else '"' + value.replace('"', '""') + '"' for value in values]
        if is_stray:
            texts[13] = texts[13][:-1] + ' \udc96"'
        lines.append((",".join(texts) + "\r\n").encode("utf-8", "surrogateescape"))
    defects = [
        {
            "source": "surveys",
            "table": "responses",
            "file": "",
            "kind": "stray byte",
            "record": record,
            "detail": "byte 0x96 in a UTF-8 file",
        }
        for record in response.filter(pa.array(stray)).to_pylist()
    ]
    return (
        world.month_of(answers["answered_at"]),
        answers["answered_at"],
        pa.array(lines, pa.binary()),
        defects,
    )


def export_reviews(
    world: World, people: People, purchases: Purchases, reviews: Columns, identifiers: Identifiers
) -> tuple[Integers, Integers, pa.Array]:
    """Return month, moment and line of each review."""
    row = reviews["row"]
    language = language_of(people, row)
    bodies = _comments(world, reviews, language, "review text")
    orders = purchases.orders
    in_store = orders["channel"][reviews["order"]] == STORE
    mails = pa.concat_arrays([people.emails[0], identifiers.order_email(orders)])
    mail = look_up(mails, np.where(in_store, row, people.size + reviews["order"]))
    rows = [
        {
            "review_id": number,
            "sku": sku,
            "stars": stars,
            "created": created,
            "order_number": order,
            "author_email": address,
            "headline": body.split("\n")[0].split(",")[0].rstrip(".") if body else None,
            "text": body,
            "lang": LANGUAGES[tongue],
            "site": "shop.example.com",
        }
        for number, sku, stars, created, order, address, body, tongue in zip(
            digits(reviews["number"], 12, "rv").to_pylist(),
            look_up(world.products.number, purchases.lines["product"][reviews["line"]]).to_pylist(),
            reviews["stars"].tolist(),
            timestamps(reviews["at"], between="T", after="+00:00").to_pylist(),
            reference_numbers(purchases).take(pa.array(reviews["order"])).to_pylist(),
            mail.to_pylist(),
            bodies,
            language.tolist(),
            strict=True,
        )
    ]
    return world.month_of(reviews["at"]), reviews["at"], _json_rows(rows)


def export_visits(
    world: World, people: People, visits: Columns, identifiers: Identifiers
) -> tuple[Integers, Integers, pa.Array, list[dict[str, str]]]:
    """Return month, moment and line of each appointment, and the planted defects."""
    dice, row, key = world.dice, visits["row"], visits["key"]
    recognised = dice.chance("visit crm id", 0.6, key)
    gives_mail = dice.chance("visit mail", 0.5, key) | ~people.has_phone[row]
    bad_start = dice.chance("bad start", 0.003, key)
    columns = zip(
        digits(visits["number"], 11, "B").to_pylist(),
        look_up([store.number for store in STORES], visits["store"]).to_pylist(),
        timestamps(visits["booked_at"], between="T", after="Z").to_pylist(),
        timestamps(visits["local_at"], with_seconds=False).to_pylist(),
        visits["kind"].tolist(),
        look_up(world.staff.number, visits["employee"]).to_pylist(),
        visits["came"].tolist(),
        look_up(identifiers.crm_id, np.where(recognised, row, -1)).to_pylist(),
        look_up(people.phone_national, np.where(people.has_phone[row], row, -1)).to_pylist(),
        look_up(people.emails[0], np.where(gives_mail, row, -1)).to_pylist(),
        people.country[row].tolist(),
        bad_start.tolist(),
        strict=True,
    )
    rows = [
        {
            "bookingId": number,
            "branch": store,
            "bookedAt": booked,
            "startLocal": "31-02 " + start[11:] if bad else start,
            "service": ("eye test", "hearing test", "ear piercing", "product advice")[kind],
            "staffNo": employee,
            "attended": came,
            "customer": {"crmId": crm, "mobile": phone, "mail": mail,
                         "country": COUNTRIES[land].code},
        }
        for (number, store, booked, start, kind, employee, came, crm, phone, mail, land, bad)
        in columns
    ]  # fmt: skip
    defects = [
        {
            "source": "bookings",
            "table": "appointments",
            "file": "",
            "kind": "bad date",
            "record": row_out["bookingId"],
            "detail": f"startLocal is '{row_out['startLocal']}'",
        }
        for row_out, bad in zip(rows, bad_start.tolist(), strict=True)
        if bad
    ]
    return world.month_of(visits["starts_at"]), visits["starts_at"], _json_rows(rows), defects
