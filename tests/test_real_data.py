"""Two real data sets, from mapping to published file; figures against the input's own."""

import duckdb
import pytest

from cx_pipeline.settings import PROJECT_DIR
from tests.conftest import Company, run_cx

DATA = PROJECT_DIR / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def run_example(name: str, tmp_path_factory: pytest.TempPathFactory) -> Company:
    company = Company(tmp_path_factory.mktemp(name))
    (company.data_dir / "exports").symlink_to((DATA / name).resolve())
    run_cx("run", "--config", PROJECT_DIR / "config/examples" / name, "--data", company.data_dir)
    return company


def of_input(sql: str) -> tuple:
    """Ask the input itself; `{name}` is the folder of the data set."""
    return duckdb.connect().execute(sql.format(data=DATA)).fetchall()[0]


@pytest.fixture(scope="module")
def olist(tmp_path_factory) -> Company:
    return run_example("olist", tmp_path_factory)


@pytest.fixture(scope="module")
def completejourney(tmp_path_factory) -> Company:
    return run_example("completejourney", tmp_path_factory)


def test_olists_orders_and_persons_are_all_there(olist):
    assert olist.query("select count(*), count(distinct order_id) from journey.orders") == [
        (99_441, 99_441)
    ]
    assert olist.query("select count(*) from customer_360.customers") == [(96_096,)]
    assert olist.query("select count(*) from customer_360.customers where order_count > 1")[0] > (
        2_500,
    )


def test_olists_mean_review_score_is_the_inputs(olist):
    count, mean = of_input(
        "select count(*), avg(review_score) from '{data}/olist/olist_order_reviews_dataset.parquet'"
    )
    assert olist.query("select count(*) from experience.feedback") == [(count,)]
    (published,) = olist.query("select avg(score) from experience.feedback")[0]
    assert published == pytest.approx(mean, abs=1e-12)
    (kpi,) = olist.query(
        "select value from kpis.kpi_values where kpi = 'review_score' "
        "and period_grain = 'total' and dimension = 'all'"
    )[0]
    assert kpi == pytest.approx(mean, abs=1e-12)


def test_olists_on_time_rate_is_the_inputs(olist):
    on_time, delivered = of_input(
        "select count(*) filter ("
        "order_delivered_customer_date::date <= order_estimated_delivery_date::date), count(*) "
        "from '{data}/olist/olist_orders_dataset.parquet' "
        "where order_delivered_customer_date is not null"
    )
    assert olist.query(
        "select count(*) filter (is_on_time), count(*) "
        "from journey.deliveries where delivered_at is not null"
    ) == [(on_time, delivered)]


def test_what_olist_does_not_send_is_empty_and_not_made_up(olist):
    for table in ("consent.consent_state", "media.campaign_days", "experience.cases"):
        assert olist.query(f"select count(*) from {table}") == [(0,)]
    kpis = {kpi for (kpi,) in olist.query("select distinct kpi from kpis.kpi_values")}
    assert kpis.isdisjoint({"nps", "spend", "first_response_minutes"})
    marketing = "select count(*) from segments.memberships where purpose = 'marketing'"
    assert olist.query(marketing) == [(0,)]


def test_completejourneys_baskets_lines_and_sales_are_all_there(completejourney):
    households, baskets, lines, sales = of_input(
        "select count(distinct household_id), count(distinct basket_id), count(*), "
        "sum(sales_value)::decimal(18, 2) "
        "from '{data}/completejourney/transactions.parquet'"
    )
    assert (households, baskets, lines) == (2_469, 155_848, 1_469_307)
    assert completejourney.query("select count(*) from customer_360.customers") == [(households,)]
    assert completejourney.query("select count(*), sum(total_amount) from journey.orders") == [
        (baskets, sales)
    ]
    assert completejourney.query("select count(*), sum(line_amount) from journey.order_lines") == [
        (lines, sales)
    ]
