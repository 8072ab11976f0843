"""`make parity`: the demo company on both engines, then every table of every room compared.

Writes: nothing that stays, unless --folder names a place

Both engines read one lake: DuckDB's run lands the exports, Spark's gets a copy of what was landed.
The last day comes in a second run, so that what increments make is compared too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cx_pipeline.demo.simulator import simulate
from cx_pipeline.warehouse.session import ROOMS
from parity.compare import Compared, compare_files

OF_INCREMENTS = (
    ".evidence_of_",
    ".changed_profiles_of_",
    ".int_customer_360__touched_profiles",
)
"""In the names of tables that say how far an increment has come and what it touched; Spark builds
whole."""
OF_TOUCHED_CUSTOMERS = (
    ".customers_as_built",
    *(f".int_customer_360__{step}" for step in ("orders", "products", "reach", "touchpoints")),
    ".int_customer_360__last_touchpoints",
)
"""Which customers an increment built, and on which day: not the same on each engine. What customers
tells on top of them is compared then too."""

console = Console()


def main(
    customers: Annotated[int, typer.Option(min=100, help="People of the demo company.")] = 300,
    days: Annotated[int, typer.Option(min=30, help="Days of history, ending yesterday.")] = 45,
    folder: Annotated[
        Path | None, typer.Option(help="Where to build; kept afterwards. [default: temporary]")
    ] = None,
) -> None:
    """Build the demo on both engines, the last day in a second run; exit 1 if they differ."""
    with tempfile.TemporaryDirectory(prefix="parity-") as made:
        place = folder or Path(made)
        duck, spark = place / "duckdb", place / "spark"
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        is_equal = True
        for until, left_out in (
            (yesterday - timedelta(days=1), OF_INCREMENTS),
            (yesterday, (*OF_INCREMENTS, *OF_TOUCHED_CUSTOMERS)),
        ):
            simulate(duck / "exports", duck / "truth", customers=customers, days=days, until=until)
            _run("duckdb", duck)
            for shared in ("exports", "lake"):
                shutil.copytree(duck / shared, spark / shared, dirs_exist_ok=True)
            _run("spark", spark)
            console.print(f"\nUp to {until}")
            is_equal &= _report(compare_folders(duck, spark), left_out)
    if not is_equal:
        raise typer.Exit(1)


def compare_folders(left: Path, right: Path) -> list[Compared]:
    """Compare the warehouses of two data folders, then what they published with its types."""
    keys = keys_of(json.loads((left / "target" / "manifest.json").read_text()))
    warehouses = [folder / "warehouse.duckdb" for folder in (left, right)]
    published = [folder / "serving" / "bi.duckdb" for folder in (left, right)]
    return [
        *compare_files(*warehouses, ROOMS, keys),
        *compare_files(*published, ROOMS, keys, prefix="published ", is_published=True),
    ]


def keys_of(manifest: dict) -> dict[str, list[str]]:
    """Return the columns that identify a row of each model, by `<room>.<model>`."""
    nodes = manifest["nodes"]
    keys: dict[str, list[str]] = {}
    for node in nodes.values():
        tested = nodes.get(node.get("attached_node") or "")
        name = (node.get("test_metadata") or {}).get("name")
        if tested and name in ("primary_key", "unique"):
            # Of a row or of pasted texts: what is no column of the table falls away.
            words = re.findall(r"\w+", node["test_metadata"]["kwargs"]["column_name"])
            keys.setdefault(f"{tested['schema']}.{tested['name']}", words)
    for node in nodes.values():
        key = node["config"].get("unique_key")
        if node["resource_type"] == "model" and key:
            keys[f"{node['schema']}.{node['name']}"] = [key] if isinstance(key, str) else key
    return keys


def _run(engine: str, folder: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cx")), "run", "--data", str(folder)],
        env={**os.environ, "CX_ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        console.print(done.stdout, done.stderr, highlight=False)
        raise typer.Exit(1)
    console.print(f"{engine:<7} {time.monotonic() - started:,.0f} s", highlight=False)


def _report(found: Sequence[Compared], left_out: Sequence[str]) -> bool:
    compared = [table for table in found if not any(part in table.table for part in left_out)]
    for table in compared:
        if not table.is_equal:
            console.print(
                f"[red]{table.table}[/red]: {table.left_rows:,} rows on duckdb, "
                f"{table.right_rows:,} on spark, {table.difference_count:,} differences",
                highlight=False,
            )
            for difference in table.differences:
                console.print(f"  {difference}", highlight=False, soft_wrap=True, markup=False)
    equal = sum(table.is_equal for table in compared)
    rows = sum(table.left_rows for table in compared)
    console.print(
        f"{equal} of {len(compared)} tables are equal, {rows:,} rows; not compared are "
        f"{len(found) - len(compared)} that only say how far an increment came",
        highlight=False,
        soft_wrap=True,
    )
    return bool(rows) and equal == len(compared)


if __name__ == "__main__":
    typer.run(main)
