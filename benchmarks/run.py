"""`make bench`: what the pipeline costs beside the bare minimum, as ratios of medians.

Writes: benchmarks/results/latest.json and ratios.png; docs/benchmarks.md with --write-docs
"""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.measuring import PROJECT_DIR

console = Console()


class Part(StrEnum):
    """What can be measured by itself."""

    LANDING = "landing"
    MODELS = "models"
    DEMO = "demo"


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Touchpoints of the models.")] = 10_000_000,
    landing_rows: Annotated[int, typer.Option(min=100, help="Rows of each file.")] = 1_000_000,
    customers: Annotated[int, typer.Option(min=100, help="People of the demo.")] = 20_000,
    days: Annotated[int, typer.Option(min=30, help="Days of the demo.")] = 395,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each side.")] = 3,
    part: Annotated[
        list[Part] | None, typer.Option(help="Only this part; repeat for more.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for the data, emptied afterwards; 10 GB.")
    ] = None,
    write_docs: Annotated[bool, typer.Option(help="Also write docs/benchmarks.md.")] = False,
) -> None:
    """Measure landing, models and the whole demo; print ratios with medians."""
    from benchmarks import landing, models, whole_demo

    parts = part or list(Part)
    results: dict[str, Any] = {"repeats": repeats}
    folder = scratch or PROJECT_DIR / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made,
        console.status("Measuring") as status,
    ):
        place = Path(made)
        if Part.LANDING in parts:
            found = landing.measure_landing(place / "landing", landing_rows, repeats, status.update)
            results["landing"] = found
        if Part.MODELS in parts:
            found = models.measure_models(place / "models", rows, repeats, status.update)
            results["models"] = found
        if Part.DEMO in parts:
            results["demo"] = whole_demo.measure_whole_demo(
                place / "demo", customers, days, repeats, status.update
            )
    # Late, so that the process which starts the others stays small.
    from benchmarks import report

    results["machine"] = report.machine()
    report.show(results, console)
    report.save(results)
    console.print(f"Figures and chart: {report.RESULTS_DIR.relative_to(PROJECT_DIR)}")
    if write_docs:
        report.write_page(results)


if __name__ == "__main__":
    typer.run(main)
