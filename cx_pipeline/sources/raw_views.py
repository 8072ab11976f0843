"""The raw views: the landed rows of each table as one relation, whatever its parts look like.

Reads:     the lake and its manifest
Writes:    views `raw_<source>.<table>`
Keeps out: what a mapping makes of the rows (mapping.py)

Only complete loads are seen. A view is a plain projection of Parquet, so that a filter on
`_load_id` opens just the files of those loads.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from cx_pipeline.sources.binding import NO_ROW, ROW_COLUMNS, bind_error, expressions_of
from cx_pipeline.sources.casting import as_text
from cx_pipeline.sources.config import SourcesConfig, TableConfig
from cx_pipeline.sources.lake import Entry, Lake, Part
from cx_pipeline.warehouse.sql import quoted, text_literal

_WHOLE_TYPES = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")


def raw_relation(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    entries: Sequence[Entry],
    source_name: str,
    table_name: str,
) -> str | None:
    """Return a select over the landed rows of a table, None when there are none."""
    parts = [
        (lake.part_path(entry, part), part)
        for entry in entries
        if (entry.source, entry.table) == (source_name, table_name)
        for part in entry.parts
    ]
    if not parts:
        return None
    shown = _shown_types(connection, [(path, part.columns) for path, part in parts])
    groups: dict[tuple, list[tuple[Path, Part]]] = {}
    for path, part in parts:
        types = {name.lower(): kind for name, kind in part.columns.items()}
        shape = (part.row_offset, *(types.get(name) for name in shown))
        groups.setdefault(shape, []).append((path, part))
    selects = []
    for shape, members in groups.items():
        offset, present = shape[0], members[0][1].columns
        paths = ", ".join(text_literal(str(path)) for path, _ in members)
        casts = [
            (as_text(quoted(name), kind) if to == "varchar" else f"{quoted(name)}::{to}")
            + f" as {quoted(name)}"
            for name, kind in present.items()
            if (to := shown.get(name.lower()))
        ]
        replaced = f" replace ({', '.join(casts)})" if casts else ""
        number = f"file_row_number + {offset}" if offset is not None else "_row_number"
        dropped = "load_id, file_row_number" + ("" if offset is not None else ", _row_number")
        selects.append(
            f"select * exclude ({dropped}){replaced}, {number} as _row_number, "
            f"load_id as _load_id from read_parquet([{paths}], hive_partitioning = true, "
            "hive_types = {'load_id': bigint}, union_by_name = true, file_row_number = true)"
        )
    return " union all by name ".join(selects)


def _shown_types(
    connection: duckdb.DuckDBPyConnection, parts: Sequence[tuple[Path, dict[str, str]]]
) -> dict[str, str]:
    """Return the columns that DuckDB would not bring together as they are, with their one type.

    Numbers that were whole and come as 102.0 later (pandas does so once a value is empty) stay
    whole: a key made from them would change for the rows that are landed already.
    """
    found: dict[str, list[tuple[Path, str, str]]] = {}
    for path, columns in parts:
        for name, kind in columns.items():
            found.setdefault(name.lower(), []).append((path, name, kind))
    shown = {}
    for lowered, places in found.items():
        families = [_family(kind) for _, _, kind in places]
        if len({"number" if family == "whole" else family for family in families}) > 1:
            shown[lowered] = "varchar"
        elif families[0] == "whole" and "number" in families:
            looks = " union all ".join(
                f"select {name} is null or coalesce(try_cast({name} as bigint) = {name}, false) "
                f"as is_whole from read_parquet({text_literal(str(path))})"
                for (path, column, _), family in zip(places, families, strict=True)
                if family == "number" and (name := quoted(column))
            )
            if connection.execute(
                f"select coalesce(bool_and(is_whole), true) from ({looks})"
            ).fetchone()[0]:
                shown[lowered] = "bigint"
    return shown


def _family(kind: str) -> str:
    """Return what types DuckDB brings together: numbers, and records with other fields."""
    if _WHOLE_TYPES.fullmatch(kind):
        return "whole"
    if re.fullmatch(r"DOUBLE|FLOAT|DECIMAL\(.*\)", kind):
        return "number"
    return re.sub(r"^STRUCT\(.*\)", "STRUCT", kind)


def clash_with_earlier(
    connection: duckdb.DuckDBPyConnection,
    table: TableConfig,
    earlier: Sequence[tuple[Path, dict[str, str]]],
    made: tuple[Path, dict[str, str]],
) -> str | None:
    """Say why a new part cannot stand beside the earlier ones, None when it can.

    A column whose types do not go together is shown as text, and an expression that compiled over
    the earlier type may not compile over text. Once landed it would stop every later run.
    """
    before = {name.lower(): kind for _, columns in earlier for name, kind in columns.items()}
    changed = {
        name: before[name.lower()]
        for name, kind in made[1].items()
        if before.get(name.lower(), kind) != kind
    }
    if not changed:
        return None
    old, new = (_without_rows(connection, parts) for parts in (earlier, [*earlier, made]))
    for _, column, expression, mapping in expressions_of(table):
        is_condition = column == "where"
        if bind_error(
            connection, new, expression, mapping, is_condition=is_condition
        ) and not bind_error(connection, old, expression, mapping, is_condition=is_condition):
            types = "; ".join(
                f'the column "{name}" was {kind} and is {made[1][name]} now'
                for name, kind in changed.items()
            )
            return (
                f"{types}, so that `{expression}` no longer compiles. Export it with the earlier "
                "type, or correct the mapping in sources.yml so that it takes text"
            )
    return None


def _without_rows(
    connection: duckdb.DuckDBPyConnection, parts: Sequence[tuple[Path, dict[str, str]]]
) -> str:
    """Return a relation with the columns and types that a table of these parts has."""
    shown = _shown_types(connection, parts)
    selects = {
        "select "
        + ", ".join(
            f"null::{shown.get(name.lower(), kind)} as {quoted(name)}"
            for name, kind in columns.items()
            if name not in ROW_COLUMNS
        )
        for _, columns in parts
    }
    return f"(select *, {NO_ROW} from ({' union all by name '.join(sorted(selects))}))"


def write_raw_views(
    connection: duckdb.DuckDBPyConnection,
    config: SourcesConfig,
    relations: dict[tuple[str, str], str],
) -> None:
    """Make the raw views, and drop those of tables that the config no longer has."""
    there = connection.execute(
        "select schema_name, view_name from duckdb_views() "
        "where schema_name like 'raw\\_%' escape '\\' and database_name = current_database()"
    ).fetchall()
    for schema, view in there:
        if (schema.removeprefix("raw_"), view) not in relations:
            connection.execute(f"drop view {quoted(schema)}.{quoted(view)}")
    for source_name in config.sources:
        connection.execute(f"create schema if not exists raw_{source_name}")
    for (source_name, table_name), relation in relations.items():
        connection.execute(
            f"create or replace view raw_{source_name}.{quoted(table_name)} as {relation}"
        )
