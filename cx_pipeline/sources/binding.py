"""Whether DuckDB understands a mapping's expressions over the columns that are really there.

Reads:     nothing but the names and types of a relation
Keeps out: what follows from it: a file without a column is refused (file_landing.py), a faulty
           expression is an error of the config (mapping.py, validate.py)
"""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from cx_pipeline.sources.config import EntityMapping, TableConfig
from cx_pipeline.warehouse.sql import text_literal

ROW_TYPES = {
    "_file": "varchar",
    "_row_number": "bigint",
    "_load_id": "bigint",
    "_loaded_at": "timestamp",
}
ROW_COLUMNS = tuple(ROW_TYPES)
"""What the lake knows of each row."""

NO_ROW = ", ".join(f"null::{kind} as {name}" for name, kind in ROW_TYPES.items())
"""The same as empty columns, for what is only compiled."""

_TEXT = re.compile(r"'(?:[^']|'')*'")
_MISSING = (
    re.compile(r'Referenced column "(?P<name>(?:[^"]|"")*)" not found'),
    re.compile(r'does not have a column named "(?P<name>(?:[^"]|"")*)"'),
)


def bracketed(sql: str) -> str:
    """Return what somebody wrote in brackets; a comment at its end must not swallow the last."""
    return f"({sql}\n)"


def column_types(connection: duckdb.DuckDBPyConnection, part: Path) -> dict[str, str]:
    """Return the columns of a Parquet file with DuckDB's types."""
    rows = connection.execute(f"describe select * from read_parquet({text_literal(str(part))})")
    return {row[0]: row[1] for row in rows.fetchall()}


def bind_error(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    expression: str,
    mapping: EntityMapping | None = None,
    *,
    is_condition: bool = False,
) -> str | None:
    """Return why an expression does not compile over a relation, or None when it does.

    With a mapping that groups rows, the expression may be an aggregate.
    """
    group_by = ", ".join(map(bracketed, mapping.group_by)) if mapping else ""
    if is_condition:
        statement = f"select 1 from {relation} where {bracketed(expression)}"
    else:
        grouping = f" group by {group_by}" if group_by else ""
        statement = f"select {bracketed(expression)} as given from {relation}{grouping}"
    try:
        connection.execute(f"describe {statement}").fetchall()
    except duckdb.Error as error:
        return str(error)
    return None


def missing_column(error: str) -> str | None:
    """Return the name of the column that a DuckDB error says is not there, if it says so."""
    for pattern in _MISSING:
        match = pattern.search(error)
        if match:
            return match["name"].replace('""', '"')
    return None


def expressions_of(table: TableConfig) -> Iterator[tuple[str, str, str, EntityMapping]]:
    """Walk a table's expressions: entity, contract column (or where, group_by), text, mapping."""
    for entity, mapping in table.entities.items():
        for column, given in mapping.columns.items():
            yield entity, column, given.expression, mapping
        if mapping.where:
            yield entity, "where", mapping.where, mapping
        for item in mapping.group_by:
            yield entity, "group_by", item, mapping


def missing_columns(
    connection: duckdb.DuckDBPyConnection, table: TableConfig, relation: str
) -> str | None:
    """Say which columns a table's mapping needs that a file has not; None when it has all."""
    lacking: dict[str, list[str]] = {}
    calculations = set()
    for entity, column, expression, mapping in expressions_of(table):
        error = bind_error(
            connection, relation, expression, mapping, is_condition=column == "where"
        )
        name = missing_column(error) if error else None
        if name:
            lacking.setdefault(name, []).append(f"{entity}.{column}")
            calculations.add(expression.strip())
    if not lacking:
        return None
    described = connection.execute(f"describe select * from {relation}").fetchall()
    there = [row[0] for row in described if not row[0].startswith("_")]
    # A column such as e-mail, which SQL reads as e minus mail.
    if meant := sorted(calculations.intersection(there)):
        return f"`{meant[0]}` is a calculation to SQL; write '\"{meant[0]}\"' to name the column"
    # A first line that names nothing we know may be a row, and its values personal.
    named = " ".join(_TEXT.sub("", item[2]) for item in expressions_of(table)).lower()
    is_header = any(
        re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", named)
        for column in there
        for name in re.split(r"[;,|\t]", column)
        if not name.strip().isdecimal()
    )
    if len(there) == 1 and table.file_format == "csv":
        shown = f", {there[0]}" if is_header else ""
        return (
            f"the header is one column{shown}. Give the table the `delimiter:` of the file; if "
            "that is a title or an error page, export the file again"
        )
    needs = "; ".join(
        f'the column "{name}" is missing, which {", ".join(users)} is made from'
        for name, users in lacking.items()
    )
    if not is_header:
        return (
            f"{needs}. None of the file's {len(there)} columns is one that the mapping names; if "
            "its first line is a row, give the table a `header:`. Export it with the columns, or "
            "correct the mapping in sources.yml"
        )
    return (
        f"{needs}. The file has: {', '.join(there)}. Export it with the column, or correct the "
        "mapping in sources.yml"
    )


def short(error: str) -> str:
    """Return a DuckDB error's first line."""
    return error.strip().splitlines()[0][:300]
