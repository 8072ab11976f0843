"""DuckDB, embedded: dbt and the Python rooms share the tables of one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from cx_pipeline.settings import Settings


class DuckDBEngine:
    """The engine of a data folder whose tables stand in its warehouse.duckdb."""

    target = "duckdb"

    def dbt_vars(self, settings: Settings) -> dict[str, Any]:
        """Return nothing: the connection brings what the macros need."""
        return {}

    def show_tables(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        """Do nothing: dbt's tables stand in the file already."""

    @contextmanager
    def building(self, settings: Settings, *, full_refresh: bool) -> Iterator[None]:
        """Close dbt's connections at the end, for the next step opens the file itself.

        What is built anew has not been tested yet, also if the run does not come to its tests.
        """
        if full_refresh and settings.warehouse_path.exists():
            with duckdb.connect(str(settings.warehouse_path)) as connection:
                connection.execute("drop table if exists sources.checked_load")
        try:
            yield
        finally:
            DuckDBConnectionManager.close_all_connections()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask over a handle of our own: dbt drops those of all threads after its last node."""
        handle = DuckDBConnectionManager.env().handle()
        try:
            return handle.cursor().execute(sql).fetchall()
        finally:
            handle.close()


ENGINE = DuckDBEngine()
