"""What the Dagster UI shows of a table that Python made."""

from typing import Any

import dagster as dg
import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.project import load_manifest


def table_metadata(
    connection: duckdb.DuckDBPyConnection, table: str, settings: Settings
) -> dict[str, Any]:
    """Return row count and column schema of the table or view `<room>.<name>` as asset metadata.

    What a column means is said where the dbt project declares the table as a source.
    """
    declared = {
        f"{source.schema}.{source.name}": source.columns
        for source in load_manifest(settings).sources.values()
    }
    told = {name: column.description for name, column in declared.get(table, {}).items()}
    (row_count,) = connection.execute(f"select count(*) from {table}").fetchall()[0]
    described = connection.execute(f"describe {table}").fetchall()
    columns = [dg.TableColumn(name, kind, told.get(name)) for name, kind, *_ in described]
    return {
        "dagster/row_count": row_count,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
