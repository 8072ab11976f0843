"""The models, from the lake to one row per customer, against one script written by hand.

Ours: dbt builds staging, identity, consent, journey, experience and customer_360 on an empty
warehouse, with the identity room's Python between, in the same calls as in a run of the
pipeline. Importing dbt and parsing the project is start-up, shown apart; tests are run after the
models, and shown apart too. By hand: by_hand.py, on the same files of the lake.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.exports import Size, sources_config, write_exports
from benchmarks.measuring import Contender, alternate, measure, median, stopwatch

ROOMS = ("staging", "identity", "consent", "journey", "experience", "customer_360")


def land_exports(config_dir: str, touchpoints: int, started_at: float) -> dict[str, Any]:
    """Write the exports and land them; the lake is what both sides read."""
    from cx_pipeline.settings import load_settings
    from cx_pipeline.sources.landing import land
    from cx_pipeline.warehouse.session import connect

    settings = load_settings(Path(config_dir))
    size = Size(touchpoints)
    counts = write_exports(settings.exports_dir, size)
    (settings.config_dir / "sources.yml").write_text(sources_config(size))
    with stopwatch() as watch, connect(settings) as connection:
        outcomes = land(connection, settings)
    landed = {outcome.table: outcome.rows_landed for outcome in outcomes}
    if landed != counts:
        raise ValueError(f"landed {landed} of {counts}")
    shutil.rmtree(settings.exports_dir)
    return {"seconds": watch.seconds, "row_counts": counts}


def build_rooms(config_dir: str, started_at: float) -> dict[str, Any]:
    """Build the rooms on an empty warehouse; every figure in seconds."""
    with stopwatch() as start_up:
        from dbt.node_types import NodeType

        from cx_pipeline.identity.tables import update_identity
        from cx_pipeline.settings import load_settings
        from cx_pipeline.sources.views import register
        from cx_pipeline.warehouse.identity_rules import read_identity_rules
        from cx_pipeline.warehouse.project import build, load_manifest
        from cx_pipeline.warehouse.session import connect

        settings = load_settings(Path(config_dir))
        settings.warehouse_path.unlink(missing_ok=True)
        manifest = load_manifest(settings)
    with connect(settings) as connection:
        register(connection, settings)

    models = {
        name
        for name, node in manifest.nodes.items()
        if node.resource_type == NodeType.Model
        and node.schema in ROOMS
        and not node.is_ephemeral_model
    }
    after_python = _behind(
        manifest, {name for name, source in manifest.sources.items() if source.schema == "identity"}
    )
    tests = [
        name
        for name, node in manifest.nodes.items()
        if node.resource_type == NodeType.Test
        and {one for one in node.depends_on.nodes if one.startswith("model.")} <= models
        and _built(manifest, node.depends_on.nodes)
    ]
    rooms: dict[str, float] = {}
    nodes: dict[str, float] = {}

    def run(unique_ids: list[str]) -> float:
        with stopwatch() as watch:
            for result in build(settings, unique_ids):
                if not result.is_successful:
                    raise RuntimeError(f"{result.unique_id}: {result.status} {result.message}")
                nodes[result.unique_id] = result.seconds
        return watch.seconds

    with stopwatch() as whole:
        rooms["staging, identity (dbt)"] = run(sorted(models - after_python))
        with stopwatch() as python, connect(settings) as connection:
            update_identity(connection, read_identity_rules(settings), made_by="benchmark")
        rooms["identity (Python)"] = python.seconds
        rooms["consent to customer_360 (dbt)"] = run(sorted(models & after_python))
    slowest = dict(sorted(nodes.items(), key=lambda item: -item[1])[:15])
    test_seconds = run(tests)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        counted = {
            f"{table}": connection.execute(f"select count(*) from {table}").fetchall()[0][0]
            for table in ("journey.touchpoints", "journey.sessions", "customer_360.customers")
        }
    return {
        "seconds": whole.seconds,
        "cpu_seconds": whole.cpu_seconds,
        "start_up_seconds": start_up.seconds,
        "rooms": rooms,
        "slowest_models": slowest,
        "test_seconds": test_seconds,
        "test_count": len(tests),
        "model_count": len(models),
        "file_bytes": settings.warehouse_path.stat().st_size,
        "row_counts": counted,
    }


def _behind(manifest: Any, roots: set[str]) -> set[str]:
    """Return every node that reads one of the roots, directly or not."""
    found, edge = set(roots), set(roots)
    while edge:
        edge = {child for name in edge for child in manifest.child_map[name]} - found
        found |= edge
    return found


def _built(manifest: Any, names: list[str]) -> bool:
    """Whether every source among the names exists without the rooms that are not built here."""
    schemas = {manifest.sources[name].schema for name in names if name in manifest.sources}
    return schemas <= {"sources", "identity"}


def measure_models(
    scratch: Path, touchpoints: int, repeats: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measure both sides on one lake; times are medians in seconds."""
    data_dir, config_dir = scratch / "data", scratch / "config"
    config_dir.mkdir(parents=True)
    arguments: dict[str, Any] = {"config_dir": str(config_dir)}
    tell(f"making and landing {touchpoints:,} touchpoints")
    lands = "benchmarks.models:land_exports"
    landed = measure(
        Contender("landing", lands, arguments | {"touchpoints": touchpoints}, data_dir)
    )
    ours = Contender("models", "benchmarks.models:build_rooms", arguments, data_dir)
    script = Contender("by hand", "benchmarks.by_hand:run_script", {}, data_dir)
    measured = alternate([ours, script], repeats, tell=tell)
    _compare(measured)
    shutil.rmtree(scratch)
    return {
        "touchpoints": measured[ours.name][0]["row_counts"]["journey.touchpoints"],
        "landed": landed,
        "ours": _medians(measured[ours.name]),
        "by_hand": _medians(measured[script.name]),
        "measured": measured,
    }


def _compare(measured: dict[str, list[dict[str, Any]]]) -> None:
    """Hold the script to the same result, as far as row counts tell."""
    ours, script = measured["models"][0]["row_counts"], measured["by hand"][0]["row_counts"]
    for table, rows in ours.items():
        other = script[table.split(".")[1]]
        if rows != other:
            raise ValueError(f"{table} has {rows} rows, by hand {other}: not the same work")


def _medians(results: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        "seconds",
        "cpu_seconds",
        "start_up_seconds",
        "test_seconds",
        "peak_rss_bytes",
        "file_bytes",
    )
    found: dict[str, Any] = {name: median(results, name) for name in names if name in results[0]}
    for name in ("rooms", "steps"):
        if name in results[0]:
            found[name] = {
                step: median([result[name] for result in results], step)
                for step in results[0][name]
            }
    return found
