"""The new and changed rows of one database table, read and ready to be put into the lake.

Reads:     a source's database
Writes:    a part in a scratch folder, and the hashes of the rows that were read
Keeps out: the manifest (landing.py) and how a database is asked (databases.py)

With a cursor column only rows from shortly before the last landed value on are read. Without one
the whole table is read. Either way what the last read found, row by row hash, is not landed again.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
from sqlalchemy.engine import make_url

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import bracketed, column_types
from cx_pipeline.sources.config import RESERVED_COLUMNS, SourceConfig, TableConfig, expanded
from cx_pipeline.sources.databases import Database, QueryError, open_database, reason_of
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
from cx_pipeline.warehouse.sql import quoted, text_literal

OVERLAP = timedelta(hours=1)
"""How far before the last landed cursor value a table is read again: a row whose transaction
began earlier may become visible later. What is landed already is dropped by its content."""

NUMBER_OVERLAP = 10_000
"""The same for a cursor that is a number: a sequence hands out its numbers before the commit."""

_QUOTED = re.compile(r"""(["']).*?\1""")
_REFUSED = re.compile(r"\bERROR:(?!.*\b(?:cancel|terminat))")
"""PostgreSQL's severity of what fails a statement; who cancels one may let the next one pass."""

_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
_YEAR_2000 = 946_684_800
_EPOCH_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_FIRST_DAY = "4714-01-01 (BC)"
"""Before it PostgreSQL has no times; its `infinity` arrives as one, by an overflow."""


def new_rows(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: SourceConfig,
    table_name: str,
    table: TableConfig,
    entries: Sequence[Entry],
    watermark: Watermark | None,
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
        watermark: Where the read begins; None reads the whole table.
        last_seen: Hashes of the rows that the last read found and this one may repeat.
        scratch: Where to write.
        loaded_at: Time of the load; no cursor goes beyond it.

    Raises:
        SourceUnreachableError: The database does not answer.
        QueryError: It refuses the select, or the cursor does not sort.
    """
    fetched, rejected = scratch / "fetched.parquet", []
    url = expanded(source.url or "", settings)
    with open_database(url, settings.config_dir) as database:
        relation = relation_of(database, table_name, table)
        names = database.column_names(relation)
        check_names(names, table)
        where = _since(database, make_url(url).get_backend_name(), table, watermark)
        broken: list[Exception] = []
        stream = database.stream(relation, where)
        batches = _valid_text_only(_noted(stream, broken), table_name, rejected)
        _fetch(
            connection, pa.RecordBatchReader.from_batches(stream.schema, batches), broken, fetched
        )
    told = {row.row_hash for entry in entries for row in entry.rejected}
    rejected = [row for row in rejected if row.row_hash not in told]
    known = f"select row_hash from {_parquet(last_seen)}" if last_seen else None
    made = scratch / "made.parquet"
    row_count = _copy_unknown(connection, fetched, names, known, table_name, loaded_at, made)
    if entries and not row_count and not rejected:
        return None
    repeated = "true"
    if table.cursor:
        watermark = _later(watermark, _highest(connection, fetched, source, table, loaded_at))
        repeated = _may_be_repeated(table.cursor, watermark)
    seen = scratch / "seen.parquet"
    connection.execute(
        f"copy (select distinct {_row_hash(names)} as row_hash from {_parquet(fetched)} "
        f"where {repeated}) to {text_literal(str(seen))} (format parquet)"
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
        # Oracle takes no `as` there.
        return f"{bracketed(table.query.strip().rstrip(';'))} source_rows"
    return ".".join(database.quoted(piece) for piece in (table.table or table_name).split("."))


def check_names(names: Sequence[str], table: TableConfig) -> None:
    """Check that the columns of a database's table can land.

    Raises:
        QueryError: They cannot, or the cursor is none of them.
    """
    lowered = [name.lower() for name in names]
    repeated = next((name for name in names if lowered.count(name.lower()) > 1), None)
    if repeated:
        raise QueryError(f'the column "{repeated}" stands twice; name the columns in `query:`')
    reserved = next((name for name in names if name.lower() in RESERVED_COLUMNS), None)
    if reserved:
        raise QueryError(
            f'the column name "{reserved}" is kept for the lake; give it another one in `query:`'
        )
    if table.cursor and table.cursor not in names:
        raise QueryError(
            f'the cursor column "{table.cursor}" is not there; the columns are: {", ".join(names)}'
        )


def _since(
    database: Database, backend: str, table: TableConfig, watermark: Watermark | None
) -> str:
    """Return the condition that picks what may be new; rows without a cursor value always may.

    A text that has another form than those before is picked too, and then refused: it would
    otherwise sort before them, and be lost.
    """
    if not table.cursor or watermark is None:
        return ""
    cursor, value = database.quoted(table.cursor), watermark.value
    # MySQL refuses to compare a time with an empty text.
    text = database.as_text(table.cursor)
    compared = text if backend == "postgresql" else cursor
    picked = {
        "number": f"{cursor} >= {value}",
        # As text '100' comes before '11'.
        "digits": f"cast(nullif({text}, '') as decimal(38)) >= {value} or {text} = ''",
        "timestamp": f"{cursor} >= timestamp '{value}'",
        "timestamptz": f"{cursor} >= timestamp with time zone '{value}+00'",
        "date": f"{cursor} >= date '{value}'",
        "text": f"{compared} >= {text_literal(value)} or {text} = ''",
    }[watermark.kind]
    if watermark.kind == "text" and backend in ("postgresql", "sqlite"):
        picked += f" or {text} not like '____-__-__%'"
    if watermark.kind == "digits" and backend == "sqlite":
        picked += f" or {text} glob '*[^0-9-]*'"
    return f"{picked} or {cursor} is null"


def _may_be_repeated(cursor: str, watermark: Watermark | None) -> str:
    """Return a condition for all fetched rows that a read from the watermark finds again."""
    if watermark is None:
        return "true"
    column, value = quoted(cursor), watermark.value
    kind = {"number": "hugeint", "digits": "hugeint", "text": "varchar"}.get(
        watermark.kind, watermark.kind
    )
    reached = f"try_cast({column} as {kind}) >= {text_literal(value)}::{kind}"
    if watermark.kind == "text":
        reached += f" or {column} not like '____-__-__%'"
    return f"coalesce({reached}, true)"


def _parquet(path: Path) -> str:
    return f"read_parquet({text_literal(str(path))})"


def _fetch(
    connection: duckdb.DuckDBPyConnection,
    stream: pa.RecordBatchReader,
    broken: Sequence[Exception],
    path: Path,
) -> None:
    real = [
        f"case when {quoted(item.name)} >= '{_FIRST_DAY}' then {quoted(item.name)} end "
        f"as {quoted(item.name)}"
        for item in stream.schema
        if item.type in (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32())
    ]
    replaced = f" replace ({', '.join(real)})" if real else ""
    connection.register("fetched_rows", stream)
    try:
        connection.execute(
            f"copy (select *{replaced} from fetched_rows) "
            f"to {text_literal(str(path))} (format parquet)"
        )
    except duckdb.Error:
        # Where the source went on, it is this machine that cannot write.
        if not broken:
            raise
        raise broken_off(broken[0]) from None
    finally:
        connection.unregister("fetched_rows")


def broken_off(error: Exception) -> QueryError | SourceUnreachableError:
    """Return what to tell when a database ends a stream with an error."""
    # What the text quotes is a value of a row, as often as not.
    line = _QUOTED.sub("…", reason_of(error))
    if _REFUSED.search(line):
        return QueryError(f"the select fails on a row ({line}); correct the row or the select.")
    return SourceUnreachableError(f"reading broke off ({line}); run again.")


def _noted(stream: Iterable[pa.RecordBatch], broken: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Hand on batches, and note what breaks them off: DuckDB makes an error of its own of it."""
    try:
        yield from stream
    except MemoryError:
        raise
    except Exception as error:
        broken.append(error)
        raise


def _valid_text_only(
    batches: Iterable[pa.RecordBatch], table_name: str, rejected: list[RejectedRow]
) -> Iterator[pa.RecordBatch]:
    """Drop and note the rows that hold bytes which are no UTF-8 (SQLite takes any bytes)."""
    start = 0
    for batch in batches:
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
                    row_hash=_content_hash(batch, row),
                )
                for row, column in bad.items()
            )
            keep = pa.array([row not in bad for row in range(batch.num_rows)])
            yield batch.filter(keep)
        else:
            yield batch
        start += batch.num_rows


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


def _content_hash(batch: pa.RecordBatch, row: int) -> str:
    """Return the hash of a row that holds bytes which are no text."""
    values = (
        column.slice(row, 1).view(pa.binary())[0]
        if pa.types.is_string(column.type)
        else column[row]
        for column in batch.columns
    )
    return hashlib.md5(repr([value.as_py() for value in values]).encode()).hexdigest()


def _row_hash(names: Sequence[str]) -> str:
    """Return the SQL of a row's 128-bit content hash, the same in every DuckDB version."""
    values = [f"coalesce({quoted(name)}::varchar, chr(30))" for name in names]
    return f"unhex(md5(concat_ws(chr(31), {', '.join(values)})))"


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
        f"timestamp '{loaded_at}' as _loaded_at from {_parquet(fetched)} {unknown}) "
        f"to {text_literal(str(made))} (format parquet)"
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
    rows = f"from {_parquet(fetched)}"
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
    if re.fullmatch(r"u?(tiny|small|big|huge)?int(eger)?|double|float|decimal\(.*\)", kind):
        return _last_number(connection, column, rows, now_utc, "number")
    if kind != "varchar":
        raise QueryError(
            f'the cursor column "{table.cursor}" is {kind}, neither a time nor a number; leave '
            "`cursor:` out, the table is then compared as a whole"
        )
    clock = f"try_cast({column}[:19] as timestamp)"
    filled, numbers, times = connection.execute(
        f"""
        select
            count(nullif({column}, '')),
            count(*) filter (where regexp_full_match({column}, '-?[0-9]+')),
            count(*) filter (
                where regexp_matches({column}, {text_literal(_ISO_TIME)}) and {clock} is not null
            ),
        {rows}
        """
    ).fetchone()
    if not filled:
        return None
    if numbers == filled:
        return _last_number(connection, column, rows, now_utc, "digits")
    if times != filled:
        raise QueryError(
            f'the cursor column "{table.cursor}" holds text that does not sort by time (such as '
            "31.12.2026); leave `cursor:` out, the table is then compared as a whole"
        )
    # By the day: `T` sorts after a blank, and an offset does not sort at all.
    last = _last_time(connection, clock, rows, now, "text")
    return last and last.model_copy(
        update={"value": str(date.fromisoformat(last.value[:10]) - timedelta(days=1))}
    )


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


def _last_number(
    connection: duckdb.DuckDBPyConnection, column: str, rows: str, now: datetime, kind: str
) -> Watermark | None:
    """Return the highest number less the overlap.

    Numbers that read as seconds since 1970, or smaller units, end now. Should they be plain
    numbers after all, those above are read again in every run, and none is lost.
    """
    value = f"try_cast({column} as hugeint)"
    limits = [
        f"max({value}) filter (where {value} between {_YEAR_2000 * unit} "
        f"and {int(now.timestamp()) * unit})"
        for unit in _EPOCH_UNITS
    ]
    highest, *times = connection.execute(
        f"select max({value}), {', '.join(limits)} {rows}"
    ).fetchone()
    if highest is None:
        return None
    for unit, last in zip(_EPOCH_UNITS, times, strict=True):
        if last is not None:
            overlap = int(OVERLAP.total_seconds()) * unit
            return Watermark(kind=kind, value=str(last - max(overlap, NUMBER_OVERLAP)))
    return Watermark(kind=kind, value=str(highest - NUMBER_OVERLAP))


def _later(old: Watermark | None, new: Watermark | None) -> Watermark | None:
    """Return the later of two; a watermark never goes back."""
    if old is None or new is None or old.kind != new.kind:
        return new or old
    if old.kind in ("number", "digits"):
        return max(old, new, key=lambda mark: Decimal(mark.value))
    return max(old, new, key=lambda mark: mark.value)
