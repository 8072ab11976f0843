"""The demo company, small, run once through every room for the tests that follow the story."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

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
