"""How tests call `cx` and dbt, and the demo company, small, run once through every room."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from cx_pipeline.settings import DBT_PROJECT_DIR, load_settings
from cx_pipeline.warehouse.project import load_manifest

IDENTITY_KEY = "key of the test suite"
os.environ.setdefault("CX_IDENTITY_KEY", IDENTITY_KEY)

CX = Path(sys.executable).with_name("cx")


def run_cx(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Call the command line as a user does; print what it said when it fails."""
    done = subprocess.run(
        [str(CX), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        pytest.fail(f"cx {' '.join(map(str, arguments))}:\n{done.stdout}\n{done.stderr}")
    return done


def run_dbt(
    data_dir: Path,
    *arguments: str,
    artifacts: Path | None = None,
    check: bool = True,
    **environment: str,
) -> Any:
    """Call dbt in this process on the warehouse of a data folder; return what became of each node.

    In a process of its own it would be imported and parse the project each time. What dbt writes
    besides goes to the data folder or to `artifacts`.
    """
    artifacts = artifacts or data_dir
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "CX_DATA_DIR": str(data_dir)}.items():
            patch.setenv(name, value)
        # dbt leaves in a manifest what it compiled, and would not do so again.
        done = dbtRunner(manifest=_parsed_project().deepcopy()).invoke(
            [
                *("--quiet", *arguments),
                *("--project-dir", str(DBT_PROJECT_DIR)),
                *("--profiles-dir", str(DBT_PROJECT_DIR)),
                *("--target-path", str(artifacts / "target")),
                *("--log-path", str(artifacts / "logs")),
            ]
        )
        DuckDBConnectionManager.close_all_connections()
    if check and not done.success:
        pytest.fail(f"dbt {' '.join(arguments)}: {done.exception or list(map(str, done.result))}")
    return done.result


@cache
def _parsed_project() -> Manifest:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CX_DATA_DIR", folder)
        return load_manifest(load_settings(data_dir=Path(folder)))


@dataclass(frozen=True)
class Company:
    """A data folder with a published file."""

    data_dir: Path

    @property
    def published(self) -> Path:
        return self.data_dir / "serving" / "bi.duckdb"

    def query(self, sql: str, *values: object) -> list[tuple]:
        """Ask the published file."""
        with duckdb.connect(str(self.published), read_only=True) as connection:
            return connection.execute(sql, list(values)).fetchall()

    def ask_warehouse(self, sql: str, *values: object) -> list[tuple]:
        """Ask the pipeline's own file, for rooms that are not published."""
        with duckdb.connect(str(self.data_dir / "warehouse.duckdb")) as connection:
            return connection.execute(sql, list(values)).fetchall()


@pytest.fixture(scope="session")
def demo_company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """300 people over 45 days."""
    company = Company(tmp_path_factory.mktemp("demo"))
    run_cx("demo", "--customers", "300", "--days", "45", "--data", company.data_dir)
    return company
