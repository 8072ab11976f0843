"""The published file: built aside, checked, then one link is swapped.

Reads:     every published table of the warehouse, dbt's manifest
Writes:    data/serving/bi-<n>.duckdb and the link data/serving/bi.duckdb -> bi-<n>.duckdb
Keeps out: which columns may leave (`catalogue`)

A reader opens the link at any moment and gets one whole version: a process that is killed in here
leaves the old link, and what it left half-made is swept up by the next one.

A version begins as a copy of the last one, in which only the rows that differ are written; of a
table with `event_date` only the days that changed are looked at. A view over published tables stays
a view.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import duckdb

from cx_pipeline.serving.catalogue import (
    OBJECTORS,
    PROFILE_KEYS_OF_OBJECTORS,
    Table,
    published_tables,
)
from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.session import set_limits

LINK_NAME = "bi.duckdb"
KEPT_VERSIONS = 3
"""A reader that resolved the link just before two more publications still finds its file."""

STORAGE_VERSION = "v1.0.0"
"""Measured: a file in DuckDB 2.0's own format is refused by 1.2 to 1.5, which BI tools bundle;
all of them read this one."""

WRITTEN_AFRESH_AFTER = timedelta(days=7)
"""A row that DuckDB deletes stays in the file's free blocks until others take them. So a copy of a
copy is made for a week at most; then every byte of the file is written anew."""

REWRITTEN_FROM = 4
"""From one differing row in so many, a table is written whole."""

_SAYS_WHO = (
    r"[^@\s]+(?:@|%40)[\p{L}0-9.-]+\.\p{L}{2,}"
    r"|(?:^|[^0-9A-Za-z])\+[1-9][0-9 ()./-]{6,17}[0-9](?:$|[^0-9A-Za-z])"
)
"""An e-mail address, also as a URL bears it, or an international phone number, in any text."""

_VERSION_FILE = re.compile(r"^bi-(\d+)\.duckdb$")
_LEFTOVER = re.compile(r"^\.bi-\d+\.duckdb\.building(\.wal)?$|^\.bi\.duckdb\.link$")


class PublicationError(RuntimeError):
    """The file that was built is not what the warehouse holds; the old one stays in place."""


Slices = dict[date | None, tuple[int, int]]
"""Row count and order-free hash of each day of a table; of a table without days under None."""


@dataclass(frozen=True)
class _Content:
    """What readers get of one table: its shape (names, types, descriptions) and its rows."""

    shape: str
    slices: Slices
    view: str | None = None
    """What is asked of the file's own tables, where readers get a view."""

    @property
    def row_count(self) -> int:
        return self.row_count_of(tuple(self.slices))

    def row_count_of(self, days: tuple[date | None, ...]) -> int:
        return sum(self.slices.get(day, (0, 0))[0] for day in days)


@dataclass(frozen=True)
class _Current:
    """The version that readers have."""

    path: Path
    version: int
    content_hash: str
    written_afresh_at: datetime
    contents: dict[str, _Content]


@dataclass(frozen=True)
class _Plan:
    """How a version is made: from which, and what of each table is written.

    `changes` holds the days to write of each table; None is all of it.
    """

    base: _Current | None
    tables: list[Table]
    contents: dict[str, _Content]
    changes: dict[str, tuple[date | None, ...] | None]
    about: dict[str, Any]


class _Building:
    """The file that becomes a version, and a thread that copies the last one into it.

    Tables are hashed meanwhile; at 10 million contacts it is a copy of 0.9 GB.
    Leaving the context takes away what was not given a name.
    """

    def __init__(self, path: Path, base: _Current | None) -> None:
        self.path = path
        self.base = base
        self._pool = ThreadPoolExecutor(1)
        self._copying: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self.clear()

    def begin_copy(self) -> None:
        if self.base and not self._copying:
            self._copying = self._pool.submit(shutil.copyfile, self.base.path, self.path)

    def finish_copy(self) -> None:
        """Wait for the copy.

        Raises:
            OSError: There is no room, or the last version cannot be read.
        """
        self.begin_copy()
        if self._copying:
            self._copying.result()
            self.path.chmod(0o600)

    def clear(self) -> None:
        """Take the file away: half a file on a full disk would be in the way of the next try."""
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)


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
    con.execute(f"create or replace temp table {OBJECTORS} as {PROFILE_KEYS_OF_OBJECTORS}")
    current = _current(directory)
    now = datetime.now(tz=UTC).replace(tzinfo=None)
    is_fresh = current and now - current.written_afresh_at <= WRITTEN_AFRESH_AFTER
    base = current if is_fresh else None
    with _Building(directory / f".bi-{next_version}.duckdb.building", base) as building:
        types, contents = _types(con), {}
        for table in tables:
            contents[table.key] = _content(con, table, types)
            if _changed_days(current, table.key, contents[table.key]) != ():
                building.begin_copy()
        content_hash = _content_hash(contents)
        if (
            current
            and is_fresh
            and current.content_hash == content_hash
            and _is_sound(current, tables, contents, settings)
        ):
            version, path = current.version, current.path
        else:
            version = next_version
            ((as_of_date,),) = con.execute("select as_of_date from journey.as_of").fetchall()
            about = {
                "version": version,
                "published_at": now,
                "run_id": run_id,
                "as_of_date": as_of_date,
                "content_hash": content_hash,
                "duckdb_version": duckdb.__version__,
            }
            path = _build(con, settings, building, tables, contents, about)
            _swap(directory, path)
    for old in _versions(directory)[:-KEPT_VERSIONS]:
        # Whoever still reads the file keeps it: its name goes, its bytes stay until they close it.
        with suppress(OSError):
            (directory / f"bi-{old}.duckdb").unlink()
    return Publication(
        path=directory / LINK_NAME,
        version=version,
        is_new=version == next_version,
        row_counts={key: content.row_count for key, content in contents.items()},
        withheld={table.key: table.withheld for table in tables if table.withheld},
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


def _slices(con: duckdb.DuckDBPyConnection, table: Table, view: str | None, rows: str) -> Slices:
    """Return row count and hash of every day of a table; of a view the count alone.

    What a view says follows from its query, which is part of its shape, and from the tables that it
    reads. The hash is the sum of the rows' hashes: free of order, and doubles count. 0.1 s for a
    million rows of 18 columns; the same for the same DuckDB version.

    Args:
        con: Who asks.
        table: What is published.
        view: The query of a view, None of a table.
        rows: Where the rows are: in the file, or as they leave the warehouse.
    """
    day = "event_date" if table.has_days and not view else "null"
    total = "0" if view else f"coalesce(sum(hash({_columns(table)})), 0)"
    return {
        found_day: (int(count), int(found_total))
        for found_day, count, found_total in con.execute(
            f"select {day}, count(*), {total} from {rows} group by all"
        ).fetchall()
    }


def _types(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the type of every column, by `schema.table.column`."""
    return dict(
        con.execute(
            "select schema_name || '.' || table_name || '.' || column_name, data_type "
            "from duckdb_columns() where database_name = current_database() and not internal"
        ).fetchall()
    )


def _content(con: duckdb.DuckDBPyConnection, table: Table, types: Mapping[str, str]) -> _Content:
    """Return all that a reader can see of a table.

    What looks personal belongs to its shape, so that a table is looked through anew when the
    pattern changes; so does DuckDB's version, as hashes are only equal within one.
    """
    columns = [
        (column.name, types[f"{table.key}.{column.name}"], column.description)
        for column in table.columns
    ]
    view = _view(con, table)
    shape = repr((duckdb.__version__, _SAYS_WHO, table.description, columns, view))
    slices = _slices(con, table, view, f"({_rows(table)})")
    return _Content(hashlib.sha256(shape.encode()).hexdigest(), slices, view)


def _content_hash(contents: Mapping[str, _Content]) -> str:
    """Return one hash of all tables; free of the order in which DuckDB gives the days."""
    ordered = [
        (key, content.shape, sorted(content.slices.items(), key=str))
        for key, content in sorted(contents.items())
    ]
    return hashlib.sha256(repr(ordered).encode()).hexdigest()


def _view(con: duckdb.DuckDBPyConnection, table: Table) -> str | None:
    """Return a view's query without the warehouse's name; None where its rows must be written.

    A view that reads files (Spark's tables are such views here) would lead out of the one file.
    """
    if not table.reads_published_only:
        return None
    found = con.execute(
        "select current_database(), sql from duckdb_views() where not internal "
        "and database_name = current_database() and schema_name = $1 and view_name = $2",
        [table.schema, table.name],
    ).fetchall()
    if not found:
        return None
    ((warehouse, sql),) = found
    query = sql.partition(" AS ")[2].rstrip().rstrip(";")
    ((tree,),) = con.execute("select json_serialize_sql($1::varchar)::varchar", [query]).fetchall()
    if '"type":"TABLE_FUNCTION"' in tree:
        return None
    own = tree.replace(f'"catalog_name":{json.dumps(warehouse)}', '"catalog_name":""')
    ((query,),) = con.execute("select json_deserialize_sql($1::json)", [own]).fetchall()
    return str(query)


def _current(directory: Path) -> _Current | None:
    """Return what readers have; None where there is nothing sound."""
    link = directory / LINK_NAME
    found = _VERSION_FILE.match(link.readlink().name) if link.is_symlink() else None
    if not found or not link.exists():
        return None
    path = link.resolve()
    try:
        with duckdb.connect() as reader:
            reader.execute(f"attach {_text(str(path))} as published (read_only)")
            (row,) = reader.execute(
                "select version, content_hash, written_afresh_at from published.publication.version"
            ).fetchall()
            contents = {
                f"{schema}.{table}": _Content(shape, {})
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
    if int(row[0]) != int(found[1]):
        return None
    return _Current(path, int(row[0]), str(row[1]), row[2], contents)


def _build(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    building: _Building,
    tables: list[Table],
    contents: dict[str, _Content],
    about: dict[str, Any],
) -> Path:
    """Write the version beside the others, check it, and only then give it its name."""
    # The last version may be damaged, and a copy of it would be for ever.
    for base in (building.base, None) if building.base else (None,):
        afresh_at = base.written_afresh_at if base else about["published_at"]
        plan = _Plan(
            base,
            tables,
            contents,
            {table.key: _changed_days(base, table.key, contents[table.key]) for table in tables},
            {**about, "written_afresh_at": afresh_at},
        )
        try:
            if base:
                building.finish_copy()
            _write(con, building.path, plan)
            _verify(building.path, plan, settings)
            break
        except (duckdb.Error, OSError, PublicationError):
            building.clear()
            if base is None:
                raise
    # Not writable: a reader that forgets `read_only` gets an error instead of a changed file.
    building.path.chmod(0o444)
    _flush(building.path)
    path = building.path.with_name(f"bi-{about['version']}.duckdb")
    building.path.rename(path)
    _flush(path.parent)
    return path


def _write(con: duckdb.DuckDBPyConnection, building: Path, plan: _Plan) -> None:
    con.execute(
        f"attach {_text(str(building))} as publication_file (storage_version '{STORAGE_VERSION}')"
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


def _changed_days(
    current: _Current | None, key: str, content: _Content
) -> tuple[date | None, ...] | None:
    """Return the days of a table that readers do not have yet as they are; None for all of it."""
    known = current.contents.get(key) if current else None
    if known is None or known.shape != content.shape:
        return None
    if known.slices == content.slices:
        return ()
    days = known.slices.keys() | content.slices.keys()
    return tuple(day for day in days if known.slices.get(day) != content.slices.get(day))


def _is_sound(
    current: _Current, tables: list[Table], contents: dict[str, _Content], settings: Settings
) -> bool:
    """Whether readers find in their version what it says it holds."""
    plan = _Plan(None, tables, contents, {}, {"version": current.version})
    try:
        _verify(current.path, plan, settings)
    except (duckdb.Error, PublicationError):
        return False
    return True


def _on_days(days: tuple[date | None, ...] | None) -> str:
    if days is None:
        return "true"
    dates = ", ".join(f"date '{day}'" for day in days if day)
    return f"(event_date in ({dates or 'null'}){' or event_date is null' * (None in days)})"


def _fill(con: duckdb.DuckDBPyConnection, plan: _Plan) -> None:
    file = "publication_file"
    for schema in sorted({table.schema for table in plan.tables} | {"publication"}):
        con.execute(f"create schema if not exists {file}.{_identifier(schema)}")
    for schema, name in con.execute(
        "select schema_name, view_name from duckdb_views() where not internal "
        "and database_name = $1",
        [file],
    ).fetchall():
        con.execute(f"drop view {file}.{_identifier(schema)}.{_identifier(name)}")
    stay = {key for key, content in plan.contents.items() if not content.view}
    for key in (plan.base.contents if plan.base else {}).keys() - stay:
        schema, name = key.split(".", 1)
        con.execute(f"drop table if exists {file}.{_identifier(schema)}.{_identifier(name)}")
    for table in plan.tables:
        days = plan.changes[table.key]
        if table.key not in stay or days == ():
            continue
        if plan.base is None or days is None:
            _rewrite(con, table)
        else:
            known, content = plan.base.contents[table.key], plan.contents[table.key]
            _write_difference(con, table, days, known, content)
    _fill_publication(con, plan)


def _rows(table: Table) -> str:
    """Return the query of the rows as they leave the warehouse."""
    objects = f"in (select profile_key from {OBJECTORS})"
    conditions = {
        name: f"profile_key {objects}" + f" or {name} {objects}" * (name == "contact_point_key")
        for name in table.unlinked
    }
    columns = ", ".join(
        f"case when {conditions[column.name]} then null else {name} end as {name}"
        if column.name in conditions
        else name
        for column in table.columns
        if (name := _identifier(column.name))
    )
    return f"select {columns} from {_name(table, None)} where {table.rows}"


def _rewrite(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    con.execute(f"create or replace table {_name(table, 'publication_file')} as {_rows(table)}")
    _refuse_personal_values(con, table, _name(table, "publication_file"))
    for target, description in _comments(table, "table").items():
        con.execute(f"comment on {target} is {_text(description)}")


def _write_difference(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    days: tuple[date | None, ...],
    known: _Content,
    content: _Content,
) -> None:
    """Take out the rows that are gone and add those that are new, or write all if most differ.

    A row is known by its hash, so no table needs a key.
    """
    name, row_hash = _name(table, "publication_file"), f"hash({_columns(table)})"
    on_days = _on_days(days) if table.has_days else "true"
    # The rows of the file have a place, by which the few that go are found; the warehouse's may be
    # a view, which has none.
    con.execute(
        "create or replace temp table differing as "
        "select published.place, fresh.row_hash "
        f"from (select rowid as place, {row_hash} as row_hash from {name} where {on_days}) "
        "as published "
        f"full join (select {row_hash} as row_hash from ({_rows(table)}) where {on_days}) as fresh "
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
            f"create or replace temp table new_rows as select * from ({_rows(table)}) "
            f"where {on_days} and {row_hash} in (select row_hash from differing)"
            # Whoever objects to analytics has all their rows written: not one beside the other.
            + f" order by {row_hash}"
            * bool(table.unlinked)
        )
        _refuse_personal_values(con, table, "new_rows")
        con.execute(f"insert into {name} from new_rows")
        con.execute("drop table new_rows")
    con.execute("drop table differing")


def _create_views(con: duckdb.DuckDBPyConnection, plan: _Plan) -> None:
    """Create the views inside the file, by the names that its tables have there."""
    file = con.cursor()
    try:
        file.execute("use publication_file")
        for table in plan.tables:
            query = plan.contents[table.key].view
            if query:
                name = _name(table, None)
                file.execute(f"create view {name} as select {_columns(table)} from ({query})")
                if plan.changes[table.key] is None:
                    _refuse_personal_values(file, table, name)
                for target, description in _comments(table, "view").items():
                    file.execute(f"comment on {target} is {_text(description)}")
    finally:
        file.close()


def _fill_publication(con: duckdb.DuckDBPyConnection, plan: _Plan) -> None:
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
        plan.about,
    )
    for target, description in _PUBLICATION_COMMENTS.items():
        con.execute(f"comment on {target} is {_text(description)}")


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
    name = _name(table, "publication_file")
    return {f"{kind} {name}": table.description} | {
        f"column {name}.{_identifier(column.name)}": column.description for column in table.columns
    }


def _verify(path: Path, plan: _Plan, settings: Settings) -> None:
    """Read the file as a reader would and compare it with the warehouse, row hashes and all."""
    if path.with_name(f"{path.name}.wal").exists():
        raise PublicationError(f"{path.name} still has a write-ahead log beside it")
    with duckdb.connect(str(path), read_only=True) as reader:
        set_limits(reader, settings)
        for table in plan.tables:
            content = plan.contents[table.key]
            found = _slices(reader, table, content.view, _name(table, None))
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
    if stored != [(plan.about["version"],)]:
        raise PublicationError(
            f"{path.name} says it is version {stored}, not {plan.about['version']}"
        )


def _refuse_personal_values(con: duckdb.DuckDBPyConnection, table: Table, rows: str) -> None:
    """Refuse rows with an e-mail address or phone number in a column that nobody tagged.

    Tags say what a column should hold; this looks at what it holds.
    """
    texts = {
        column: _identifier(column) if kind == "VARCHAR" else f"{_identifier(column)}::varchar"
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
            [_SAYS_WHO],
        ).fetchall()
        if count:
            raise PublicationError(
                f"{table.key}.{column} holds what looks like an e-mail address or phone number in "
                f"{count} rows. Readers keep the old version. Give the column the `data_category` "
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
