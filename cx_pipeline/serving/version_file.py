"""One version as a file: written, and checked as a reader finds it.

Reads:     the published tables of the warehouse; what a version says about itself
Writes:    one DuckDB file: the published tables, and the schema `publication`, known here alone
Keeps out: what changed (`content`); how a file becomes what readers have (`publish`)

A version begins as a copy of the last one, in which only the rows that differ are written; of a
table with `event_date` only the days that changed are looked at. A view over published tables stays
a view.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.serving.catalogue import Table
from cx_pipeline.serving.content import (
    SAYS_WHO,
    Content,
    Days,
    changed_days,
    column_list,
    qualified_name,
    rows_query,
    slices_of,
)
from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.session import set_limits
from cx_pipeline.warehouse.sql import quoted, text_literal

STORAGE_VERSION = "v1.0.0"
"""Measured: a file in DuckDB 2.0's own format is refused by 1.2 to 1.5, which BI tools bundle;
all of them read this one."""

REWRITTEN_FROM = 4
"""From one differing row in so many, a table is written whole."""


class PublicationError(RuntimeError):
    """The file that was built is not what the warehouse holds; the old one stays in place."""


@dataclass(frozen=True)
class Current:
    """The version that readers have."""

    path: Path
    version: int
    content_hash: str
    written_afresh_at: datetime
    contents: dict[str, Content]


@dataclass(frozen=True)
class Plan:
    """How a version is made: from which, and what shall be in it."""

    base: Current | None
    """The version of which the file is a copy; None of a file written afresh."""
    tables: list[Table]
    contents: dict[str, Content]
    about: dict[str, Any]
    """What is told in `publication.version`, but for how the file was written."""

    def days_to_write(self, table: Table) -> Days | None:
        """Return the days of a table that the file lacks; None for all of it."""
        known = self.base.contents.get(table.key) if self.base else None
        return changed_days(known, self.contents[table.key])


def read_version(path: Path) -> Current | None:
    """Return what a version says it holds; None if it cannot be read."""
    try:
        with duckdb.connect() as reader:
            reader.execute(f"attach {text_literal(str(path))} as published (read_only)")
            (row,) = reader.execute(
                "select version, content_hash, written_afresh_at from published.publication.version"
            ).fetchall()
            contents = {
                f"{schema}.{table}": Content(shape, {})
                for schema, table, shape in reader.execute(
                    "select schema_name, table_name, shape_hash from published.publication.manifest"
                ).fetchall()
            }
            for schema, table, day, count, total in reader.execute(
                "select * from published.publication.days"
            ).fetchall():
                contents[f"{schema}.{table}"].slices[day] = (count, int(total))
    except (duckdb.Error, ValueError, KeyError):
        return None
    return Current(path, int(row[0]), str(row[1]), row[2], contents)


def write_version(con: duckdb.DuckDBPyConnection, path: Path, plan: Plan) -> None:
    """Write a version.

    Args:
        con: A connection to the warehouse, outside any transaction.
        path: The file: a copy of the plan's base, or not there yet.
        plan: What shall be in it.

    Raises:
        PublicationError: A value looks like an e-mail address or phone number.
    """
    con.execute(
        f"attach {text_literal(str(path))} as publication_file "
        f"(storage_version '{STORAGE_VERSION}')"
    )
    try:
        con.execute("begin transaction")
        _fill(con, plan)
        con.execute("commit")
        _create_views(con, plan)
        con.execute("checkpoint publication_file")
    except BaseException:
        with suppress(duckdb.Error):
            con.execute("rollback")
        raise
    finally:
        con.execute("detach publication_file")


def _fill(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    file = "publication_file"
    for schema in sorted({table.schema for table in plan.tables} | {"publication"}):
        con.execute(f"create schema if not exists {file}.{quoted(schema)}")
    for schema, name in con.execute(
        "select schema_name, view_name from duckdb_views() where not internal "
        "and database_name = $1",
        [file],
    ).fetchall():
        con.execute(f"drop view {file}.{quoted(schema)}.{quoted(name)}")
    stay = {key for key, content in plan.contents.items() if not content.view}
    for key in (plan.base.contents if plan.base else {}).keys() - stay:
        schema, name = key.split(".", 1)
        con.execute(f"drop table if exists {file}.{quoted(schema)}.{quoted(name)}")
    for table in plan.tables:
        days = plan.days_to_write(table)
        if table.key not in stay or days == ():
            continue
        if plan.base is None or days is None:
            _rewrite(con, table)
        else:
            known, content = plan.base.contents[table.key], plan.contents[table.key]
            _write_difference(con, table, days, known, content)
    _fill_publication(con, plan)


def _on_days(days: Days) -> str:
    dates = ", ".join(f"date '{day}'" for day in days if day)
    return f"(event_date in ({dates or 'null'}){' or event_date is null' * (None in days)})"


def _rewrite(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    name = qualified_name(table, "publication_file")
    con.execute(f"create or replace table {name} as {rows_query(table)}")
    _refuse_personal_values(con, table, name)
    for target, description in _comments(table, "table").items():
        con.execute(f"comment on {target} is {text_literal(description)}")


def _write_difference(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    days: Days,
    known: Content,
    content: Content,
) -> None:
    """Take out the rows that are gone and add those that are new, or write all if most differ.

    A row is known by its hash, so no table needs a key.
    """
    name, row_hash = qualified_name(table, "publication_file"), f"hash({column_list(table)})"
    rows = rows_query(table)
    on_days = _on_days(days) if table.has_days else "true"
    # The rows of the file have a place, by which the few that go are found; the warehouse's may be
    # a view, which has none.
    con.execute(
        "create or replace temp table differing as "
        "select published.place, fresh.row_hash "
        f"from (select rowid as place, {row_hash} as row_hash from {name} where {on_days}) "
        "as published "
        f"full join (select {row_hash} as row_hash from ({rows}) where {on_days}) as fresh "
        "using (row_hash) "
        "where published.row_hash is null or fresh.row_hash is null"
    )
    ((gone, new),) = con.execute("select count(place), count(row_hash) from differing").fetchall()
    # Another number of copies of a row cannot be told from the hashes that are on both sides.
    has_other_copies = known.row_count_of(days) - gone != content.row_count_of(days) - new
    if has_other_copies or (gone + new) * REWRITTEN_FROM > content.row_count:
        _rewrite(con, table)
    elif gone or new:
        con.execute(f"delete from {name} where rowid in (select place from differing)")
        con.execute(
            f"create or replace temp table new_rows as select * from ({rows}) "
            f"where {on_days} and {row_hash} in (select row_hash from differing)"
            # Whoever objects to analytics has all their rows written: not one beside the other.
            + f" order by {row_hash}"
            * bool(table.unlinked)
        )
        _refuse_personal_values(con, table, "new_rows")
        con.execute(f"insert into {name} from new_rows")
        con.execute("drop table new_rows")
    con.execute("drop table differing")


def _create_views(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Create the views inside the file, by the names that its tables have there."""
    file = con.cursor()
    try:
        file.execute("use publication_file")
        for table in plan.tables:
            query = plan.contents[table.key].view
            if query:
                name = qualified_name(table)
                file.execute(f"create view {name} as select {column_list(table)} from ({query})")
                if plan.days_to_write(table) is None:
                    _refuse_personal_values(file, table, name)
                for target, description in _comments(table, "view").items():
                    file.execute(f"comment on {target} is {text_literal(description)}")
    finally:
        file.close()


def _fill_publication(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    tables, contents = plan.tables, plan.contents
    file = "publication_file.publication"
    con.execute(
        f"create or replace table {file}.manifest as "
        "select unnest($1::varchar[]) as schema_name, unnest($2::varchar[]) as table_name, "
        "unnest($3::bigint[]) as row_count, unnest($4::bigint[]) as column_count, "
        "unnest($5::varchar[]) as shape_hash",
        [
            [table.schema for table in tables],
            [table.name for table in tables],
            [contents[table.key].row_count for table in tables],
            [len(table.columns) for table in tables],
            [contents[table.key].shape for table in tables],
        ],
    )
    days = [
        (table.schema, table.name, day, count, str(total))
        for table in tables
        for day, (count, total) in contents[table.key].slices.items()
    ]
    con.execute(
        f"create or replace table {file}.days as "
        "select unnest($1::varchar[]) as schema_name, unnest($2::varchar[]) as table_name, "
        "unnest($3::date[]) as event_date, unnest($4::bigint[]) as row_count, "
        "unnest($5::varchar[]) as rows_hash",
        [list(column) for column in zip(*days, strict=True)] if days else [[]] * 5,
    )
    con.execute(
        f"create or replace table {file}.version as "
        "select $version::bigint as version, $published_at::timestamp as published_at, "
        "$written_afresh_at::timestamp as written_afresh_at, $run_id::varchar as run_id, "
        "$as_of_date::date as as_of_date, $content_hash::varchar as content_hash, "
        "$duckdb_version::varchar as duckdb_version",
        {
            **plan.about,
            "written_afresh_at": (
                plan.base.written_afresh_at if plan.base else plan.about["published_at"]
            ),
            "duckdb_version": duckdb.__version__,
        },
    )
    for target, description in _PUBLICATION_COMMENTS.items():
        con.execute(f"comment on {target} is {text_literal(description)}")


_PUBLICATION_COMMENTS = {
    f"{kind} publication_file.publication.{name}": description
    for kind, name, description in (
        ("table", "manifest", "One row per published table: how much it holds."),
        ("column", "manifest.schema_name", "Schema, named as the room."),
        ("column", "manifest.table_name", "Table."),
        ("column", "manifest.row_count", "Rows."),
        ("column", "manifest.column_count", "Columns."),
        ("column", "manifest.shape_hash", "Hash over names, types and descriptions."),
        ("table", "days", "One row per published table and day: which rows it holds."),
        ("column", "days.schema_name", "Schema, named as the room."),
        ("column", "days.table_name", "Table."),
        ("column", "days.event_date", "Day; empty for a table that is not kept by day."),
        ("column", "days.row_count", "Rows."),
        ("column", "days.rows_hash", "Sum of the rows' hashes, as DuckDB gives them."),
        ("table", "version", "One row: which version this file is."),
        ("column", "version.version", "Number of the version; it only grows."),
        ("column", "version.published_at", "When it was built, UTC."),
        (
            "column",
            "version.written_afresh_at",
            "When every byte of the file was last written, UTC; since then only what changed.",
        ),
        ("column", "version.run_id", "Dagster's id of the run that built it."),
        ("column", "version.as_of_date", "Latest day of data."),
        (
            "column",
            "version.content_hash",
            "Hash over names, types, descriptions and rows; equal hashes, equal content.",
        ),
        ("column", "version.duckdb_version", "DuckDB that wrote the file."),
    )
}


def _comments(table: Table, kind: str) -> dict[str, str]:
    name = qualified_name(table, "publication_file")
    return {f"{kind} {name}": table.description} | {
        f"column {name}.{quoted(column.name)}": column.description for column in table.columns
    }


def _refuse_personal_values(con: duckdb.DuckDBPyConnection, table: Table, rows: str) -> None:
    """Refuse rows with an e-mail address or phone number in a column that nobody tagged.

    Tags say what a column should hold; this looks at what it holds.
    """
    texts = {
        column: quoted(column) if kind == "VARCHAR" else f"{quoted(column)}::varchar"
        for column, kind in con.execute(
            "select column_name, column_type "
            f"from (describe {rows}) where column_type in ('VARCHAR', 'VARCHAR[]')"
        ).fetchall()
    }
    if not texts:
        return
    # A query of its own looks for the characters first. In one query with the pattern, DuckDB
    # tries the pattern on every row: 4.5 s for 34 tables of 10 million rows instead of 0.8 s.
    might = {
        column: f"(contains({text}, '@') or contains({text}, '%40') or contains({text}, '+'))"
        for column, text in texts.items()
    }
    counts = ", ".join(f"count(*) filter ({condition})" for condition in might.values())
    (found,) = con.execute(f"select {counts} from {rows}").fetchall()
    for column, candidates in zip(texts, found, strict=True):
        if not candidates:
            continue
        ((count,),) = con.execute(
            f"select count(*) filter (regexp_matches({texts[column]}, $1)) "
            f"from {rows} where {might[column]}",
            [SAYS_WHO],
        ).fetchall()
        if count:
            raise PublicationError(
                f"{table.key}.{column} holds what looks like an e-mail address or phone number in "
                f"{count} rows. Readers keep the old version. Give the column the `data_category` "
                "that it deserves, or take the value out of what the source maps to it."
            )


def verify_version(
    path: Path,
    tables: list[Table],
    contents: Mapping[str, Content],
    version: int,
    settings: Settings,
) -> None:
    """Read the file as a reader would and compare it with the warehouse, row hashes and all.

    Args:
        path: The file.
        tables: The tables that it shall hold.
        contents: What it shall hold of each, by `<schema>.<table>`.
        version: The version that it shall be.
        settings: How much memory and how many threads the reader may have.

    Raises:
        PublicationError: The file holds something else.
    """
    if path.with_name(f"{path.name}.wal").exists():
        raise PublicationError(f"{path.name} still has a write-ahead log beside it")
    with duckdb.connect(str(path), read_only=True) as reader:
        set_limits(reader, settings)
        for table in tables:
            content = contents[table.key]
            found = slices_of(reader, table, content.view, qualified_name(table))
            if found != content.slices:
                raise PublicationError(
                    f"{table.key} has {sum(count for count, _ in found.values())} rows in the file "
                    f"built and {content.row_count} in the warehouse, or their content differs. "
                    "Readers keep the old version; run again."
                )
        (uncommented,) = reader.execute(
            "select (select count(*) from duckdb_tables() where comment is null) "
            "+ (select count(*) from duckdb_views() where comment is null and not internal) "
            "+ (select count(*) from duckdb_columns() where comment is null and not internal)"
        ).fetchall()[0]
        stored = reader.execute("select version from publication.version").fetchall()
    if uncommented:
        raise PublicationError(f"{uncommented} tables or columns have no comment in {path.name}")
    if stored != [(version,)]:
        raise PublicationError(f"{path.name} says it is version {stored}, not {version}")
