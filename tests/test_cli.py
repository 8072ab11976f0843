"""What `cx` says when something is wrong: one sentence with a remedy, and no traceback."""

import sys

import duckdb
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.error import serializable_error_info_from_exc_info
from typer.testing import CliRunner

from cx_pipeline import cli
from cx_pipeline.settings import PROJECT_DIR
from cx_pipeline.warehouse.instance import error_message
from tests.conftest import IDENTITY_KEY


@pytest.fixture
def cx(monkeypatch, tmp_path):
    monkeypatch.setenv("CX_IDENTITY_KEY", IDENTITY_KEY)
    # cx sets these for dbt and Dagster; they must not reach other tests.
    monkeypatch.setenv("CX_CONFIG_DIR", str(PROJECT_DIR / "config"))
    monkeypatch.setenv("CX_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments):
        result = CliRunner().invoke(cli.app, list(map(str, arguments)))
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return call


@pytest.mark.parametrize("expression", ["regexp_replac(Mail, '[/a]+', '')", "nope(Mail, '[a-z]')"])
def test_what_config_says_is_quoted_as_it_stands(cx, tmp_path, expression):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "people.csv").write_text("Id,Mail\n1,a@example.org\n")
    (tmp_path / "sources.yml").write_text(
        "sources:\n  shop:\n    path: shop\n    tables:\n      people:\n        files: people.csv\n"
        "        entities:\n          contact:\n            columns:\n"
        f'              contact_id: Id\n              email: "{expression}"\n'
    )
    result = cx("validate", "--config", tmp_path, "--data", tmp_path / "data")
    assert result.exit_code == 1
    assert f"`{expression}`" in result.output


def test_validate_tells_what_a_config_folder_takes_from_the_demo_company(cx, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "people.csv").write_text("Id,Mail\n1,a@example.org\n")
    (tmp_path / "sources.yml").write_text(
        "sources:\n  shop:\n    path: shop\n    tables:\n      people:\n        files: people.csv\n"
        "        entities: {contact: {columns: {contact_id: Id, email: Mail}}}\n"
    )
    (tmp_path / "segments").mkdir()
    result = cx("validate", "--config", tmp_path, "--data", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "company.yml, purposes.yml, journey_stages.yml, identity_rules.yml." in result.output
    assert "segments" not in result.output


def test_a_mistyped_folder_is_named_before_anything_is_written(cx, tmp_path):
    for command in ("run", "validate"):
        result = cx(command, "--config", tmp_path / "nope", "--data", tmp_path / "data")
        assert result.exit_code == 1
        assert f"there is no folder {tmp_path / 'nope'}" in result.output
    assert not (tmp_path / "data").exists()
    assert "there is no folder" in cx("status", "--data", tmp_path / "nope").output


@pytest.mark.parametrize(
    ("options", "limit"), [(("--customers", 9_000_000), "8388608"), (("--days", 99_999), "4920")]
)
def test_a_demo_company_that_cannot_be_is_told(cx, tmp_path, options, limit):
    result = cx("demo", *options, "--data", tmp_path / "data")
    assert result.exit_code == 1
    assert f"to {limit}" in result.output


def test_another_demo_company_is_refused_where_one_was_landed(cx, tmp_path):
    lake = tmp_path / "data" / "lake" / "erp"
    lake.mkdir(parents=True)
    (lake / "rows.parquet").touch()
    result = cx("demo", "--customers", 100, "--days", 30, "--data", tmp_path / "data")
    assert result.exit_code == 1
    assert "holds landed rows of a company that this one does not carry on" in result.output
    assert not (tmp_path / "data" / "exports").exists()


def test_a_data_folder_that_cannot_be_is_told(cx, tmp_path):
    (tmp_path / "a_file").touch()
    result = cx("run", "--data", tmp_path / "a_file")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_a_damaged_published_file_is_told_with_its_remedy(cx, tmp_path):
    serving = tmp_path / "data" / "serving"
    serving.mkdir(parents=True)
    (serving / "bi.duckdb").write_bytes(b"no database" * 1000)
    assert "damaged; `cx run --select serving`" in cx("status", "--data", tmp_path / "data").output
    with pytest.raises(cli.typer.Exit):
        cli._print_kpis(serving / "bi.duckdb")


@pytest.mark.parametrize(
    ("is_complete", "title", "value"),
    [
        (True, "KPIs of the last whole month", "10"),
        (False, "KPIs of all days", "30"),
    ],
)
def test_a_run_shows_the_last_whole_month(tmp_path, capsys, is_complete, title, value):
    published = tmp_path / "bi.duckdb"
    with duckdb.connect(str(published)) as connection:
        connection.execute(
            f"""
            create schema kpis;
            create schema customer_360;
            create table kpis.kpi_values as select 'orders' as kpi, 'all' as dimension,
                'all' as dimension_value, 1 as n, false as is_snapshot, * from (values
                    (10, 'month', date '2026-10-01', {is_complete}),
                    (20, 'month', date '2026-11-01', false), (30, 'total', null, true)
                ) as t (value, period_grain, period_start, is_complete);
            create table kpis.definitions as
                select 'orders' as kpi, 'Orders' as title, 'orders' as unit, 1 as position;
            create table customer_360.customers as select 'DKK' as currency_code;
            """
        )
    cli._print_kpis(published)
    shown = capsys.readouterr().out
    assert title in shown
    assert f"{value} orders" in shown


def test_an_interrupted_run_is_told_in_words():
    try:
        raise DagsterExecutionInterruptedError
    except DagsterExecutionInterruptedError:
        error = serializable_error_info_from_exc_info(sys.exc_info())
    assert error_message(error).startswith("The run was interrupted.")
