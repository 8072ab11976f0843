"""What the Dagster UI shows of a table that Python made."""

from typing import Any

import dagster as dg
import duckdb


def table_metadata(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Return row count and column schema of the table or view `<room>.<name>` as asset metadata."""
    (row_count,) = connection.execute(f"select count(*) from {table}").fetchall()[0]
    described = connection.execute(f"describe {table}").fetchall()
    columns = [dg.TableColumn(name=name, type=kind) for name, kind, *_ in described]
    return {
        "dagster/row_count": row_count,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
