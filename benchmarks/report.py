"""What was measured, for people: tables on the terminal, a chart, and the page in docs/.

Reads:     the results of the parts, as `benchmarks.run` collects them
Writes:    benchmarks/results/latest.json and ratios.png, and docs/benchmarks.md when asked
"""

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import duckdb
import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PROJECT_DIR, RESULTS_DIR

LANDING_TARGET = 3.0
MODELS_TARGET = 3.0
ORCHESTRATION_TARGET = 0.30
PAGE = PROJECT_DIR / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Row = tuple[str, ...]


class PageHasNoPlaceError(ValueError):
    """docs/benchmarks.md lost the two marks between which the figures go."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }


def landing_table(results: list[dict[str, Any]]) -> list[Row]:
    """One row per format."""
    rows: list[Row] = [
        (
            "Landing",
            "rows",
            "cx",
            "bare copy",
            "cx rows/s",
            "peak",
            f"ratio, target {LANDING_TARGET:.0f}x",
        )
    ]
    for result in results:
        rows.append(
            (
                result["format"],
                f"{result['rows']:,}",
                _seconds(result["seconds"]),
                _seconds(result["bare_seconds"]),
                f"{result['rows'] / result['seconds']:,.0f}",
                _gigabytes(result["peak_rss_bytes"]),
                f"{result['seconds'] / result['bare_seconds']:.1f}x",
            )
        )
    return rows


def models_table(result: dict[str, Any]) -> list[Row]:
    """The rooms against the script, step by step."""
    ours, script = result["ours"], result["by_hand"]
    title = f"Models, {result['touchpoints']:,} touchpoints"
    rows: list[Row] = [(title, "cx", "by hand", f"ratio, target {MODELS_TARGET:.0f}x")]
    for name, seconds in ours["rooms"].items():
        rows.append((f"  {name}", _seconds(seconds), "", ""))
    for name, seconds in script["steps"].items():
        rows.append((f"  by hand: {name}", "", _seconds(seconds), ""))
    rows += [
        (
            "models and identity",
            _seconds(ours["seconds"]),
            _seconds(script["seconds"]),
            f"{ours['seconds'] / script['seconds']:.1f}x",
        ),
        ("with the tests", *_with_tests(ours, script)),
        (
            "processor time of the models",
            _seconds(ours["cpu_seconds"]),
            _seconds(script["cpu_seconds"]),
            f"{ours['cpu_seconds'] / script['cpu_seconds']:.1f}x",
        ),
        ("start-up (imports, parse)", _seconds(ours["start_up_seconds"]), "", ""),
        (
            "peak memory",
            _gigabytes(ours["peak_rss_bytes"]),
            _gigabytes(script["peak_rss_bytes"]),
            f"{ours['peak_rss_bytes'] / script['peak_rss_bytes']:.1f}x",
        ),
        (
            "database file",
            _gigabytes(ours["file_bytes"]),
            _gigabytes(script["file_bytes"]),
            f"{ours['file_bytes'] / script['file_bytes']:.1f}x",
        ),
    ]
    return rows


def demo_table(result: dict[str, Any]) -> list[Row]:
    """The parts of the demo, work first."""
    whole = result["seconds"]
    title = f"cx demo, {result['customers']:,} customers, {result['days']} days"
    rows: list[Row] = [(title, "seconds", "share")]
    for name, seconds in (*result["parts"].items(), *result["orchestration"].items()):
        rows.append((f"  {name}", _seconds(seconds), f"{seconds / whole:.0%}"))
    rows += [
        ("whole, without simulation", _seconds(whole), "100%"),
        (
            f"orchestration of it, target {ORCHESTRATION_TARGET:.0%}",
            _seconds(result["orchestration_seconds"]),
            f"{result['share']:.0%}",
        ),
        ("simulation of the exports", _seconds(result["simulation_seconds"]), ""),
    ]
    return rows


def tables(results: dict[str, Any]) -> list[list[Row]]:
    """Return the table of every part that was measured."""
    makers = {"landing": landing_table, "models": models_table, "demo": demo_table}
    return [make(results[part]) for part, make in makers.items() if part in results]


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables; figures are medians, and of the demo the run with the median share."""
    for header, *rows in tables(results):
        table = Table(title_justify="left")
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def save(results: dict[str, Any]) -> None:
    """Write the results as JSON, and the ratios as a chart."""
    RESULTS_DIR.mkdir(parents=True, exist_ok=True)
    (RESULTS_DIR / "latest.json").write_text(json.dumps(results, indent=2))
    _draw(list(_bars(results)))


def write_page(results: dict[str, Any]) -> None:
    """Put the tables between the marks of docs/benchmarks.md.

    Raises:
        PageHasNoPlaceError: The marks are gone.
    """
    page = PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise PageHasNoPlaceError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    about = results["machine"]
    lines = [
        f"Measured {about['measured_at'][:10]} on {about['cpus']} cores and {about['memory_gb']} GB"
        f" with Python {about['python']} and DuckDB {about['duckdb']}; "
        f"medians of {results['repeats']} runs (of the demo, the run with the median share).",
    ]
    for header, *rows in tables(results):
        lines += ["", "| " + " | ".join(header) + " |"]
        lines.append("|---|" + "---:|" * (len(header) - 1))
        lines += ["| " + " | ".join(cell.strip() for cell in row) + " |" for row in rows]
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


def _bars(results: dict[str, Any]) -> Iterable[tuple[str, float, str]]:
    """Each measured figure as a share of its target, with its own words."""
    for result in results.get("landing", []):
        ratio = result["seconds"] / result["bare_seconds"]
        yield f"landing {result['format']}", ratio / LANDING_TARGET, f"{ratio:.1f}x a bare copy"
    if "models" in results:
        ours, script = results["models"]["ours"], results["models"]["by_hand"]
        ratio = ours["seconds"] / script["seconds"]
        yield "models", ratio / MODELS_TARGET, f"{ratio:.1f}x a script by hand"
    if "demo" in results:
        share = results["demo"]["share"]
        yield "orchestration", share / ORCHESTRATION_TARGET, f"{share:.0%} of cx demo"


def _draw(bars: list[tuple[str, float, str]]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.45 * len(bars)), layout="constrained")
    names, lengths, words = zip(*reversed(bars), strict=True)
    colours = ["#3b7a57" if length <= 1 else "#b5533c" for length in lengths]
    drawn = axes.barh(names, lengths, color=colours, height=0.6)
    axes.bar_label(drawn, labels=words, padding=4, fontsize=9)
    axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
    axes.set_xlim(0, max(1.25, max(lengths) * 1.35))
    axes.set_xticks([0, 1], ["0", "target"])
    axes.set_title(
        "Cost beside the bare minimum, as a share of the target", fontsize=10, loc="left"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS_DIR / "ratios.png", dpi=150)
    plt.close(figure)


def _with_tests(ours: dict[str, Any], script: dict[str, Any]) -> Row:
    both = [side["seconds"] + side["test_seconds"] for side in (ours, script)]
    return (_seconds(both[0]), _seconds(both[1]), f"{both[0] / both[1]:.1f}x")


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _gigabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
