"""The engines that the warehouse runs on: DuckDB in this process, or Apache Spark.

Everything that differs between them stands in this folder and in dbt_project/macros/engine. The
rest of the house asks for `engine_of(settings)` and does not know which one it got.

Whatever the engine, landing and the Python rooms speak DuckDB: on Spark its tables are views over
the Parquet files that Spark wrote, and what the rooms write is handed to Spark as Parquet.
"""

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import duckdb

from cx_pipeline.settings import Settings


class EngineMissingError(RuntimeError):
    """The engine that is set cannot run here; says what to install."""


class Engine(Protocol):
    """What the house needs of an engine besides dbt."""

    target: str
    """Output of dbt_project/profiles.yml."""

    def dbt_vars(self, settings: Settings) -> dict[str, Any]:
        """Return the dbt vars that the engine's macros read."""

    def show_tables(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        """Make what dbt has built readable over a DuckDB connection to the warehouse file."""

    def building(self, settings: Settings, *, full_refresh: bool) -> AbstractContextManager[None]:
        """Prepare for a dbt build, and let go of what it held when the block ends."""

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the tables that a running dbt build has made, in DuckDB's SQL."""


_MODULES = {"duckdb": "duckdb_engine", "spark": "spark_engine"}
_BUILT = {"duckdb": "warehouse.duckdb", "spark": "spark/staging"}


@cache
def _engine(name: str) -> Engine:
    return import_module(f"{__name__}.{_MODULES[name]}").ENGINE


def has_built(engine: str, settings: Settings) -> bool:
    """Whether an engine, which may not be installed here, has built tables in a data folder."""
    return (settings.data_dir / _BUILT[engine]).exists()


def engine_of(settings: Settings) -> Engine:
    """Return the engine of CX_ENGINE.

    Raises:
        EngineMissingError: It is not installed.
    """
    return _engine(settings.engine)
