"""The demo company: the same seed gives the same rows, a day only adds, nothing tells the truth."""

import hashlib
import sqlite3
from datetime import date, timedelta
from pathlib import Path

import duckdb
import phonenumbers
import pyarrow.parquet as pq
import pytest

from cx_pipeline.demo import files, simulate, simulator
from cx_pipeline.demo.catalogue import STORES
from cx_pipeline.demo.names import MALE
from cx_pipeline.demo.truth import Truth

UNTIL = date(2026, 3, 31)


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small_world(folder: Path, days: int = 45, until: date = UNTIL, seed: int = 3, **more) -> Path:
    simulate(
        folder / "exports",
        folder / "truth",
        customers=more.get("customers", 300),
        seed=seed,
        days=days,
        until=until,
    )
    return folder


def ask(query: str) -> list[tuple]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


def one(query: str):
    return ask(query)[0][0]


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Path:
    return small_world(tmp_path_factory.mktemp("month"))


@pytest.fixture(scope="module")
def year(tmp_path_factory) -> Path:
    return small_world(tmp_path_factory.mktemp("year"), days=395, customers=2_500)


def test_the_same_seed_gives_the_same_files(month, tmp_path):
    again = small_world(tmp_path)
    assert fingerprints(again / "exports") == fingerprints(month / "exports")
    assert fingerprints(again / "truth") == fingerprints(month / "truth")


def test_another_seed_gives_other_people(month, tmp_path):
    other = small_world(tmp_path, seed=4)
    contacts = "exports/crm/kontakter.csv"
    assert (other / contacts).read_bytes() != (month / contacts).read_bytes()


def test_one_more_day_adds_files_and_touches_only_those_that_grow(month, tmp_path):
    longer = small_world(tmp_path, days=46, until=UNTIL + timedelta(days=1))
    before, after = fingerprints(month / "exports"), fingerprints(longer / "exports")
    assert set(before) <= set(after)
    changed = {name for name in before if before[name] != after[name]}
    # The database and full dumps grow; the day is the first of a month, so no month's file does,
    # but for Google's totals row under a month that is over.
    assert changed <= {"erp/erp.sqlite", "crm/kontakter.csv", "crm/klubmedlemmer.csv"}
    new = set(after) - set(before)
    assert {"webshop/events_2026-04-01.jsonl", "messaging/events_2026-04-01.parquet"} <= new


def test_a_world_that_goes_on_equals_one_made_at_once(tmp_path):
    gone_on = small_world(tmp_path / "a", days=44, until=UNTIL - timedelta(days=1))
    # Asked for as many days again: the first day stays where it was.
    small_world(tmp_path / "a", days=44)
    at_once = small_world(tmp_path / "b", days=45)
    assert fingerprints(gone_on / "exports") == fingerprints(at_once / "exports")


@pytest.fixture(scope="module")
def years(tmp_path_factory) -> Path:
    """Return a world of 26 months that went on when 22 had passed."""
    folder = tmp_path_factory.mktemp("years")
    small_world(folder, days=670, until=UNTIL - timedelta(days=120), customers=400)
    return small_world(folder, days=790, customers=400)


def test_a_world_that_goes_on_for_years_equals_one_made_at_once(years, tmp_path):
    at_once = small_world(tmp_path, days=790, customers=400)
    assert fingerprints(years) == fingerprints(at_once)


def test_people_join_withdraw_a_consent_and_change_their_name_in_every_year(years):
    """The third half-year had none of them when everybody had joined after 410 days."""
    late = f"> date '{UNTIL}' - 365"
    people = f"'{years}/truth/people.parquet'"
    # Of 400 people 104 join in 410 days, and as many again in the next.
    assert 75 < one(f"select count(*) from {people} where joined_at {late}") < 110
    assert 170 < one(f"select count(*) from {people} where joined_at > date '{UNTIL}' - 790") < 220
    assert one(f"select count(*) from {people}") == 400 + 97
    consents = f"'{years}/truth/consent.parquet'"
    assert one(f"select count(*) from {consents} where status = 'withdrawn' and since {late}") > 10
    contacts = (
        f"read_csv('{years}/exports/crm/kontakter.csv', delim=';', encoding='latin-1', "
        "all_varchar=true, ignore_errors=true)"
    )
    changed = f"select count(*) from {contacts} where ændret <> oprettet"
    assert one(f"{changed} and strptime(ændret, '%d-%m-%Y %H:%M') {late}") > 0
    strangers = (
        f"select count(distinct anonymousId) from read_json('{years}/exports/webshop/*.jsonl', "
        "format='newline_delimited', columns={anonymousId: 'varchar', timestamp: 'timestamp'}) "
        f"where anonymousId in (select identifier_value from '{years}/truth/identifiers.parquet' "
        "where person_id like 'visitor-%')"
    )
    assert one(f"{strangers} and timestamp {late}") > 70


def rows_written(folder: Path) -> dict[str, int]:
    """Return the rows that stand in each file of days or months."""
    return {
        str(path.relative_to(folder)): pq.read_metadata(path).num_rows
        if path.suffix == ".parquet"
        else path.read_bytes().count(b"\n")
        for path in sorted(folder.rglob("*_20*"))
    }


def test_a_world_that_goes_on_day_by_day_loses_no_row(tmp_path):
    """Enough people that some of an hour lie in Great Britain's day and in the company's next."""
    for days in range(14, 25):
        left = timedelta(days=24 - days)
        small_world(tmp_path / "a", days, UNTIL - left, seed=2, customers=3_000)
    small_world(tmp_path / "b", 24, seed=2, customers=3_000)
    by_day, at_once = (rows_written(tmp_path / folder / "exports") for folder in ("a", "b"))
    assert sum(at_once.values()) > 10_000
    assert by_day == at_once
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


@pytest.mark.parametrize(
    ("where", "name", "calls", "goes_on"),
    [
        (simulator, "export_web", 1, True),
        (files, "_write_lines", 3, True),
        (files, "write_parquet", 2, True),
        (Truth, "finish", 0, True),
        (Path, "replace", 3, True),
        (files, "_write_lines", 3, False),
        (Path, "replace", 3, False),
    ],
)
def test_a_world_that_was_interrupted_is_made_whole(
    tmp_path, monkeypatch, where, name, calls, goes_on
):
    monkeypatch.setattr(simulator, "CHUNK", 60)
    if goes_on:
        for folder in ("a", "b"):
            small_world(tmp_path / folder, 12, UNTIL - timedelta(days=3), customers=100)
    real = getattr(where, name)
    left = [calls]

    def interrupted(*arguments):
        if left[0]:
            left[0] -= 1
            return real(*arguments)
        for path in arguments:
            if isinstance(path, Path) and path.parent.name == "webshop":
                path.write_bytes(b"half a row")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, name, interrupted)
        small_world(tmp_path / "a", 12, customers=100)
    # As many days, but later: whoever has forgotten where the world began begins another.
    for folder in ("a", "b"):
        small_world(tmp_path / folder, 12, customers=100)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_another_world_is_refused_where_rows_were_landed(tmp_path):
    folder = small_world(tmp_path, days=20, customers=100)
    before = fingerprints(folder)
    for customers, days in ((100, 30), (150, 20)):
        with pytest.raises(simulator.WorldError, match="100 people with seed 3.*--data"):
            simulate(
                folder / "exports", folder / "truth", customers, 3, days, UNTIL, is_landed=True
            )
    assert fingerprints(folder) == before
    later = UNTIL + timedelta(days=1)
    simulate(folder / "exports", folder / "truth", 100, 3, 20, later, is_landed=True)
    assert fingerprints(folder) != before


def test_a_world_of_another_seed_is_cleared_away(tmp_path):
    small_world(tmp_path / "a", customers=150)
    small_world(tmp_path / "a", customers=100, seed=9)
    small_world(tmp_path / "b", customers=100, seed=9)
    assert fingerprints(tmp_path / "a" / "exports") == fingerprints(tmp_path / "b" / "exports")


def test_customers_in_chunks_make_the_same_rows(month, tmp_path, monkeypatch):
    monkeypatch.setattr(simulator, "CHUNK", 120)
    chunked = small_world(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in (chunked / "exports").rglob("*")} == {
        str(p.relative_to(month)) for p in (month / "exports").rglob("*")
    }
    for pattern in ("tills/*/*", "messaging/*", "devices/*"):
        left, right = (
            f"read_parquet('{folder}/exports/{pattern}.parquet')" for folder in (month, chunked)
        )
        assert one(f"select count(*) from ({left_only(left, right)})") == 0
        assert one(f"select count(*) from ({left_only(right, left)})") == 0
    for name in ("webshop/*.jsonl", "service_desk/*.jsonl", "surveys/*.csv", "crm/*.csv"):
        lines = [
            sorted(
                line
                for path in (folder / "exports").glob(name)
                for line in path.read_bytes().splitlines()
            )
            for folder in (month, chunked)
        ]
        assert lines[0] == lines[1], name


def left_only(left: str, right: str) -> str:
    return f"select * from {left} except all select * from {right}"


def test_no_export_tells_what_only_the_simulator_knows(month):
    secrets = (b"person-", b"household-", b"visitor-", b"caused", b"satisfaction", b"truth")
    found = [
        (path.name, secret)
        for path in (month / "exports").rglob("*")
        if path.is_file()
        for secret in secrets
        if secret in path.read_bytes().lower()
    ]
    assert found == []
    known = {"person_id", "household_id", "trait", "queue_minutes", "is_late", "runs_out_at"}
    for path in (month / "exports").rglob("*.parquet"):
        assert known.isdisjoint(pq.read_schema(path).names)


def test_every_identifier_has_one_known_owner(year):
    identifiers = f"(select * from '{year}/truth/identifiers.parquet')"
    contacts = (
        f"read_csv('{year}/exports/crm/kontakter.csv', delim=';', encoding='latin-1', "
        "all_varchar=true, ignore_errors=true)"
    )
    web = (
        f"read_json('{year}/exports/webshop/*.jsonl', columns={{userId: 'varchar', "
        "anonymousId: 'varchar'}, format='newline_delimited')"
    )
    for column, relation, kind in (
        ("kontakt_id", contacts, "crm_id"),
        ("klubnr", contacts, "loyalty_id"),
        ("email", contacts, "email"),
        ("userId", web, "crm_id"),
        ("anonymousId", web, "cookie_id"),
        ("club_no", f"'{year}/exports/tills/*/*.parquet'", "loyalty_id"),
    ):
        strangers = one(
            f"select count(*) from {relation} where {column} is not null and {column} <> '0' "
            f"and {column} not like 'KIOSK-%' and {column} not in (select identifier_value "
            f"from {identifiers} where identifier_type = '{kind}')"
        )
        assert strangers == 0, column
    numbers = one(
        f"select max(n) from (select count(distinct person_id) as n from {identifiers} "
        "where identifier_type in ('crm_id', 'loyalty_id', 'erp_customer_number') "
        "group by identifier_type, identifier_value)"
    )
    assert numbers == 1


def test_some_cookies_and_addresses_are_shared_in_a_household(year):
    shared = dict(
        ask(
            f"""
            select identifier_type, count(*) from (
                select identifier_type, identifier_value
                from '{year}/truth/identifiers.parquet'
                group by all having count(distinct person_id) > 1
            ) group by 1
            """
        )
    )
    assert shared["cookie_id"] > 0
    assert shared["phone"] > 0


def test_phone_numbers_are_possible_and_given_to_nobody(month):
    numbers = ask(
        f"select distinct identifier_value from '{month}/truth/identifiers.parquet' "
        "where identifier_type = 'phone'"
    )
    for (text,) in numbers:
        number = phonenumbers.parse(text)
        assert phonenumbers.is_possible_number(number), text
        assert not phonenumbers.is_valid_number(number), text


def test_british_postal_codes_have_true_areas_and_are_nobodys(year):
    codes = ask(
        f"select postnr from read_csv('{year}/exports/crm/kontakter.csv', delim=';', "
        "encoding='latin-1', all_varchar=true, ignore_errors=true) where land = 'GB'"
    )
    assert {code[:2] for (code,) in codes} == {"LS", "OX", "BS", "YO", "EC", "M1"}
    assert {code[-2:] for (code,) in codes} == {"VV"}


def test_addresses_stand_under_reserved_domains(month):
    domains = ask(
        "select distinct regexp_extract(identifier_value, '@(.*)$', 1) "
        f"from '{month}/truth/identifiers.parquet' where identifier_type = 'email'"
    )
    assert all(domain.endswith(("example.com", "example.org", "example.net"))
               for (domain,) in domains)  # fmt: skip


def test_orders_in_the_systems_are_those_of_the_truth(year):
    with sqlite3.connect(year / "exports/erp/erp.sqlite") as erp:
        in_erp = {row[0] for row in erp.execute("select order_no from orders")}
        lines = erp.execute(
            "select count(*) from order_lines where order_no not in (select order_no from orders)"
        ).fetchone()
        totals = erp.execute(
            "select count(*) from (select o.order_no from orders o join order_lines l using "
            "(order_no) group by 1 having abs(max(o.amount_incl_vat) - max(o.freight) "
            "- sum(l.line_amount)) > 0.005)"
        ).fetchone()
        future = erp.execute(
            "select count(*) from orders where updated_at > ?", [f"{UNTIL + timedelta(1)} 03"]
        ).fetchone()
    erp.close()
    at_tills = {
        row[0]
        for row in ask(
            f"select distinct transaction_no from '{year}/exports/tills/*/*.parquet' "
            "where transaction_type = 'SALE'"
        )
    }
    truth = {row[0] for row in ask(f"select order_reference from '{year}/truth/orders.parquet'")}
    assert in_erp | at_tills == truth
    assert in_erp.isdisjoint(at_tills)
    assert (lines, totals, future) == ((0,), (0,), (0,))


def test_the_webshop_and_the_surveys_name_orders_that_exist(year):
    truth = f"(select order_reference from '{year}/truth/orders.parquet')"
    web = (
        f"read_json('{year}/exports/webshop/*.jsonl', columns={{properties: "
        "'struct(\"orderId\" varchar)'}, format='newline_delimited')"
    )
    assert one(f"select count(properties.orderId) from {web}") > 1_000
    assert (
        one(
            f"select count(*) from {web} where properties.orderId is not null "
            f"and properties.orderId not in {truth}"
        )
        == 0
    )


def test_marketing_goes_only_to_whom_it_may(year):
    sends = one(
        f"""
        select count(*)
        from '{year}/exports/messaging/*.parquet' as message
        inner join '{year}/truth/identifiers.parquet' as identifier
            on message.profile_ref = identifier.identifier_value
        inner join '{year}/truth/consent.parquet' as consent using (person_id)
        where message.category = 'marketing'
            and message.event_type = 'send'
            and message.medium = 'email'
            and consent.purpose = 'marketing'
            and consent.channel = 'email'
            and consent.status in ('withdrawn', 'denied', 'pending')
            and message.event_ts > consent.since
        """
    )
    assert sends == 0


def test_every_state_of_consent_occurs(year):
    states = {row[0] for row in ask(f"select distinct status from '{year}/truth/consent.parquet'")}
    assert states == {"granted", "denied", "withdrawn", "pending", "expired", "conflict"}


def test_the_company_looks_like_one(year):
    answers = survey_answers(year)
    nps = one(
        f'select 100 * avg(case when "Score"::int >= 9 then 1 when "Score"::int <= 6 then -1 '
        f"else 0 end) from {answers} where \"Metric\" = 'NPS'"
    )
    assert 5 < nps < 60
    with sqlite3.connect(year / "exports/erp/erp.sqlite") as erp:
        on_time, returned, orders = erp.execute(
            "select (select avg(date(delivered) <= promised) from deliveries "
            "where delivered is not null), "
            "(select count(distinct order_no) * 1.0 from returns) / count(*), count(*) from orders"
        ).fetchone()
    erp.close()
    assert 0.87 < on_time < 0.95
    assert 0.04 < returned < 0.12
    in_world = f"placed_at > date '{UNTIL}' - 395"
    truth = f"'{year}/truth/orders.parquet'"
    assert 3 < one(f"select count(*) / 2500.0 from {truth} where {in_world}") < 6
    assert orders > 4_000


def survey_answers(folder: Path) -> str:
    return (
        f"read_csv('{folder}/exports/surveys/*.csv', all_varchar=true, ignore_errors=true, "
        "header=true, delim=',', quote='\"', escape='\"', strict_mode=false)"
    )


def test_late_parcels_and_queues_lower_the_scores(year):
    late, on_time = (
        one(
            f'select avg("Score"::int) from {survey_answers(year)} as answer '
            f"inner join '{year}/truth/orders.parquet' as o "
            f'on answer."Order Ref" = o.order_reference '
            f"where \"Touchpoint\" = 'delivery' and {'' if is_late else 'not'} o.is_late"
        )
        for is_late in (True, False)
    )
    assert late < on_time - 0.7
    assert (
        one(
            f'select corr("Score"::int, o.queue_minutes) from {survey_answers(year)} as answer '
            f"inner join '{year}/truth/orders.parquet' as o "
            f'on answer."Order Ref" = o.order_reference where "Touchpoint" = \'store_visit\''
        )
        < -0.05
    )


def test_texts_agree_with_scores(year):
    rows = ask(
        f'select "Score"::int, "Comment" from {survey_answers(year)} '
        'where "Metric" = \'CSAT\' and "Language" = \'en\' and "Comment" is not null'
    )
    assert rows
    for score, comment in rows:
        if "Very satisfied" in comment:
            assert score >= 4
        if "disappointment" in comment or "late" in comment.split():
            assert score <= 2


def test_platforms_claim_more_than_they_caused(year):
    for platform, caused, claimed in ask(
        "select platform, sum(caused_orders), sum(claimed_orders) "
        f"from '{year}/truth/ads.parquet' group by 1"
    ):
        assert claimed > 1.2 * caused, platform


def web_events(folder: Path) -> str:
    return (
        f"read_json('{folder}/exports/webshop/*.jsonl', format='newline_delimited', columns={{"
        "type: 'varchar', event: 'varchar', timestamp: 'timestamp', "
        "context: 'struct(campaign struct(medium varchar, name varchar))'})"
    )


def test_platforms_count_somewhat_more_clicks_than_the_shop_has_visits(year):
    """Each visit has one page view that bears its campaign, on a day for which it is paid."""
    rows = ask(
        f"""
        with ads as (
            select campaign_name as name, date_start::date as day, inline_link_clicks::int as clicks
            from read_csv('{year}/exports/ads/meta/*.csv', all_varchar = true)
            union all
            select "campaign.name", try_cast("segments.date" as date), "metrics.clicks"::int
            from read_csv('{year}/exports/ads/google/*.csv', all_varchar = true)
            union all
            select "campaignName", strptime(date, '%Y%m%d')::date, clicks::int
            from read_csv('{year}/exports/ads/amazon/*.csv', all_varchar = true)
        ),

        visits as (
            select
                context.campaign.name,
                timezone('Europe/Copenhagen', timezone('UTC', timestamp))::date as day,
                count(*) as visits
            from {web_events(year)}
            where type = 'page' and context.campaign.medium <> 'email'
            group by all
        )

        select name, sum(clicks) / sum(visits), count(*) filter (visits > coalesce(clicks, 0))
        from ads full join visits using (name, day)
        where name is not null
        group by name
        """
    )
    assert len(rows) == 9
    for name, clicks_per_visit, unpaid_days in rows:
        assert 1.1 < clicks_per_visit < 1.4, name
        # A page view that was sent twice may stand alone on a day.
        assert unpaid_days <= 2, name


def test_one_visit_in_ten_ends_in_an_order(year):
    """Fewer do in life; but the orders' own events are already two fifths of the stream."""
    share = one(
        "select count(*) filter (event = 'Order Completed') / count(*) filter (type = 'page') "
        f"from {web_events(year)}"
    )
    assert 0.07 < share < 0.12


def test_defects_are_few_and_each_kind_has_its_own_source(year):
    kinds = ask(f"select kind, source, count(*) from '{year}/truth/defects.parquet' group by all")
    sources = [source for _, source, _ in kinds]
    assert {"text in a number", "duplicate row", "empty id", "duplicate key", "test record"} <= {
        kind for kind, _, _ in kinds
    }
    assert len(set(sources)) == len(sources)
    summary = simulate(year / "exports", year / "truth", 2_500, 3, 395, UNTIL)
    assert summary.defects < 0.005 * summary.row_count
    with sqlite3.connect(year / "exports/erp/erp.sqlite") as erp:
        spoilt = {
            row[0]
            for row in erp.execute("select payment_no from payments where amount = 'se bilag'")
        }
    erp.close()
    assert spoilt == {
        row[0]
        for row in ask(
            f"select record from '{year}/truth/defects.parquet' where kind = 'text in a number'"
        )
    }


def erp_rows(folder: Path, sql: str) -> list[tuple]:
    with sqlite3.connect(folder / "exports/erp/erp.sqlite") as erp:
        rows = erp.execute(sql).fetchall()
    erp.close()
    return rows


def test_who_buys_in_the_first_month_has_mostly_bought_before(year):
    """Without the orders of the year before, 98 of 100 buyers of the first month were new."""
    share = one(
        f"""
        select count(*) filter (first_at >= date '{UNTIL}' - 394) / count(*)
        from (
            select min(placed_at) as first_at
            from '{year}/truth/orders.parquet'
            where placed_at < date '{UNTIL}' - 364
            group by person_id
            having max(placed_at) >= date '{UNTIL}' - 394
        )
        """
    )
    assert 0.03 < share < 0.15
    history = f"'{year}/exports/tills/*/*_historik.parquet'"
    assert one(f"select count(distinct store_no) from {history}") == len(STORES)
    assert one(f"select max(sold_at) < date '{UNTIL}' - 394 from {history}")


def test_nobody_orders_before_they_joined(year):
    early = one(
        f"select count(*) from '{year}/truth/orders.parquet' as o inner join "
        f"'{year}/truth/people.parquet' as p using (person_id) where o.placed_at <= p.joined_at"
    )
    assert early == 0


def test_a_case_about_an_order_is_opened_when_one_would_ask(year):
    """A parcel is missed until it comes, and no sooner than promised when it is late."""
    orders = erp_rows(
        year,
        "select order_no, order_date, coalesce(delivered, '2999-01-01'), promised, status "
        "from orders left join deliveries using (order_no)",
    )
    with duckdb.connect() as connection:
        connection.execute(
            "create table orders "
            "(order_ref text, placed timestamp, delivered timestamp, promised date, status int)"
        )
        connection.executemany("insert into orders values (?, ?, ?, ?, ?)", orders)
        cases = connection.execute(
            f"""
            select
                tags[1] as tag, count(*), sum((status = 90)::int),
                sum((opened between placed and delivered)::int), sum((opened > delivered)::int),
                sum((delivered::date > promised and opened::date < promised)::int)
            from (
                select tags, custom_fields.order_ref, min(timezone('Europe/Copenhagen',
                    created_at::timestamptz)) as opened
                from read_json('{year}/exports/service_desk/tickets_*.jsonl',
                    format = 'newline_delimited')
                group by all
            ) inner join orders using (order_ref)
            group by 1
            """
        ).fetchall()
    found = {tag: counts for tag, *counts in cases}
    missed, *rest = found["where_is_my_order"]
    assert missed > 50
    assert rest == [0, missed, 0, 0]
    for tag in ("return_request", "product_defect"):
        count, *rest = found[tag]
        assert count > 30
        assert rest == [0, 0, count, 0], tag


def test_a_cancelled_contract_ends_within_a_year(year):
    dates = erp_rows(
        year, "select cancel_date, end_date from contracts where cancel_date is not null"
    )
    assert len(dates) > 10
    for cancelled, ends in dates:
        left = date.fromisoformat(ends) - date.fromisoformat(cancelled)
        assert timedelta(0) <= left <= timedelta(days=366)


def test_only_members_use_the_clubs_voucher(year):
    strangers = erp_rows(
        year,
        "select order_no from orders where voucher_code = 'CLUB10'",
    )
    members = one(
        f"select count(*) from '{year}/truth/orders.parquet' inner join "
        f"'{year}/truth/people.parquet' using (person_id) where is_member and order_reference in "
        f"({', '.join(repr(number) for (number,) in strangers)})"
    )
    assert members == len(strangers) > 100


def test_nothing_is_paid_back_that_was_not_paid(year):
    owed = erp_rows(
        year,
        "select order_no from payments group by 1 "
        "having sum(case when amount = 'se bilag' then 0 else amount end) < -0.005",
    )
    assert owed == []


def test_parcels_are_told_by_day_and_before_they_come(year):
    """British clocks show an hour less, so that 8 to 21 there is 9 to 22 in Copenhagen."""
    hours = one(
        "select [min(hour(sent)), max(hour(sent))] from (select timezone('Europe/Copenhagen', "
        f"timezone('UTC', event_ts)) as sent from '{year}/exports/messaging/*.parquet' "
        "where campaign_key = 'FL-101' and event_type = 'send' and recipient not like '+44%')"
    )
    assert hours == [8, 20]
    on_sundays = erp_rows(
        year,
        "select count(*) from deliveries where carrier = 'COLLECT' "
        "and '0' in (strftime('%w', delivered), strftime('%w', promised))",
    )
    assert on_sundays == [(0,)]


def test_who_leaves_by_a_link_has_got_the_message(year):
    strange = one(
        f"select count(*) from (select message_uuid from '{year}/exports/messaging/*.parquet' "
        "group by message_uuid having bool_or(event_type = 'unsubscribe') "
        "and bool_or(event_type = 'bounce'))"
    )
    assert strange == 0


def test_only_parcels_that_came_early_are_praised_for_it(year):
    delivered = {
        number: delivered[:10] < promised
        for number, delivered, promised in erp_rows(
            year, "select order_no, delivered, promised from deliveries where delivered is not null"
        )
    }
    praised = ask(
        f'select "Order Ref", "Comment" from {survey_answers(year)} '
        'where "Touchpoint" = \'delivery\' and regexp_matches("Comment", '
        "'før lovet|tidigare än utlovat|früher als versprochen|earlier than promised')"
    )
    assert len(praised) > 3
    assert all(delivered[number] for number, _ in praised)


def test_employees_are_women_and_men_of_whom_some_have_left(year):
    people = ask(
        "select full_name, home_store, strptime(hire_date, '%d/%m/%Y')::date::varchar, "
        "department, end_date "
        f"from read_csv('{year}/exports/workforce/employees.csv', all_varchar = true)"
    )
    opened = {store.number: store.opened for store in STORES}
    assert {name.split()[0] for name, *_ in people} & set(MALE["DK"].split())
    assert [who for who in people if who[1] and who[2] < opened[who[1]]] == []
    assert {department for *_, department, end in people if end} == {"Logistics"}


def test_packs_run_out_after_they_are_opened(year):
    packs = f"'{year}/truth/packs.parquet'"
    assert one(f"select count(*) from {packs} where runs_out_at <= opened_at") == 0
    assert one(f"select count(*) from {packs}") > 1_000


def test_too_many_customers_are_refused_with_the_limit(tmp_path):
    with pytest.raises(ValueError, match="8388608"):
        simulate(tmp_path / "e", tmp_path / "t", customers=10_000_000)


def test_progress_is_told_from_start_to_end(tmp_path):
    told: list[float] = []
    simulate(
        tmp_path / "e", tmp_path / "t", 100, 1, 31, UNTIL, lambda _what, share: told.append(share)
    )
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == 1.0


def test_a_changed_row_of_the_erp_carries_a_later_cursor(month, tmp_path):
    later = small_world(tmp_path, days=50, until=UNTIL + timedelta(days=5))
    last_known = f"{UNTIL} 23:59:59"
    with sqlite3.connect(later / "exports/erp/erp.sqlite") as erp:
        erp.execute("attach ? as before", [str(month / "exports/erp/erp.sqlite")])
        tables = [row[0] for row in erp.execute("select name from before.sqlite_master")]
        for table in tables:
            unseen = erp.execute(
                f"select count(*) from (select * from {table} except select * from before.{table}) "
                "where updated_at <= ?",
                [last_known],
            ).fetchone()
            assert unseen == (0,), table
    erp.close()


def test_the_world_ends_at_the_companys_midnight(month):
    """Summer time has begun: midnight in Copenhagen is 22:00 UTC."""
    ends = f"timestamp '{UNTIL} 22:00'"
    latest = f"(select max(event_ts) from '{month}/exports/messaging/*.parquet')"
    assert one(f"select {latest} between {ends} - interval 1 day and {ends}")
    late = one(
        f"select count(*) from '{month}/exports/messaging/events_*.parquet' "
        f"where event_ts >= {ends}"
    )
    assert late == 0
    # A day's file holds the company's day.
    assert one(
        "select bool_and(timezone('Europe/Copenhagen', timezone('UTC', event_ts))::date::varchar "
        "= filename[-18:-9]) from read_parquet("
        f"'{month}/exports/messaging/events_*.parquet', filename = true)"
    )
