"""From file to lake: the sources room against DuckDB's bare `copy`, on the same file.

The room finds the file, hashes it, reads it strictly (every bad row is set aside with its
reason), writes Parquet, hashes that, and writes the manifest durably. The bare copy only reads
(CSV and JSON as text with its columns given, Parquet as it is) and writes Parquet.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.exports import Size, sources_config, write_web_events
from benchmarks.measuring import Contender, alternate, median, stopwatch

FORMATS = ("csv", "jsonl", "parquet")


def land(config_dir: str, started_at: float) -> dict[str, Any]:
    """Land the file of the data folder with the sources room, and make its views."""
    from cx_pipeline.settings import load_settings
    from cx_pipeline.sources.landing import land as land_sources
    from cx_pipeline.sources.views import register
    from cx_pipeline.warehouse.session import connect

    settings = load_settings(Path(config_dir))
    # Opening the warehouse imports pandas and pyarrow (1 s), which a run has done long before.
    with connect(settings) as connection, stopwatch() as watch:
        land_sources(connection, settings)
        register(connection, settings)
    return {
        "seconds": watch.seconds,
        "cpu_seconds": watch.cpu_seconds,
        "rows": _row_count(f"{settings.lake_dir}/bench/*/*/*.parquet"),
    }


def copy_bare(path: str, columns: list[str], started_at: float) -> dict[str, Any]:
    """Copy a file to Parquet in one statement."""
    types = "{" + ", ".join(f"'{name}': 'varchar'" for name in columns) + "}"
    reader = {
        ".csv": f"read_csv('{path}', header = true, auto_detect = false, columns = {types})",
        ".jsonl": f"read_json('{path}', format = 'newline_delimited', columns = {types})",
        ".parquet": f"read_parquet('{path}')",
    }[Path(path).suffix]
    with stopwatch() as watch, duckdb.connect() as connection:
        connection.execute(f"copy (select * from {reader}) to 'copy.parquet' (format parquet)")
    return {
        "seconds": watch.seconds,
        "cpu_seconds": watch.cpu_seconds,
        "rows": _row_count("copy.parquet"),
    }


def measure_landing(
    scratch: Path,
    rows: int,
    repeats: int,
    tell: Callable[[str], None],
    formats: Iterable[str] = FORMATS,
) -> list[dict[str, Any]]:
    """Measure each format; one result a format, times being medians in seconds."""
    inputs = scratch / "inputs"
    columns = write_web_events(inputs, rows)
    results = []
    for file_format in formats:
        path = inputs / f"rows.{file_format}"
        config_dir = scratch / f"config_{file_format}"
        config_dir.mkdir(parents=True, exist_ok=True)
        config = sources_config(Size(1000), {"web_events": f"*.{file_format}"})
        (config_dir / "sources.yml").write_text(config.replace("{data_dir}/exports", str(inputs)))
        ours = Contender(
            f"landing {file_format}",
            "benchmarks.landing:land",
            {"config_dir": str(config_dir)},
            scratch / f"landing_{file_format}",
        )
        bare = Contender(
            f"bare copy {file_format}",
            "benchmarks.landing:copy_bare",
            {"path": str(path), "columns": columns},
            scratch / f"copy_{file_format}",
        )
        measured = alternate([ours, bare], repeats, _empty, tell)
        for side in (ours, bare):
            found = {result["rows"] for result in measured[side.name]}
            if found != {rows}:
                raise ValueError(f"{side.name} wrote {found} rows of {rows}")
        results.append(
            {
                "format": file_format,
                "rows": rows,
                "size_bytes": path.stat().st_size,
                "seconds": median(measured[ours.name], "seconds"),
                "bare_seconds": median(measured[bare.name], "seconds"),
                "peak_rss_bytes": median(measured[ours.name], "peak_rss_bytes"),
                "bare_peak_rss_bytes": median(measured[bare.name], "peak_rss_bytes"),
                "measured": measured,
            }
        )
    shutil.rmtree(scratch)
    return results


def _empty(side: Contender) -> None:
    shutil.rmtree(side.data_dir, ignore_errors=True)


def _row_count(pattern: str) -> int:
    with duckdb.connect() as connection:
        return connection.execute(f"select count(*) from '{pattern}'").fetchall()[0][0]
