"""How a contender is measured: in a process of its own, side by side with the other one.

A contender is a plain function `module:name` that takes keyword arguments of JSON (among them
`started_at`, when its process was started, in seconds since 1970) and returns a dict with at
least `seconds`. A fresh process for each keeps memory, caches of the process and
imports of one out of the figures of the other.
Keeps out: what is measured; each part of the benchmark brings its contenders.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parent.parent
RESULTS_DIR = PROJECT_DIR / "benchmarks" / "results"
IDENTITY_KEY = "key of the benchmarks"


class ContenderFailedError(RuntimeError):
    """A child process ended with an error; the message holds what it said last."""


@dataclass(frozen=True)
class Contender:
    """One of the sides of a comparison."""

    name: str
    function: str
    arguments: dict[str, Any]
    data_dir: Path


@dataclass
class Stopwatch:
    """Seconds by the wall clock, and of processor time over all threads of this process."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Time a block."""
    watch = Stopwatch()
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - began
        watch.cpu_seconds = time.process_time() - cpu_began


def measure(contender: Contender) -> dict[str, Any]:
    """Run one contender once in a child process.

    Returns:
        What the function returned, with `process_seconds` (start to end of the child),
        `import_seconds` (until the function was at hand) and `peak_rss_bytes`.

    Raises:
        ContenderFailedError: The child failed.
    """
    command, environment, answer = child_of(contender)
    with stopwatch() as watch:
        done = subprocess.run(
            command,
            cwd=contender.data_dir,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or not answer.exists():
        said = (done.stdout + done.stderr).strip()[-4000:]
        raise ContenderFailedError(f"{contender.name} ended with {done.returncode}:\n{said}")
    return {**json.loads(answer.read_text()), "process_seconds": watch.seconds}


def child_of(contender: Contender) -> tuple[list[str], dict[str, str], Path]:
    """Return command and environment of a child process to start now, and where it answers."""
    contender.data_dir.mkdir(parents=True, exist_ok=True)
    answer = contender.data_dir / "measured.json"
    answer.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "CX_DATA_DIR": str(contender.data_dir),
        "CX_IDENTITY_KEY": IDENTITY_KEY,
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(PROJECT_DIR),
    }
    arguments = json.dumps(contender.arguments | {"started_at": time.time()})
    command = [sys.executable, "-m", "benchmarks.measuring", contender.function, str(answer)]
    return [*command, arguments], environment, answer


def alternate(
    contenders: list[Contender],
    repeats: int,
    prepare: Callable[[Contender], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, list[dict[str, Any]]]:
    """Measure the contenders in turn (A B A B), so that a busy moment of the machine hits both.

    Args:
        contenders: The sides, by distinct names.
        repeats: How often each runs.
        prepare: Called before each run, outside the clock, to empty what the last one left.
        tell: Called with a word on the progress.
    """
    measured: dict[str, list[dict[str, Any]]] = {side.name: [] for side in contenders}
    for repeat in range(repeats):
        for side in contenders:
            prepare(side)
            result = measure(side)
            measured[side.name].append(result)
            tell(f"{side.name} {repeat + 1}/{repeats}: {result['seconds']:.2f} s")
    return measured


def median(results: list[dict[str, Any]], name: str) -> float:
    """Return the median of one figure over the repeats."""
    return float(statistics.median(result[name] for result in results))


def _peak_rss_bytes() -> int:
    """Return the most memory this process held; Linux and macOS."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it starts from the size of the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _child(function: str, answer: str, arguments: str) -> None:
    began = time.perf_counter()
    module, name = function.split(":")
    contender = getattr(import_module(module), name)
    import_seconds = time.perf_counter() - began
    result = contender(**json.loads(arguments))
    result |= {"import_seconds": import_seconds, "peak_rss_bytes": _peak_rss_bytes()}
    Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    _child(*sys.argv[1:])
