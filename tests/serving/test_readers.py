"""Readers in other processes, of other versions, while publications come and publishers die."""

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from cx_pipeline.serving.publish import publish
from tests.serving.planted_warehouse import fill_warehouse, make_manifest

HERE = Path(__file__).parent
OPENS = 200
PUBLICATIONS = 10


def python_with_duckdb(version: str, cache: pytest.Cache) -> Path:
    """Return a Python that has this DuckDB and nothing else, made once and kept."""
    folder = cache.mkdir(f"duckdb-{version}")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", f"duckdb=={version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            # Without an index to ask there is no way; where everything must hold there is one.
            assert "CI" not in os.environ, done.stderr
            pytest.skip(f"pip cannot install duckdb {version} here: {done.stderr[-200:]}")
        (folder / "ready").touch()
    return python


@pytest.fixture(params=["this one", "1.2.2", "2.0.0"])
def reading_python(request: pytest.FixtureRequest) -> Path:
    """A Python with the DuckDB of a BI tool."""
    if request.param == "this one":
        return Path(sys.executable)
    return python_with_duckdb(request.param, request.config.cache)


def opens_so_far(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.count"))


def test_two_readers_never_see_an_error_a_torn_or_an_older_version(
    warehouse, settings, reading_python
):
    publish(warehouse, settings, make_manifest(warehouse))
    readers = [
        subprocess.Popen(
            [str(reading_python), str(HERE / "reader.py"), str(settings.serving_dir), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
        for name in ("one", "two")
    ]
    publications = 1
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and all(r.poll() is None for r in readers):
            if publications > PUBLICATIONS and opens_so_far(settings.data_dir) >= OPENS:
                break
            time.sleep(0.1)
            publications += 1
            fill_warehouse(warehouse, publications)
            assert publish(warehouse, settings, make_manifest(warehouse)).version == publications
    finally:
        (settings.data_dir / "stop").touch()
        said = [reader.communicate(timeout=60) for reader in readers]

    assert [
        (reader.returncode, errors) for reader, (_, errors) in zip(readers, said, strict=True)
    ] == [
        (0, ""),
        (0, ""),
    ]
    assert publications > PUBLICATIONS
    assert opens_so_far(settings.data_dir) >= OPENS


@pytest.mark.parametrize(
    "place",
    [
        "publish._build",
        "version_file._fill",
        "after version_file._fill",
        "publish.verify_version",
        "after publish.verify_version",
        "publish._swap",
        "after publish._swap",
        "150",
    ],
)
def test_a_publisher_killed_anywhere_leaves_a_whole_version(warehouse, settings, place):
    publish(warehouse, settings, make_manifest(warehouse))
    warehouse.close()
    publisher = subprocess.run(
        [sys.executable, str(HERE / "publisher.py"), str(settings.data_dir), place],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )

    assert publisher.returncode == -9, publisher.stderr
    assert publisher.stdout == "publishing\n"
    left, generations = seen(settings)
    assert left >= 1
    assert len(generations) == 1
    with duckdb.connect(str(settings.warehouse_path)) as con:
        again = publish(con, settings, make_manifest(con))
        (generation,) = con.execute("select max(generation) from journey.touchpoints").fetchall()[0]
    assert again.version >= left
    assert seen(settings) == (again.version, {generation})
    assert all(
        path.name == "bi.duckdb" or path.suffix == ".duckdb" and path.name.startswith("bi-")
        for path in settings.serving_dir.iterdir()
    )


def seen(settings) -> tuple[int, set[int]]:
    """Return version and generations that a reader finds."""
    with duckdb.connect(str(settings.serving_dir / "bi.duckdb"), read_only=True) as reader:
        version = reader.execute("select version from publication.version").fetchall()[0][0]
        generations = set()
        for table in ("journey.touchpoints", "experience.feedback", "customer_360.customers"):
            rows = reader.execute(f"select distinct generation from {table}").fetchall()
            generations |= {generation for (generation,) in rows}
    return version, generations
