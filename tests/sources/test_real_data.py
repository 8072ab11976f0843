"""Two real data sets come through the mapping with the figures of their own files."""

from pathlib import Path

import duckdb
import pytest

from cx_pipeline.settings import PROJECT_DIR, load_settings
from cx_pipeline.sources.landing import land
from cx_pipeline.sources.validate import validate
from cx_pipeline.sources.views import register

EXAMPLES = PROJECT_DIR / "config" / "examples"
DATA = (PROJECT_DIR / ".." / "shared" / "data").resolve()
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def _loaded(name: str, folder: Path) -> duckdb.DuckDBPyConnection:
    settings = load_settings(EXAMPLES / name, folder)
    settings.exports_dir.symlink_to(DATA / name)
    assert validate(settings) == []
    connection = duckdb.connect()
    assert [outcome.error for outcome in land(connection, settings) if outcome.error] == []
    register(connection, settings)
    return connection


def test_olist_arrives_with_its_own_figures(tmp_path: Path) -> None:
    connection = _loaded("olist", tmp_path)

    def one(sql: str) -> tuple:
        return connection.execute(sql).fetchall()[0]

    folder = DATA / "olist"
    problems = " union all ".join(
        f"select _problems from sources.{name}"
        for name in ("contacts", "orders", "order_lines", "payments", "deliveries", "reviews")
    )
    assert one(f"select count(*) from ({problems}) where len(_problems) > 0") == (0,)
    assert one("select count(*), count(distinct order_id) from sources.orders") == (99441, 99441)
    assert one("select count(*), count(distinct crm_id) from sources.contacts") == (96096, 96096)
    assert one("select count(*), sum(amount)::double from sources.payments") == (
        103886,
        16008872.12,
    )
    assert one("select count(*) from sources.order_lines") == (112650,)
    assert one("select count(*), round(avg(rating), 4) from sources.reviews") == (99224, 4.0864)
    assert one("select count(distinct review_id) from sources.reviews") == (99224,)
    # The delivered day is counted in the company's own time zone.
    assert one(
        """
        select
            count(*),
            count(*) filter (
                timezone('America/Sao_Paulo', timezone('UTC', delivered_at))::date
                <= promised_delivery_date
            ),
        from sources.deliveries
        where delivered_at is not null
        """
    ) == one(
        f"""
        select
            count(*),
            count(*) filter (
                order_delivered_customer_date::date <= order_estimated_delivery_date::date
            ),
        from '{folder}/olist_orders_dataset.parquet'
        where order_delivered_customer_date is not null
        """
    )
    assert one(
        """
        select count(*) from (
            select crm_id from sources.orders union all select crm_id from sources.reviews
        )
        anti join sources.contacts using (crm_id)
        """
    ) == (0,)
    assert one("select count(*) from sources.products where category is null") == (610,)


def test_complete_journey_arrives_with_its_own_figures(tmp_path: Path) -> None:
    connection = _loaded("completejourney", tmp_path)

    def one(sql: str) -> tuple:
        return connection.execute(sql).fetchall()[0]

    assert one(
        "select count(*), count(distinct order_line_id), sum(line_amount)::double "
        "from sources.order_lines where len(_problems) = 0"
    ) == (1469307, 1469307, 4596039.58)
    assert one("select count(*), sum(total_amount)::double from sources.orders") == (
        155848,
        4596039.58,
    )
    assert one("select count(*) from sources.contacts") == (2469,)
    assert one(
        "select distinct year(timezone('America/New_York', timezone('UTC', ordered_at))) "
        "from sources.orders"
    ) == (2017,)
