"""The whole `cx demo` against the sum of its parts: how much of it is orchestration.

Landing, the Python rooms and dbt are told apart by Dagster's event log; the SQL inside dbt by a
clock around every statement. What is left (start-up, dbt around its statements, Dagster's events
and its log) is orchestration. Writing the exports of the demo company is shown apart: a user's
own exports are there already.
Reads: the event log of the run, in the Dagster instance of the data folder
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import Contender, measure
from cx_pipeline.settings import Settings, load_settings

Interval = tuple[float, float]
"""Start and end in seconds since 1970."""


class Clock:
    """Notes when calls of a function began and ended."""

    def __init__(self) -> None:
        self.intervals: list[Interval] = []

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with this clock around it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.time()
            try:
                return function(*arguments, **named)
            finally:
                self.intervals.append((began, time.time()))

        return timed


def covered_seconds(intervals: list[Interval]) -> float:
    """Return the seconds in which at least one interval runs; dbt has two threads."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def run_demo(customers: int, days: int, started_at: float) -> dict[str, Any]:
    """Run `cx demo` in this process and split its time; every figure in seconds."""
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper
    from dbt.cli.main import dbtRunner

    from cx_pipeline.cli import app
    from cx_pipeline.demo import simulator

    statements, invocations, simulations = Clock(), Clock(), Clock()
    DuckDBCursorWrapper.execute = statements.around(DuckDBCursorWrapper.execute)
    dbtRunner.invoke = invocations.around(dbtRunner.invoke)
    simulator.simulate = simulations.around(simulator.simulate)
    settings = load_settings()
    arguments = ["demo", "--customers", str(customers), "--days", str(days)]
    # Typer hands over the exit code when it is not alone.
    code = app([*arguments, "--data", str(settings.data_dir)], standalone_mode=False)
    if code:
        raise RuntimeError(f"cx demo ended with {code}")
    ended_at = time.time()

    log = read_event_log(settings)
    whole = ended_at - started_at - covered_seconds(simulations.intervals)
    before = log.run[0] - started_at - covered_seconds(simulations.intervals)
    parts, orchestration = split_time(log, statements.intervals, invocations.intervals)
    orchestration["start-up (imports, dbt parse)"] = before
    orchestration["after the run"] = ended_at - log.run[1]
    work = sum(parts.values())
    return {
        "seconds": whole,
        "simulation_seconds": covered_seconds(simulations.intervals),
        "parts": parts,
        "orchestration": orchestration,
        "orchestration_seconds": whole - work,
        "share": (whole - work) / whole,
    }


@dataclass
class EventLog:
    """Of a run: when it ran, and when the bodies of its Python assets did, by room."""

    run: Interval
    bodies: dict[str, list[Interval]] = field(default_factory=dict)


def split_time(
    log: EventLog, statements: list[Interval], invocations: list[Interval]
) -> tuple[dict[str, float], dict[str, float]]:
    """Split the time of a run into work and orchestration, each second once.

    Args:
        log: The run.
        statements: When dbt's SQL statements ran.
        invocations: When dbt as a whole ran.

    Returns:
        Seconds of work, and seconds of orchestration, by what they went to.
    """
    began, ended = log.run
    bodies = [body for room in log.bodies.values() for body in room]
    within = [(max(a, began), min(b, ended)) for a, b in statements if a < ended and b > began]
    in_run = [(max(a, began), min(b, ended)) for a, b in invocations if a < ended and b > began]
    python = covered_seconds(bodies)
    work = covered_seconds([*bodies, *within])
    known = covered_seconds([*bodies, *within, *in_run])
    parts = {"landing": covered_seconds(log.bodies.get("sources", [])), "SQL in dbt": work - python}
    for room, intervals in log.bodies.items():
        if room != "sources":
            parts[f"{room} (Python)"] = covered_seconds(intervals)
    return parts, {
        "dbt around its statements": known - work,
        "Dagster's events and log": ended - began - known,
    }


def read_event_log(settings: Settings) -> EventLog:
    """Read the latest run of a data folder."""
    from dagster import DagsterEventType

    from cx_pipeline.warehouse.instance import dagster_instance

    with dagster_instance(settings) as instance:
        run = instance.get_run_records(limit=1)[0]
        log = EventLog((run.start_time, run.end_time))
        since: dict[str, float] = {}
        ran: dict[str, list[Interval]] = {}
        rooms: dict[str, str] = {}
        for entry in instance.all_logs(run.dagster_run.run_id):
            event = entry.dagster_event
            if event is None or event.step_key is None or "dbt_models" in event.step_key:
                continue
            step = event.step_key
            # A body runs until it hands over a result, and on when that is stored.
            if event.event_type == DagsterEventType.STEP_OUTPUT:
                ran.setdefault(step, []).append((since[step], entry.timestamp))
            elif event.event_type in (
                DagsterEventType.STEP_START,
                DagsterEventType.STEP_RESTARTED,
                DagsterEventType.ASSET_MATERIALIZATION,
                DagsterEventType.ASSET_CHECK_EVALUATION,
            ):
                since[step] = entry.timestamp
            if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
                rooms[step] = event.asset_key.path[0]
        for step, intervals in ran.items():
            log.bodies.setdefault(rooms.get(step, step), []).extend(intervals)
    return log


def measure_whole_demo(
    scratch: Path, customers: int, days: int, repeats: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run the demo on an empty folder; return the run whose share is the median."""
    runs = []
    for repeat in range(repeats):
        data_dir = scratch / "data"
        shutil.rmtree(data_dir, ignore_errors=True)
        arguments = {"customers": customers, "days": days}
        side = Contender("cx demo", "benchmarks.whole_demo:run_demo", arguments, data_dir)
        runs.append(measure(side))
        tell(f"cx demo {repeat + 1}/{repeats}: {runs[-1]['seconds']:.1f} s")
    shutil.rmtree(scratch)
    middle = sorted(runs, key=lambda run: run["share"])[len(runs) // 2]
    return {
        **middle,
        "customers": customers,
        "days": days,
        "measured": runs,
    }
