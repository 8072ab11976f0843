"""The lake as DuckDB sees it: raw views, one view per entity of the contract, and the books.

Reads:     the lake and its manifest; sources.yml, purposes.yml, journey_stages.yml, company.yml
Writes:    views `raw_<source>.<table>` and `sources.<entities>`, and the small tables of `sources`
Keeps out: landing, and what staging does with the rows

Only complete loads are seen. A view is a plain projection of Parquet, so that a filter on
`_load_id` opens just the files of those loads.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import (
    bind_error,
    bracketed,
    expressions_of,
    missing_column,
    quoted,
    text_literal,
)
from cx_pipeline.sources.books import write_books, write_table
from cx_pipeline.sources.casting import Cast, NotConvertibleError, as_text, cast_column, is_risky
from cx_pipeline.sources.config import (
    EntityMapping,
    SourceConfig,
    SourcesConfig,
    TableConfig,
    load_sources,
    sources_path,
)
from cx_pipeline.sources.contract import Entity, entity_contract
from cx_pipeline.sources.lake import Entry, Lake, Part
from cx_pipeline.sources.reference import reference_tables
from cx_pipeline.warehouse.config_files import ConfigError, Location, config_error, did_you_mean

ROW_COLUMNS = ("_file", "_row_number", "_load_id", "_loaded_at")
"""What the lake knows of each row."""

_WHOLE_TYPES = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")


@dataclass(frozen=True)
class Mapped:
    """One table's mapping to one entity, with everything needed to write or blame it.

    `relation` is SQL that stands in a from clause, and has the raw columns and ROW_COLUMNS.
    """

    source_name: str
    table_name: str
    source: SourceConfig
    table: TableConfig
    entity: Entity
    mapping: EntityMapping
    relation: str

    def place(self, *more: str) -> Location:
        """Return where the mapping, or something in it, stands in sources.yml."""
        names = (self.source_name, "tables", self.table_name, "entities", self.entity.name)
        return ("sources", *names, *more)


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
        if (relation := _raw_relation(connection, lake, entries, source_name, table_name))
    }
    _write_raw_views(connection, config, relations)
    notes: list[str] = []
    mapped = list(_mappings(connection, settings, config, lake, entries, relations, notes))
    by_entity: dict[str, list[str]] = {name: [] for name in entity_contract()}
    for item in mapped:
        by_entity[item.entity.name].append(_entity_select(connection, settings, item))
    for entity in entity_contract().values():
        selects = by_entity[entity.name] or [_empty_select(entity)]
        connection.execute(
            f"create or replace view sources.{entity.table} as\n"
            + "\nunion all by name\n".join(selects)
        )
    _try_expressions(connection, settings, mapped, lake)
    return notes


def _raw_relation(
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
    return (
        "(select *, null::varchar as _file, null::bigint as _row_number, null::bigint as _load_id, "
        f"null::timestamp as _loaded_at from ({' union all by name '.join(sorted(selects))}))"
    )


def _family(kind: str) -> str:
    """Return what types DuckDB brings together: numbers, and records with other fields."""
    if _WHOLE_TYPES.fullmatch(kind):
        return "whole"
    if re.fullmatch(r"DOUBLE|FLOAT|DECIMAL\(.*\)", kind):
        return "number"
    return re.sub(r"^STRUCT\(.*\)", "STRUCT", kind)


def _write_raw_views(
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
            notes += _renamed_keys(entries, source_name, table_name, table)
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
    """Return the loads of files that have come again since, as SQL rows."""
    newest: dict[str, int] = {}
    old = []
    for entry in entries:
        if (entry.source, entry.table) == (source_name, table_name):
            for file in entry.files:
                if file.file in newest:
                    old.append((newest[file.file], file.file))
                newest[file.file] = entry.load_id
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
        fault = f"DuckDB does not understand the query: {_short(str(error))}"
        raise config_error(sources_path(settings), [(place, fault)]) from None
    there = {row[0] for row in rows}
    lacking = [name for name in ROW_COLUMNS if name not in there]
    if lacking:
        fault = (
            f"the query does not return {', '.join(lacking)}; select `<table>.*` of the table "
            "whose rows they are, it brings them along."
        )
        raise config_error(sources_path(settings), [(place, fault)])


def _renamed_keys(
    entries: Sequence[Entry], source_name: str, table_name: str, table: TableConfig
) -> Iterator[str]:
    """Tell the mapped keys that the newest load of a JSON Lines table lost while it gained others.

    To leave a key out is allowed, so a renamed one would become empty values without a word.
    """
    keys: dict[int, set[str]] = {}
    for entry in entries:
        if (entry.source, entry.table) == (source_name, table_name) and entry.parts:
            keys[entry.load_id] = {name for part in entry.parts for name in part.columns}
    if len(keys) < 2:
        return
    *earlier, newest = keys
    before = set().union(*(keys[load_id] for load_id in earlier)) - set(ROW_COLUMNS)
    gained = keys[newest] - before - set(ROW_COLUMNS)
    words = {word for item in expressions_of(table) for word in re.findall(r"\w+", item[2])}
    lost = (before - keys[newest]) & words
    if lost and gained:
        yield (
            f"{source_name}.{table_name}: no record of load {newest} has the keys "
            f"{', '.join(sorted(lost))}, which the mapping names and earlier loads had; new are "
            f"{', '.join(sorted(gained))}. If a key was renamed, map both, such as "
            "coalesce(new_name, old_name)"
        )


def with_absent_keys(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    table: TableConfig,
    name: str,
    notes: list[str],
) -> str:
    """Give JSON rows the keys that the mapping names and no record had yet, as empty columns."""
    absent: list[str] = []
    widened = relation
    for _, column, expression, mapping in expressions_of(table):
        while error := bind_error(
            connection, f"({widened})", expression, mapping, is_condition=column == "where"
        ):
            key = missing_column(error)
            if key is None or key in absent:
                break
            absent.append(key)
            empty = ", ".join(f"null::varchar as {quoted(item)}" for item in absent)
            widened = f"select *, {empty} from ({relation})"
    if absent:
        notes.append(f"{name}: no record has the keys {', '.join(absent)}, which the mapping names")
    return widened


def _entity_select(connection: duckdb.DuckDBPyConnection, settings: Settings, item: Mapped) -> str:
    """Return the select that makes an entity's rows of one table.

    Four steps, each evaluated once: the expressions, without blanks, in the contract's types,
    and what is wrong with them.

    Raises:
        ConfigError: An expression does not compile or has a type that cannot be converted.
    """
    casts = casts_of(connection, settings, item)
    grouped = [bracketed(expression) for expression in item.mapping.group_by]
    givens = [f"{cast.given} as {quoted(cast.given_name)}" for cast in casts]
    if grouped:
        row = [
            "min(_file) as _file",
            "min(_row_number) as _row_number",
            "_load_id",
            "min(_loaded_at) as _loaded_at",
        ]
    else:
        row = list(ROW_COLUMNS)
    where = f"\n            where {bracketed(item.mapping.where)}" if item.mapping.where else ""
    group_by = f"\n            group by {', '.join([*grouped, '_load_id'])}" if grouped else ""
    typed = {cast.column.name: cast.typed for cast in casts}
    columns = [
        f"{typed.get(column.name, f'null::{column.data_type}')} as {quoted(column.name)}"
        for column in item.entity.columns.values()
    ]
    kept = [quoted(cast.given_name) for cast in casts if cast.can_fail or cast.column.is_required]
    clean = [f"{cast.clean} as {quoted(cast.given_name)}" for cast in casts]
    return f"""select
    {_listed(quoted(name) for name in item.entity.columns)},
    {text_literal(item.source_name)} as _source,
    {text_literal(item.table_name)} as _table,
    {", ".join(ROW_COLUMNS)},
    {_problems(casts)} as _problems
from (
    select
        {_listed([*columns, *kept, *ROW_COLUMNS], 8)}
    from (
        select
            {_listed([*clean, *ROW_COLUMNS], 12)}
        from (
            select
                {_listed([*givens, *row], 16)}
            from {item.relation}{where}{group_by}
        )
    )
)"""


def casts_of(connection: duckdb.DuckDBPyConnection, settings: Settings, item: Mapped) -> list[Cast]:
    """Find each expression's type, and from it how it becomes the contract's column.

    Raises:
        ConfigError: An expression does not compile or has a type that cannot be converted.
    """
    expressions = ", ".join(
        f"{bracketed(given.expression)} as {quoted('given ' + name)}"
        for name, given in item.mapping.columns.items()
    )
    grouped = ", ".join(map(bracketed, item.mapping.group_by))
    statement = (
        f"select {expressions} from {item.relation}"
        + (f" where {bracketed(item.mapping.where)}" if item.mapping.where else "")
        + (f" group by {grouped}, _load_id" if grouped else "")
    )
    try:
        types = [row[1] for row in connection.execute(f"describe {statement}").fetchall()]
    except duckdb.Error as error:
        raise _blame(connection, settings, item, str(error)) from None
    casts = []
    for (name, given), kind in zip(item.mapping.columns.items(), types, strict=True):
        try:
            casts.append(cast_column(item.entity.columns[name], given, kind, item.source.time_zone))
        except NotConvertibleError as error:
            fault = f"`{given.expression}` {error}"
            place = item.place("columns", name)
            raise config_error(sources_path(settings), [(place, fault)]) from None
    return casts


def _blame(
    connection: duckdb.DuckDBPyConnection, settings: Settings, item: Mapped, error: str
) -> ConfigError:
    """Name the expressions that do not compile."""
    faults: list[tuple[Location, str]] = []
    for entity, column, expression, mapping in expressions_of(item.table):
        if entity != item.entity.name:
            continue
        found = bind_error(
            connection, item.relation, expression, mapping, is_condition=column == "where"
        )
        if found:
            place = (column,) if column in ("where", "group_by") else ("columns", column)
            faults.append((item.place(*place), expression_fault(expression, found)))
    if not faults:
        faults = [(item.place(), f"DuckDB does not understand the mapping: {_short(error)}")]
    return config_error(sources_path(settings), faults)


def expression_fault(expression: str, error: str) -> str:
    """Say what is wrong with an expression, in a sentence without values of rows."""
    missing = missing_column(error)
    if missing:
        near = re.search(r"Candidate bindings: (.*)", error)
        hint = f" Near it are: {near[1]}." if near else ""
        return f'`{expression}` names the column "{missing}", which the table has not.{hint}'
    return f"DuckDB does not understand `{expression}`: {_short(error)}"


def _short(error: str) -> str:
    """Return a DuckDB error's first line."""
    return error.strip().splitlines()[0][:300]


def _problems(casts: Sequence[Cast]) -> str:
    """Return the list of a row's problems; rows without any, nearly all, skip making it."""
    found = [problem for cast in casts for problem in cast.problems]
    if not found:
        return "[]::varchar[]"
    anything = " or ".join(f"({condition})" for condition, _ in found)
    reasons = ", ".join(
        f"case when {condition} then {text_literal(reason)} end" for condition, reason in found
    )
    return (
        f"case when {anything} then list_filter([{reasons}], lambda reason: reason is not null) "
        "else []::varchar[] end"
    )


def _empty_select(entity: Entity) -> str:
    columns = [f"null::{column.data_type} as {column.name}" for column in entity.columns.values()]
    row = [
        "null::varchar as _source",
        "null::varchar as _table",
        "null::varchar as _file",
        "null::bigint as _row_number",
        "null::bigint as _load_id",
        "null::timestamp as _loaded_at",
        "null::varchar[] as _problems",
    ]
    return f"select {_listed([*columns, *row])} where false"


def _listed(items: Iterator[str] | Sequence[str], indent: int = 4) -> str:
    return (",\n" + " " * indent).join(items)


def _try_expressions(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    mapped: Sequence[Mapped],
    lake: Lake,
) -> None:
    """Run the expressions that may raise over the loads for which they did not run yet.

    A cast in an expression raises on the first bad value. Found here it is an error of the
    config with its place; found later it would be a failed model that tells neither.

    Raises:
        ConfigError: One raises.
    """
    connection.execute(
        "create table if not exists sources.tried_mappings (mapping varchar, load_id bigint)"
    )
    loads = {load.load_id for load in lake.loads() if load.is_complete}
    tried = []
    for item in mapped:
        if not any(
            entity == item.entity.name and is_risky(expression)
            for entity, _, expression, _ in expressions_of(item.table)
        ):
            continue
        words = repr((item.source_name, item.table_name, item.entity.name, item.mapping))
        mapping = hashlib.sha256(words.encode()).hexdigest()
        tried.append(mapping)
        rows = connection.execute(
            "select load_id from sources.tried_mappings where mapping = $1", [mapping]
        ).fetchall()
        fresh = sorted(loads - {row[0] for row in rows})
        if not fresh:
            continue
        _try_on_rows(connection, settings, item, fresh)
        connection.execute(
            "insert into sources.tried_mappings select $1, unnest($2)", [mapping, fresh]
        )
    connection.execute(
        "delete from sources.tried_mappings where not list_contains($1::varchar[], mapping)",
        [tried],
    )


def _try_on_rows(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    item: Mapped,
    loads: Sequence[int],
) -> None:
    mapping = item.mapping
    of_loads = f"where _load_id in ({', '.join(map(str, loads))})"
    counted = of_loads + (f" and {bracketed(mapping.where)}" if mapping.where else "")
    grouped = ", ".join(map(bracketed, mapping.group_by))
    group_by = f" group by {grouped}, _load_id" if grouped else ""
    columns = [(("columns", name), given.expression) for name, given in mapping.columns.items()]

    def run(expressions: Sequence[str], clauses: str) -> None:
        values = ", ".join(
            f"{bracketed(expression)} as tried_{i}" for i, expression in enumerate(expressions)
        )
        hashes = ", ".join(f"bit_xor(hash(tried_{i}))" for i in range(len(expressions)))
        rows = f"select {values} from {item.relation} {clauses}"
        connection.execute(f"select {hashes} from ({rows})").fetchall()

    # In the order in which a query evaluates them: each is tried where those before it hold.
    for expressions, clauses in (
        ([(("where",), mapping.where)] if mapping.where else [], of_loads),
        ([(("group_by",), expression) for expression in mapping.group_by], counted),
        (columns, counted + group_by),
    ):
        risky = [(place, text) for place, text in expressions if is_risky(text)]
        if not risky:
            continue
        try:
            run([text for _, text in risky], clauses)
        except duckdb.Error:
            for place, text in risky:
                try:
                    run([text], clauses)
                except duckdb.Error as error:
                    # The error's text quotes a value of a row, which may be personal.
                    fault = (
                        f"`{text}` fails on a row ({type(error).__name__}); use try_cast, or, in a "
                        "column, leave the cast to the contract, which sets bad rows aside."
                    )
                    raise config_error(
                        sources_path(settings), [(item.place(*place), fault)]
                    ) from None
            raise
