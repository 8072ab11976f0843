"""The lake as DuckDB sees it: raw views, one view per entity of the contract, and the books.

Reads:     the lake and its manifest; sources.yml, purposes.yml, journey_stages.yml, company.yml
Writes:    views `raw_<source>.<table>` and `sources.<entities>`, and the small tables of `sources`
Keeps out: landing, and what staging does with the rows; the SQL of each view (raw_views.py,
           table_queries.py, mapping.py)
"""

from collections.abc import Iterator, Sequence

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.books import write_books, write_table
from cx_pipeline.sources.config import SourcesConfig, load_sources
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.sources.lake import Entry, Lake
from cx_pipeline.sources.mapping import (
    Mapped,
    empty_select,
    entity_select,
    renamed_keys,
    try_expressions,
    with_absent_keys,
)
from cx_pipeline.sources.raw_views import raw_relation, write_raw_views
from cx_pipeline.sources.reference import reference_tables
from cx_pipeline.sources.table_queries import check_query, query_relation


def register(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Make the lake's views and books anew; return what somebody should know.

    Raises:
        ConfigError: An expression of sources.yml does not compile or fails on a row; names file,
            line, source, table, column and expression.
    """
    config = load_sources(settings)
    lake = Lake(settings.lake_dir)
    entries = lake.complete_entries()
    connection.execute("create schema if not exists sources")
    write_books(connection, settings, config, lake, entries)
    for name, table in reference_tables(settings).items():
        write_table(connection, name, table)
    relations = {
        (source_name, table_name): relation
        for source_name, table_name, _, _ in config.landed_tables()
        if (relation := raw_relation(connection, lake, entries, source_name, table_name))
    }
    write_raw_views(connection, config, relations)
    notes: list[str] = []
    mapped = list(_mappings(connection, settings, config, lake, entries, relations, notes))
    by_entity: dict[str, list[str]] = {name: [] for name in entity_contract()}
    for item in mapped:
        by_entity[item.entity.name].append(entity_select(connection, settings, item))
    for entity in entity_contract().values():
        selects = by_entity[entity.name] or [empty_select(entity)]
        connection.execute(
            f"create or replace view sources.{entity.table} as\n"
            + "\nunion all by name\n".join(selects)
        )
    try_expressions(connection, settings, mapped, lake)
    return notes


def _mappings(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    config: SourcesConfig,
    lake: Lake,
    entries: Sequence[Entry],
    relations: dict[tuple[str, str], str],
    notes: list[str],
) -> Iterator[Mapped]:
    """Walk the mappings of tables that have rows."""
    for source_name, table_name, source, table in config.tables():
        if source.is_database or not table.is_query_over_tables:
            relation = relations.get((source_name, table_name))
        else:
            relation = query_relation(
                connection, settings, source_name, table_name, source, entries, relations
            )
            if relation:
                check_query(connection, settings, source_name, table_name, relation)
        if relation is None:
            if table.entities:
                notes.append(f"{source_name}.{table_name}: nothing landed yet")
            continue
        if not source.is_database and table.files and table.file_format == "jsonl":
            name = f"{source_name}.{table_name}"
            notes += renamed_keys(entries, source_name, table_name, table)
            relation = with_absent_keys(connection, relation, table, name, notes)
        for entity_name, mapping in table.entities.items():
            yield Mapped(
                source_name,
                table_name,
                source,
                table,
                entity_contract()[entity_name],
                mapping,
                f"({relation})",
            )
