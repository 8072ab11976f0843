"""The benchmark at scale, at a tiny size: do all come to the same, what is a failure?"""

import json
import os
from importlib import import_module
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from benchmarks.scale import company, report
from benchmarks.scale.task import TOTALS

CONTACTS = 5_000
FIGURES = {"seconds", "rows_per_second_per_core", "peak_memory_gib", "disk_gib"}
SAID = {"contacts", "customers", "engine", "stage", "outcome", "machine", "date"}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale") / str(CONTACTS)
    company.make_company(folder, CONTACTS, threads=2)
    return folder


@pytest.fixture(scope="module")
def script(exports: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return run_peer("peer_duckdb:run_script", exports, tmp_path_factory.mktemp("script"))


def run_peer(name: str, exports: Path, scratch: Path) -> dict:
    module, function = name.split(":")
    run = getattr(import_module(f"benchmarks.scale.{module}"), function)
    return run(str(exports / "year"), str(scratch), memory_gib=1, threads=2, started_at=0)


def bench(scratch: Path, memory_gib: float = 16):
    # Only where the benchmark is installed: five runs of the pipeline take a minute.
    pytest.importorskip("polars")
    from benchmarks.scale.run import Bench

    return Bench(CONTACTS, scratch, memory_gib, timeout=300, threads=2)


def test_a_company_made_twice_is_the_same_and_has_12_sources(exports, tmp_path):
    company.make_company(tmp_path, CONTACTS, threads=1)
    files = sorted(path.relative_to(exports) for path in exports.rglob("*.parquet"))
    assert len({path.parts[1] for path in files}) == 12
    for path in files:
        first, second = (
            duckdb.execute(
                f"select sum(hash(t)), count(*) from read_parquet('{folder / path}') as t"
            ).fetchall()
            for folder in (exports, tmp_path)
        )
        assert first == second


def test_the_script_counts_what_the_company_is_said_to_be(script):
    totals = script["totals"]
    assert totals["touchpoints"] == pytest.approx(CONTACTS, rel=0.02)
    assert totals["customers"] == pytest.approx(CONTACTS / company.CONTACTS_OF_A_CUSTOMER, rel=0.02)
    assert 0.05 < totals["anonymous_touchpoints"] / totals["touchpoints"] < 0.12


def test_a_second_address_is_a_second_customer_until_the_link_of_the_day(tmp_path, monkeypatch):
    (export,) = (one for one in company.EXPORTS if one.table == "second_addresses")
    monkeypatch.setattr(company, "EXPORTS", (export,))
    company.make_company(tmp_path, 1_000_000, threads=2)
    linked, later = (
        set(
            duckdb.execute(
                f"select crm_id from '{tmp_path / part}/crm/second_addresses/*.parquet'"
            ).fetchall()
        )
        for part in ("year", "day")
    )
    assert len(linked) > len(later) > 0
    assert not linked & later


def test_a_company_of_other_code_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(company, "EXPORTS", company.EXPORTS[:1])
    made = company.make_company(tmp_path, CONTACTS, threads=1)
    (path,) = (tmp_path / "year").rglob("*.parquet")
    path.write_text("of before")
    assert company.make_company(tmp_path, CONTACTS, threads=1) == made
    assert path.read_text() == "of before"
    (tmp_path / "made_by").write_text("other code")
    assert company.make_company(tmp_path, CONTACTS, threads=1) == made
    assert duckdb.execute(f"select count(*) from '{path}'").fetchone() > (0,)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("peer_pandas:run_pandas", "pandas"),
        ("peer_polars:run_polars", "polars"),
        ("peer_spark:run_spark", "pyspark"),
    ],
)
def test_a_peer_agrees_with_the_script(name, package, exports, script, tmp_path):
    pytest.importorskip(package)
    found = run_peer(name, exports, tmp_path)
    assert found["totals"] == script["totals"]
    assert set(found["steps"]) == {"normalise", "bind", "sessionise", "fold"}


def test_the_pipeline_agrees_with_the_script_and_its_rows_are_whole(exports, script, monkeypatch):
    measured = bench(exports.parent)
    monkeypatch.setattr("benchmarks.scale.run.RESULTS_DIR", exports)
    rows = {row["stage"]: row for row in measured.year_and_day()}
    assert {"landing", "full build", "one-day increment"} <= set(rows)
    assert rows["full build"]["totals"] == {
        name: script["totals"][name] for name in TOTALS if name != "recency_days"
    }
    for row in rows.values():
        assert set(row) >= SAID | FIGURES
        assert row["outcome"] == "done"
        assert row["seconds"] > 0


def test_a_run_that_is_refused_is_no_result(exports, tmp_path):
    from benchmarks.scale.run import FailedError

    measured = bench(tmp_path)
    data_dir = tmp_path / "cx"
    measured._hand_over(exports, "year", data_dir)
    (data_dir / "serving").mkdir()
    (data_dir / "serving" / "bi.duckdb").touch()
    os.utime(data_dir / "serving" / "bi.duckdb", (0, 0))
    (data_dir / "config" / "sources.yml").write_text("sources: none")
    with pytest.raises(FailedError, match="published nothing"):
        measured._cx(data_dir)


def test_the_landing_counts_in_the_ratio_to_the_script():
    rows = [
        {"contacts": 1, "engine": engine, "stage": stage, "outcome": "done", "seconds": seconds}
        for engine, stage, seconds in (
            ("DuckDB script", "whole", 10),
            ("cx-pipeline", "landing", 5),
            ("cx-pipeline", "full build", 55),
            ("cx-pipeline", "one-day increment", 7),
            ("pandas", "whole", 25),
        )
    ]
    assert report.ratios(rows) == {
        (1, "DuckDB script", "whole"): 1,
        (1, "cx-pipeline", "full build"): 6,
        (1, "pandas", "whole"): 2.5,
    }


def test_who_takes_more_than_the_limit_is_a_row_and_no_crash(exports):
    (row,) = bench(exports.parent, memory_gib=0.05).peer("pandas")
    assert row["outcome"] == "out of memory"
    assert row["peak_memory_gib"] >= 0.05
    assert row["rows_per_second_per_core"] is None


def test_who_ran_out_at_a_smaller_size_is_known(exports):
    (row,) = bench(exports.parent, memory_gib=0.05).peer("pandas")
    assert report.ran_out_at([row], "pandas", CONTACTS * 2, 0.05) == CONTACTS
    assert report.ran_out_at([row], "pandas", CONTACTS, 0.05) is None
    # With more memory it may do.
    assert report.ran_out_at([row], "pandas", CONTACTS * 2, 0.1) is None


def test_engines_that_differ_are_named():
    console = Console(width=200, record=True)
    rows = [
        {"contacts": 1, "engine": engine, "totals": dict.fromkeys(TOTALS, total)}
        for engine, total in (("pandas", 1), ("Polars", 2))
    ]
    assert not report.agree(rows, 1, console)
    assert "customers: pandas 1, Polars 2" in console.export_text()


def test_results_of_all_sizes_reach_the_page_and_the_charts(exports, tmp_path, monkeypatch):
    for contacts in (1_000, 10_000):
        rows = [
            {
                **{"contacts": contacts, "customers": 1, "engine": engine, "stage": "whole"},
                **{"outcome": outcome, "seconds": contacts / 1000, "disk_gib": None},
                **{"rows_per_second_per_core": 500, "peak_memory_gib": 2.0, "totals": None},
                **{"memory_limit_gib": 16, "machine": "a machine", "date": "2026-01-01"},
            }
            for engine, outcome in (("DuckDB script", "done"), ("pandas", "out of memory"))
        ]
        (tmp_path / f"scale-{contacts}-all.json").write_text(json.dumps(rows))
    page = tmp_path / "benchmarks.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "CHART", tmp_path / "scale.png")
    report.write_page(report.read_rows(tmp_path))
    report.write_page(report.read_rows(tmp_path))
    text = page.read_text()
    assert text.count("| 10,000 | pandas | whole: out of memory |") == 1
    assert text.count("| 1,000 | DuckDB script | whole |") == 1
    assert (tmp_path / "scale.png").stat().st_size > 10_000
