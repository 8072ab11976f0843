"""The books of the landing as tables: loads, files, rejected rows, and what is mapped to what.

Reads:     the manifest of the lake, sources.yml
Writes:    sources.loads, sources.loaded_files, sources.rejected_rows, sources.taken_away_files,
           sources.mapped_entities, sources.quarantine_limits
Keeps out: the rows themselves (raw_views.py)
"""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from cx_pipeline.settings import Settings
from cx_pipeline.sources.config import SourcesConfig
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.sources.lake import Entry, Lake
from cx_pipeline.warehouse.company import read_company

BOOKS = {
    "loads": "One row per load, that is per run that landed something.",
    "loaded_files": "One row per load, source, table and input file.",
    "rejected_rows": (
        "One row per input row that could not be read, or per file when nothing of it could."
    ),
    "taken_away_files": "One row per file that was refused and is no longer there.",
    "mapped_entities": "One row per source, table and entity of the contract it is mapped to.",
    "quarantine_limits": "One row per source: the share of its rows that may be set aside.",
}
"""The tables that are made here, each with its grain."""


def write_table(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Replace a table of the sources room."""
    connection.register("book_rows", table)
    try:
        connection.execute(f"create or replace table sources.{name} as select * from book_rows")
    finally:
        connection.unregister("book_rows")


def write_books(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    config: SourcesConfig,
    lake: Lake,
    entries: Sequence[Entry],
) -> None:
    """Rebuild the tables of loads, files and rejected rows from the manifest.

    Raises:
        ConfigError: company.yml cannot be used.
    """
    default_share = read_company(settings).quarantine.max_share
    text, number = pa.string(), pa.int64()
    entities = entity_contract()
    books = {
        "loads": (
            {"load_id": number, "loaded_at": pa.timestamp("us"), "is_complete": pa.bool_()},
            [(load.load_id, load.loaded_at, load.is_complete) for load in lake.loads()],
        ),
        "loaded_files": (
            {
                "load_id": number,
                "source_name": text,
                "table_name": text,
                "file": text,
                "sha256": text,
                "size_bytes": number,
                "row_count": number,
                "rejected_count": number,
                "first_row_number": number,
            },
            [
                (
                    entry.load_id,
                    entry.source,
                    entry.table,
                    file.file,
                    file.sha256,
                    file.size_bytes,
                    file.row_count,
                    file.rejected_count,
                    file.first_row_number,
                )
                for entry in entries
                for file in entry.files
            ],
        ),
        "rejected_rows": (
            {
                "load_id": number,
                "source_name": text,
                "table_name": text,
                "file": text,
                "row_number": number,
                "column_name": text,
                "reason": text,
            },
            [
                (
                    entry.load_id,
                    entry.source,
                    entry.table,
                    row.file,
                    row.row_number,
                    row.column_name,
                    row.reason,
                )
                for entry in entries
                for row in entry.rejected
            ],
        ),
        "taken_away_files": (
            {"load_id": number, "source_name": text, "table_name": text, "file": text},
            [
                (entry.load_id, entry.source, entry.table, name)
                for entry in entries
                for name in entry.taken_away
            ],
        ),
        "mapped_entities": (
            {"source_name": text, "table_name": text, "entity": text},
            [
                (source_name, table_name, entities[entity].table)
                for source_name, table_name, _, table in config.tables()
                for entity in table.entities
            ],
        ),
        "quarantine_limits": (
            {"source_name": text, "max_share": pa.float64()},
            [
                (name, source.quarantine.max_share if source.quarantine else default_share)
                for name, source in config.sources.items()
            ],
        ),
    }
    for name, (columns, rows) in books.items():
        write_table(connection, name, _table(columns, rows))


def _table(columns: dict[str, pa.DataType], rows: Sequence[tuple]) -> pa.Table:
    """Return rows as an Arrow table of the given columns."""
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [
        pa.array(column, type=kind) for column, kind in zip(values, columns.values(), strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=list(columns))
