"""The published file: built aside, checked, then one link is swapped.

Reads:     every published table of the warehouse, dbt's manifest
Writes:    data/serving/bi-<n>.duckdb and the link data/serving/bi.duckdb -> bi-<n>.duckdb
Keeps out: which columns may leave (`catalogue`)

A reader opens the link at any moment and gets one whole version: a process that is killed in here
leaves the old link, and what it left half-made is swept up by the next one.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.serving.catalogue import Table, published_tables
from cx_pipeline.settings import Settings

LINK_NAME = "bi.duckdb"
KEPT_VERSIONS = 3
"""A reader that resolved the link just before two more publications still finds its file."""

STORAGE_VERSION = "v1.0.0"
"""Measured: a file in DuckDB 2.0's own format is refused by 1.2 to 1.5, which BI tools bundle;
all of them read this one."""

_SAYS_WHO = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}|^\+[0-9]{8,15}$"
"""An e-mail address anywhere in a text, or a text that is a phone number in E.164."""

_VERSION_FILE = re.compile(r"^bi-(\d+)\.duckdb$")
_LEFTOVER = re.compile(r"^\.bi-\d+\.duckdb\.building(\.wal)?$|^\.bi\.duckdb\.link$")


class PublicationError(RuntimeError):
    """The file that was built is not what the warehouse holds; the old one stays in place."""


@dataclass(frozen=True)
class Publication:
    """What readers have now."""

    path: Path
    version: int
    is_new: bool
    row_counts: dict[str, int]
    withheld: dict[str, tuple[str, ...]]
    size_bytes: int


def publish(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    manifest: Mapping[str, Any],
    run_id: str = "",
) -> Publication:
    """Publish the warehouse's marts for BI tools, unless readers already have exactly these.

    Args:
        con: A connection to the warehouse, outside any transaction.
        settings: Where the published files are.
        manifest: dbt's manifest as a dict: what each table and column is.
        run_id: The run that publishes; told in `publication.version`.

    Raises:
        TableNotBuiltError: A declared table does not exist yet.
        UndeclaredColumnError: Nobody has said what a table or column is.
        PublicationError: The file built does not equal the warehouse.
    """
    directory = settings.serving_dir
    directory.mkdir(parents=True, exist_ok=True)
    next_version = 1 + max([0, *_versions(directory)])
    _sweep(directory)
    tables = published_tables(manifest, _existing_columns(con))
    facts = {table.key: _count_and_hash(con, table, table.rows) for table in tables}
    content = _content_hash(con, tables, facts)
    row_counts = {key: count for key, (count, _) in facts.items()}
    withheld = {table.key: table.withheld for table in tables if table.withheld}
    current = _current(directory)
    if current and current[1] == content:
        version = current[0]
        path = directory / f"bi-{version}.duckdb"
        is_new = False
    else:
        version = next_version
        path = _build(con, directory, version, tables, facts, content, run_id)
        _swap(directory, path)
        is_new = True
    for old in _versions(directory)[:-KEPT_VERSIONS]:
        # Whoever still reads the file keeps it: its name goes, its bytes stay until they close it.
        with suppress(OSError):
            (directory / f"bi-{old}.duckdb").unlink()
    return Publication(
        path=directory / LINK_NAME,
        version=version,
        is_new=is_new,
        row_counts=row_counts,
        withheld=withheld,
        size_bytes=path.stat().st_size,
    )


def _sweep(directory: Path) -> None:
    """Take away what killed publications left: half-built files, and versions never linked to."""
    link = directory / LINK_NAME
    linked = _VERSION_FILE.match(link.readlink().name) if link.is_symlink() else None
    for path in list(directory.iterdir()):
        named = _VERSION_FILE.match(path.name)
        never_linked = named and linked and int(named[1]) > int(linked[1])
        if never_linked or _LEFTOVER.match(path.name):
            path.unlink()


def _versions(directory: Path) -> list[int]:
    """Return every version number in use; the link counts even if its file was taken away."""
    link = directory / LINK_NAME
    names = [path.name for path in directory.iterdir()]
    if link.is_symlink():
        names.append(link.readlink().name)
    return sorted({int(found[1]) for name in names if (found := _VERSION_FILE.match(name))})


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(table: Table, catalogue: str | None) -> str:
    parts = [catalogue, table.schema, table.name]
    return ".".join(_identifier(part) for part in parts if part)


def _columns(table: Table) -> str:
    return ", ".join(_identifier(column.name) for column in table.columns)


def _existing_columns(con: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for schema, table, column in con.execute(
        "select schema_name, table_name, column_name from duckdb_columns() "
        "where database_name = current_database() and not internal "
        "order by schema_name, table_name, column_index"
    ).fetchall():
        found.setdefault(f"{schema}.{table}", []).append(column)
    return found


def _count_and_hash(
    con: duckdb.DuckDBPyConnection, table: Table, rows: str = "true"
) -> tuple[int, int]:
    """Return row count and an order-free hash: the sum of the rows' hashes, so that doubles count.

    0.1 s for a million rows of 18 columns; the same for the same DuckDB version.
    """
    (row,) = con.execute(
        f"select count(*), coalesce(sum(hash({_columns(table)})), 0) from {_name(table, None)} "
        f"where {rows}"
    ).fetchall()
    return int(row[0]), int(row[1])


def _content_hash(
    con: duckdb.DuckDBPyConnection, tables: list[Table], facts: dict[str, tuple[int, int]]
) -> str:
    """Return one hash over all that a reader can see: names, types, descriptions and rows."""
    types = dict(
        con.execute(
            "select schema_name || '.' || table_name || '.' || column_name, data_type "
            "from duckdb_columns() where database_name = current_database() and not internal"
        ).fetchall()
    )
    digest = hashlib.sha256(duckdb.__version__.encode())
    for table in tables:
        columns = [
            (column.name, types[f"{table.key}.{column.name}"], column.description)
            for column in table.columns
        ]
        digest.update(repr((table.key, table.description, columns, facts[table.key])).encode())
    return digest.hexdigest()


def _current(directory: Path) -> tuple[int, str] | None:
    """Return version and content hash of what readers have; None where there is nothing sound."""
    link = directory / LINK_NAME
    found = _VERSION_FILE.match(link.readlink().name) if link.is_symlink() else None
    if not found or not link.exists():
        return None
    try:
        with duckdb.connect() as reader:
            reader.execute(f"attach {_text(str(link.resolve()))} as published (read_only)")
            (row,) = reader.execute(
                "select version, content_hash from published.publication.version"
            ).fetchall()
    except (duckdb.Error, ValueError):
        return None
    return (int(row[0]), str(row[1])) if int(row[0]) == int(found[1]) else None


def _as_of_date(con: duckdb.DuckDBPyConnection) -> date | None:
    try:
        rows = con.execute("select as_of_date from journey.as_of").fetchall()
    except duckdb.CatalogException:
        return None
    return rows[0][0] if rows else None


def _build(
    con: duckdb.DuckDBPyConnection,
    directory: Path,
    version: int,
    tables: list[Table],
    facts: dict[str, tuple[int, int]],
    content: str,
    run_id: str,
) -> Path:
    """Write the version beside the others, check it, and only then give it its name."""
    building = directory / f".bi-{version}.duckdb.building"
    con.execute(
        f"attach {_text(str(building))} as publication_file (storage_version '{STORAGE_VERSION}')"
    )
    try:
        _fill(con, version, tables, facts, content, run_id)
        con.execute("checkpoint publication_file")
    finally:
        con.execute("detach publication_file")
    _verify(building, version, tables, facts)
    # Not writable: a reader that forgets `read_only` gets an error instead of a changed file.
    building.chmod(0o444)
    _flush(building)
    path = directory / f"bi-{version}.duckdb"
    building.rename(path)
    _flush(directory)
    return path


def _fill(
    con: duckdb.DuckDBPyConnection,
    version: int,
    tables: list[Table],
    facts: dict[str, tuple[int, int]],
    content: str,
    run_id: str,
) -> None:
    file = "publication_file"
    con.execute("begin transaction")
    try:
        for schema in sorted({table.schema for table in tables} | {"publication"}):
            con.execute(f"create schema {file}.{_identifier(schema)}")
        for table in tables:
            con.execute(
                f"create table {_name(table, file)} as "
                f"select {_columns(table)} from {_name(table, None)} where {table.rows}"
            )
        con.execute(
            f"create table {file}.publication.manifest as "
            "select unnest($1::varchar[]) as schema_name, unnest($2::varchar[]) as table_name, "
            "unnest($3::bigint[]) as row_count, unnest($4::bigint[]) as column_count",
            [
                [table.schema for table in tables],
                [table.name for table in tables],
                [facts[table.key][0] for table in tables],
                [len(table.columns) for table in tables],
            ],
        )
        con.execute(
            f"create table {file}.publication.version as "
            "select $1::bigint as version, $2::timestamp as published_at, $3::varchar as run_id, "
            "$4::date as as_of_date, $5::varchar as content_hash, $6::varchar as duckdb_version",
            [
                version,
                datetime.now(tz=UTC).replace(tzinfo=None),
                run_id,
                _as_of_date(con),
                content,
                duckdb.__version__,
            ],
        )
        for target, description in _comments(tables).items():
            con.execute(f"comment on {target} is {_text(description)}")
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise


def _comments(tables: list[Table]) -> dict[str, str]:
    file = "publication_file"
    comments = {
        f"table {file}.publication.manifest": "One row per published table: how much it holds.",
        f"column {file}.publication.manifest.schema_name": "Schema, named as the room.",
        f"column {file}.publication.manifest.table_name": "Table.",
        f"column {file}.publication.manifest.row_count": "Rows.",
        f"column {file}.publication.manifest.column_count": "Columns.",
        f"table {file}.publication.version": "One row: which version this file is.",
        f"column {file}.publication.version.version": "Number of the version; it only grows.",
        f"column {file}.publication.version.published_at": "When it was built, UTC.",
        f"column {file}.publication.version.run_id": "Dagster's id of the run that built it.",
        f"column {file}.publication.version.as_of_date": "Latest day of data.",
        f"column {file}.publication.version.content_hash": (
            "Hash over names, types, descriptions and rows; equal hashes, equal content."
        ),
        f"column {file}.publication.version.duckdb_version": "DuckDB that wrote the file.",
    }
    for table in tables:
        name = _name(table, file)
        comments[f"table {name}"] = table.description
        for column in table.columns:
            comments[f"column {name}.{_identifier(column.name)}"] = column.description
    return comments


def _verify(
    path: Path, version: int, tables: list[Table], facts: dict[str, tuple[int, int]]
) -> None:
    """Read the file as a reader would and compare it with the warehouse, row hashes and all."""
    if path.with_name(f"{path.name}.wal").exists():
        raise PublicationError(f"{path.name} still has a write-ahead log beside it")
    with duckdb.connect(str(path), read_only=True) as reader:
        for table in tables:
            _refuse_personal_values(reader, table)
            found = _count_and_hash(reader, table)
            if found != facts[table.key]:
                raise PublicationError(
                    f"{table.key} has {found[0]} rows in the file built and {facts[table.key][0]} "
                    "in the warehouse, or their content differs. Readers keep the old version; "
                    "run again."
                )
        (uncommented,) = reader.execute(
            "select (select count(*) from duckdb_tables() where comment is null) "
            "+ (select count(*) from duckdb_columns() where comment is null and not internal)"
        ).fetchall()[0]
        stored = reader.execute("select version from publication.version").fetchall()
    if uncommented:
        raise PublicationError(f"{uncommented} tables or columns have no comment in {path.name}")
    if stored != [(version,)]:
        raise PublicationError(f"{path.name} says it is version {stored}, not {version}")


def _refuse_personal_values(reader: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Refuse a table with an e-mail address or phone number in a column that nobody tagged.

    Tags say what a column should hold; this looks at what it holds.
    """
    texts = reader.execute(
        "select column_name from duckdb_columns() where not internal and data_type = 'VARCHAR' "
        "and schema_name = $1 and table_name = $2 order by column_index",
        [table.schema, table.name],
    ).fetchall()
    for (column,) in texts:
        (row,) = reader.execute(
            f"select count(*) from {_name(table, None)} "
            f"where regexp_matches({_identifier(column)}, $1)",
            [_SAYS_WHO],
        ).fetchall()
        if row[0]:
            raise PublicationError(
                f"{table.key}.{column} holds what looks like an e-mail address or phone number in "
                f"{row[0]} rows. Readers keep the old version. Give the column the `data_category` "
                "that it deserves, or take the value out of what the source maps to it."
            )


def _swap(directory: Path, path: Path) -> None:
    """Point the link at a version in one step: there is no moment without a link."""
    link = directory / f".{LINK_NAME}.link"
    link.symlink_to(path.name)
    link.replace(directory / LINK_NAME)
    _flush(directory)


def _flush(path: Path) -> None:
    """Make the system write a file, or a directory's entries, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
