"""cx-pipeline at scale: `cx run` on the exports, and where its time went.

Reads:     the exports of company.py, linked into the data folder
Writes:    a data folder of its own: lake, warehouse, published files
The seconds of each node come from the run itself: dbt's results as the run gets them, the event log
for the Python steps, and a clock around the phases of the publication.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import psutil

from benchmarks.scale.task import TOTALS
from benchmarks.whole_demo import Clock, Interval, covered_seconds, read_event_log

SCRIPT_NODES = {
    *("stg_contacts", "stg_orders", "stg_deliveries", "stg_returns", "stg_web_events"),
    *("stg_message_events", "stg_cases", "stg_survey_responses", "stg_store_visits"),
    *("stg_identifier_sightings", "identifiers", "id_edges", "customer_identities"),
    *("touchpoints", "sessions", "orders", "customer_profiles"),
    *("int_customer_360__touched_profiles", "int_customer_360__orders"),
    *("int_customer_360__products", "int_customer_360__reach"),
    *("int_customer_360__touchpoints", "int_customer_360__last_touchpoints"),
    "customers_as_built",
}
"""The models that do what the scripts of the peers do too; with them goes identity's Python."""

_PHASES = {
    "hash the tables": "publish.content_of",
    "write the file": "publish.write_version",
    "read it as a reader": "publish.verify_version",
    "look for personal values": "version_file._refuse_personal_values",
    "flush to disk": "publish._flush",
}
"""The function of serving that does it, by the module that calls it."""


def run_cx(config_dir: str, select: list[str], started_at: float) -> dict[str, Any]:
    """Run `cx run` in this process; every figure in seconds or bytes.

    Args:
        config_dir: The company's config.
        select: The rooms to run, everything when empty.
        started_at: When the process was started, in seconds since 1970.

    Raises:
        RuntimeError: The run failed.
    """
    from cx_pipeline.cli import app
    from cx_pipeline.settings import load_settings
    from cx_pipeline.warehouse import assets
    from cx_pipeline.warehouse.project import NodeResult, build

    nodes: dict[str, float] = {}
    ended: dict[str, Interval] = {}
    row_counts: dict[str, int] = {}

    def noting(*arguments: Any, **named: Any) -> Iterator[NodeResult]:
        for result in build(*arguments, **named):
            nodes[result.unique_id] = result.seconds
            until = time.time()
            ended[result.unique_id] = (until - result.seconds, until)
            if result.row_count is not None:
                row_counts[result.unique_id] = result.row_count
            yield result

    assets.build = noting
    clocks = {phase: Clock() for phase in _PHASES}
    for phase, place in _PHASES.items():
        module_name, function = place.split(".")
        module = import_module(f"cx_pipeline.serving.{module_name}")
        setattr(module, function, clocks[phase].around(getattr(module, function)))

    settings = load_settings(Path(config_dir))
    arguments = ["run", "--config", config_dir, "--data", str(settings.data_dir)]
    for room in select:
        arguments += ["--select", room]
    with resident_memory() as samples:
        code = app(arguments, standalone_mode=False)
    seconds = time.time() - started_at
    # A failed check is told by exit code 1 too, but then there is a new publication.
    published = settings.serving_dir / "bi.duckdb"
    if code and not (published.exists() and published.stat().st_mtime >= started_at):
        raise RuntimeError(f"cx run ended with {code} and published nothing")
    log = read_event_log(settings)
    python = {room: covered_seconds(intervals) for room, intervals in log.bodies.items()}
    in_script = {name for name in ended if name.split(".")[2] in SCRIPT_NODES}
    return {
        "seconds": seconds,
        "exit_code": code or 0,
        "before_run_seconds": log.run[0] - started_at,
        "run_seconds": log.run[1] - log.run[0],
        "python_rooms": python,
        "script_part_seconds": python.get("identity", 0.0) + shared_seconds(ended, in_script),
        "nodes": nodes,
        "node_rows": row_counts,
        "node_peaks": {name: _peak(samples, interval) for name, interval in ended.items()},
        "python_room_peaks": {
            room: max(_peak(samples, interval) for interval in intervals)
            for room, intervals in log.bodies.items()
        },
        "publish_phases": {
            phase: covered_seconds(clock.intervals) for phase, clock in clocks.items()
        },
        "warehouse_bytes": settings.warehouse_path.stat().st_size,
        "published_bytes": _published_bytes(settings.serving_dir),
    }


def shared_seconds(intervals: Mapping[str, Interval], chosen: Collection[str]) -> float:
    """Return the wall time of the chosen ones; a moment is shared by all that run in it."""
    moments = sorted({moment for interval in intervals.values() for moment in interval})
    total = 0.0
    for began, ended in pairwise(moments):
        running = [name for name, (a, b) in intervals.items() if a <= began and b >= ended]
        if running:
            total += (ended - began) * sum(name in chosen for name in running) / len(running)
    return total


@contextmanager
def resident_memory() -> Iterator[list[tuple[float, int]]]:
    """Sample the resident memory of this process: seconds since 1970 and bytes, every 0.2 s."""
    samples: list[tuple[float, int]] = []
    process, is_over = psutil.Process(), Event()

    def sample() -> None:
        while not is_over.wait(0.2):
            samples.append((time.time(), process.memory_info().rss))

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def _peak(samples: list[tuple[float, int]], interval: Interval) -> int:
    began, ended = interval
    return max((size for at, size in samples if began - 0.2 <= at <= ended + 0.2), default=0)


def _published_bytes(serving_dir: Path) -> int:
    link = serving_dir / "bi.duckdb"
    return link.stat().st_size if link.exists() else 0


def read_totals(data_dir: str, started_at: float) -> dict[str, Any]:
    """Return what the peers must agree on, from the warehouse; but for the recency.

    That counts from local days here, and from days of UTC in the scripts.
    """
    with duckdb.connect(str(Path(data_dir) / "warehouse.duckdb"), read_only=True) as connection:
        row = connection.execute(
            """
            with known as (
                select profile_key, customer_id from identity.customer_xref
                where is_current and is_known
            ),

            contacts as (
                select customer_id, count(*) as contacts
                from journey.touchpoints inner join known using (profile_key) group by all
            ),

            sessions as (
                select customer_id, count(*) as sessions
                from journey.sessions inner join known using (profile_key) group by all
            )

            select
                (select count(*) from journey.touchpoints),
                (select count(*) from journey.touchpoints) - (select sum(contacts) from contacts),
                (select count(*) from journey.sessions),
                count(*),
                sum(order_count),
                round(sum(order_amount) * 100),
                (select sum(contacts * contacts) from contacts),
                (select sum(sessions * sessions) from sessions)
            from customer_360.customers
            """
        ).fetchall()[0]
    return {"seconds": 0.0, "totals": dict(zip(TOTALS[:-1], map(int, row), strict=True))}
