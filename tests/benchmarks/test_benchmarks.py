"""The benchmarks run at a tiny size; what they measure is nobody's test."""

import json
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.exports import Size, write_exports
from benchmarks.landing import measure_landing
from benchmarks.models import measure_models
from benchmarks.whole_demo import EventLog, covered_seconds, read_event_log, split_time
from cx_pipeline.settings import load_settings


def silent(_: str) -> None:
    """Say nothing of the progress."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict:
    scratch = tmp_path_factory.mktemp("benchmarks")
    demo = {"seconds": 20.0, "parts": {"landing": 5.0, "SQL in dbt": 10.0}, "share": 0.25}
    demo |= {"orchestration": {"start-up": 5.0}, "orchestration_seconds": 5.0}
    return {
        "repeats": 1,
        "machine": report.machine(),
        "landing": measure_landing(scratch / "landing", 500, 1, silent, ["jsonl"]),
        "models": measure_models(scratch / "models", 4000, 1, silent),
        "demo": demo | {"simulation_seconds": 2.0, "customers": 200, "days": 30},
    }


def test_the_script_by_hand_leaves_as_many_rows_as_the_rooms(results):
    (ours,), (script,) = results["models"]["measured"].values()
    for table, rows in ours["row_counts"].items():
        assert rows == script["row_counts"][table.split(".")[1]] > 0


def test_a_second_of_the_demo_counts_once_as_work_or_as_orchestration():
    log = EventLog((10.0, 30.0), {"sources": [(11.0, 13.0)], "kpis": [(25.0, 28.0)]})
    # Two statements of dbt at a time, one before the run, and one in the body of kpis.
    statements = [(5.0, 6.0), (15.0, 17.0), (16.0, 18.0), (26.0, 27.0)]
    work, orchestration = split_time(log, statements, [(4.0, 7.0), (14.0, 20.0)])
    assert work == {"landing": 2.0, "SQL in dbt": 3.0, "kpis (Python)": 3.0}
    assert orchestration == {"dbt around its statements": 3.0, "Dagster's events and log": 9.0}


def test_the_event_log_tells_when_landing_and_the_python_rooms_worked(demo_company, monkeypatch):
    # Opening an instance points the process at its folders; the next test wants its own.
    for name in ("DAGSTER_HOME", "CX_DATA_DIR", "CX_CONFIG_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    log = read_event_log(load_settings(data_dir=demo_company.data_dir))
    assert {"sources", "identity", "segments", "kpis", "serving"} <= set(log.bodies)
    for began, ended in (body for room in log.bodies.values() for body in room):
        assert log.run[0] <= began <= ended <= log.run[1]


def test_the_tables_show_every_measured_part(results):
    console = Console(width=120, record=True)
    report.show(results, console)
    text = console.export_text()
    for words in ("jsonl", "models and identity", "orchestration of it", "target 3x"):
        assert words in text


def test_the_page_takes_the_figures_between_its_marks(results, tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    report.write_page(results)
    report.write_page(results)
    text = page.read_text()
    assert text.count(report.BEGIN) == text.count("| models and identity |") == 1
    page.write_text("no marks")
    with pytest.raises(report.PageHasNoPlaceError):
        report.write_page(results)


def test_results_are_kept_as_json_with_a_chart(results, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS_DIR", tmp_path)
    report.save(results)
    assert json.loads((tmp_path / "latest.json").read_text())["repeats"] == 1
    assert (tmp_path / "ratios.png").stat().st_size > 1000


def test_the_same_size_gives_the_same_rows_with_planted_defects(tmp_path):
    for run in ("one", "two"):
        write_exports(tmp_path / run, Size(2000))
    with duckdb.connect() as connection:

        def events(run: str) -> list:
            path = tmp_path / run / "web_events" / "rows.parquet"
            return connection.execute(
                f"select count(*), count(distinct event_id), count(*) filter (crm_id = 'null'),"
                f" md5(string_agg(event_id || occurred_at, '' order by all)) from '{path}'"
            ).fetchall()

        assert events("one") == events("two")
        assert events("one")[0][0] > events("one")[0][1]


def test_time_covered_by_two_threads_counts_once():
    assert covered_seconds([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == 4.0
    assert covered_seconds([]) == 0.0


def test_a_side_that_fails_says_why(tmp_path: Path):
    from benchmarks.measuring import Contender, ContenderFailedError, measure

    with pytest.raises(ContenderFailedError, match="no_such"):
        measure(Contender("nothing", "benchmarks.measuring:no_such", {}, tmp_path))
