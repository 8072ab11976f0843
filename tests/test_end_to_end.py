"""The story: a company's exports go in at the front door, and the published file comes out."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from cx_pipeline.demo.simulator import simulate
from cx_pipeline.serving.catalogue import is_published
from cx_pipeline.settings import PROJECT_DIR, load_settings
from cx_pipeline.warehouse.instance import dagster_instance
from tests.conftest import CX, Company, run_cx

# Columns that say when, and in which load, something came or was built; all else is the same after
# any history.
RUN_COLUMNS = {
    "_load_id",
    "_loaded_at",
    "load_id",
    "loaded_at",
    "first_load_id",
    "first_loaded_at",
    "rejected_at",
    "last_load_id",
    "valid_from",
    "valid_to",
    "changed_at",
    "effective_at",
    "id_change_key",
    "consent_log_id",
    "map_at",
    "noted_at",
    "judged_on",
}


def table_hashes(company: Company) -> dict[str, tuple]:
    """Return row count and an order-free hash of every table and view in the warehouse."""
    with duckdb.connect(str(company.data_dir / "warehouse.duckdb")) as connection:
        tables = connection.execute(
            "select distinct schema_name, table_name from duckdb_columns() "
            "where not internal and schema_name not in ('sources', 'main') "
            # Hashes of the loads and the config folder; whom the last run touched or changed.
            "and table_name not in ('resolved_evidence', 'int_customer_360__touched_profiles', "
            "'int_customer_360__orders', 'int_customer_360__products', 'int_customer_360__reach', "
            "'int_customer_360__touchpoints', 'int_customer_360__last_touchpoints') "
            "and table_name not like 'changed_profiles_of_%'"
        ).fetchall()
        hashes = {}
        for schema, table in tables:
            columns = connection.execute(
                "select column_name from duckdb_columns() "
                "where schema_name = ? and table_name = ? order by all",
                [schema, table],
            ).fetchall()
            kept = [f'"{name}"' for (name,) in columns if name not in RUN_COLUMNS]
            sql = (
                f"select count(*), bit_xor(hash({', '.join(kept)})), "
                f'sum(hash({", ".join(kept)})) from {schema}."{table}"'
            )
            hashes[f"{schema}.{table}"] = connection.execute(sql).fetchall()[0]
        return hashes


def differing(one: dict[str, tuple], other: dict[str, tuple]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def copy_of(company: Company, folder: Path, *, without: tuple[str, ...] = ()) -> Company:
    ignore = shutil.ignore_patterns("dagster", "logs", *without)
    shutil.copytree(company.data_dir, folder, ignore=ignore, symlinks=True)
    return Company(folder)


def truth(company: Company, name: str) -> list[dict]:
    path = company.data_dir / "truth" / name
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return duckdb.connect().read_parquet(str(path)).fetchdf().to_dict("records")


def test_the_demo_fills_every_published_table(demo_company):
    counts = demo_company.query(
        "select schema_name || '.' || table_name, row_count from publication.manifest"
    )
    may_be_empty = {"identity.rejected_links"}
    assert len(counts) > 30
    assert [name for name, rows in counts if not rows and name not in may_be_empty] == []


def test_every_row_read_is_landed_dropped_as_a_repeat_or_set_aside(demo_company):
    rows = demo_company.ask_warehouse(
        "select sum(rows_read), sum(rows_landed + rows_deduplicated + rows_quarantined), "
        "sum(rows_quarantined) from staging.load_balance"
    )
    read, accounted_for, quarantined = rows[0]
    assert read == accounted_for > 5_000
    assert quarantined > 0


def test_a_second_run_changes_nothing(demo_company):
    before = table_hashes(demo_company)
    version = demo_company.query("select version from publication.version")
    done = run_cx("run", "--data", demo_company.data_dir)
    assert "Nothing new" in done.stdout
    assert differing(before, table_hashes(demo_company)) == []
    assert demo_company.query("select version from publication.version") == version


def test_a_killed_run_leaves_the_published_file_whole_and_the_next_one_completes(
    demo_company, tmp_path
):
    company = copy_of(demo_company, tmp_path / "killed")
    before = company.published.resolve().read_bytes()
    environment = {**os.environ, "COLUMNS": "120"}
    process = subprocess.Popen(
        [str(CX), "run", "--full-refresh", "--data", str(company.data_dir)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not _log_says(company, r"journey.*products"):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert company.published.resolve().read_bytes() == before
    done = run_cx("run", "--data", company.data_dir)
    assert "Nothing new" not in done.stdout
    assert "kpis done" in done.stdout
    assert "A full refresh was not of everything or did not end well" in done.stdout
    assert differing(table_hashes(demo_company), table_hashes(company)) == []


def _log_says(company: Company, pattern: str) -> bool:
    logs = sorted((company.data_dir / "logs").glob("*-*.log"))
    return any(re.search(pattern, log.read_text(errors="replace")) for log in logs)


def test_one_more_day_gives_what_a_build_from_the_lake_alone_gives(demo_company, tmp_path):
    company = copy_of(demo_company, tmp_path / "later")
    [(last_day,)] = demo_company.query("select as_of_date from journey.as_of")
    next_day = last_day + timedelta(days=1)
    simulate(
        company.data_dir / "exports",
        company.data_dir / "truth",
        customers=300,
        seed=1,
        days=46,
        until=next_day,
    )
    run_cx("run", "--data", company.data_dir)
    orders = "select count(*), max(event_date) from journey.orders"
    assert company.query(orders)[0] > demo_company.query(orders)[0]
    full = copy_of(company, tmp_path / "full", without=("warehouse.*", "serving"))
    run_cx("run", "--data", full.data_dir)
    # How long a customer has been in a segment is history, which only the first company has, and so
    # is the day on which a customer's row was built; what customers tells of it is compared.
    history = {"segments.memberships", "customer_360.customers_as_built"}
    if next_day.day == 1:
        # Only the first company knows how many customers there were last month.
        history.add("kpis.kpi_values")
    assert set(differing(table_hashes(company), table_hashes(full))) <= history


def test_no_column_of_the_published_file_holds_an_email_a_phone_or_a_name(demo_company):
    with duckdb.connect(str(demo_company.data_dir / "warehouse.duckdb")) as connection:
        planted = connection.execute(
            "select distinct email, phone, first_name || ' ' || last_name, street "
            "from staging.stg_contacts"
        ).fetchall()
    values = {value for row in planted for value in row if value and len(value) > 5}
    assert len(values) > 300

    def found(path: Path) -> set[str]:
        hits = set()
        with duckdb.connect(str(path), read_only=True) as connection:
            columns = connection.execute(
                "select schema_name, table_name, column_name from duckdb_columns() "
                "where not internal and data_type in ('VARCHAR', 'JSON', 'VARCHAR[]')"
            ).fetchall()
            for schema, table, column in columns:
                sql = f'select distinct "{column}"::varchar from {schema}."{table}"'
                text = "\n".join(value for (value,) in connection.execute(sql).fetchall() if value)
                hits |= {value for value in values if value in text}
        raw = path.read_bytes()
        return hits | {value for value in values if value.encode() in raw}

    # The scan must find what is there before it may say that nothing is.
    assert len(found(demo_company.data_dir / "warehouse.duckdb")) > 300
    assert found(demo_company.published.resolve()) == set()


def test_the_runs_own_logs_and_events_hold_no_personal_data(demo_company):
    emails = {
        email.encode()
        for (email,) in demo_company.ask_warehouse(
            "select distinct email from staging.stg_contacts where email is not null"
        )
    }
    for folder in ("dagster", "logs", "target"):
        for path in (demo_company.data_dir / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not [email for email in emails if email in content], path


def test_the_secret_of_the_keyed_hash_is_nowhere_in_the_data_folder(demo_company):
    secret = os.environ["CX_IDENTITY_KEY"].encode()
    for path in demo_company.data_dir.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def test_a_data_folder_takes_only_one_company(demo_company, tmp_path):
    other = tmp_path / "config"
    shutil.copytree(PROJECT_DIR / "config", other)
    company_yml = other / "company.yml"
    company_yml.write_text(re.sub(r"(?m)^company:.*$", "company: Another", company_yml.read_text()))
    done = run_cx("run", "--config", other, "--data", demo_company.data_dir, check=False)
    assert done.returncode == 1
    assert "--data" in done.stdout


def test_status_tells_what_is_fresh_and_what_was_published(demo_company):
    said = run_cx("status", "--data", demo_company.data_dir).stdout
    assert "success" in said
    assert "version 1" in said
    assert "customer_360.customers" in said


def test_validate_finds_nothing_wrong_with_the_demo(demo_company):
    assert "in order" in run_cx("validate", "--data", demo_company.data_dir).stdout


def test_a_schedule_a_sensor_and_freshness_stand_in_the_definitions():
    from cx_pipeline.definitions import RELIED_ON, defs

    assert {schedule.name for schedule in defs.schedules} == {"daily"}
    assert {sensor.name for sensor in defs.sensors} == {"file_drops"}
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    assert all(specs[key].freshness_policy for key in RELIED_ON)


def test_yesterday_is_the_demos_last_day(demo_company):
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    (as_of,) = demo_company.query("select as_of_date from journey.as_of")[0]
    # A day less when the suite runs over midnight.
    assert yesterday - timedelta(days=1) <= as_of <= yesterday


def test_the_ui_says_what_each_published_column_means(demo_company):
    settings = load_settings(data_dir=demo_company.data_dir)
    described = 0
    with dagster_instance(settings) as instance:
        for key in instance.all_asset_keys():
            made = instance.get_latest_materialization_event(key)
            if made is None or not is_published(*key.path[:2]):
                continue
            schema = made.asset_materialization.metadata["dagster/column_schema"].value
            for column in schema.columns:
                assert column.description, f"{key.to_user_string()}.{column.name}"
                described += 1
    assert described > 300
