"""What is new in the sources, into the lake: the one way in.

Reads:     the sources of config/sources.yml
Writes:    data/lake (see lake.py)
Keeps out: what the lake's rows become (views.py) and how a file or database is read
           (file_landing.py, query_landing.py)

Landing is idempotent: an input that was landed is recognised by its content, and a run that was
killed half-way is taken up where its last whole table ended.
"""

import hashlib
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.config import SourceConfig, TableConfig, load_sources, without_secrets
from cx_pipeline.sources.databases import QueryError
from cx_pipeline.sources.file_landing import (
    files_of,
    known_files,
    known_refusals,
    new_files,
    untold_refusals,
)
from cx_pipeline.sources.files import InputFile, SourceUnreachableError
from cx_pipeline.sources.lake import (
    Entry,
    Harvest,
    Lake,
    LakeError,
    Load,
    RefusedFile,
    RejectedRow,
)
from cx_pipeline.sources.query_landing import new_rows
from cx_pipeline.sources.raw_views import clash_with_earlier
from cx_pipeline.warehouse.company import is_out_of_space
from cx_pipeline.warehouse.config_files import ConfigError
from cx_pipeline.warehouse.sql import text_literal

_log = logging.getLogger(__name__)

PAUSES_SECONDS = (1.0, 2.0)
"""How long to wait before a source that does not answer is asked again, each time."""


@dataclass(frozen=True)
class Outcome:
    """What became of one table in one run; `error` is empty when all went well."""

    source: str
    table: str
    load_id: int | None = None
    rows_landed: int = 0
    rows_rejected: int = 0
    files_landed: int = 0
    files_refused: int = 0
    rows_in_lake: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the newest rows, each with DuckDB's type."""
    error: str = ""


def land(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    only: Collection[tuple[str, str]] | None = None,
) -> list[Outcome]:
    """Land what is new in all tables, or in the (source, table) pairs named; return one each.

    Whatever goes wrong with a table becomes an outcome with an error; the others go on. All that a
    run lands is one load.

    Raises:
        ConfigError: sources.yml cannot be used.
        LakeError: The lake is damaged.
    """
    config = load_sources(settings)
    lake = Lake(settings.lake_dir)
    lake.sweep()
    lake.verify()
    # The position of a row in a part is its number in the file, and hashes are of UTC times.
    connection.execute("set preserve_insertion_order = true")
    connection.execute("set timezone = 'UTC'")
    landing = _Landing(connection, settings, lake)
    outcomes = [
        landing.land_table(source_name, table_name, source, table)
        for source_name, table_name, source, table in config.landed_tables()
        if only is None or (source_name, table_name) in only
    ]
    lake.close_open_load()
    lake.sweep()
    return outcomes


def pending_files(settings: Settings) -> str:
    """Return a fingerprint of the files that are not landed yet, '' when there are none.

    Looks at names, sizes and times only, so that a sensor can ask every minute. Databases are not
    asked; the schedule reads them.

    Raises:
        ConfigError: sources.yml cannot be used.
    """
    lake = Lake(settings.lake_dir)
    waiting = []
    for source_name, table_name, source, table in load_sources(settings).landed_tables():
        if source.is_database:
            continue
        entries = lake.entries(source_name, table_name)
        stamps = {name: file.stamp for name, file in known_files(entries).items()}
        stamps |= {name: file.stamp for name, file in known_refusals(entries).items()}
        try:
            files = files_of(source, table, settings)
        except (SourceUnreachableError, ConfigError):
            continue
        waiting += [
            f"{source_name}/{table_name}/{file.name}:{file.stamp}"
            for file in files
            if not file.stamp or stamps.get(file.name) != file.stamp
        ]
    return hashlib.sha256("\n".join(waiting).encode()).hexdigest() if waiting else ""


class _Landing:
    """One run of landing."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, settings: Settings, lake: Lake
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.lake = lake
        self._load: Load | None = None
        self._unreachable: dict[str, str] = {}

    @property
    def load(self) -> Load:
        """The load of this run, opened when the first table may have something new."""
        if self._load is None:
            self._load = self.lake.open_load()
        return self._load

    def land_table(
        self, source_name: str, table_name: str, source: SourceConfig, table: TableConfig
    ) -> Outcome:
        """Land one table; its errors are part of the outcome."""
        entries = self.lake.entries(source_name, table_name)
        error, harvest = self._unreachable.get(source_name, ""), None
        if not error:
            try:
                harvest = self._attempt(entries, source_name, table_name, source, table)
                if harvest and self.lake.holds_any(self.load, source_name, table_name, harvest):
                    # An input has changed since the killed run landed it. Both versions in one
                    # load could not be told apart, so the new one begins the next load.
                    self.lake.complete(self.load)
                    self._load = harvest = None
                    harvest = self._attempt(entries, source_name, table_name, source, table)
                if harvest is not None:
                    self.lake.commit(self.load, source_name, table_name, harvest)
            except SourceUnreachableError as failure:
                # Its other tables would only wait for the same answer.
                error = self._unreachable[source_name] = str(failure)
            except (QueryError, ConfigError) as failure:
                error = str(failure)
            except LakeError:
                raise
            except Exception as failure:  # noqa: BLE001 - one table must never stop the others
                # Its message may quote a row, which belongs in no check, so the log alone has it.
                _log.exception("landing %s.%s failed", source_name, table_name)
                is_machine = isinstance(
                    failure, OSError | duckdb.OutOfMemoryException
                ) or is_out_of_space(failure)
                reason = str(failure).splitlines()[0] if is_machine else "the log has the details"
                harvest = None
                error = f"landing failed with {type(failure).__name__}: {reason}; run again."
        entries = self.lake.entries(source_name, table_name)
        in_lake = sum(entry.row_count for entry in entries)
        newest = [part for entry in entries for part in entry.parts][-1:]
        columns = newest[0].columns if newest else {}
        if error:
            error = f"{source_name}.{table_name}: {error}"
            error = without_secrets(error, source.url or source.path or "")
        if harvest is None:
            return Outcome(
                source_name, table_name, rows_in_lake=in_lake, columns=columns, error=error
            )
        return Outcome(
            source=source_name,
            table=table_name,
            load_id=self.load.load_id,
            rows_landed=sum(part.row_count for part in harvest.parts),
            rows_rejected=sum(row.row_number is not None for row in harvest.rejected),
            files_landed=len(harvest.files),
            files_refused=len(harvest.refused),
            rows_in_lake=in_lake,
            columns=columns,
        )

    def _attempt(
        self,
        entries: list[Entry],
        source_name: str,
        table_name: str,
        source: SourceConfig,
        table: TableConfig,
    ) -> Harvest | None:
        for pause in (*PAUSES_SECONDS, None):
            try:
                if source.is_database:
                    harvest = self._query(entries, source_name, table_name, source, table)
                else:
                    harvest = self._files(entries, source_name, table_name, source, table)
                return harvest and self._fitting(harvest, entries, source, table)
            except SourceUnreachableError as failure:
                if pause is None or not failure.may_pass:
                    raise
                time.sleep(pause)
        return None

    def _files(
        self,
        entries: list[Entry],
        source_name: str,
        table_name: str,
        source: SourceConfig,
        table: TableConfig,
    ) -> Harvest | None:
        there = files_of(source, table, self.settings)
        gone = known_refusals(entries).keys() - {file.name for file in there}
        files = _touched(there, entries)
        if not files and not gone:
            return None
        harvest = new_files(
            self.connection,
            files,
            table,
            entries,
            self.lake.scratch(),
            self.load.loaded_at,
            names_there={file.name for file in there},
            names_count=source.names_count(table),
        )
        stamps = {(file.name, file.sha256): file.stamp for file in files if file.stamp}
        self.lake.note_stamps(source_name, table_name, stamps)
        if not gone:
            return harvest
        harvest = harvest or Harvest(parts=[], files=[], rejected=[])
        return replace(harvest, taken_away=sorted(gone))

    def _query(
        self,
        entries: list[Entry],
        source_name: str,
        table_name: str,
        source: SourceConfig,
        table: TableConfig,
    ) -> Harvest | None:
        last = self.lake.last_read(source_name, table_name)
        seen = self.lake.table_folder(source_name, table_name) / (last and last.seen or "seen")
        return new_rows(
            self.connection,
            self.settings,
            source,
            table_name,
            table,
            entries,
            last.watermark if last else None,
            seen if seen.exists() else None,
            self.lake.scratch(),
            self.load.loaded_at,
        )

    def _fitting(
        self, harvest: Harvest, entries: list[Entry], source: SourceConfig, table: TableConfig
    ) -> Harvest | None:
        """Leave out what has column types over which the mapping no longer compiles.

        Raises:
            QueryError: It is a database's table.
        """
        fits = [
            (self.lake.part_path(entry, part), part.columns)
            for entry in entries
            for part in entry.parts
        ]
        parts, clashing = [], {}
        for part in harvest.parts:
            clash = clash_with_earlier(self.connection, table, fits, (part.path, part.columns))
            if clash is None:
                parts.append(part)
                fits.append((part.path, part.columns))
                continue
            if source.is_database:
                raise QueryError(clash)
            place = text_literal(str(part.path))
            names = self.connection.execute(f"select distinct _file from read_parquet({place})")
            clashing |= {name: clash for (name,) in names.fetchall()}
        if not clashing:
            return harvest
        refused = untold_refusals(
            [
                RefusedFile(
                    file=file.file, sha256=file.sha256, stamp=file.stamp, reason=clashing[file.file]
                )
                for file in harvest.files
                if file.file in clashing
            ],
            entries,
        )
        files = [file for file in harvest.files if file.file not in clashing]
        if not files and not refused and not harvest.refused:
            return None
        return replace(
            harvest,
            parts=parts,
            files=files,
            rejected=[
                *(row for row in harvest.rejected if row.file not in clashing),
                *(
                    RejectedRow(file=item.file, row_number=None, reason=item.reason)
                    for item in refused
                ),
            ],
            refused=[*harvest.refused, *refused],
        )


def _touched(files: list[InputFile], entries: list[Entry]) -> list[InputFile]:
    """Leave out the files whose size and times are those of their last landing."""
    known = known_files(entries)
    return [
        file
        for file in files
        if not (file.stamp and file.name in known and known[file.name].stamp == file.stamp)
    ]
