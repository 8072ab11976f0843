"""What was measured at every size, for people: a table, charts, and the page in docs/.

Reads:     benchmarks/results/scale-<contacts>-<engine>.json
Writes:    the charts; docs/benchmarks.md and docs/scale.png when asked
"""

import json
import os
import platform
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PROJECT_DIR
from benchmarks.report import PAGE, PageHasNoPlaceError
from benchmarks.scale.task import TOTALS

OURS = "cx-pipeline"
SCRIPT = "DuckDB script"
BEGIN, END = "<!-- scale figures: begin -->", "<!-- scale figures: end -->"
CHART = PROJECT_DIR / "docs" / "scale.png"

Row = dict[str, Any]

_SERIES = {
    "cx-pipeline, everything": (OURS, "full build", "#3b7a57"),
    "cx-pipeline, the script's part": (OURS, "full build: the script's part", "#8cc0a2"),
    "cx-pipeline, one day more": (OURS, "one-day increment", "#b5b04a"),
    SCRIPT: (SCRIPT, "whole", "#222222"),
    "pandas": ("pandas", "whole", "#7a5195"),
    "Polars": ("Polars", "whole", "#d45087"),
    "Spark": ("Spark", "whole", "#ff8c42"),
}
"""What the charts show: engine, stage, colour."""


def machine_name() -> str:
    """Return what the figures depend on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, Python {python}"


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of all sizes and engines, smallest size first, ours before the others."""
    files = [path for path in folder.glob("scale-*.json") if "profile" not in path.name]
    rows = [row for path in files for row in json.loads(path.read_text())]
    order = list(dict.fromkeys(engine for engine, *_ in _SERIES.values()))
    return sorted(rows, key=lambda row: (row["contacts"], order.index(row["engine"])))


def ran_out_at(rows: list[Row], engine: str, contacts: int, memory_gib: float) -> int | None:
    """Return the smallest size at which an engine ran out of as much memory, if it is smaller."""
    sizes = [
        row["contacts"]
        for row in rows
        if row["engine"] == engine
        and row["stage"] in ("full build", "whole")
        and row["outcome"] == "out of memory"
        and row["contacts"] < contacts
        and row["memory_limit_gib"] >= memory_gib
    ]
    return min(sizes, default=None)


def agree(rows: list[Row], contacts: int, console: Console) -> bool:
    """Print whether the engines came to the same result at a size; return it."""
    totals = {
        row["engine"]: row["totals"]
        for row in rows
        if row["contacts"] == contacts and row["totals"]
    }
    is_same = True
    for name in TOTALS:
        values = {engine: found[name] for engine, found in totals.items() if name in found}
        if len(set(values.values())) > 1:
            is_same = False
            told = ", ".join(f"{engine} {value:,}" for engine, value in values.items())
            console.print(f"[red]not the same[/red] {name}: {told}", highlight=False)
    if is_same and totals:
        console.print(f"{len(totals)} engines agree: {', '.join(totals)}", highlight=False)
    return is_same


def ratios(rows: list[Row]) -> dict[tuple[int, str, str], float]:
    """Return how many times the script's seconds each whole takes, by contacts, engine and stage.

    The peers read the exports; so the landing, which does, counts with the full build.
    """
    seconds = {
        (row["contacts"], row["engine"], row["stage"]): row["seconds"]
        for row in rows
        if row["outcome"] == "done" and row["seconds"]
    }
    compared = {(engine, stage) for engine, stage, _ in _SERIES.values() if "day" not in stage}
    found = {}
    for (contacts, engine, stage), taken in seconds.items():
        script = seconds.get((contacts, SCRIPT, "whole"))
        if script and (engine, stage) in compared:
            landing = seconds.get((contacts, OURS, "landing"), 0) if stage == "full build" else 0
            found[contacts, engine, stage] = (landing + taken) / script
    return found


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the header and one row per size, engine and stage."""
    lines = [
        ("contacts", "engine", "stage", "seconds", "rows/s/core", "peak GiB", "disk GiB", "ratio")
    ]
    beside = ratios(rows)
    for row in rows:
        is_done = row["outcome"] == "done"
        ratio = beside.get((row["contacts"], row["engine"], row["stage"]))
        lines.append(
            (
                f"{row['contacts']:,}",
                row["engine"],
                row["stage"] if is_done else f"{row['stage']}: {row['outcome']}",
                _shown(row["seconds"], ",.1f"),
                _shown(row["rows_per_second_per_core"], ",d"),
                _shown(row["peak_memory_gib"], ".1f"),
                _shown(row["disk_gib"], ".2f"),
                f"{ratio:.1f}x" if ratio else "",
            )
        )
    return lines


def show(rows: list[Row], contacts: int, console: Console) -> None:
    """Print the table of one size; `ratio` is to the hand-written script."""
    header, *lines = table([row for row in rows if row["contacts"] == contacts])
    shown = Table(title=f"{contacts:,} contacts", title_justify="left")
    for number, name in enumerate(header[1:]):
        shown.add_column(name, justify="right" if number > 1 else "left")
    for line in lines:
        shown.add_row(*line[1:])
    console.print(shown)


def draw(rows: list[Row], path: Path) -> None:
    """Draw time, memory and the ratio to the script against size; a cross is out of memory."""
    mpl.use("Agg")
    figure, (time, memory, ratio) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    beside = ratios(rows)
    for label, (engine, stage, colour) in _SERIES.items():
        mine = [row for row in rows if (row["engine"], row["stage"]) == (engine, stage)]
        done = [row for row in mine if row["outcome"] == "done"]
        dead = [row for row in mine if row["outcome"] == "out of memory"]
        _line(time, label, colour, [(row["contacts"], row["seconds"]) for row in done])
        _crosses(time, colour, [(row["contacts"], row["seconds"]) for row in dead])
        _line(
            memory,
            label,
            colour,
            [(r["contacts"], r["peak_memory_gib"]) for r in done if r["peak_memory_gib"]],
        )
        _crosses(memory, colour, [(row["contacts"], row["peak_memory_gib"]) for row in dead])
        keys = [(row["contacts"], engine, stage) for row in done]
        _line(ratio, label, colour, [(key[0], beside[key]) for key in keys if key in beside])
    limits = {row["memory_limit_gib"] for row in rows}
    for limit in limits:
        memory.axhline(limit, color="#888888", linewidth=0.8, linestyle="--")
    for axes, title in (
        (time, "Seconds"),
        (memory, "Peak memory, GiB (dashed: the limit)"),
        (ratio, "Times the hand-written script"),
    ):
        axes.set(xscale="log", yscale="log", xlabel="contacts")
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = time.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write_page(rows: list[Row]) -> None:
    """Put the table of all sizes between the marks of docs/benchmarks.md, and the charts beside it.

    Raises:
        PageHasNoPlaceError: The marks are gone.
    """
    page = PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise PageHasNoPlaceError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    kept = {stage for _, stage, _ in _SERIES.values()}
    kept |= {"start-up", "landing", "full build: publish"}
    kept |= {"one-day increment: start-up", "one-day increment: publish"}
    header, *lines = table([row for row in rows if row["stage"] in kept])
    text = ["| " + " | ".join(header) + " |", "|---:|---|---|" + "---:|" * (len(header) - 3)]
    text += ["| " + " | ".join(line) + " |" for line in lines]
    measured = {(row["contacts"], row["date"], row["machine"]) for row in rows}
    told = "; ".join(
        f"{size:,} contacts {date} on {machine}" for size, date, machine in sorted(measured)
    )
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    middle = [
        f"Measured {told}.",
        "",
        "![Time, memory and ratio against size](scale.png)",
        "",
        *text,
    ]
    PAGE.write_text("\n".join([before + BEGIN, "", *middle, "", END + after]))
    draw(rows, CHART)


def _line(axes: Any, label: str, colour: str, points: list[tuple[float, float]]) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, markersize=4)


def _crosses(axes: Any, colour: str, points: list[tuple[float, float]]) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), "x", color=colour, markersize=9, markeredgewidth=2)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
