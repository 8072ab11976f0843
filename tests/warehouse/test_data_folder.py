"""Whose a data folder is, what its warehouse was built by, and which of its runs are dead."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from cx_pipeline.settings import PROJECT_DIR, Settings, load_settings
from cx_pipeline.warehouse import fingerprint, instance, run
from cx_pipeline.warehouse.assets import build_dbt_assets
from cx_pipeline.warehouse.company import DataFolderError, claim_data_folder
from cx_pipeline.warehouse.config_files import ConfigError
from cx_pipeline.warehouse.lease import lease
from cx_pipeline.warehouse.run import UnknownRoomError, planned_assets, run_pipeline
from cx_pipeline.warehouse.session import STORAGE_VERSION, IdentityKeyMissingError, connect
from cx_pipeline.warehouse.status import read_status


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CX_IDENTITY_KEY", "one key of the test")
    config = tmp_path / "config"
    config.mkdir()
    text = (PROJECT_DIR / "config" / "company.yml").read_text()
    (config / "company.yml").write_text(text)
    umask = os.umask(0o022)
    settings = load_settings(config, tmp_path / "data")
    # Opening the Dagster instance sets these for its children; they must not reach other tests.
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    monkeypatch.setenv("CX_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("CX_CONFIG_DIR", str(settings.config_dir))
    yield settings
    os.umask(umask)


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema sources")
    connection.execute("create table sources.loads as select 1 as load_id, now() as loaded_at")
    return connection


def publish(settings: Settings, warehouse: duckdb.DuckDBPyConnection, run_id: str) -> None:
    settings.serving_dir.mkdir(parents=True, exist_ok=True)
    fingerprint.note_begin(warehouse, settings, run_id)
    (settings.serving_dir / "bi.duckdb").touch()
    fingerprint.note_published(warehouse, settings, run_id)


def test_a_new_warehouse_is_in_the_format_that_is_cheap_to_write(settings):
    with connect(settings) as connection:
        ((tags,),) = connection.execute(
            "select tags from duckdb_databases() where database_name = 'warehouse'"
        ).fetchall()
    assert tags["storage_version"].startswith(STORAGE_VERSION)


def test_a_folder_is_refused_with_another_identity_key(settings, monkeypatch):
    claim_data_folder(settings)
    claim_data_folder(load_settings(settings.config_dir, settings.data_dir))
    monkeypatch.setenv("CX_IDENTITY_KEY", "another key of the test")
    with pytest.raises(DataFolderError, match="would stand in it twice"):
        claim_data_folder(load_settings(settings.config_dir, settings.data_dir))
    monkeypatch.setenv("CX_IDENTITY_KEY", "")
    with pytest.raises(IdentityKeyMissingError, match="make setup"):
        claim_data_folder(load_settings(settings.config_dir, settings.data_dir))


def test_a_new_folder_is_refused_with_a_key_that_could_be_guessed(settings, monkeypatch):
    monkeypatch.setenv("CX_IDENTITY_KEY", "secret")
    short = load_settings(settings.config_dir, settings.data_dir)
    with pytest.raises(DataFolderError, match="at least 16"):
        claim_data_folder(short)
    claim_data_folder(settings)


def test_a_folder_whose_claims_a_full_disk_left_empty_is_claimed_again(settings):
    claim_data_folder(settings)
    names = ("company", "engine", "identity_key.check")
    said = [(settings.data_dir / name).read_text() for name in names]
    for name in names:
        (settings.data_dir / name).write_text("")
    claim_data_folder(settings)
    assert [(settings.data_dir / name).read_text() for name in names] == said


def test_a_folder_is_refused_with_another_engine(settings):
    claim_data_folder(settings)
    settings.warehouse_path.touch()
    with pytest.raises(DataFolderError, match="was built on duckdb"):
        claim_data_folder(settings.model_copy(update={"engine": "spark"}))


def test_an_engine_that_built_nothing_leaves_the_folder_to_the_other(settings):
    on_spark = settings.model_copy(update={"engine": "spark"})
    claim_data_folder(on_spark)
    # Landing writes the warehouse file on Spark too.
    settings.warehouse_path.touch()
    claim_data_folder(settings)
    with pytest.raises(DataFolderError, match="was built on duckdb"):
        claim_data_folder(on_spark)


def test_a_folder_of_before_there_was_a_choice_is_duckdbs(settings, monkeypatch):
    settings.data_dir.mkdir()
    settings.warehouse_path.touch()
    monkeypatch.setenv("CX_ENGINE", "spark")
    with pytest.raises(DataFolderError, match="was built on duckdb"):
        claim_data_folder(load_settings(settings.config_dir, settings.data_dir))


def test_only_what_is_published_can_be_read_by_other_users(settings):
    # In a process of its own, for what it sets holds for the whole process.
    script = (
        "from pathlib import Path; import sys, duckdb\n"
        "from cx_pipeline.settings import load_settings\n"
        "from cx_pipeline.warehouse.company import claim_data_folder\n"
        "settings = load_settings(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "claim_data_folder(settings)\n"
        "settings.lake_dir.mkdir(); duckdb.connect(str(settings.warehouse_path))\n"
    )
    settings = load_settings(settings.config_dir, settings.data_dir.parent / "new" / "data")
    folders = (str(settings.config_dir), str(settings.data_dir))
    subprocess.run([sys.executable, "-c", script, *folders], check=True, cwd=PROJECT_DIR)
    closed = {path.name for path in settings.data_dir.iterdir() if not path.stat().st_mode & 0o077}
    assert {"lake", "warehouse.duckdb", "company"} <= closed
    assert "serving" not in closed
    assert settings.serving_dir.stat().st_mode & 0o777 == 0o755
    assert settings.data_dir.stat().st_mode & 0o777 == 0o711
    assert settings.data_dir.parent.stat().st_mode & 0o777 == 0o755
    assert settings.inbox_dir.stat().st_mode & 0o777 == 0o700


def test_a_run_has_nothing_to_do_until_a_load_config_or_day_moves(settings, warehouse):
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    publish(settings, warehouse, "first")
    assert fingerprint.has_nothing_to_do(warehouse, settings)
    warehouse.execute("insert into sources.loads values (2, now())")
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    assert not fingerprint.rules_moved(settings)


def test_rows_are_built_anew_when_config_moved_but_not_for_a_segment(settings, warehouse):
    assert fingerprint.rules_moved(settings)
    publish(settings, warehouse, "first")
    segments = settings.config_dir / "segments"
    segments.mkdir()
    (segments / "new.yml").write_text("segments: []")
    assert not fingerprint.rules_moved(settings)
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    with (settings.config_dir / "company.yml").open("a") as company_yml:
        company_yml.write("# another rate\n")
    assert fingerprint.rules_moved(settings)
    # A run that began by the new rules and was killed has not built everything by them.
    fingerprint.note_begin(warehouse, settings, "killed")
    assert fingerprint.rules_moved(settings)
    publish(settings, warehouse, "second")
    assert not fingerprint.rules_moved(settings)


def test_rows_stand_when_the_checkout_moves_or_the_demo_changes(settings, tmp_path, monkeypatch):
    before, moved = fingerprint.rules_hash(settings), tmp_path / "moved"
    for folder in {PROJECT_DIR / "config", *(folder for folder, _ in fingerprint._CODE)}:
        shutil.copytree(folder, moved / folder.name)
    code = tuple((moved / folder.name, glob) for folder, glob in fingerprint._CODE)
    monkeypatch.setattr(fingerprint, "PROJECT_DIR", moved)
    monkeypatch.setattr(fingerprint, "_CODE", code)
    (moved / "cx_pipeline" / "demo" / "texts.py").write_text("# other words\n")
    assert fingerprint.rules_hash(settings) == before
    (moved / "cx_pipeline" / "segments" / "compiling.py").write_text("# other rules\n")
    assert fingerprint.rules_hash(settings) != before


def test_rows_built_by_rules_that_were_taken_back_are_built_anew(settings, warehouse):
    publish(settings, warehouse, "first")
    company = settings.config_dir / "company.yml"
    right = company.read_text()
    company.write_text(right + "# a mistake\n")
    fingerprint.note_full_refresh(settings)
    company.write_text(right)
    assert fingerprint.full_refresh_is_open(settings)
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    publish(settings, warehouse, "whole")
    assert not fingerprint.full_refresh_is_open(settings)


def test_what_a_killed_run_left_is_published_by_no_other(settings, warehouse):
    settings.data_dir.mkdir()
    fingerprint.refuse_half_built(settings, "first", is_whole=False)
    fingerprint.note_begin(warehouse, settings, "killed")
    fingerprint.refuse_half_built(settings, "killed", is_whole=False)
    with pytest.raises(fingerprint.HalfBuiltError, match="run killed began"):
        fingerprint.refuse_half_built(settings, "picked by hand", is_whole=False)
    publish(settings, warehouse, "whole")
    fingerprint.refuse_half_built(settings, "picked by hand", is_whole=False)


def test_rooms_built_by_hand_are_published_by_a_run_of_everything_alone(settings, warehouse):
    publish(settings, warehouse, "first")
    fingerprint.note_build_in_part(settings)
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    with pytest.raises(fingerprint.HalfBuiltError, match="only some of the published tables"):
        fingerprint.refuse_half_built(settings, "picked by hand", is_whole=False)
    fingerprint.refuse_half_built(settings, "all picked by hand", is_whole=True)
    publish(settings, warehouse, "whole")
    assert fingerprint.has_nothing_to_do(warehouse, settings)
    fingerprint.refuse_half_built(settings, "picked by hand", is_whole=False)


def test_a_warehouse_that_was_taken_away_is_built_again(settings, warehouse):
    publish(settings, warehouse, "first")
    assert fingerprint.has_nothing_to_do(warehouse, settings)
    warehouse.execute("drop table sources.checked_load")
    assert not fingerprint.has_nothing_to_do(warehouse, settings)


def test_a_company_in_a_time_zone_that_does_not_exist_is_refused(settings):
    company = settings.config_dir / "company.yml"
    company.write_text(company.read_text().replace("Europe/Copenhagen", "Europe/Kopenhagen"))
    with pytest.raises(ConfigError, match="no time zone is named .Europe/Kopenhagen"):
        claim_data_folder(settings)


def test_a_folder_for_what_does_not_fit_into_memory_is_tried_at_once(settings, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(DataFolderError, match="CX_TEMP_DIR is .*cannot be written"):
        claim_data_folder(settings.model_copy(update={"temp_dir": tmp_path / "a file" / "spill"}))


def test_a_full_refresh_that_was_killed_is_finished_by_the_next_run(settings, warehouse):
    publish(settings, warehouse, "first")
    fingerprint.note_begin(warehouse, settings, "killed", full_refresh=True)
    assert not fingerprint.has_nothing_to_do(warehouse, settings)
    assert fingerprint.full_refresh_is_open(settings)
    fingerprint.note_begin(warehouse, settings, "killed too")
    assert fingerprint.full_refresh_is_open(settings)
    publish(settings, warehouse, "whole")
    assert not fingerprint.full_refresh_is_open(settings)
    assert fingerprint.has_nothing_to_do(warehouse, settings)


def refused(*picked: str) -> str:
    """Materialize picked tables of dbt and return why they were not."""
    selection = [dg.AssetKey(key.split("/")) for key in picked]
    result = dg.materialize([build_dbt_assets()], selection=selection, raise_on_error=False)
    assert not result.get_asset_materialization_events()
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    return failure.step_failure_data.error.message


def test_no_fact_is_built_while_staging_holds_half_a_load(settings):
    settings.data_dir.mkdir()
    part = refused("staging/stg_orders", "journey/orders")
    assert "The room staging is built as one, and 29 of its tables were not picked" in part
    fingerprint.note_staging(settings, is_whole=False)
    assert "did not end well" in refused("journey/orders")
    fingerprint.note_staging(settings, is_whole=True)
    assert not fingerprint.staging_is_in_part(settings)


def started_run(of: dg.DagsterInstance) -> str:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def some_job() -> None:
        nothing()

    run = of.create_run_for_job(some_job)
    started = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_START.value, job_name="some_job"
    )
    of.report_dagster_event(started, run_id=run.run_id)
    assert of.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
    return run.run_id


def test_a_run_whose_process_is_gone_holds_up_no_other(settings, monkeypatch):
    monkeypatch.setattr(instance, "_STARTING_SECONDS", 0)
    with dg.DagsterInstance.ephemeral() as dagster:
        run_id = started_run(dagster)
        time.sleep(0.01)
        holding = "import sys, time; from pathlib import Path\n"
        holding += "from cx_pipeline.warehouse.lease import lease\n"
        holding += "with lease(Path(sys.argv[1]), 'a run'): print(flush=True); time.sleep(60)"
        with subprocess.Popen(
            [sys.executable, "-c", holding, str(settings.data_dir)],
            stdout=subprocess.PIPE,
            cwd=PROJECT_DIR,
        ) as other:
            other.stdout.readline()
            instance.end_dead_runs(settings, dagster)
            assert dagster.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED
            other.kill()
        instance.end_dead_runs(settings, dagster)
        assert dagster.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE


def test_what_the_event_log_stores_can_be_read_by_dagsters_own(settings):
    with instance.dagster_instance(settings) as dagster:
        run_id = started_run(dagster)
        stored = [event.dagster_event_type for event in dagster.all_logs(run_id)]
    own = SqliteEventLogStorage(str(settings.dagster_home / "history" / "runs"))
    assert [event.dagster_event_type for event in own.get_logs_for_run(run_id)] == stored
    assert dg.DagsterEventType.RUN_START in stored


def test_tables_that_a_killed_dbt_left_are_dropped(settings):
    settings.data_dir.mkdir()
    with connect(settings) as connection:
        connection.execute("create table identity.identifiers as select 1 as kept")
        connection.execute("create table identity.identifiers__dbt_backup as select 1 as left")
        connection.execute("create table journey.orders__dbt_tmp as select 1 as left")
    with connect(settings) as connection:
        tables = connection.execute("select table_name from duckdb_tables()").fetchall()
    assert tables == [("identifiers",)]


@dg.op
def write_to_a_full_disk() -> None:
    raise duckdb.TransactionException("Failed to commit: No space left on device")


@dg.op
def read_a_strange_file() -> None:
    logging.getLogger("cx_pipeline.sources.landing").error("what no check may tell")
    raise ValueError("row 7 has no key")


@dg.job(
    executor_def=dg.in_process_executor,
    logger_defs={"run_log": run.run_log},
    config={"loggers": {"run_log": {}}},
)
def job_that_fails() -> None:
    write_to_a_full_disk()
    write_to_a_full_disk.alias("write_there_again")()
    read_a_strange_file()


def load_job_that_fails() -> dg.JobDefinition:
    return job_that_fails


def test_a_full_disk_is_told_once_and_by_its_remedy(settings, monkeypatch):
    monkeypatch.setattr(run, "load_job", load_job_that_fails)
    outcome = run_pipeline(settings)
    assert not outcome.is_successful
    advice, other = sorted(outcome.errors)
    assert advice.startswith(f"The disk of {settings.data_dir} is full (")
    assert "TransactionException" not in advice
    assert "TransactionException" in outcome.log_path.read_text()
    assert "row 7 has no key" in other
    assert "what no check may tell" in outcome.log_path.read_text()


def test_a_disk_on_which_no_log_can_be_opened_is_told(settings, monkeypatch):
    claim_data_folder(settings)
    full = shutil.disk_usage(settings.data_dir)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataFolderError, match="is full.*Make room and run again"):
        claim_data_folder(settings)


def test_of_two_disks_the_full_one_is_named(settings):
    settings.data_dir.mkdir()
    settings.temp_dir.mkdir()
    told = f"IO Error: Could not write file {settings.temp_dir}/x: No space left on device"
    assert run.out_of_space(told, settings).startswith(f"The disk of {settings.temp_dir} is full")


def test_a_room_that_does_not_exist_is_named(settings):
    with pytest.raises(UnknownRoomError, match='no room "segmnets"; did you mean "segments"'):
        planned_assets(settings, ["segmnets"])


def test_a_warehouse_that_is_damaged_is_not_taken_for_one_in_use(settings):
    settings.data_dir.mkdir()
    settings.warehouse_path.write_bytes(b"no database" * 1000)
    assert "it is damaged" in read_status(settings).sources[0][1]


def test_status_looks_at_the_warehouse_only_while_nobody_writes(settings):
    settings.data_dir.mkdir()
    duckdb.connect(str(settings.warehouse_path)).close()
    assert "as far as staging" in read_status(settings).sources[0][1]
    script = (
        "import sys; from pathlib import Path\n"
        "from cx_pipeline.settings import load_settings\n"
        "from cx_pipeline.warehouse.status import read_status\n"
        "print(read_status(load_settings(data_dir=Path(sys.argv[1]))).sources)"
    )
    with lease(settings.data_dir, "a run"):
        said = subprocess.run(
            [sys.executable, "-c", script, str(settings.data_dir)],
            capture_output=True,
            text=True,
            check=True,
            cwd=PROJECT_DIR,
        )
    assert "a run is writing" in said.stdout
