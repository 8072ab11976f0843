"""Apache Spark through dbt-spark: tables are Parquet files in the data folder.

Writes:    data/spark/<room>/<table>/<version>/*.parquet

A table is the newest version folder that Spark, or the export, has finished (`_SUCCESS`), so that
a killed run leaves the old table. There is no metastore: a session registers what it finds, in
50 ms a table, and nothing can tell otherwise than the files do.

DuckDB alone reads the exports, for the expressions of sources.yml are its SQL: each load goes
through the views of `sources` into Parquet once, and Spark reads that.
"""

import hmac
import logging
import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import duckdb
import pyarrow as pa

from cx_pipeline.settings import Settings, environment_value
from cx_pipeline.warehouse.engine import EngineMissingError
from cx_pipeline.warehouse.engine.spark_sql import translate
from cx_pipeline.warehouse.fingerprint import rules_hash
from cx_pipeline.warehouse.phone_numbers import normalise_phone
from cx_pipeline.warehouse.session import (
    ROOMS,
    connect,
    identity_secret,
    process_temp_dir,
)
from cx_pipeline.warehouse.sql import text_literal

if not (find_spec("pyspark") and find_spec("dbt.adapters.spark")):
    raise EngineMissingError(
        "CX_ENGINE=spark needs dbt-spark and pyspark. Install them with `make .venv/spark`; "
        "Spark itself needs Java 17 or newer."
    )

from dbt.adapters.spark.connections import SparkConnectionManager  # noqa: E402
from py4j.protocol import Py4JError  # noqa: E402
from pyspark.errors import PySparkException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

_DONE = "_SUCCESS"
_VERSION = "%Y%m%dT%H%M%S%f"
"""Name of a version: when it was made, UTC; macros/engine/spark_tables.sql writes it too."""
_ANSWER_SECONDS = 10
_CLUSTER_REMEDY = "Is CX_SPARK_REMOTE right, and the cluster running?"
_LEAST_MEMORY_BYTES = 512 * 1000**2
"""Spark refuses a heap below 450 MiB, and Java's is some per cent less than it is told."""
_KEY_COLUMNS = ("profile_key", "contact_point_key")
"""Ends of the names of columns that are uuid on DuckDB; Spark has no such type."""


class CatalogueNotOwnError(RuntimeError):
    """A cluster's catalogue has tables of others where this data folder's would stand."""


class EngineLostError(RuntimeError):
    """Spark's Java process ended in the middle of a build."""


class SparkEngine:
    """The engine of a data folder whose tables stand in its folder `spark`."""

    target = "spark"

    def __init__(self) -> None:
        self._session: SparkSession | None = None
        self._folder: Path | None = None
        self._has_refreshed = False

    def dbt_vars(self, settings: Settings) -> dict[str, Any]:
        """Return where the macros have Spark write tables."""
        return {"spark_folder": _spark_text(str(_folder(settings)))}

    def show_tables(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        """Make a view of every table that Spark has written; DuckDB's own tables stay."""
        own = {
            tuple(row)
            for row in connection.execute(
                "select schema_name, table_name from duckdb_tables()"
            ).fetchall()
        }
        shown = {
            (room, view): sql
            for room, view, sql in connection.execute(
                "select schema_name, view_name, sql from duckdb_views() where not internal"
            ).fetchall()
        }
        for room, table, version in _tables(_folder(settings)):
            is_shown = str(version) in shown.get((room, table), "")
            if room != "sources" and (room, table) not in own and not is_shown:
                files = text_literal(str(version / "*.parquet"))
                described = connection.execute(
                    f"describe select * from read_parquet({files})"
                ).fetchall()
                columns = ", ".join(_published(name, kind) for name, kind, *_ in described)
                connection.execute(
                    f'create or replace view {room}."{table}" as '
                    f"select {columns} from read_parquet({files})"
                )

    @contextmanager
    def building(self, settings: Settings, *, full_refresh: bool) -> Iterator[None]:
        """Hand the sources and the Python rooms' tables to Spark, and open its session."""
        folder = _folder(settings)
        if full_refresh and not self._has_refreshed:
            # A file that came again may have taken rows out of an earlier load.
            shutil.rmtree(folder / "sources", ignore_errors=True)
            self._has_refreshed = True
        if self._folder != folder:
            _bring_to_the_past(folder)
        with connect(settings) as connection:
            _export(connection, settings, folder)
        try:
            with self.watched():
                self._open(settings, folder)
                yield
        finally:
            _sweep(folder)
            # The views of what was built anew still name the files that are gone.
            with connect(settings):
                pass

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say that Spark is gone instead of what became of it.

        Raises:
            EngineLostError: Its process has ended.
        """
        try:
            yield
        except Exception as error:
            if self._is_lost():
                raise EngineLostError(
                    "Spark's Java process ended in the middle of the build: it was killed, or its "
                    "memory did not do. Readers keep what was published before. Raise "
                    "CX_MEMORY_LIMIT or lower CX_THREADS if memory it was, and run again; "
                    "logs/spark.log in the data folder has what it said."
                ) from error
            raise

    def _is_lost(self) -> bool:
        # A cluster's session has no process here.
        context = getattr(self._session, "_sc", None)
        if context is None:
            return False
        try:
            # Its sockets close a moment before it is gone.
            context._gateway.proc.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask over the session that dbt uses too."""
        assert self._session is not None
        return [tuple(row) for row in self._session.sql(self.translated(sql)).collect()]

    def translated(self, statement: str) -> str:
        """Return a statement in Spark's dialect."""
        return translate(statement, self._columns_of)

    def _columns_of(self, table: str) -> list[str]:
        assert self._session is not None
        try:
            return self._session.table(table).columns
        except PySparkException:
            return []

    def _open(self, settings: Settings, folder: Path) -> None:
        """Open the session, or take the one that is open, and register the tables found."""
        session = self._session or _start(settings)
        self._session = session
        session.udf.register("keyed_hash", _keyed_hash(identity_secret(settings)))
        session.udf.register("normalise_phone", _normalise_phone())
        session.udf.register("matches_whole", _matches_whole())
        found = {(room, table): version for room, table, version in _tables(folder)}
        if self._folder != folder:
            left = list(_registered(session))
            others = [name for name, place in left if not _is_below(place, folder, self._folder)]
            if others:
                raise CatalogueNotOwnError(
                    f"the Spark cluster's catalogue has {', '.join(others[:3])}"
                    f"{' and others' * (len(others) > 3)}, which is not of this data folder; "
                    f"nothing was touched. The schemas {', '.join(ROOMS)} must be for this data "
                    "folder alone: drop there what nobody needs, or give CX_SPARK_REMOTE the "
                    "address of another cluster."
                )
            for name, _ in left:
                session.sql(f"drop table {name}")
        for room in ROOMS:
            session.sql(f"create schema if not exists {room}")
        for (room, table), version in found.items():
            name = f"{room}.{table}"
            if self._folder == folder and session.catalog.tableExists(name):
                if not (room == "sources" or (version / "data.parquet").exists()):
                    continue
                session.sql(f"drop table {name}")
            place = _spark_text(str(version))
            session.sql(f"create table {name} using parquet location '{place}'")
        self._folder = folder


ENGINE = SparkEngine()


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "spark"


def _spark_text(value: str) -> str:
    """Return what stands between the quotes of a text of Spark's."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _registered(session: SparkSession) -> Iterator[tuple[str, str]]:
    """Yield name and location of each table in the rooms' schemas of the catalogue."""
    schemas = {row[0] for row in session.sql("show schemas").collect()}
    for room in ROOMS:
        for row in session.sql(f"show tables in {room}").collect() if room in schemas else ():
            name = f"{room}.`{row.tableName}`"
            if not row.isTemporary:
                described = session.sql(f"describe table extended {name}").collect()
                places = [row.data_type for row in described if row.col_name == "Location"]
                yield name, places[0] if places else ""


def _is_below(place: str, *folders: Path | None) -> bool:
    path = Path(unquote(urlsplit(place).path))
    return any(folder and path.is_relative_to(folder) for folder in folders)


def _published(name: str, kind: str) -> str:
    """Return a column of Spark's files in the type that it has on DuckDB."""
    if name.endswith(_KEY_COLUMNS) and kind == "VARCHAR":
        return f'cast("{name}" as uuid) as "{name}"'
    return f'"{name}"'


def _tables(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield room, name and newest finished version of every table."""
    for room in ROOMS:
        for table in sorted((folder / room).glob("*")):
            done = sorted(path.parent for path in table.glob(f"*/{_DONE}"))
            if done and "__dbt_" not in table.name:
                yield room, table.name, done[-1]


def _sweep(folder: Path) -> None:
    """Take away older versions, and what killed or finished builds left beside the tables."""
    newest = {version for _, _, version in _tables(folder)}
    for room in ROOMS:
        for table in (folder / room).glob("*"):
            for version in table.glob("*"):
                if version not in newest:
                    shutil.rmtree(version)
            if not any(table.iterdir()):
                table.rmdir()


def _bring_to_the_past(folder: Path) -> None:
    """Rename versions from before the clock was set back: what is built now must be newer."""
    now = f"{datetime.now(UTC):{_VERSION}}"
    for room, _, version in list(_tables(folder)):
        if room != "sources" and version.name > now:
            version.rename(version.with_name(now))


def _export(connection: duckdb.DuckDBPyConnection, settings: Settings, folder: Path) -> None:
    """Write what DuckDB has and Spark needs: landed rows, the books, the Python rooms' tables."""
    rules = rules_hash(settings)
    loads = [
        load_id
        for (load_id,) in connection.execute(
            "select load_id from sources.loads where is_complete order by load_id"
        ).fetchall()
    ]
    views = connection.execute(
        "select view_name from duckdb_views() where schema_name = 'sources' and not internal"
    ).fetchall()
    for (entity,) in views:
        # A folder for each set of rules: rows that were read by other rules are not mixed in.
        version = folder / "sources" / entity / f"{rules[:16]}"
        version.mkdir(parents=True, exist_ok=True)
        for load_id in loads or [0]:
            path = version / f"load-{load_id:06}.parquet"
            if not path.exists():
                _copy(connection, f"sources.{entity}", path, f"where _load_id = {load_id}")
        (version / _DONE).touch()
        for other in version.parent.iterdir():
            if other != version:
                shutil.rmtree(other)
    tables = connection.execute(
        "select schema_name, table_name from duckdb_tables() where list_contains($1, schema_name)",
        [list(ROOMS)],
    ).fetchall()
    for room, table in tables:
        version = folder / room / table / f"{datetime.now(UTC):{_VERSION}}"
        version.mkdir(parents=True)
        _copy(connection, f'{room}."{table}"', version / "data.parquet")
        (version / _DONE).touch()


def _copy(connection: duckdb.DuckDBPyConnection, table: str, path: Path, rows: str = "") -> None:
    """Write rows of a table as Parquet that Spark reads; uuid as text."""
    described = connection.execute(f"describe {table}").fetchall()
    columns = ", ".join(
        f'cast("{name}" as varchar) as "{name}"' if kind == "UUID" else f'"{name}"'
        for name, kind, *_ in described
    )
    aside = path.with_name(f".{path.name}")
    connection.execute(
        f"copy (select {columns} from {table} {rows}) "
        f"to {text_literal(str(aside))} (format parquet)"
    )
    aside.rename(path)


def _start(settings: Settings) -> SparkSession:
    """Start Spark beside this process, or connect to a cluster; dbt's session method finds it.

    Raises:
        EngineMissingError: There is no Java to run it, too little memory, or no such cluster.
    """
    session = {
        "spark.sql.session.timeZone": "UTC",
        # As DuckDB: a timestamp has no zone unless it says so.
        "spark.sql.timestampType": "TIMESTAMP_NTZ",
        "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    }
    builder = SparkSession.builder.appName("cx-pipeline")
    if settings.spark_remote:
        _expect_answer(settings.spark_remote)
        # dbt-spark opens a session of its own, which is this one if pyspark hears of a cluster.
        os.environ["SPARK_REMOTE"] = settings.spark_remote
        builder = _configured(builder.remote(settings.spark_remote), session)
    else:
        builder = _configured(builder, session | _local_options(settings))
    # What fails is raised; pyspark would print it as JSON besides.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    # So would py4j when the JVM is gone, under no name of its own.
    logging.getLogger().addFilter(lambda record: "py4j" not in record.pathname)
    # dbt-spark asks each session for Hive, which a cluster's does not let it have.
    warnings.filterwarnings("ignore", message="Failed to set spark.sql.catalogImplementation")
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    log = settings.log_dir / "spark.log"
    try:
        with warnings.catch_warnings(), _errors_into(log):
            warnings.simplefilter("ignore")
            return builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        said = str(error).strip().splitlines()[0]
        if settings.spark_remote:
            # Behind a cluster's address may stand a token.
            said = said.replace(settings.spark_remote, "CX_SPARK_REMOTE")
            remedy = _CLUSTER_REMEDY
        else:
            java = environment_value("JAVA_HOME")
            where = f"in JAVA_HOME={java}" if java else "of `java` on the PATH"
            remedy = f"It needs Java 17 or newer, here that {where}; {log} has what it said."
        raise EngineMissingError(f"Spark did not start: {said} {remedy}") from error


def _expect_answer(remote: str) -> None:
    """Try the cluster's port: Spark's client would try it in silence for minutes.

    Raises:
        EngineMissingError: It is no such address, nobody listens there, or whoever does is no
            Spark cluster.
    """
    address = urlsplit(remote)
    # A token without the slash before it would be taken for a part of the host or port, and shown.
    if address.scheme != "sc" or not address.hostname or ";" in address.netloc:
        raise EngineMissingError("CX_SPARK_REMOTE is no Spark Connect address as sc://host:15002.")
    try:
        # The port that an address means when it names none.
        place = (address.hostname, address.port or 15002)
        socket.create_connection(place, timeout=_ANSWER_SECONDS).close()
        _expect_grpc(remote)
    except (OSError, ValueError) as error:
        raise EngineMissingError(
            f"No Spark cluster answers at {address.hostname}: {error}. {_CLUSTER_REMEDY}"
        ) from error


def _expect_grpc(remote: str) -> None:
    """Shake hands in gRPC: a proxy, or another server, takes connections and says nothing.

    Raises:
        TimeoutError: Nobody shook hands in time.
        ValueError: What stands behind the host is not as Spark Connect wants it.
    """
    # Only who asks for a cluster needs gRPC.
    import grpc  # noqa: PLC0415
    from pyspark.sql.connect.client.core import DefaultChannelBuilder  # noqa: PLC0415

    try:
        connecting = DefaultChannelBuilder(remote).toChannel()
    except PySparkException:
        # Its text quotes the address, which may have a token.
        raise ValueError("the address is not sc://host:port/;name=value;...") from None
    with connecting as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise TimeoutError(
                "it takes the connection and does not speak gRPC, or only with TLS (;use_ssl=true)"
            ) from None


def _configured(builder: Any, options: dict[str, str]) -> Any:
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder


def _local_options(settings: Settings) -> dict[str, str]:
    if not (shutil.which("java") or environment_value("JAVA_HOME")):
        raise EngineMissingError("CX_ENGINE=spark needs Java 17 or newer; `java` was not found.")
    memory = settings.memory_limit_bytes or 4 * 2**30
    if memory < _LEAST_MEMORY_BYTES:
        raise EngineMissingError(
            f"CX_MEMORY_LIMIT is {settings.memory_limit}; Spark needs at least 512MB."
        )
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    threads = str(settings.threads or os.cpu_count() or 2)
    # What does not fit in memory holds names and addresses too.
    temporary = str(process_temp_dir(settings))
    return {
        "spark.master": f"local[{threads}]",
        # Nobody else on the network talks to this Spark; by default it listens on all interfaces.
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # Java knows neither fractions nor blanks.
        "spark.driver.memory": f"{memory // 2**20}m",
        "spark.local.dir": temporary,
        "spark.hadoop.fs.permissions.umask-mode": "077",
        "spark.sql.warehouse.dir": temporary,
        # The tables of one machine are small: more partitions are more overhead.
        "spark.sql.shuffle.partitions": threads,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


@contextmanager
def _errors_into(path: Path) -> Iterator[None]:
    """Give what is started meanwhile a log for its stderr: the terminal belongs to cx."""
    terminal = os.dup(2)
    with path.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _keyed_hash(secret: bytes) -> Any:
    """Return the keyed hash as a function of Spark; the secret is in it, and in no SQL text."""
    from pyspark.sql.functions import arrow_udf

    def keyed_hash(texts: pa.Array) -> pa.Array:
        keys = (
            None
            if text is None
            else str(UUID(bytes=hmac.digest(secret, text.encode(), "sha256")[:16]))
            for text in texts.to_pylist()
        )
        return pa.array(keys, pa.string())

    return arrow_udf(keyed_hash, "string")


def _matches_whole() -> Any:
    """Return DuckDB's `regexp_full_match(value, pattern, 'i')` as a function of Spark.

    Config's patterns are RE2; Java's say other things by the same signs ("[[:digit:]]", "&&").
    """
    from pyspark.sql.functions import arrow_udf

    def matches_whole(values: pa.Array, patterns: pa.Array) -> pa.Array:
        given = pa.table({"given": values, "pattern": patterns})
        with duckdb.connect() as connection:
            return (
                connection.from_arrow(given)
                .project("regexp_full_match(given, pattern, 'i') as matches")
                .to_arrow_table()["matches"]
                .combine_chunks()
            )

    return arrow_udf(matches_whole, "boolean")


def _normalise_phone() -> Any:
    """Return `normalise_phone(value, country)` as a function of Spark."""
    from pyspark.sql.functions import arrow_udf

    def normalised(values: pa.Array, countries: pa.Array) -> pa.Array:
        pairs = zip(values.to_pylist(), countries.to_pylist(), strict=True)
        return pa.array([normalise_phone(*pair) for pair in pairs], pa.string())

    return arrow_udf(normalised, "string")


_send = SparkConnectionManager.add_query


def _send_translated(
    manager: SparkConnectionManager, sql: str, *arguments: Any, **named: Any
) -> Any:
    """Send a statement of dbt's as Spark understands it: the one place, for every method."""
    with ENGINE.watched():
        return _send(manager, ENGINE.translated(sql), *arguments, **named)


SparkConnectionManager.add_query = _send_translated
