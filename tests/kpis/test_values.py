"""The figures of a house whose few rows can be added up by hand."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from cx_pipeline import cli
from cx_pipeline.kpis.assets import DEPS
from cx_pipeline.kpis.queries import Kpi, KpiQuery, read_queries, render_queries
from cx_pipeline.kpis.values import compute
from cx_pipeline.settings import DBT_PROJECT_DIR, load_settings
from cx_pipeline.warehouse.project import semantic_manifest

ROWS = {
    "journey.orders": """
        ('o1', 'k1', date '2026-01-05', 'web', 's1', false, false, 100.00, true, false),
        ('o2', 'k1', date '2026-01-20', 'web', 's1', false, false, 50.00, false, true),
        ('o3', 'k2', date '2026-02-02', 'store', 's2', false, false, 30.00, null, false),
        ('o4', null, date '2026-02-03', 'store', 's2', true, false, 999.00, null, false),
        -- A till takes goods back; the last one has no exchange rate.
        ('o5', 'k2', date '2026-02-03', 'store', 's2', false, true, -12.00, null, false),
        ('o6', 'k2', date '2026-02-03', 'store', 's2', false, false, null, null, false)
        (order_id, profile_key, event_date, channel, store_id, is_cancelled, is_refund,
         total_amount_base, is_on_time, is_returned)""",
    "journey.sessions": """
        ('s1', 'k1', date '2026-01-05', true), ('s2', 'k1', date '2026-01-06', false)
        (session_id, profile_key, event_date, has_order)""",
    "experience.feedback": """
        ('f1', 'k1', date '2026-01-06', 'nps', 'promoter', null, 1.0, 'web', 'order', null),
        ('f2', 'k2', date '2026-01-07', 'nps', 'detractor', null, 0.2, 'web', 'order', null),
        ('f3', 'k2', date '2026-01-07', 'nps', 'promoter', null, 0.9, 'sms', 'order', null),
        ('f4', 'k2', date '2026-01-07', 'nps', 'passive', null, 0.8, 'sms', 'order', null),
        ('f5', 'k1', date '2026-01-08', 'csat', null, true, 0.75, 'web', 'case', 's1'),
        ('f6', 'k1', date '2026-01-08', 'csat', null, false, 0.5, 'web', 'case', 's1'),
        ('f7', 'k1', date '2026-01-08', 'ces', null, null, 0.5, 'web', 'case', null),
        ('f8', null, date '2026-01-08', 'rating', null, null, 0.75, 'web', 'order', null)
        (feedback_id, profile_key, event_date, metric, nps_group, is_satisfied, normalised_score,
         channel, touchpoint, store_id)""",
    "experience.cases": """
        ('c1', 'k1', date '2026-01-08', 'phone', 'delivery', 10.0, 2.0, false, true, 0, 2),
        ('c2', 'k2', date '2026-01-09', 'phone', 'delivery', 30.0, 4.0, false, false, 1, 3),
        ('c3', 'k2', date '2026-01-09', 'email', 'other', 200.0, null, true, false, 0, 2),
        ('c4', 'k2', date '2026-01-09', 'email', 'other', null, null, true, false, 0, 0)
        (case_id, profile_key, event_date, channel, category, first_response_minutes,
         resolution_hours, is_open, is_first_contact_resolution, reopened_count,
         message_count)""",
    "media.campaign_days": """
        ('d1', date '2026-01-01', 'meta', '1', 10.00, 1000, 20, 1.0, 40.0),
        ('d2', date '2026-01-02', 'google', '1', 20.00, 0, 0, 0.0, 0.0)
        (campaign_day_id, report_date, platform, campaign_id, spend_base, impressions, clicks,
         conversions, conversion_value_base)""",
    # Nobody reported on the second day.
    "kpis.media_days": """
        (date '2026-01-01', 10.00, 30.00), (date '2026-01-02', 0.00, 60.00),
        (date '2026-01-03', 20.00, 90.00) (report_date, spend_base, revenue_base)""",
    "customer_360.customers": """
        ('ann', 'DK', 'DKK'), ('bob', null, 'DKK') (customer_id, country, currency_code)""",
    "customer_360.customer_profiles": """
        ('k1', 'ann'), ('k2', 'bob') (profile_key, customer_id)""",
    "kpis.fact_countries": """
        ('order:o1', 'DK'), ('order:o2', 'DK'), ('order:o3', 'SE'), ('order:o4', null),
        ('s1', 'DK'), ('s2', 'DK'), ('f1', 'DK'), ('case:c1', 'DK') (fact_id, country)""",
    "kpis.buyer_months": """
        ('1', date '2026-01-01', 'DK', 4, 1, 2, 3), ('2', date '2026-02-01', 'DK', 6, 3, 2, 2)
        (buyer_month_id, month_start, country, buyer_count, repeat_buyer_count,
         active_buyer_count, new_buyer_count)""",
    "kpis.stage_conversions": """
        ('1', date '2026-01-01', 'explore', 4, 1), ('2', date '2026-02-01', 'explore', 4, 3)
        (stage_conversion_id, month_start, stage, person_count, converted_count)""",
    "kpis.consent_coverage": """
        ('1', date '2026-02-03', 'marketing', 'any', 'marketing/any', 'DK', 4, 3),
        ('2', date '2026-02-03', 'marketing', 'email', 'marketing/email', 'DK', 4, 2),
        ('3', date '2026-02-03', 'marketing', 'sms', 'marketing/sms', 'DK', 4, 1)
        (consent_coverage_id, as_of_date, purpose, channel, purpose_channel, country,
         customer_count, permitted_count)""",
    "kpis.customer_counts": """
        ('DK', date '2026-02-03', 'DK', 3, 2), ('unknown', date '2026-02-03', null, 1, 0)
        (customer_count_id, as_of_date, country, customer_count, reachable_count)""",
    "journey.as_of": "(date '2026-02-03') (as_of_date)",
    "journey.touchpoints": "('order', date '2026-01-01') (touchpoint_type, event_date)",
    "kpis.segment_sizes": """
        ('champions', date '2026-02-03', 'analytics', 7)
        (segment, as_of_date, purpose, member_count)""",
}


@pytest.fixture(scope="module")
def definitions() -> str:
    return semantic_manifest(load_settings())


@pytest.fixture(scope="module")
def figures(definitions) -> tuple[list[Kpi], list[KpiQuery]]:
    return read_queries(definitions, load_settings().target_dir)


@pytest.fixture
def house(tmp_path):
    con = duckdb.connect(str(tmp_path / "warehouse.duckdb"))
    for table, rows in ROWS.items():
        values, columns = rows.rsplit("(", 1)
        con.execute(f"create schema if not exists {table.split('.')[0]}")
        con.execute(f"create table {table} as select * from (values {values}) as t ({columns}")
    yield con
    con.close()


@pytest.fixture
def values(house, figures):
    compute(house, *figures)

    def ask(kpi: str, grain: str = "total", dimension: str = "all") -> dict[str, tuple]:
        rows = house.execute(
            "select period_start::varchar, dimension_value, value, numerator, denominator, n "
            "from kpis.kpi_values where (kpi, period_grain, dimension) = ($1, $2, $3) order by all",
            [kpi, grain, dimension],
        ).fetchall()
        return {(row[0] if dimension == "all" else row[1]): row[2:] for row in rows}

    return ask


@pytest.mark.parametrize(
    ("kpi", "value", "numerator", "denominator", "n"),
    [
        ("nps", 25, 100, 4, 4),
        ("csat", 0.5, 1, 2, 2),
        ("ces", 4, 4, 1, 1),
        ("review_score", 4, 4, 1, 1),
        ("cases", 4, None, None, 4),
        ("first_response_minutes", 30, None, None, 3),
        ("resolution_hours", 3, None, None, 2),
        ("first_contact_resolution_rate", 0.5, 1, 2, 2),
        ("reopen_rate", 0.25, 1, 4, 4),
        ("on_time_delivery_rate", 0.5, 1, 2, 2),
        ("return_rate", 1 / 4, 1, 4, 4),
        ("cancellation_rate", 0.2, 1, 5, 5),
        ("orders", 5, None, None, 5),
        ("revenue", 168, None, None, 4),
        ("average_order_value", 60, 180, 3, 3),
        ("sessions", 2, None, None, 2),
        ("order_session_rate", 0.5, 1, 2, 2),
        ("spend", 30, None, None, 2),
        ("claimed_return_on_ad_spend", 4 / 3, 40, 30, 2),
        ("cost_per_click", 1.5, 30, 20, 20),
        ("return_on_own_orders", 6, 180, 30, 3),
        ("customers", 4, None, None, 4),
        ("reachable_share", 0.5, 2, 4, 4),
        # The trailing year is not added up over months: the last month holds.
        ("repeat_purchase_rate", 0.5, 3, 6, 6),
        ("new_buyers", 5, None, None, 5),
    ],
)
def test_the_total_of_a_figure_is_what_the_rows_add_up_to(
    values, kpi, value, numerator, denominator, n
):
    (found,) = values(kpi).values()

    assert found == pytest.approx((value, numerator, denominator, n))


def test_a_figure_by_month_and_by_the_countries_of_its_facts(values):
    assert values("revenue", "month") == {
        "2026-01-01": (150, None, None, 2),
        "2026-02-01": (18, None, None, 2),
    }
    assert values("cancellation_rate", "month", "country") == {
        "DK": (0, 0, 2, 2),
        "SE": (0, 0, 1, 1),
        "unknown": (0.5, 1, 2, 2),
    }


def test_the_parts_of_the_revenue_add_up_to_it_where_a_store_only_took_goods_back(house, figures):
    house.execute(
        "insert into journey.orders values "
        "('o7', 'k1', date '2026-02-03', 'store', 's3', false, true, -20.00, null, false)"
    )
    compute(house, *figures)

    def of_february(kpi: str, dimension: str) -> dict[str, list]:
        rows = house.execute(
            "select dimension_value, value, n from kpis.kpi_values where period_grain = 'month' "
            "and (kpi, dimension, period_start) = ($1, $2, date '2026-02-01')",
            [kpi, dimension],
        ).fetchall()
        return {part: told for part, *told in rows}

    assert of_february("revenue", "store") == {"s2": [18, 2], "s3": [-20, 0]}
    assert of_february("revenue", "all") == {"all": [-2, 2]}
    assert set(of_february("orders", "store")) == {"s2"}
    assert set(of_february("average_order_value", "store")) == {"s2"}


def test_campaigns_of_two_platforms_are_two_whatever_their_ids(values):
    assert values("spend", "month", "campaign") == {
        "google/1": (20, None, None, 1),
        "meta/1": (10, None, None, 1),
    }


def test_weeks_begin_on_monday(values):
    assert list(values("spend", "week")) == ["2025-12-29"]


def test_a_case_without_messages_is_judged_neither_way(house, figures):
    house.execute(
        """
        insert into experience.cases values
        ('c5', 'k2', date '2026-01-09', 'phone', 'other', null, 1.0, false, null, 0, 0),
        ('c6', 'k2', date '2026-01-09', 'phone', 'other', null, 1.0, false, false, 1, 0)
        """
    )
    compute(house, *figures)
    assert house.execute(
        "select numerator, denominator from kpis.kpi_values where period_grain = 'total' "
        "and kpi = 'first_contact_resolution_rate'"
    ).fetchall() == [(1, 2)]


def test_figures_that_have_no_whole_have_no_row_for_all(values):
    assert values("consent_rate") == {}
    assert values("consent_rate", "total", "purpose") == {"marketing": (0.75, 3, 4, 4)}
    assert values("channel_consent_rate", "month", "purpose_channel") == {
        "marketing/email": (0.5, 2, 4, 4),
        "marketing/sms": (0.25, 1, 4, 4),
    }
    assert values("stage_conversion_rate", "total", "stage") == {"explore": (0.5, 4, 8, 8)}
    assert values("segment_members", "month", "segment") == {"champions": (7, None, None, 7)}


def test_nothing_to_divide_by_is_no_row_and_no_error(values):
    assert set(values("click_rate", "month", "platform")) == {"meta"}
    assert set(values("cost_per_click", "month", "platform")) == {"meta"}


def test_what_nobody_records_has_no_figure_and_a_quiet_month_has_a_0(house, figures):
    compute(house, *figures)
    return_rates = (
        "select period_start::varchar, value from kpis.kpi_values where kpi = 'return_rate' "
        "and period_grain = 'month' and dimension = 'all' order by all"
    )
    assert house.execute(return_rates).fetchall() == [("2026-01-01", 0.5), ("2026-02-01", 0)]
    house.execute("update journey.orders set is_returned = false, is_cancelled = false")
    house.execute("update experience.cases set reopened_count = 0")
    compute(house, *figures)
    told = dict(house.execute("select kpi, max(value) from kpis.kpi_values group by 1").fetchall())
    assert not {"return_rate", "reopen_rate"} & set(told)
    assert told["cancellation_rate"] == 0


def test_reachable_customers_are_0_only_where_there_were_some_before(house, figures):
    def of_months() -> list[tuple]:
        compute(house, *figures)
        return house.execute(
            "select period_start::varchar, value from kpis.kpi_values where dimension = 'all' "
            "and kpi = 'reachable_share' and period_grain = 'month' order by all"
        ).fetchall()

    assert of_months() == [("2026-02-01", 0.5)]
    house.execute("update journey.as_of set as_of_date = date '2026-03-10'")
    house.execute(
        "update kpis.customer_counts set reachable_count = 0, as_of_date = date '2026-03-10'"
    )
    assert of_months() == [("2026-02-01", 0.5), ("2026-03-01", 0)]
    # As an earlier version left them where nobody was ever asked.
    house.execute("update kpis.kpi_values set value = 0, numerator = 0")
    assert of_months() == []


def test_empty_tables_make_no_rows(house, figures):
    for table in ROWS:
        house.execute(f"delete from {table}")

    assert compute(house, *figures) == 0
    (definitions,) = house.execute("select count(*) from kpis.definitions").fetchall()[0]
    assert definitions > 25


def test_the_same_rows_give_the_same_table(house, figures):
    kpis, queries = figures
    contents = []
    for _ in range(2):
        compute(house, kpis, queries)
        contents.append(house.execute("from kpis.kpi_values").fetchall())

    assert contents[0] == contents[1]


def test_a_period_is_complete_from_its_last_day_on(house, figures):
    kpis, queries = figures
    complete = {}
    for as_of_date in ("2026-02-27", "2026-02-28", "2026-03-01"):
        house.execute(f"update journey.as_of set as_of_date = date '{as_of_date}'")
        compute(house, kpis, queries)
        complete[as_of_date] = house.execute(
            "select distinct is_complete from kpis.kpi_values "
            "where kpi = 'orders' and period_grain = 'month' and period_start = '2026-02-01'"
        ).fetchall()
    assert complete == {
        "2026-02-27": [(False,)],
        "2026-02-28": [(True,)],
        "2026-03-01": [(True,)],
    }
    assert house.execute(
        "select distinct is_complete from kpis.kpi_values where period_grain = 'total'"
    ).fetchall() == [(True,)]


def test_the_first_period_of_a_figure_is_not_complete_unless_it_is_a_snapshot(house, figures):
    # Buying is known from December on, exploring from January, and both end with February.
    house.execute("insert into kpis.stage_conversions values ('3', date '2025-12-01', 'buy', 4, 1)")
    house.execute("insert into kpis.stage_conversions values ('4', date '2026-01-01', 'buy', 4, 1)")
    house.execute("update journey.as_of set as_of_date = date '2026-04-30'")
    compute(house, *figures)

    def told(kpi: str, part: str = "all", grain: str = "month") -> list[tuple]:
        return house.execute(
            "select distinct strftime(period_start, '%m-%d'), is_complete from kpis.kpi_values "
            "where (kpi, dimension_value, period_grain) = ($1, $2, $3) order by period_start",
            [kpi, part, grain],
        ).fetchall()

    assert told("orders") == [("01-01", False), ("02-01", True)]
    # Its orders begin in February, and the data earlier.
    assert told("orders", "unknown") == [("02-01", True)]
    assert told("spend", grain="week") == [("12-29", False)]
    assert told("spend", grain="total") == [("01-01", True)]
    assert told("stage_conversion_rate", "buy") == [("12-01", False), ("01-01", True)]
    assert told("stage_conversion_rate", "explore") == [("01-01", False), ("02-01", True)]
    assert told("customers") == [("02-01", True)]


def test_a_period_is_complete_when_its_last_day_has_settled(house, figures):
    complete = {}
    for as_of_date in ("2026-03-29", "2026-03-30"):
        house.execute(f"update journey.as_of set as_of_date = date '{as_of_date}'")
        compute(house, *figures)
        complete[as_of_date] = house.execute(
            "select is_complete from kpis.kpi_values where kpi = 'stage_conversion_rate' "
            "and period_grain = 'month' and period_start = '2026-02-01'"
        ).fetchall()
    assert complete == {"2026-03-29": [(False,)], "2026-03-30": [(True,)]}


def test_stage_conversion_settles_when_the_window_of_its_last_day_is_over(figures):
    macro = (DBT_PROJECT_DIR / "macros" / "stages.sql").read_text()
    (days,) = re.findall(r"macro stage_window_days.*?return\((\d+)\)", macro, re.DOTALL)
    assert {kpi.name: kpi.settles_after_days for kpi in figures[0] if kpi.settles_after_days} == {
        "stage_conversion_rate": int(days)
    }


def test_figures_that_an_earlier_version_kept_are_told_to_be_complete_too(house, figures):
    kpis, queries = figures
    compute(house, kpis, queries)
    house.execute("alter table kpis.kpi_values drop is_complete")
    house.execute("update journey.as_of set as_of_date = date '2026-03-10'")
    house.execute("delete from kpis.segment_sizes")
    compute(house, kpis, queries)
    assert house.execute(
        "select distinct period_start::varchar, is_complete from kpis.kpi_values "
        "where kpi = 'segment_members' and period_grain = 'month'"
    ).fetchall() == [("2026-02-01", True)]


def test_a_snapshot_of_nothing_keeps_the_months_before(house, figures):
    kpis, queries = figures
    compute(house, kpis, queries)
    house.execute("update journey.as_of set as_of_date = date '2026-03-10'")
    house.execute("delete from kpis.segment_sizes")
    for _ in range(2):
        compute(house, kpis, queries)
        assert house.execute(
            "select distinct period_start::varchar from kpis.kpi_values "
            "where kpi = 'segment_members' and period_grain = 'month'"
        ).fetchall() == [("2026-02-01",)]


def test_a_snapshot_keeps_the_months_before_as_they_were(house, figures):
    kpis, queries = figures
    compute(house, kpis, queries)
    for table in ("customer_counts", "consent_coverage", "segment_sizes"):
        house.execute(f"update kpis.{table} set as_of_date = date '2026-03-10'")
    house.execute("update journey.as_of set as_of_date = date '2026-03-10'")
    house.execute("update kpis.customer_counts set customer_count = customer_count + 1")
    house.execute("delete from journey.orders where event_date < date '2026-02-01'")
    contents = []
    for _ in range(2):
        compute(house, kpis, queries)
        contents.append(house.execute("from kpis.kpi_values").fetchall())

    found = house.execute(
        "select period_grain, period_start::varchar, value from kpis.kpi_values "
        "where kpi = 'customers' and dimension = 'all' order by all"
    ).fetchall()
    assert found == [
        ("month", "2026-02-01", 4),
        ("month", "2026-03-01", 6),
        ("total", "2026-03-01", 6),
    ]
    # What is counted over a period is counted anew.
    (months,) = house.execute(
        "select list(distinct period_start::varchar) from kpis.kpi_values "
        "where kpi = 'orders' and period_grain = 'month'"
    ).fetchall()[0]
    assert months == ["2026-02-01"]
    assert contents[0] == contents[1]
    assert set(house.execute("select kpi from kpis.definitions where is_snapshot").fetchall()) == {
        (name,)
        for name in (
            "customers",
            "reachable_share",
            "consent_rate",
            "channel_consent_rate",
            "segment_members",
        )
    }


def test_the_table_of_a_run_shows_every_figure_as_people_write_it(house, figures, monkeypatch):
    compute(house, *figures)
    # Of a first month nobody knows.
    house.execute(
        "update kpis.kpi_values set is_complete = true where period_start = date '2026-01-01'"
    )
    (path,) = house.execute("select path from duckdb_databases() where not internal").fetchall()[0]
    house.close()
    monkeypatch.setattr(cli, "console", Console(file=StringIO(), width=100))

    cli._print_kpis(Path(path))

    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in cli.console.file.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert lines[0] == ["Net promoter score", "2026-01", "25 points", "4"]
    shown = {line[0]: line[1:] for line in lines}
    assert shown["Revenue"] == ["2026-01", "150 DKK", "2"]
    assert shown["On-time delivery"] == ["2026-01", "50.0%", "2"]
    assert shown["Customers"] == ["now", "4 customers", "4"]
    assert shown["Reachable customers"] == ["now", "50.0%", "4"]
    assert shown["Consent rate: marketing"] == ["now", "75.0%", "4"]
    assert shown["Cost per click"] == ["2026-01", "1.50 DKK", "20"]
    assert list(shown).index("Service cases") < list(shown).index("Revenue")


def test_every_figure_says_what_it_means(house, figures):
    compute(house, *figures)

    assert (
        house.execute(
            "select kpi from kpis.definitions where title is null or length(description) < 20 "
            "or unit is null or better is null"
        ).fetchall()
        == []
    )


def test_every_figure_equals_what_metricflow_answers_when_asked_for_it_alone(
    house, figures, definitions
):
    """The ratio itself is asked for here; kpi_values divides the two parts."""
    kpis, queries = figures
    compute(house, kpis, queries)
    alone = [replace(kpi, numerator=None, denominator=None, n=kpi.name) for kpi in kpis]
    compared = 0
    for query in render_queries(definitions, alone):
        group = [name for name in (query.period_column, query.dimension_column) if name]
        for name in query.kpis:
            columns = ", ".join([*group, name])
            asked = {
                row[:-1]: float(row[-1])
                for row in house.execute(f"select {columns} from ({query.sql})").fetchall()
                if row[-1]
            }
            kept = {
                tuple(
                    part
                    for part, shown in zip(
                        row, (query.period_column, query.dimension_column), strict=False
                    )
                    if shown
                ): row[-1]
                for row in house.execute(
                    "select period_start::timestamp, nullif(dimension_value, 'unknown'), value "
                    "from kpis.kpi_values where value <> 0 "
                    "and (kpi, period_grain, dimension) = ($1, $2, $3)",
                    [name, query.grain, query.dimension],
                ).fetchall()
            }
            assert kept == pytest.approx(asked), (name, query.grain, query.dimension)
            compared += len(kept)
    assert compared > 150


def test_the_asset_waits_for_every_table_that_its_queries_read(definitions):
    manifest = json.loads(definitions)
    read = {
        (model["node_relation"]["schema_name"], model["node_relation"]["alias"])
        for model in manifest["semantic_models"]
    }

    assert {tuple(path) for path in DEPS} == read


def test_no_query_writes(figures, definitions):
    kpis, queries = figures

    assert len(queries) < len(kpis) * 3
    for query in queries:
        (statement,) = duckdb.extract_statements(query.sql)
        assert statement.type == duckdb.StatementType.SELECT
    assert render_queries(definitions, kpis) == queries
