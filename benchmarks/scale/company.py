"""A company's year and the day after it, as Parquet exports of 12 sources, made by DuckDB.

Writes:    <folder>/year/<source>/<table>/*.parquet, <folder>/day/... of the same shape, made.json;
           made_by, a hash of this file: another company is made anew
Every value follows from a hash of row number and salt: the same size gives the same rows on every
machine, and chunks are made side by side. A chunk is written aside and renamed, so that a killed
run goes on where it stopped, and a size that was made before is not made again.

13 contacts a customer. A contact is a row that becomes a touchpoint: an event, a message, a
receipt, a parcel sent, a parcel received, a ticket. People are skewed: one in a hundred makes a
tenth of the contacts, the lower half a quarter. 8 contacts in 100 belong to cookies that never say
who they are. One person in 25 buys under a second e-mail address as a guest and is two customers
until a later record of the CRM names both: the day after brings its share of such links. 3 in 100
contacts of the day are up to 20 days late.
Keeps out: realism beyond what costs time (that is cx_pipeline/demo).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

CONTACTS_OF_A_CUSTOMER = 13
DAYS = 365
LAST_DAY = "2026-06-30"
EVENTS_IN_A_SESSION = 6
CHUNK_ROWS = 2_000_000
"""Rows of a file: 60 to 100 MB of a chunk in memory, and enough files for all cores."""

SHARES = {
    "web": 0.44,
    "app": 0.16,
    "newsletter": 0.18,
    "sms": 0.04,
    "webshop": 0.05,
    "tills": 0.04,
    # Each is sent and received: two contacts.
    "carrier": 0.025,
    "desk": 0.01,
    "surveys": 0.015,
    "visits": 0.01,
    "returns": 0.005,
}
"""Rows for each contact of the company."""

ANONYMOUS_SESSIONS = 0.12
"""Share of the web sessions of cookies that never log in. With the few whose owners never do,
8 contacts in 100 are then anonymous; the benchmark counts and prints them."""


@dataclass(frozen=True)
class Part:
    """The year, or the day after it: which rows of each kind, and which people there are."""

    name: str
    contacts: int

    @property
    def is_day(self) -> bool:
        """Whether it is the day after the year."""
        return self.name == "day"

    def span(self, rows_a_contact: float, least: int = 20) -> tuple[int, int]:
        """Return the row numbers of a kind of row; those of the day follow those of the year."""
        year = max(round(self.contacts * rows_a_contact), least)
        return (year, year + max(year // DAYS, 3)) if self.is_day else (0, year)

    @property
    def people(self) -> tuple[int, int]:
        """The people whose records appear in it."""
        return self.span(1 / CONTACTS_OF_A_CUSTOMER, least=2)


@dataclass(frozen=True)
class Export:
    """One table of a source: rows `first` to `last` through a query, mapped to an entity."""

    source: str
    table: str
    entity: str
    rows: Callable[[Part], tuple[int, int]]
    select: str
    """Columns over the row number `n`; {people} is how many people there are."""
    rows_of_one: float = 1


_MACROS = f"""
-- Twice, for DuckDB joins the hashes of several values by xor: draws of two salts would agree.
create macro drawn(n, salt) as hash(hash(n, salt));
create macro dice(n, salt) as drawn(n, salt) / 18446744073709551616;
create macro one_of(n, salt, choices) as (drawn(n, salt) % choices)::bigint;
-- The square puts a tenth of all draws on the first hundredth of the people.
create macro person(n, salt) as
    floor(getvariable('people') * pow(dice(n, salt || ' who'), 2))::bigint;
create macro moment(n, salt) as
    if(
        getvariable('is_day'),
        timestamp '{LAST_DAY}' + interval 1 day
        + to_seconds((drawn(n, salt || ' when') % 86400)::bigint)
        - if(dice(n, salt || ' late') < 0.03, to_days(1 + one_of(n, salt, 20)::int), to_days(0)),
        timestamp '{LAST_DAY}' + interval 1 day - interval 1 second
        - to_seconds((drawn(n, salt || ' when') % {DAYS * 86400})::bigint)
    );
create macro iso(moment) as strftime(moment, '%Y-%m-%dT%H:%M:%SZ');
create macro crm_id(p) as 'K' || 100000 + p;
create macro in_club(p) as dice(p, 'club') < 0.45;
create macro loyalty_id(p) as if(in_club(p), 'L' || 500000 + p, null);
create macro has_second(p) as dice(p, 'second address') < 0.04;
-- Every third thing of those who have a second address.
create macro uses_second(p, n) as has_second(p) and n % 3 = 1;
create macro email(p, second) as
    'person' || p || if(second, '.b', '') || '@mail' || p % 7 || '.example';
create macro as_typed(email, n) as
    if(n % 10 = 0, ' ' || upper(email[1]) || email[2:] || ' ', email);
create macro subscriber(p) as (20000000 + p * 31 % 70000000)::varchar;
create macro phone(p, n) as
    case n % 10
        when 0 then subscriber(p)[:2] || ' ' || subscriber(p)[3:4] || ' ' || subscriber(p)[5:]
        when 1 then '0045' || subscriber(p)
        else '+45' || subscriber(p)
    end;
-- One or two browsers a person; the better half has the app.
create macro cookie_id(p, n) as
    'c-' || hex(drawn(p, 'browser ' || n % (1 + one_of(p, 'browsers', 2))));
create macro device_id(p) as 'd-' || hex(drawn(p, 'phone'));
"""

_SESSION = f"""
    select
        *,
        moment(n, salt) as started_at,
        unnest(range(1 + one_of(n, salt || ' length', {2 * EVENTS_IN_A_SESSION - 1}))) as step
"""

_EVENT = """
    ([
        'page_viewed', 'product_viewed', 'products_searched', 'product_viewed',
        'product_added', 'page_viewed', 'checkout_started', 'order_completed',
        'page_viewed', 'product_viewed', 'page_viewed'
    ])[step + 1] as event_name,
    iso(started_at + to_seconds(step * 47 + one_of(n * 16 + step, 'pause', 40))) as occurred_at,
    'https://shop.example/c/' || one_of(n * 16 + step, 'page', 400) as page_url,
    if(step = 0, 'https://search.example/', null) as referrer,
    if(step = 0 and dice(n, 'utm') < 0.3, 'newsletter', null) as utm_source,
    if(step = 0 and dice(n, 'utm') < 0.3, 'email', null) as utm_medium,
    if(step % 2 = 1, 'P' || one_of(n * 16 + step, 'product', 2000), null) as product_id
"""

_WEB = f"""
    select
        'E' || n * 16 + step as event_id,
        if(is_anonymous, 'a-' || hex(drawn(n // 2, 'anonymous')), cookie_id(p, n)) as cookie_id,
        case
            when is_anonymous then null
            when dice(n, 'blocked') < 0.002 then 'null'
            when dice(n, 'logged in') < 0.8 then crm_id(p)
        end as crm_id,
        {_EVENT},
        if(dice(n, 'mobile') < 0.6, 'mobile', 'desktop') as device_type,
        'DK' as country,
    from (
        {_SESSION}
        from (
            select
                n,
                'web' as salt,
                dice(n, 'is anonymous') < {ANONYMOUS_SESSIONS} as is_anonymous,
                person(n, 'web') as p,
            from numbers
        )
    )
    -- One event in 200 arrives twice, as queues do that deliver at least once.
    , unnest(if(dice(n * 16 + step, 'twice') < 0.005, [1, 2], [1])) as copies (copy)
"""

_APP = f"""
    select
        'A' || n * 16 + step as event_id,
        device_id(p) as device_id,
        if(dice(n, 'logged in') < 0.95, crm_id(p), null) as crm_id,
        {_EVENT},
        'app' as device_type,
        'DK' as country,
    from ({_SESSION} from (select n, 'app' as salt, person(n, 'app') as p from numbers))
"""


def _share(name: str) -> Callable[[Part], tuple[int, int]]:
    return lambda part: part.span(SHARES[name])


def _sessions(name: str) -> Callable[[Part], tuple[int, int]]:
    return lambda part: part.span(SHARES[name] / EVENTS_IN_A_SESSION)


def _people(part: Part) -> tuple[int, int]:
    return part.people


def _everybody_so_far(part: Part) -> tuple[int, int]:
    return (0, Part("year", part.contacts).people[1])


def _fixed(rows: int) -> Callable[[Part], tuple[int, int]]:
    return lambda part: (0, 0 if part.is_day else rows)


EXPORTS = (
    Export(
        "crm",
        "contacts",
        "contact",
        _people,
        """
        select
            'R' || n as contact_id,
            crm_id(n) as crm_id,
            as_typed(email(n, false), n) as email,
            if(not in_club(n) or dice(n, 'has phone') < 0.4, phone(n, n), null) as phone,
            'Given' || n % 997 as first_name,
            'Family' || n % 4999 as last_name,
            'DK' as country,
            'da' as language,
            moment(n, 'created') as created_at,
        from numbers
        """,
    ),
    # The late links: one record names the number and the second address.
    Export(
        "crm",
        "second_addresses",
        "contact",
        _everybody_so_far,
        f"""
        select
            'S' || n as contact_id,
            crm_id(n) as crm_id,
            email(n, true) as email,
            'DK' as country,
            moment(n, 'linked') as created_at,
        from numbers
        where has_second(n) and (dice(n, 'linked') < 1.0 / {DAYS}) = getvariable('is_day')
        """,
        rows_of_one=0.05,
    ),
    Export(
        "crm",
        "consents",
        "consent_event",
        _people,
        """
        select
            'K' || n || '-' || k as consent_event_id,
            crm_id(n) as crm_id,
            (['marketing', 'personalisation'])[k] as purpose,
            'email' as channel,
            if(dice(n * 2 + k, 'consent') < 0.6, 'granted', 'denied') as status,
            moment(n * 2 + k, 'consent') as captured_at,
            'club sign-up' as mechanism,
        from numbers, unnest([1, 2]) as purposes (k)
        """,
        rows_of_one=2,
    ),
    Export(
        "loyalty",
        "members",
        "contact",
        _people,
        """
        select
            'M' || n as contact_id,
            loyalty_id(n) as loyalty_id,
            as_typed(email(n, false), n + 5) as email,
            true as is_club_member,
            'DK' as country,
            moment(n, 'joined') as created_at,
        from numbers
        where in_club(n)
        """,
    ),
    Export(
        "loyalty",
        "visits",
        "store_visit",
        _share("visits"),
        """
        select
            'V' || n as store_visit_id,
            loyalty_id(p) as loyalty_id,
            if(not in_club(p), phone(p, n), null) as phone,
            'S' || one_of(n, 'store', 80) as store_id,
            moment(n, 'visit') as visited_at,
            'loyalty_scan' as visit_type,
        from (select n, person(n, 'visit') as p from numbers)
        """,
    ),
    Export(
        "erp",
        "customers",
        "contact",
        _people,
        """
        select
            'D' || n as contact_id,
            'N' || 700000 + n as erp_customer_number,
            crm_id(n) as crm_id,
            'DK' as country,
            moment(n, 'invoiced') as created_at,
        from numbers
        where dice(n, 'invoice') < 0.2
        """,
    ),
    Export(
        "erp",
        "products",
        "product",
        _fixed(2000),
        """
        select
            'P' || n as product_id,
            'Product ' || n as product_name,
            'category ' || n % 24 as category,
            n % 3 = 0 as is_replenishable,
            100 as list_price,
            'DKK' as currency_code,
        from numbers
        """,
    ),
    Export(
        "erp",
        "stores",
        "store",
        _fixed(80),
        """
        select
            'S' || n as store_id,
            'Store ' || n as store_name,
            'DK' as country,
            'City ' || n % 30 as city,
        from numbers
        """,
    ),
    Export(
        "erp",
        "returns",
        "return",
        _share("returns"),
        """
        select
            'B' || n as return_id,
            -- Of one order in ten.
            'W' || n * 10 as order_id,
            'W' || n * 10 || '-1' as order_line_id,
            moment(n, 'return') as returned_at,
            1 as quantity,
            50 as refund_amount,
            'DKK' as currency_code,
            'size' as reason,
        from numbers
        """,
    ),
    Export(
        "webshop",
        "orders",
        "order",
        _share("webshop"),
        """
        select
            'W' || n as order_id,
            as_typed(email(p, uses_second(p, n)), n) as email,
            if(uses_second(p, n), null, cookie_id(p, n)) as cookie_id,
            moment(n, 'order') as ordered_at,
            if(dice(n, 'cancelled') < 0.02, 'cancelled', 'completed') as status,
            'web' as channel,
            'DKK' as currency_code,
            round(40 + 900 * pow(dice(n, 'total'), 3), 2) as total_amount,
            if(dice(n, 'coupon') < 0.2, 20, 0) as discount_amount,
            moment(n, 'order')::date + 3 as promised_delivery_date,
        from (select n, person(n, 'order') as p from numbers)
        """,
    ),
    Export(
        "webshop",
        "order_lines",
        "order_line",
        _share("webshop"),
        """
        select
            'W' || n || '-' || line as order_line_id,
            'W' || n as order_id,
            line as line_number,
            'P' || one_of(n * 7 + line, 'product', 2000) as product_id,
            1 + one_of(n * 7 + line, 'quantity', 3) as quantity,
            round(20 + 400 * pow(dice(n * 7 + line, 'price'), 3), 2) as line_amount,
            'DKK' as currency_code,
        from numbers, unnest(range(1, 2 + one_of(n, 'lines', 4))) as lines (line)
        """,
        rows_of_one=2.5,
    ),
    Export(
        "webshop",
        "payments",
        "payment",
        _share("webshop"),
        """
        select
            'Y' || n as payment_id,
            'W' || n as order_id,
            moment(n, 'order') as paid_at,
            if(dice(n, 'card') < 0.7, 'card', 'invoice') as payment_method,
            round(40 + 900 * pow(dice(n, 'total'), 3), 2) as amount,
            'DKK' as currency_code,
        from numbers
        """,
    ),
    Export(
        "tills",
        "receipts",
        "order",
        _share("tills"),
        """
        select
            'T' || n as order_id,
            loyalty_id(p) as loyalty_id,
            if(not in_club(p), phone(p, n), null) as phone,
            moment(n, 'receipt') as ordered_at,
            'completed' as status,
            'store' as channel,
            'S' || one_of(n, 'store', 80) as store_id,
            'DKK' as currency_code,
            round(20 + 600 * pow(dice(n, 'total'), 3), 2) as total_amount,
            0 as discount_amount,
        from (select n, person(n, 'receipt') as p from numbers)
        """,
    ),
    Export(
        "tills",
        "receipt_lines",
        "order_line",
        _share("tills"),
        """
        select
            'T' || n || '-' || line as order_line_id,
            'T' || n as order_id,
            line as line_number,
            'P' || one_of(n * 7 + line, 'product', 2000) as product_id,
            1 as quantity,
            round(20 + 200 * pow(dice(n * 7 + line, 'price'), 3), 2) as line_amount,
            'DKK' as currency_code,
        from numbers, unnest(range(1, 2 + one_of(n, 'lines', 4))) as lines (line)
        """,
        rows_of_one=2.5,
    ),
    Export("web", "events", "web_event", _sessions("web"), _WEB, EVENTS_IN_A_SESSION),
    Export("app", "events", "web_event", _sessions("app"), _APP, EVENTS_IN_A_SESSION),
    Export(
        "newsletter",
        "events",
        "message_event",
        _share("newsletter"),
        """
        select
            'N' || n as event_id,
            as_typed(email(p, uses_second(p, n // 3)), n // 3) as email,
            'email' as channel,
            (['delivered', 'opened', 'clicked'])[n % 3 + 1] as event_name,
            iso(moment(n // 3, 'newsletter') + to_minutes(n % 3 * 90)) as occurred_at,
            'newsletter ' || n // 3 as message_id,
            'campaign ' || one_of(n // 3, 'campaign', 60) as campaign_id,
            'marketing' as message_type,
        from (select n, person(n // 3, 'newsletter') as p from numbers)
        """,
    ),
    Export(
        "sms",
        "events",
        "message_event",
        _share("sms"),
        """
        select
            'X' || n as event_id,
            phone(p, n) as phone,
            crm_id(p) as crm_id,
            'sms' as channel,
            'delivered' as event_name,
            iso(moment(n, 'sms')) as occurred_at,
            'sms ' || n as message_id,
            'campaign ' || one_of(n, 'campaign', 60) as campaign_id,
            'service' as message_type,
        from (select n, person(n, 'sms') as p from numbers)
        """,
    ),
    Export(
        "desk",
        "tickets",
        "case",
        _share("desk"),
        """
        select
            'C' || n as case_id,
            as_typed(email(p, uses_second(p, n)), n) as email,
            moment(n, 'ticket') as opened_at,
            'email' as channel,
            if(dice(n, 'open') < 0.05, 'open', 'solved') as status,
            'category ' || one_of(n, 'category', 8) as category,
            'normal' as priority,
            moment(n, 'ticket') + to_minutes(10 + one_of(n, 'response', 600))
                as first_responded_at,
            if(
                dice(n, 'open') < 0.05,
                null,
                moment(n, 'ticket') + to_minutes(700 + one_of(n, 'resolution', 700))
            ) as resolved_at,
            if(dice(n, 'reopened') < 0.1, 1, 0) as reopened_count,
        from (select n, person(n, 'ticket') as p from numbers)
        """,
    ),
    Export(
        "surveys",
        "answers",
        "survey_response",
        _share("surveys"),
        """
        select
            'Q' || n as response_id,
            crm_id(person(n, 'answer')) as crm_id,
            'nps' as metric,
            floor(11 * sqrt(dice(n, 'score')))::double as score,
            moment(n, 'answer') as answered_at,
            'email' as channel,
            'relationship' as touchpoint,
        from numbers
        """,
    ),
    Export(
        "carrier",
        "parcels",
        "delivery",
        _share("carrier"),
        """
        select
            'Z' || n as delivery_id,
            -- Of every other order.
            'W' || n * 2 as order_id,
            'carrier ' || one_of(n, 'carrier', 3) as carrier,
            moment(n * 2, 'order') + interval 12 hour as shipped_at,
            moment(n * 2, 'order')
                + to_seconds((86400 * (1 + 3 * pow(dice(n, 'transit'), 2)))::bigint)
                as delivered_at,
            'delivered' as status,
        from numbers
        """,
    ),
)


def make_company(folder: Path, contacts: int, threads: int) -> dict[str, int]:
    """Write the exports of the year and of the day, where they are not there yet.

    Args:
        folder: The folder of this size; another size needs another one.
        contacts: Contacts of the year, about.
        threads: How many chunks to make side by side.

    Returns:
        Rows of `year` and `day` over all exports.
    """
    done, made_by = folder / "made.json", folder / "made_by"
    this = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if not made_by.exists() or made_by.read_text() != this:
        # Rows of another company must not stand beside these.
        for name in ("year", "day"):
            shutil.rmtree(folder / name, ignore_errors=True)
        done.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        made_by.write_text(this)
    if done.exists():
        return json.loads(done.read_text())
    rows = {}
    for part in (Part("year", contacts), Part("day", contacts)):
        with duckdb.connect() as connection:
            connection.execute("set threads = $1", [threads])
            connection.execute("set preserve_insertion_order = false")
            connection.execute(_MACROS)
            with ThreadPoolExecutor(threads) as pool:
                rows[part.name] = sum(
                    pool.map(
                        lambda chunk: _write(connection.cursor(), *chunk),  # noqa: B023
                        _chunks(folder, part),
                    )
                )
    done.write_text(json.dumps(rows))
    return rows


def _chunks(folder: Path, part: Part) -> Iterator[tuple[Part, Export, Path, int, int]]:
    for export in EXPORTS:
        first, last = export.rows(part)
        size = int(CHUNK_ROWS / export.rows_of_one)
        for number, start in enumerate(range(first, last, size)):
            path = folder / part.name / export.source / export.table
            path /= f"{part.name}_{number:04}.parquet"
            yield part, export, path, start, min(start + size, last)


def _write(
    connection: duckdb.DuckDBPyConnection,
    part: Part,
    export: Export,
    path: Path,
    first: int,
    last: int,
) -> int:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        connection.execute(f"set variable people = {part.people[1]}")
        connection.execute(f"set variable is_day = {part.is_day}")
        aside = path.with_suffix(".making")
        connection.execute(
            f"copy (with numbers as (select range as n from range({first}, {last})) "
            f"{export.select}) to '{aside}' (format parquet)"
        )
        aside.rename(path)
    (row,) = connection.execute(f"select count(*) from read_parquet('{path}')").fetchall()
    return row[0]


def link_exports(company: Path, part: str, exports: Path) -> None:
    """Hand the files of a part to the pipeline, as hard links."""
    for path in sorted((company / part).glob("*/*/*.parquet")):
        target = exports / path.parent.parent.name / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(path, target)


def sources_config() -> str:
    """Return the sources.yml of the company: every column to the one of the same name."""
    sources: dict[str, dict] = {}
    with duckdb.connect() as connection:
        connection.execute(_MACROS)
        for export in EXPORTS:
            columns = connection.execute(
                "describe with numbers as (select range as n from range(0)) " + export.select
            ).fetchall()
            source = sources.setdefault(
                export.source, {"path": f"{{data_dir}}/exports/{export.source}", "tables": {}}
            )
            source["tables"][export.table] = {
                "files": f"{export.table}/*.parquet",
                "entities": {export.entity: {"columns": {name: name for name, *_ in columns}}},
            }
    # JSON is YAML.
    return json.dumps({"sources": sources}, indent=2)
