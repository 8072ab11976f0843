"""SQL databases as Arrow streams: SQLite and PostgreSQL through ADBC, any other by SQLAlchemy.

Reads:     one select at a time from a source's database
Keeps out: which rows are new, and the lake; that is landing.py
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import adbc_driver_sqlite.dbapi
import pyarrow as pa
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from cx_pipeline.sources.files import SourceUnreachableError
from cx_pipeline.warehouse.sql import quoted

_BATCH_ROWS = 65_536


class QueryError(ValueError):
    """The database answers, but refuses the select: a table or column is not there."""


class Database(Protocol):
    """What landing asks of a database."""

    def column_names(self, relation: str) -> list[str]:
        """Return the columns of a table or of a select in brackets."""

    def stream(
        self, relation: str, where: str = "", limit: int | None = None
    ) -> pa.RecordBatchReader:
        """Return all columns of the rows that a condition picks, or of `limit` of them."""

    def quoted(self, name: str) -> str:
        """Return a table's or column's name as the database wants it written."""

    def as_text(self, name: str) -> str:
        """Return a column as a text that may be compared with any other, also an empty one."""


@contextmanager
def open_database(url: str, base: Path) -> Iterator[Database]:
    """Connect to a database by its SQLAlchemy URL; a relative SQLite path is below `base`.

    Raises:
        SourceUnreachableError: It does not answer.
        QueryError: Raised inside, by a select that it refuses.
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        # What was wrong with it may quote a part of the password.
        raise SourceUnreachableError(
            "`url:` is not an SQLAlchemy URL such as postgresql://reader:${PASSWORD}@erp/prod; "
            "in a user's name or password write @ : / as %40 %3A %2F.",
            may_pass=False,
        ) from None
    if parsed.drivername == "sqlite":
        with _sqlite(parsed, base) as database:
            yield database
    elif parsed.get_backend_name() == "postgresql":
        with _postgresql(parsed) as database:
            yield database
    else:
        with _any_other(parsed) as database:
            yield database


@contextmanager
def _sqlite(url: URL, base: Path) -> Iterator[Database]:
    path = base / (url.database or "")
    if not path.is_file():
        raise SourceUnreachableError(
            f"there is no SQLite file {path}; correct `url:`.", may_pass=False
        )
    # Opened read-only: SQLite would otherwise make an empty file of a mistyped name.
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        with ExitStack() as open_things:
            schema = open_things.enter_context(closing(sqlite3.connect(address, uri=True)))
            connection = open_things.enter_context(adbc_driver_sqlite.dbapi.connect(address))
            yield _Sqlite(connection, schema, open_things)
    except (adbc_driver_manager.OperationalError, sqlite3.DatabaseError) as error:
        raise SourceUnreachableError(
            f"{path} cannot be read as SQLite ({reason_of(error)}); copy or export it again."
        ) from None
    except adbc_driver_manager.Error as error:
        raise QueryError(reason_of(error)) from None


@contextmanager
def _postgresql(url: URL) -> Iterator[Database]:
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = adbc_driver_postgresql.dbapi.connect(address)
    except adbc_driver_manager.Error as error:
        raise SourceUnreachableError(
            f"{url.render_as_string(hide_password=True)} does not answer ({reason_of(error)}); "
            "check that it runs, the address and the credentials."
        ) from None
    try:
        with ExitStack() as open_things:
            yield _PostgreSql(open_things.enter_context(connection), open_things)
    except adbc_driver_manager.OperationalError as error:
        raise SourceUnreachableError(
            f"the database broke off ({reason_of(error)}); run again."
        ) from None
    except adbc_driver_manager.Error as error:
        raise QueryError(reason_of(error)) from None


@contextmanager
def _any_other(url: URL) -> Iterator[Database]:
    shown = url.render_as_string(hide_password=True)
    try:
        engine = sqlalchemy.create_engine(url)
        connection = engine.connect()
    except (NoSuchModuleError, ImportError) as error:
        raise SourceUnreachableError(
            f"{shown} needs a package that is not there ({reason_of(error)}). Install the dialect "
            "and driver of this database (`.venv/bin/python -m pip install …`; SQLAlchemy lists "
            "them), and name both, such as mysql+pymysql://.",
            may_pass=False,
        ) from None
    except SQLAlchemyError as error:
        raise SourceUnreachableError(
            f"{shown} does not answer ({reason_of(error)}); check that it runs, the address and "
            "the credentials."
        ) from None
    try:
        yield _AnyOther(connection)
    except sqlalchemy.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise SourceUnreachableError(
                f"the database broke off ({reason_of(error.orig or error)}); run again."
            ) from None
        raise QueryError(reason_of(error.orig or error)) from None
    except SQLAlchemyError as error:
        raise QueryError(reason_of(error)) from None
    finally:
        connection.close()
        engine.dispose()


class _Sqlite:
    """SQLite: every column as text, for a column of one table may hold values of any type."""

    def __init__(self, connection: Any, schema: sqlite3.Connection, open_things: ExitStack) -> None:
        self._connection = connection
        self._schema = schema
        self._open_things = open_things

    def column_names(self, relation: str) -> list[str]:
        try:
            cursor = self._schema.execute(f"select * from {relation} limit 0")
        except sqlite3.OperationalError as error:
            raise QueryError(reason_of(error)) from None
        return [column[0] for column in cursor.description]

    def stream(
        self, relation: str, where: str = "", limit: int | None = None
    ) -> pa.RecordBatchReader:
        names = [self.quoted(name) for name in self.column_names(relation)]
        columns = ", ".join(f"cast({name} as text) as {name}" for name in names)
        # Open for as long as the connection: a cursor that is forgotten ends its stream.
        cursor = self._open_things.enter_context(self._connection.cursor())
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH_ROWS)})
        # The driver takes a column's type from its first rows, and an empty value for a number:
        # a row of texts goes ahead, and is dropped again.
        ahead = ", ".join(f"'' as {name}" for name in names)
        rows = f"select {columns} from {relation}{_condition(where)}{_limited(limit)}"
        cursor.execute(f"select {ahead} union all select * from ({rows})")
        reader = cursor.fetch_record_batch()
        return pa.RecordBatchReader.from_batches(reader.schema, _without_first_row(reader, cursor))

    def quoted(self, name: str) -> str:
        return quoted(name)

    def as_text(self, name: str) -> str:
        return quoted(name)


class _PostgreSql:
    """PostgreSQL: its own types, those that Arrow lacks as text."""

    def __init__(self, connection: Any, open_things: ExitStack) -> None:
        self._connection = connection
        self._open_things = open_things

    def _schema(self, relation: str) -> pa.Schema:
        with self._connection.cursor() as cursor:
            return cursor.adbc_execute_schema(f"select * from {relation} limit 0")

    def column_names(self, relation: str) -> list[str]:
        return self._schema(relation).names

    def stream(
        self, relation: str, where: str = "", limit: int | None = None
    ) -> pa.RecordBatchReader:
        schema = self._schema(relation)
        money = self._money(relation, schema)
        columns = []
        for item in schema:
            name = self.quoted(item.name)
            if item.name in money:
                columns.append(f"{name}::numeric::text as {name}")
            else:
                columns.append(name if _is_plain(item.type) else f"{name}::text as {name}")
        # Open for as long as the connection: a cursor that is forgotten ends its stream.
        cursor = self._open_things.enter_context(self._connection.cursor())
        rows = f"select {', '.join(columns)} from {relation}{_condition(where)}"
        cursor.execute(rows + _limited(limit))
        return cursor.fetch_record_batch()

    def quoted(self, name: str) -> str:
        return quoted(name)

    def as_text(self, name: str) -> str:
        return f"{quoted(name)}::text"

    def _money(self, relation: str, schema: pa.Schema) -> set[str]:
        """Return the columns of type money, which Arrow gets as a whole number of cents."""
        names = [item.name for item in schema if pa.types.is_int64(item.type)]
        if not names:
            return set()
        is_money = ", ".join(
            "(select coalesce(nullif(typbasetype, 0), oid) from pg_type "
            f"where oid = pg_typeof(row_of.{self.quoted(name)})) = 'money'::regtype"
            for name in names
        )
        with self._connection.cursor() as cursor:
            # An empty table has no row whose types could be asked for.
            cursor.execute(
                f"select {is_money} from (select 1) as one "
                f"left join (select * from {relation} limit 1) as row_of on true"
            )
            row = cursor.fetchone()
        return {name for name, found in zip(names, row, strict=True) if found}


class _AnyOther:
    """Any database that SQLAlchemy knows: in chunks, every value as text."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection.execution_options(stream_results=True)

    def column_names(self, relation: str) -> list[str]:
        return list(self._connection.execute(_select(relation, "1 = 0")).keys())

    def stream(
        self, relation: str, where: str = "", limit: int | None = None
    ) -> pa.RecordBatchReader:
        schema = pa.schema([(name, pa.string()) for name in self.column_names(relation)])
        rows = self._connection.execute(_select(relation, where).limit(limit))
        chunks = rows.partitions(_BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(
            schema, (_as_text(chunk, schema) for chunk in chunks)
        )

    def quoted(self, name: str) -> str:
        return self._connection.dialect.identifier_preparer.quote(name)

    def as_text(self, name: str) -> str:
        # Oracle's text must have a length.
        column = sqlalchemy.literal_column(self.quoted(name))
        text = sqlalchemy.cast(column, sqlalchemy.String(255))
        return str(text.compile(dialect=self._connection.dialect))


def _without_first_row(reader: pa.RecordBatchReader, cursor: Any) -> Iterator[pa.RecordBatch]:
    # The cursor is only held: once it is collected, the reader's stream is closed.
    yield next(reader).slice(1)
    yield from reader


def _as_text(chunk: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array([_text(value) for value in column], type=pa.string())
        for column in zip(*chunk, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            # A key in binary, such as a uuid of 16 bytes.
            return value.hex()
    return None if value is None else str(value)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether DuckDB reads an Arrow type as what it is."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name in ("arrow.json", "arrow.uuid") or pa.types.is_string(
            kind.storage_type
        )
    return (pa.types.is_primitive(kind) and not pa.types.is_interval(kind)) or pa.types.is_string(
        kind
    )


def _condition(where: str) -> str:
    return f" where {where}" if where else ""


def _limited(limit: int | None) -> str:
    return "" if limit is None else f" limit {limit}"


def _select(relation: str, where: str) -> sqlalchemy.Select:
    """Return a select of which SQLAlchemy knows how the database writes a limit."""
    # A colon would be taken for the start of a parameter.
    rows, condition = (
        sqlalchemy.text(sql.replace(":", "\\:")) for sql in (relation, where or "1 = 1")
    )
    return sqlalchemy.select(sqlalchemy.text("*")).select_from(rows).where(condition)


def reason_of(error: BaseException) -> str:
    """Return what a driver says in one line, of a data exception (SQLSTATE class 22) only that.

    Source: ISO/IEC 9075-2, table 38. Its text quotes the value.
    """
    sqlstate = str(getattr(error, "sqlstate", None) or "")
    if sqlstate.startswith("22"):
        return f"a cast or calculation fails on a row, SQLSTATE {sqlstate}"
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
