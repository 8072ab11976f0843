"""The rows of the benchmark: Parquet exports of one company, made by DuckDB from row numbers.

Everything follows from a hash of row number and salt, so the same size gives the same rows on every
machine and no random state is kept. People are skewed: one in a hundred makes a tenth of the
events. 8 in 100 web sessions belong to cookies that never say who they are. Rows carry the
defects that staging mends: repeated event ids, blocked values, e-mail addresses in mixed case,
phone numbers as people write them.
Keeps out: realism beyond what costs time (that is cx_pipeline/demo).
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

LAST_DAY = "2026-06-30"
DAYS = 395
EVENTS_IN_A_SESSION = 6
TOUCHPOINTS_OF_A_PERSON = 40
"""10 million touchpoints are then 250,000 people with about a million identifiers."""

SHARES = {
    "web_events": 0.80,
    "message_events": 0.12,
    "orders": 0.03,
    "deliveries": 0.02,
    "cases": 0.01,
    "survey_responses": 0.01,
    "store_visits": 0.01,
}
"""What the touchpoints are."""


@dataclass(frozen=True)
class Size:
    """How many rows and people."""

    touchpoints: int

    @property
    def people(self) -> int:
        """People with a record in the CRM."""
        return max(self.touchpoints // TOUCHPOINTS_OF_A_PERSON, 50)

    def rows(self, entity: str) -> int:
        """Rows of an entity, before repeats are added."""
        return max(round(self.touchpoints * SHARES[entity]), 20)


def export_queries(size: Size) -> dict[str, str]:
    """Return one query per export, over the macros of `_MACROS`."""
    people, orders = size.people, size.rows("orders")
    sessions = max(size.rows("web_events") // EVENTS_IN_A_SESSION, 10)
    return {
        "contacts": f"""
            select
                'R' || p as contact_id,
                crm_id(p) as crm_id,
                loyalty_id(p) as loyalty_id,
                as_typed(email(p, 0), p) as email,
                if(dice(p, 'has phone') < 0.6, phone_as_typed(p), null) as phone,
                'Given' || p % 997 as first_name,
                'Family' || p % 4999 as last_name,
                'DK' as country,
                'da' as language,
                dice(p, 'club') < 0.45 as is_club_member,
                moment(p, 'created') as created_at,
            from range({people}) as people (p)
        """,
        "orders": f"""
            select
                'O' || o as order_id,
                if(is_online, as_typed(email(person, o), o), null) as email,
                if(is_online, cookie_id(person, o), null) as cookie_id,
                if(is_online, null, loyalty_id(person)) as loyalty_id,
                strftime(ordered_at, '%Y-%m-%dT%H:%M:%SZ') as ordered_at,
                if(dice(o, 'cancelled') < 0.02, 'cancelled', 'completed') as status,
                if(is_online, 'web', 'store') as channel,
                if(is_online, null, 'S' || one_of(o, 'store', 80)) as store_id,
                'DKK' as currency_code,
                round(40 + 900 * pow(dice(o, 'total'), 3), 2) as total_amount,
                if(dice(o, 'coupon') < 0.2, 20, 0) as discount_amount,
                if(is_online, ordered_at::date + 3, null) as promised_delivery_date,
            from (
                select
                    o,
                    person(o, 'order', {people}) as person,
                    dice(o, 'online') < 0.66 as is_online,
                    moment(o, 'order') as ordered_at,
                from range({orders}) as orders (o)
            )
        """,
        "order_lines": f"""
            select
                'O' || o || '-' || line as order_line_id,
                'O' || o as order_id,
                line as line_number,
                'P' || one_of(o * 7 + line, 'product', 2000) as product_id,
                1 + one_of(o * 7 + line, 'quantity', 3) as quantity,
                round(20 + 400 * pow(dice(o * 7 + line, 'price'), 3), 2) as line_amount,
                'DKK' as currency_code,
            from range({orders}) as orders (o), unnest(range(1, 2 + one_of(o, 'lines', 4))) t (line)
        """,
        "payments": f"""
            select
                'Y' || o as payment_id,
                'O' || o as order_id,
                moment(o, 'order') as paid_at,
                if(dice(o, 'card') < 0.7, 'card', 'invoice') as payment_method,
                round(40 + 900 * pow(dice(o, 'total'), 3), 2) as amount,
                'DKK' as currency_code,
            from range({orders}) as orders (o)
        """,
        "deliveries": f"""
            select
                'D' || o as delivery_id,
                'O' || o as order_id,
                'carrier ' || one_of(o, 'carrier', 3) as carrier,
                moment(o, 'order') + interval 1 day as shipped_at,
                moment(o, 'order')
                    + to_seconds(86400 * (1 + 3 * pow(dice(o, 'transit'), 2))) as delivered_at,
                'delivered' as status,
            from range({orders}) as orders (o)
            where dice(o, 'online') < 0.66
            limit {size.rows("deliveries")}
        """,
        "returns": f"""
            select
                'B' || o as return_id,
                'O' || o as order_id,
                'O' || o || '-1' as order_line_id,
                moment(o, 'order') + interval 9 day as returned_at,
                1 as quantity,
                50 as refund_amount,
                'DKK' as currency_code,
                'size' as reason,
            from range({orders}) as orders (o)
            where dice(o, 'returned') < 0.08
        """,
        "products": """
            select
                'P' || p as product_id,
                'Product ' || p as product_name,
                'category ' || p % 24 as category,
                p % 3 = 0 as is_replenishable,
                100 as list_price,
                'DKK' as currency_code,
            from range(2000) as products (p)
        """,
        "stores": """
            select
                'S' || s as store_id,
                'Store ' || s as store_name,
                'DK' as country,
                'City ' || s % 30 as city,
            from range(80) as stores (s)
        """,
        "web_events": f"""
            with sessions as (
                select
                    s,
                    dice(s, 'anonymous') < 0.08 as is_anonymous,
                    person(s, 'web', {people}) as person,
                    moment(s, 'web') as started_at,
                    -- 1 to 11, on average 6
                    1 + one_of(s, 'length', {2 * EVENTS_IN_A_SESSION - 1}) as event_count,
                from range({sessions}) as sessions (s)
            ),

            events as (
                select *, s * 16 + step as e
                from sessions, unnest(range(event_count)) as steps (step)
            ),

            -- One event in 200 arrives twice, as queues do that deliver at least once.
            delivered as (
                select * from events
                union all
                select * from events where dice(e, 'twice') < 0.005
            )

            select
                'E' || e as event_id,
                if(
                    is_anonymous,
                    'anon-' || hex(drawn(s // 2, 'anonymous')),
                    cookie_id(person, s)
                ) as cookie_id,
                case
                    when is_anonymous then null
                    when dice(s, 'blocked') < 0.002 then 'null'
                    when dice(s, 'logged in') < 0.3 then crm_id(person)
                end as crm_id,
                ([
                    'page_viewed', 'product_viewed', 'products_searched', 'product_viewed',
                    'product_added', 'page_viewed', 'checkout_started', 'order_completed',
                    'page_viewed', 'product_viewed', 'page_viewed'
                ])[step + 1] as event_name,
                strftime(
                    started_at + to_seconds(step * 47 + one_of(e, 'pause', 40)),
                    '%Y-%m-%dT%H:%M:%SZ'
                ) as occurred_at,
                'https://shop.example/c/' || one_of(e, 'page', 400) as page_url,
                if(step = 0, 'https://search.example/', null) as referrer,
                if(step = 0 and dice(s, 'utm') < 0.3, 'newsletter', null) as utm_source,
                if(step = 0 and dice(s, 'utm') < 0.3, 'email', null) as utm_medium,
                if(step % 2 = 1, 'P' || one_of(e, 'product', 2000), null) as product_id,
                if(dice(s, 'mobile') < 0.6, 'mobile', 'desktop') as device_type,
                'DK' as country,
            from delivered
        """,
        "message_events": f"""
            select
                'M' || m as event_id,
                as_typed(email(person(m // 3, 'message', {people}), m // 3), m // 3) as email,
                'email' as channel,
                (['delivered', 'opened', 'clicked'])[m % 3 + 1] as event_name,
                strftime(
                    moment(m // 3, 'message') + to_minutes(m % 3 * 90), '%Y-%m-%dT%H:%M:%SZ'
                ) as occurred_at,
                'message ' || m // 3 as message_id,
                'campaign ' || one_of(m // 3, 'campaign', 60) as campaign_id,
                'marketing' as message_type,
            from range({size.rows("message_events")}) as messages (m)
        """,
        "cases": f"""
            select
                'C' || c as case_id,
                as_typed(email(person(c, 'case', {people}), c), c) as email,
                moment(c, 'case') as opened_at,
                'email' as channel,
                if(dice(c, 'open') < 0.05, 'open', 'solved') as status,
                'category ' || one_of(c, 'category', 8) as category,
                'normal' as priority,
                moment(c, 'case')
                    + to_minutes(10 + one_of(c, 'response', 600)) as first_responded_at,
                if(
                    dice(c, 'open') < 0.05,
                    null,
                    moment(c, 'case') + to_minutes(700 + one_of(c, 'resolution', 4000))
                ) as resolved_at,
                if(dice(c, 'reopened') < 0.1, 1, 0) as reopened_count,
            from range({size.rows("cases")}) as cases (c)
        """,
        "survey_responses": f"""
            select
                'A' || a as response_id,
                crm_id(person(a, 'survey', {people})) as crm_id,
                'nps' as metric,
                floor(11 * sqrt(dice(a, 'score')))::double as score,
                moment(a, 'survey') as answered_at,
                'email' as channel,
                'relationship' as touchpoint,
            from range({size.rows("survey_responses")}) as answers (a)
        """,
        "store_visits": f"""
            select
                'V' || v as store_visit_id,
                loyalty_id(person(v, 'visit', {people})) as loyalty_id,
                'S' || one_of(v, 'store', 80) as store_id,
                moment(v, 'visit') as visited_at,
                'loyalty_scan' as visit_type,
            from range({size.rows("store_visits")}) as visits (v)
        """,
        "consent_events": f"""
            select
                'K' || p || '-' || k as consent_event_id,
                crm_id(p) as crm_id,
                as_typed(email(p, k), p) as email,
                (['marketing', 'personalisation'])[k] as purpose,
                'email' as channel,
                if(dice(p * 2 + k, 'consent') < 0.6, 'granted', 'denied') as status,
                moment(p * 2 + k, 'consent') as captured_at,
                'club sign-up' as mechanism,
            from range({people}) as people (p), unnest([1, 2]) as purposes (k)
        """,
    }


_MACROS = f"""
-- Twice, for DuckDB joins the hashes of several values by xor: draws of two salts would agree.
create macro drawn(n, salt) as hash(hash(n, salt));
create macro dice(n, salt) as drawn(n, salt) / 18446744073709551616;
create macro one_of(n, salt, choices) as (drawn(n, salt) % choices)::bigint;
-- The square puts a tenth of all draws on the first hundredth of the people.
create macro person(n, salt, people) as floor(people * pow(dice(n, salt || ' who'), 2))::bigint;
create macro moment(n, salt) as
    timestamp '{LAST_DAY}' - to_seconds((drawn(n, salt || ' when') % {DAYS * 86400})::bigint);
create macro crm_id(p) as 'K' || 100000 + p;
create macro loyalty_id(p) as if(dice(p, 'club') < 0.45, 'L' || 500000 + p, null);
-- One person in six has a second address, used for every third thing; the consents name it beside
-- the CRM number, for a cookie alone does not make one customer of two.
create macro email(p, n) as
    'person' || p || if(dice(p, 'second address') < 0.17 and n % 3 = 1, '.b', '')
    || '@mail' || p % 7 || '.example';
create macro as_typed(email, n) as
    if(n % 10 = 0, ' ' || upper(email[1]) || email[2:] || ' ', email);
create macro phone_as_typed(p) as
    case
        when p % 5 = 0 then (20000000 + p * 31 % 70000000)::varchar
        else '+45' || (20000000 + p * 31 % 70000000)::varchar
    end;
-- One to three browsers a person.
create macro cookie_id(p, n) as
    'cookie-' || hex(drawn(p, 'browser ' || n % (1 + one_of(p, 'browsers', 3))));
"""


def write_exports(folder: Path, size: Size) -> dict[str, int]:
    """Write every export as Parquet.

    Returns:
        The row count of each export.
    """
    counts = {}
    with duckdb.connect() as connection:
        connection.execute(_MACROS)
        for name, query in export_queries(size).items():
            path = folder / name / "rows.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            (counts[name],) = connection.execute(
                f"copy ({query}) to '{path}' (format parquet)"
            ).fetchall()[0]
    return counts


def write_web_events(folder: Path, rows: int) -> list[str]:
    """Write the same web events as `rows.csv`, `rows.jsonl` and `rows.parquet`.

    Returns:
        The names of the columns.
    """
    # 5% more than needed: sessions are of random length.
    query = export_queries(Size(max(int(rows / SHARES["web_events"] * 1.05), 1000)))["web_events"]
    options = {"csv": "format csv, header true", "jsonl": "format json", "parquet": ""}
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(_MACROS)
        connection.execute(f"create table web_events as {query} limit {rows}")
        for ending, option in options.items():
            path = folder / f"rows.{ending}"
            connection.execute(f"copy web_events to '{path}' ({option or 'format parquet'})")
        return [name for name, *_ in connection.execute("describe web_events").fetchall()]


def sources_config(size: Size, tables: dict[str, str] | None = None) -> str:
    """Return a sources.yml that maps each export to the entity of its name, column by column.

    Args:
        size: The size of the exports.
        tables: Glob of the files of each table; `<table>/*.parquet` of every table when empty.
    """
    singular = {"deliveries": "delivery"}
    queries = export_queries(size)
    lines = ["sources:", "  bench:", '    path: "{data_dir}/exports"', "    tables:"]
    with duckdb.connect() as connection:
        connection.execute(_MACROS)
        for name, files in (tables or {name: f"{name}/*.parquet" for name in queries}).items():
            columns = connection.execute(f"describe {queries[name]}").fetchall()
            lines += [
                f"      {name}:",
                f'        files: "{files}"',
                "        entities:",
                f"          {singular.get(name, name.removesuffix('s'))}:",
                "            columns:",
                *(f"              {column}: {column}" for column, *_ in columns),
            ]
    return "\n".join(lines) + "\n"
