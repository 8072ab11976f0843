"""One table's mapping to one entity: the select that makes its rows, and what is wrong with it.

Reads:     the rows of the table, for expressions that may fail on one
Writes:    sources.tried_mappings, which tells the loads on which such expressions did not fail
Keeps out: where the rows come from (raw_views.py, table_queries.py), and how a value is cast
           (casting.py)
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import (
    NO_ROW,
    ROW_COLUMNS,
    bind_error,
    bracketed,
    expressions_of,
    missing_column,
    short,
)
from cx_pipeline.sources.casting import Cast, NotConvertibleError, cast_column, is_risky
from cx_pipeline.sources.config import EntityMapping, SourceConfig, TableConfig, sources_path
from cx_pipeline.sources.contract import Entity
from cx_pipeline.sources.lake import Entry, Lake
from cx_pipeline.warehouse.config_files import ConfigError, Location, config_error
from cx_pipeline.warehouse.sql import quoted, text_literal


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


def entity_select(connection: duckdb.DuckDBPyConnection, settings: Settings, item: Mapped) -> str:
    """Return the select that makes an entity's rows of one table.

    Four steps, each evaluated once: the expressions, without blanks, in the contract's types,
    and what is wrong with them.

    Raises:
        ConfigError: An expression does not compile or has a type that cannot be converted.
    """
    casts = _casts(connection, settings, item)
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
            from {_counted_once(item) if grouped else item.relation}{where}{group_by}
        )
    )
)"""


def _counted_once(item: Mapped) -> str:
    """Leave out the raw rows that a later file of their load holds too: exports that overlap.

    A group would add them up. Nothing is left out where a file's name may tell two rows apart.
    """
    if item.source.is_database or item.source.names_count(item.table):
        return item.relation
    # It holds a blank, so that no raw column bears the name by accident. The rows that
    # `cx validate` looks at have no file.
    content = quoted("row content")
    return (
        f"(select * exclude ({content}) from (select *, hash(*columns(* exclude (_file, "
        f"_row_number))) as {content} from {item.relation}) "
        f"qualify _file is not distinct from max(_file) over (partition by _load_id, {content}))"
    )


def _casts(connection: duckdb.DuckDBPyConnection, settings: Settings, item: Mapped) -> list[Cast]:
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
        faults = [(item.place(), f"DuckDB does not understand the mapping: {short(error)}")]
    return config_error(sources_path(settings), faults)


def expression_fault(expression: str, error: str) -> str:
    """Say what is wrong with an expression, in a sentence without values of rows."""
    missing = missing_column(error)
    if missing:
        near = re.search(r"Candidate bindings: (.*)", error)
        hint = f" Near it are: {near[1]}." if near else ""
        return f'`{expression}` names the column "{missing}", which the table has not.{hint}'
    return f"DuckDB does not understand `{expression}`: {short(error)}"


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


def empty_select(entity: Entity) -> str:
    """Return the select of an entity to which nothing with rows is mapped."""
    columns = [f"null::{column.data_type} as {column.name}" for column in entity.columns.values()]
    row = [
        "null::varchar as _source",
        "null::varchar as _table",
        NO_ROW,
        "null::varchar[] as _problems",
    ]
    return f"select {_listed([*columns, *row])} where false"


def _listed(items: Iterator[str] | Sequence[str], indent: int = 4) -> str:
    return (",\n" + " " * indent).join(items)


def renamed_keys(
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


def try_expressions(
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
        try_on_rows(connection, settings, item, fresh)
        connection.execute(
            "insert into sources.tried_mappings select $1, unnest($2)", [mapping, fresh]
        )
    connection.execute(
        "delete from sources.tried_mappings where not list_contains($1::varchar[], mapping)",
        [tried],
    )


def try_on_rows(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    item: Mapped,
    loads: Sequence[int],
) -> None:
    """Run a mapping's expressions that may raise over the rows of some loads.

    Raises:
        ConfigError: One raises.
    """
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
