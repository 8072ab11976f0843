"""A table that is a `query:` over the other tables of its source of files.

Reads:     the query, by DuckDB's parser; the manifest, for which loads have come again since
Keeps out: the rows of the tables that it reads (raw_views.py), and what becomes of its own
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import ROW_COLUMNS, bracketed, short
from cx_pipeline.sources.config import SourceConfig, sources_path
from cx_pipeline.sources.lake import Entry
from cx_pipeline.warehouse.config_files import config_error, did_you_mean
from cx_pipeline.warehouse.sql import quoted, text_literal


def query_relation(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source_name: str,
    table_name: str,
    source: SourceConfig,
    entries: Sequence[Entry],
    relations: dict[tuple[str, str], str],
) -> str | None:
    """Return a `query:` over the other tables of its source, None while one has no rows.

    Of a file that was landed more than once the query sees the last version only; a join would
    otherwise see each of its rows several times. Not so of the table whose rows the result's are:
    a row that its file no longer has stays, as in every table.

    Raises:
        ConfigError: It is no select, or reads something else than tables of files of its source.
    """
    query = (source.tables[table_name].query or "").strip().rstrip(";")
    there = [name for name, table in source.tables.items() if table.files]
    try:
        read = _tables_read(connection, query, there)
    except ValueError as error:
        place = ("sources", source_name, "tables", table_name, "query")
        raise config_error(sources_path(settings), [(place, str(error))]) from None
    tables: dict[str, str] = {}
    for other in read:
        relation = relations.get((source_name, other))
        if relation is None:
            return None
        tables[other] = f"select * from ({relation})"
    for other, rows in tables.items():
        old = _superseded(entries, source_name, other)
        if old and not _passes_on_rows(connection, query, tables, other):
            tables[other] = f"{rows} where (_load_id, _file) not in ({old})"
    return _over(query, tables)


def _tables_read(
    connection: duckdb.DuckDBPyConnection, query: str, there: Sequence[str]
) -> list[str]:
    """Return which of the tables that are there a query reads, in their order.

    DuckDB's parser tells: a column, an alias or a comment may bear the name of a table too.

    Raises:
        ValueError: It is no select, or reads something else; says so in a sentence.
    """
    ((told,),) = connection.execute(
        "select json_serialize_sql($1::varchar)::varchar", [f"select * from {bracketed(query)}"]
    ).fetchall()
    tree = json.loads(told)
    if tree["error"]:
        # Of what is no syntax error DuckDB says only that it cannot be told as JSON.
        is_syntax = tree["error_type"] == "parser"
        reason = tree["error_message"] if is_syntax else "a pivot must name its columns, `in (...)`"
        raise ValueError(f"DuckDB does not understand the query: {reason}")
    read = set(_names_read(tree, frozenset()))
    strange = next((name for name in sorted(read) if name not in there), None)
    if strange:
        raise ValueError(
            f'the query reads "{strange}", which is no table of files of this source'
            + did_you_mean(strange, there)
        )
    if not read:
        raise ValueError("the query reads no table of its source; select from one of them.")
    return [name for name in there if name in read]


def _names_read(tree: Any, own: frozenset[str]) -> Iterator[str]:
    """Walk the tables that a parsed select reads, but not its own, which a `with` names."""
    if isinstance(tree, list):
        for item in tree:
            yield from _names_read(item, own)
    elif isinstance(tree, dict):
        # A recursive one reads itself; any other means by its name what is outside of it.
        own |= {tree.get("cte_name", "").lower()}
        for item in tree.get("cte_map", {}).get("map", []):
            yield from _names_read(item["value"], own)
            own |= {item["key"].lower()}
        if tree.get("type") == "BASE_TABLE":
            path = (tree["catalog_name"], tree["schema_name"], tree["table_name"])
            name = ".".join(filter(None, path)).lower()
            if name not in own:
                yield name
        for key, item in tree.items():
            if key != "cte_map":
                yield from _names_read(item, own)


def _over(query: str, tables: dict[str, str]) -> str:
    """Return the query over these tables, a select each."""
    named = ", ".join(f"{quoted(name)} as ({rows})" for name, rows in tables.items())
    return f"with {named} select * from {bracketed(query)}"


def _passes_on_rows(
    connection: duckdb.DuckDBPyConnection, query: str, tables: dict[str, str], name: str
) -> bool:
    """Whether the result's `_file` and `_load_id` are this table's: marked by types of their own.

    A query that lifts rows to a newer load would lift every version of one to the same load.
    """
    marks = "'x'::enum('x') as _file, 1::utinyint as _load_id"
    marked = tables | {name: f"select * replace ({marks}) from ({tables[name]})"}
    try:
        described = connection.execute(f"describe {_over(query, marked)}").fetchall()
    except duckdb.Error:
        return False
    return {("_file", "ENUM('x')"), ("_load_id", "UTINYINT")} <= {row[:2] for row in described}


def _superseded(entries: Sequence[Entry], source_name: str, table_name: str) -> str:
    """Return the loads of files that have come again since, as SQL rows.

    A copy, and a file that moved, have landed without rows: theirs are those of another file, and
    stand when that one comes again.
    """
    landed: dict[tuple[str, str], tuple[int, str]] = {}
    newest: dict[str, tuple[int, str]] = {}
    everything = set()
    for entry in entries:
        if (entry.source, entry.table) != (source_name, table_name):
            continue
        originals = {file.sha256: file.file for file in entry.files if file.row_count}
        for file in entry.files:
            name = file.file if file.row_count else originals.get(file.sha256, file.file)
            rows = (entry.load_id, name)
            if file.moved_from:
                rows = landed.get((file.moved_from, file.sha256), rows)
                if newest.get(file.moved_from) == rows:
                    del newest[file.moved_from]
            landed[file.file, file.sha256] = rows
            newest[file.file] = rows
            everything.add(rows)
    old = sorted(everything.difference(newest.values()))
    return ", ".join(f"({load_id}, {text_literal(file)})" for load_id, file in old)


def check_query(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source_name: str,
    table_name: str,
    relation: str,
) -> None:
    """Check that a query compiles and hands on what the lake knows of each row.

    Raises:
        ConfigError: It does not.
    """
    place = ("sources", source_name, "tables", table_name, "query")
    try:
        rows = connection.execute(f"describe {relation}").fetchall()
    except duckdb.Error as error:
        fault = f"DuckDB does not understand the query: {short(str(error))}"
        raise config_error(sources_path(settings), [(place, fault)]) from None
    there = {row[0] for row in rows}
    lacking = [name for name in ROW_COLUMNS if name not in there]
    if lacking:
        fault = (
            f"the query does not return {', '.join(lacking)}; select `<table>.*` of the table "
            "whose rows they are, it brings them along."
        )
        raise config_error(sources_path(settings), [(place, fault)])
