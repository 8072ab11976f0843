"""`make bench-scale`: the pipeline and its peers on the same rows, of any size.

Writes:    benchmarks/results/scale-<contacts>-<engine>.json, one list of rows each, and scale.png;
           docs/benchmarks.md and docs/scale.png with --write-docs
The exports of a size stay in data/scale/<contacts>; what the engines write is removed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.measuring import PROJECT_DIR, RESULTS_DIR, Contender, child_of
from benchmarks.scale import company, report
from benchmarks.scale.report import OURS, Row

console = Console()
GIB = 2**30
PEERS = {
    "DuckDB script": "peer_duckdb:run_script",
    "pandas": "peer_pandas:run_pandas",
    "Polars": "peer_polars:run_polars",
    "Spark": "peer_spark:run_spark",
}
SHARE_FOR_THE_ENGINE = 0.7
"""Of the memory limit, for the engines that can be told (DuckDB, Spark's heap): what lies outside
their accounts needs the rest."""

_OUT_OF_MEMORY = (
    *("OutOfMemory", "Out of Memory", "MemoryError", "memory allocation of"),
    # What `cx run` makes of it.
    "The engine's memory (",
)
_OUT_OF_DISK = ("No space left", "failed to offload")
"""The second is DuckDB's, which calls a full disk of what it spills out of memory too."""


class FailedError(RuntimeError):
    """An engine ended with an error that is not about memory; the message is what it said last."""


class Stopped(Exception):  # noqa: N818 - a result, not an error
    """An engine ran out of memory or time; the message is the outcome."""

    def __init__(self, outcome: str, seconds: float, peak_bytes: int, said: str) -> None:
        super().__init__(outcome)
        self.said = said
        self.seconds = seconds
        self.peak_bytes = peak_bytes


def measure_within(contender: Contender, memory_gib: float, timeout: float) -> dict[str, Any]:
    """Run a contender once in a child process that may take so much memory and time.

    Returns:
        What it returned, with `process_seconds` and `peak_bytes`: resident memory of the process
        and its children together, looked at ten times a second.

    Raises:
        Stopped: It took more.
        FailedError: It failed.
    """
    command, environment, answer = child_of(contender)
    log = contender.data_dir / "measured.log"
    began, peak, outcome = time.time(), 0, ""
    with log.open("w") as said:
        child = subprocess.Popen(
            command,
            cwd=contender.data_dir,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while child.poll() is None and not outcome:
                size = _resident_bytes(child.pid)
                peak = max(peak, size)
                if size > memory_gib * GIB:
                    outcome = "out of memory"
                elif time.time() - began > timeout:
                    outcome = "out of time"
                else:
                    time.sleep(0.1)
        finally:
            # Also when this process is told to end: nobody else would watch its memory.
            if child.poll() is None:
                os.killpg(child.pid, 9)
                child.wait()
    seconds = time.time() - began
    text = log.read_text(errors="replace")
    if not outcome and (child.returncode or not answer.exists()):
        # The kernel kills with 9 what takes the last of the machine's memory.
        is_memory = child.returncode == -9 or any(word in text for word in _OUT_OF_MEMORY)
        if not is_memory or any(word in text for word in _OUT_OF_DISK):
            raise FailedError(f"{contender.name} ended with {child.returncode}:\n{text[-4000:]}")
        outcome = "out of memory"
    if outcome:
        raise Stopped(outcome, seconds, peak, text[-4000:])
    found = json.loads(answer.read_text())
    peak = max(peak, found["peak_rss_bytes"])
    return {**found, "process_seconds": seconds, "peak_bytes": peak}


def _resident_bytes(pid: int) -> int:
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


class Bench:
    """One size on this machine."""

    def __init__(
        self, contacts: int, scratch: Path, memory_gib: float, timeout: float, threads: int
    ) -> None:
        self.contacts = contacts
        self.folder = scratch / str(contacts)
        self.memory_gib = memory_gib
        self.timeout = timeout
        self.threads = threads
        self.machine = report.machine_name()
        self.date = datetime.now(UTC).date().isoformat()

    @property
    def customers(self) -> int:
        """People of the company."""
        first, last = company.Part("year", self.contacts).people
        return last - first

    def row(self, engine: str, stage: str, **figures: Any) -> Row:
        """Return a row of results; `seconds`, `peak_bytes` and `disk_bytes` are optional."""
        seconds, contacts = figures.get("seconds"), figures.get("contacts", self.contacts)
        peak, disk = figures.get("peak_bytes"), figures.get("disk_bytes")
        is_done = figures.get("outcome", "done") == "done"
        return {
            "contacts": self.contacts,
            "customers": self.customers,
            "engine": engine,
            "stage": stage,
            "outcome": figures.get("outcome", "done"),
            "seconds": None if seconds is None else round(seconds, 2),
            "rows_per_second_per_core": (
                round(contacts / seconds / self.threads)
                if seconds and is_done and "start-up" not in stage
                else None
            ),
            "peak_memory_gib": None if peak is None else round(peak / GIB, 2),
            "disk_gib": None if disk is None else round(disk / GIB, 3),
            "memory_limit_gib": self.memory_gib,
            "machine": self.machine,
            "date": self.date,
            "totals": figures.get("totals"),
        }

    def peer(self, engine: str) -> Iterator[Row]:
        """Measure a peer."""
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "made").mkdir(parents=True)
        arguments = {
            "exports": str(self.folder / "year"),
            "scratch": str(scratch / "made"),
            "memory_gib": self.memory_gib * SHARE_FOR_THE_ENGINE,
            "threads": self.threads,
        }
        os.environ["POLARS_MAX_THREADS"] = str(self.threads)
        function = f"benchmarks.scale.{PEERS[engine]}"
        contender = Contender(engine, function, arguments, scratch)
        try:
            found = measure_within(contender, self.memory_gib, self.timeout)
        except Stopped as stopped:
            yield self._stopped_row(engine, "whole", stopped)
        else:
            for step, seconds in found["steps"].items():
                yield self.row(engine, step, seconds=seconds)
            yield self.row(engine, "start-up", seconds=found["process_seconds"] - found["seconds"])
            yield self.row(
                engine,
                "whole",
                seconds=found["seconds"],
                peak_bytes=found["peak_bytes"],
                disk_bytes=found["disk_bytes"],
                totals=found["totals"],
            )
        finally:
            shutil.rmtree(scratch)

    def start_ups(self) -> Iterator[Row]:
        """Measure what `cx run` takes however little it brings: two days of a company of two."""
        tiny = self.folder / "cx_tiny"
        shutil.rmtree(tiny, ignore_errors=True)
        try:
            company.make_company(tiny / "exports_made", 2 * company.CONTACTS_OF_A_CUSTOMER, 1)
            for part, stage in (("year", "start-up"), ("day", "one-day increment: start-up")):
                self._hand_over(tiny / "exports_made", part, tiny)
                yield self.row(OURS, stage, seconds=self._cx(tiny)["process_seconds"])
        except Stopped as stopped:
            yield self._stopped_row(OURS, "start-up", stopped)
        finally:
            shutil.rmtree(tiny, ignore_errors=True)

    def year_and_day(self) -> Iterator[Row]:
        """Measure `cx run`: landing, the year on an empty warehouse, the day after."""
        data_dir, stage = self.folder / "cx", "landing"
        shutil.rmtree(data_dir, ignore_errors=True)
        try:
            self._hand_over(self.folder, "year", data_dir)
            found = self._cx(data_dir, "sources")
            yield self.row(
                OURS,
                stage,
                seconds=found["python_rooms"]["sources"],
                peak_bytes=found["peak_bytes"],
                disk_bytes=_size(data_dir / "lake"),
            )
            stage = "full build"
            found = self._cx(data_dir)
            counted = measure_within(
                Contender(
                    OURS,
                    "benchmarks.scale.pipeline:read_totals",
                    {"data_dir": str(data_dir)},
                    self.folder / "counting",
                ),
                self.memory_gib,
                self.timeout,
            )
            yield from self._rows_of(found, data_dir, stage, self.contacts, counted)
            stage = "one-day increment"
            self._hand_over(self.folder, "day", data_dir)
            found = self._cx(data_dir)
            day = max(self.contacts // company.DAYS, 1)
            yield from self._rows_of(found, data_dir, stage, day, {})
        except Stopped as stopped:
            yield self._stopped_row(OURS, stage, stopped)
        finally:
            for made in (data_dir, self.folder / "counting"):
                shutil.rmtree(made, ignore_errors=True)

    def _stopped_row(self, engine: str, stage: str, stopped: Stopped) -> Row:
        console.print(f"{engine}, {stage}: {stopped}. It said last:\n{stopped.said}", markup=False)
        return self.row(
            engine,
            stage,
            outcome=str(stopped),
            seconds=stopped.seconds,
            peak_bytes=stopped.peak_bytes,
        )

    def _rows_of(
        self,
        found: dict[str, Any],
        data_dir: Path,
        stage: str,
        contacts: int,
        counted: dict[str, Any],
    ) -> Iterator[Row]:
        yield self.row(
            OURS,
            stage,
            contacts=contacts,
            seconds=found["process_seconds"],
            peak_bytes=found["peak_bytes"],
            disk_bytes=found["warehouse_bytes"],
            totals=counted.get("totals"),
        )
        seconds = found["script_part_seconds"]
        yield self.row(OURS, f"{stage}: the script's part", seconds=seconds, contacts=contacts)
        yield self.row(
            OURS,
            f"{stage}: publish",
            contacts=contacts,
            seconds=found["python_rooms"]["serving"],
            disk_bytes=found["published_bytes"],
        )
        profile = RESULTS_DIR / f"scale-{self.contacts}-profile of {stage}.json"
        profile.write_text(json.dumps(found, indent=1))

    def _hand_over(self, made: Path, part: str, data_dir: Path) -> None:
        config_dir = self._config_dir(data_dir)
        config_dir.mkdir(parents=True, exist_ok=True)
        (config_dir / "sources.yml").write_text(company.sources_config())
        company.link_exports(made, part, data_dir / "exports")

    def _config_dir(self, data_dir: Path) -> Path:
        return data_dir / "config"

    def _cx(self, data_dir: Path, *rooms: str) -> dict[str, Any]:
        memory = f"{self.memory_gib * SHARE_FOR_THE_ENGINE:.2f}GiB"
        os.environ |= {"CX_MEMORY_LIMIT": memory, "CX_THREADS": str(self.threads)}
        arguments = {"config_dir": str(self._config_dir(data_dir)), "select": list(rooms)}
        contender = Contender(OURS, "benchmarks.scale.pipeline:run_cx", arguments, data_dir)
        return measure_within(contender, self.memory_gib, self.timeout)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(
    contacts: Annotated[int, typer.Option(min=1000, help="Contacts of the year.")] = 10_000_000,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this one; repeat for more.")
    ] = None,
    memory_gib: Annotated[float, typer.Option(help="Memory that each may take.")] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds that each process may take.")] = 7200,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for the data. [default: data/scale]")
    ] = None,
    write_docs: Annotated[bool, typer.Option(help="Also write docs/benchmarks.md.")] = False,
) -> None:
    """Measure the pipeline and its peers on one size; show all sizes measured so far."""
    engines = engine or [OURS, *PEERS]
    for name in engines:
        if name not in (OURS, *PEERS):
            raise typer.BadParameter(f"choose among {', '.join((OURS, *PEERS))}", param_hint=name)
    if "Spark" in engines and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise typer.BadParameter("it needs Java 17 or newer", param_hint="Spark")
    # What measures is told to end: so is what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threads = len(os.sched_getaffinity(0))
    folder = scratch or PROJECT_DIR / "data" / "scale"
    bench = Bench(contacts, folder, memory_gib, timeout, threads)
    console.print(f"Making the exports of {contacts:,} contacts, {bench.customers:,} customers")
    rows = company.make_company(bench.folder, contacts, threads)
    console.print(f"{rows['year']:,} rows of the year, {rows['day']:,} of the day after")
    RESULTS_DIR.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in engines:
        console.print(f"Measuring {name}")
        smaller = report.ran_out_at(report.read_rows(RESULTS_DIR), name, contacts, memory_gib)
        if smaller:
            outcome = f"skipped: ran out of memory at {smaller:,}"
            measured = [bench.row(name, "full build" if name == OURS else "whole", outcome=outcome)]
        else:
            ours = chain(bench.start_ups(), bench.year_and_day())
            try:
                measured = list(ours if name == OURS else bench.peer(name))
            except FailedError as error:
                # The others are measured all the same; what this one had before stays.
                console.print(f"[red]failed[/red] {name}")
                console.print(str(error), markup=False, highlight=False)
                failed = True
                continue
        path = RESULTS_DIR / f"scale-{contacts}-{name.replace(' ', '-').lower()}.json"
        path.write_text(json.dumps(measured, indent=1))
    measured = report.read_rows(RESULTS_DIR)
    report.show(measured, contacts, console)
    report.draw(measured, RESULTS_DIR / "scale.png")
    if write_docs:
        report.write_page(measured)
    if not report.agree(measured, contacts, console) or failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
