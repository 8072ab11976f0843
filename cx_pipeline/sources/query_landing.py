"""The new and changed rows of one database table, read and ready to be put into the lake.

Reads:     a source's database
Writes:    a part in a scratch folder, and the hashes of the rows that were read
Keeps out: the manifest (landing.py) and how a database is asked (databases.py)

With a cursor column only rows from shortly before the last landed value on are read. Without one
the whole table is read and compared, row by row hash, with what the last read found.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import column_types, quoted, text_literal
from cx_pipeline.sources.config import SourceConfig, TableConfig, expanded
from cx_pipeline.sources.databases import Database, QueryError, open_database
from cx_pipeline.sources.files import SourceUnreachableError
from cx_pipeline.sources.lake import (
    Entry,
    Harvest,
    LandedFile,
    PartMade,
    RejectedRow,
    Watermark,
    sha256_of,
)

OVERLAP = timedelta(hours=1)
"""How far before the last landed cursor value a table is read again: a row whose transaction
began earlier may become visible later. What is landed already is dropped by its content."""

_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"


def new_rows(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: SourceConfig,
    table_name: str,
    table: TableConfig,
    entries: Sequence[Entry],
    lake_parts: Sequence[Path],
    last_seen: Path | None,
    scratch: Path,
    loaded_at: datetime,
) -> Harvest | None:
    """Read the rows that are not landed yet; None when there are none.

    Args:
        connection: DuckDB, to write and compare with.
        settings: For the placeholders in the source's URL.
        source: The database.
        table_name: Name of the table in sources.yml.
        table: The table's config.
        entries: What the manifest says of earlier loads of the table, oldest first.
        lake_parts: The table's files in the lake.
        last_seen: Hashes of the rows that the last read of the whole table found.
        scratch: Where to write.
        loaded_at: Time of the load; no cursor goes beyond it.

    Raises:
        SourceUnreachableError: The database does not answer.
        QueryError: It refuses the select, or the cursor does not sort.
    """
    watermark = next((item.watermark for item in reversed(entries) if item.watermark), None)
    fetched, rejected = scratch / "fetched.parquet", []
    with open_database(expanded(source.url or "", settings), settings.config_dir) as database:
        relation = relation_of(database, table_name, table)
        names = database.column_names(relation)
        _check_names(names, table)
        where = _since(database, table, watermark)
        stream = _valid_text_only(database.stream(relation, where), table_name, rejected)
        _fetch(connection, stream, fetched)
    told = {(row.row_number, row.reason) for entry in entries for row in entry.rejected}
    rejected = [row for row in rejected if (row.row_number, row.reason) not in told]
    if table.cursor:
        known = _landed_hashes(connection, lake_parts, names, table.cursor, watermark)
    else:
        known = f"select row_hash from '{last_seen}'" if last_seen else None
    made = scratch / "made.parquet"
    row_count = _copy_unknown(connection, fetched, names, known, table_name, loaded_at, made)
    if entries and not row_count and not rejected:
        return None
    seen = None
    if table.cursor:
        watermark = _later(watermark, _highest(connection, fetched, source, table, loaded_at))
    else:
        seen = scratch / "seen.parquet"
        connection.execute(
            f"copy (select distinct {_row_hash(names)} as row_hash from '{fetched}') "
            f"to '{seen}' (format parquet)"
        )
    return Harvest(
        parts=([PartMade(made, row_count, 1, column_types(connection, made))] if row_count else []),
        files=[
            LandedFile(
                file=table_name,
                sha256=sha256_of(made),
                stamp="",
                size_bytes=made.stat().st_size,
                row_count=row_count,
                rejected_count=len(rejected),
                first_row_number=1,
            )
        ],
        rejected=rejected,
        watermark=watermark,
        seen=seen,
    )


def relation_of(database: Database, table_name: str, table: TableConfig) -> str:
    """Return the table or query as it stands in a from clause of the database."""
    if table.query:
        return f"({table.query.strip().rstrip(';')}) as source_rows"
    return ".".join(database.quoted(piece) for piece in (table.table or table_name).split("."))


def _check_names(names: Sequence[str], table: TableConfig) -> None:
    lowered = [name.lower() for name in names]
    repeated = next((name for name in names if lowered.count(name.lower()) > 1), None)
    if repeated:
        raise QueryError(f'the column "{repeated}" stands twice; name the columns in `query:`')
    if table.cursor and table.cursor not in names:
        raise QueryError(
            f'the cursor column "{table.cursor}" is not there; the columns are: {", ".join(names)}'
        )


def _since(database: Database, table: TableConfig, watermark: Watermark | None) -> str:
    """Return the condition that picks what may be new; rows without a cursor value always may."""
    if not table.cursor or watermark is None:
        return ""
    cursor = database.quoted(table.cursor)
    literal = {
        "number": watermark.value,
        "timestamp": f"timestamp '{watermark.value}'",
        "timestamptz": f"timestamp with time zone '{watermark.value}+00'",
        "date": f"date '{watermark.value}'",
        "text": text_literal(watermark.value),
    }[watermark.kind]
    return f"{cursor} >= {literal} or {cursor} is null"


def _fetch(connection: duckdb.DuckDBPyConnection, stream: pa.RecordBatchReader, path: Path) -> None:
    connection.register("fetched_rows", stream)
    try:
        connection.execute(f"copy (from fetched_rows) to '{path}' (format parquet)")
    except duckdb.Error as error:
        line = str(error).splitlines()[0][:200]
        raise SourceUnreachableError(f"reading broke off ({line}); run again.") from None
    finally:
        connection.unregister("fetched_rows")


def _valid_text_only(
    stream: pa.RecordBatchReader, table_name: str, rejected: list[RejectedRow]
) -> pa.RecordBatchReader:
    """Drop and note the rows that hold bytes which are no UTF-8 (SQLite takes any bytes)."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in stream:
            try:
                batch.validate(full=True)
            except pa.ArrowInvalid:
                bad = _broken_rows(batch)
                rejected.extend(
                    RejectedRow(
                        file=table_name,
                        row_number=start + row + 1,
                        column_name=column,
                        reason="the value holds bytes that are not UTF-8; correct it at the source",
                    )
                    for row, column in bad.items()
                )
                keep = pa.array([row not in bad for row in range(batch.num_rows)])
                yield batch.filter(keep)
            else:
                yield batch
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(stream.schema, batches())


def _broken_rows(batch: pa.RecordBatch) -> dict[int, str]:
    """Return the rows of a batch that are no UTF-8, each with its first such column."""
    bad: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        for row, value in enumerate(column.view(pa.binary())):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError:
                bad.setdefault(row, name)
    return bad


def _row_hash(names: Sequence[str], there: Sequence[str] | None = None) -> str:
    """Return the SQL of a row's 128-bit content hash, the same in every DuckDB version."""
    values = [
        f"coalesce({quoted(name)}::varchar, chr(30))"
        if there is None or name in there
        else "chr(30)"
        for name in names
    ]
    return f"unhex(md5(concat_ws(chr(31), {', '.join(values)})))"


def _landed_hashes(
    connection: duckdb.DuckDBPyConnection,
    parts: Sequence[Path],
    names: Sequence[str],
    cursor: str,
    watermark: Watermark | None,
) -> str | None:
    """Return a select of the hashes of the landed rows that a read from the watermark repeats."""
    if not parts or watermark is None:
        return None
    paths = ", ".join(text_literal(str(path)) for path in parts)
    rows = f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
    there = [row[0] for row in connection.execute(f"describe select * from {rows}").fetchall()]
    column = quoted(cursor)
    if cursor not in there:
        return None
    value = {
        "number": f"try_cast({column} as hugeint) >= {watermark.value}",
    }.get(watermark.kind, f"{column}::varchar >= {text_literal(watermark.value)}")
    return (
        f"select {_row_hash(names, there)} as row_hash from {rows} "
        f"where {value} or {column} is null"
    )


def _copy_unknown(
    connection: duckdb.DuckDBPyConnection,
    fetched: Path,
    names: Sequence[str],
    known: str | None,
    table_name: str,
    loaded_at: datetime,
    made: Path,
) -> int:
    """Write the fetched rows whose hash is not known yet; return how many."""
    unknown = f"where {_row_hash(names)} not in ({known})" if known else ""
    count = connection.execute(
        f"copy (select *, {text_literal(table_name)} as _file, "
        f"timestamp '{loaded_at}' as _loaded_at from '{fetched}' {unknown}) "
        f"to '{made}' (format parquet)"
    ).fetchone()
    return count[0]


def _highest(
    connection: duckdb.DuckDBPyConnection,
    fetched: Path,
    source: SourceConfig,
    table: TableConfig,
    loaded_at: datetime,
) -> Watermark | None:
    """Return where the next read begins: the highest cursor value that is not in the future.

    Raises:
        QueryError: The cursor is text that does not sort by time or number.
    """
    column = quoted(table.cursor or "")
    rows = f"from read_parquet('{fetched}')"
    kind = connection.execute(f"select typeof(any_value({column})) {rows}").fetchone()[0].lower()
    now_utc = loaded_at.replace(tzinfo=UTC)
    now = str(now_utc.astimezone(ZoneInfo(source.time_zone)).replace(tzinfo=None))
    if kind.startswith("timestamp with"):
        clock = f"timezone('UTC', {column})"
        return _last_time(connection, clock, rows, str(loaded_at), "timestamptz")
    if kind.startswith("timestamp"):
        return _last_time(connection, f"{column}::timestamp", rows, now, "timestamp")
    if kind == "date":
        return _last_time(connection, f"{column}::timestamp", rows, now, "date")
    if kind != "varchar":
        value = connection.execute(f"select max({column}) {rows}").fetchone()[0]
        return None if value is None else Watermark(kind="number", value=str(value))
    clock = f"try_cast({column}[:19] as timestamp)"
    filled, numbers, times, highest = connection.execute(
        f"""
        select
            count({column}),
            count(*) filter (where regexp_full_match({column}, '-?[0-9]+')),
            count(*) filter (
                where regexp_matches({column}, {text_literal(_ISO_TIME)}) and {clock} is not null
            ),
            max(try_cast({column} as hugeint)),
        {rows}
        """
    ).fetchone()
    if not filled:
        return None
    if numbers == filled:
        return Watermark(kind="number", value=str(highest))
    if not times:
        raise QueryError(
            f'the cursor column "{table.cursor}" holds text that does not sort by time (such as '
            "31.12.2026); leave `cursor:` out, the table is then compared as a whole"
        )
    last = connection.execute(
        f"select arg_max({column}, {clock}) filter (where {clock} <= timestamp '{now}') {rows}"
    ).fetchone()[0]
    if last is None:
        return None
    form = "%Y-%m-%d" if len(last) == 10 else f"%Y-%m-%d{last[10]}%H:%M:%S"
    moment = datetime.fromisoformat(re.sub(r"([T ]\d\d:\d\d)$", r"\1:00", last)[:19]) - OVERLAP
    return Watermark(kind="text", value=moment.strftime(form))


def _last_time(
    connection: duckdb.DuckDBPyConnection, clock: str, rows: str, now: str, kind: str
) -> Watermark | None:
    last = connection.execute(
        f"select max({clock}) filter (where {clock} <= timestamp '{now}') {rows}"
    ).fetchone()[0]
    if last is None:
        return None
    moment = last - OVERLAP
    return Watermark(kind=kind, value=str(moment.date() if kind == "date" else moment))


def _later(old: Watermark | None, new: Watermark | None) -> Watermark | None:
    """Return the later of two; a watermark never goes back."""
    if old is None or new is None or old.kind != new.kind:
        return new or old
    if old.kind == "number":
        return max(old, new, key=lambda mark: float(mark.value))
    return max(old, new, key=lambda mark: mark.value)
