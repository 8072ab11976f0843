"""DuckDB, embedded: dbt and the Python rooms share the tables of one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.company import read_company


class DuckDBEngine:
    """The engine of a data folder whose tables stand in its warehouse.duckdb."""

    target = "duckdb"

    def dbt_vars(self, settings: Settings) -> dict[str, Any]:
        """Return the range of the time zone's offsets, which spares most rows a conversion."""
        return {"utc_offset_seconds": utc_offset_seconds(read_company(settings).time_zone)}

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


@cache
def utc_offset_seconds(time_zone: str) -> list[int]:
    """Return the least and the greatest UTC offset that DuckDB knows of a zone, from 1970 on.

    Asked at each midnight until 2100; rules for the years to come repeat themselves.
    """
    with duckdb.connect() as connection:
        ((least, greatest),) = connection.execute(
            """
            select min(seconds), max(seconds)
            from (
                select
                    date_diff('second', midnight, timezone($1, timezone('UTC', midnight)))
                        as seconds
                from generate_series(
                    timestamp '1970-01-01', timestamp '2100-01-01', interval 1 day
                ) as days (midnight)
            )
            """,
            [time_zone],
        ).fetchall()
    return [least, greatest]


ENGINE = DuckDBEngine()
