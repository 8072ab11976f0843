"""Config and sources checked before any run, so that a run does not find it out half-way.

Reads:     sources.yml, purposes.yml, journey_stages.yml, company.yml; of each table the first rows
           of its first and its last file, or of the database table
Keeps out: single bad rows, which the run sets aside and tells
"""

import difflib
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import ROW_COLUMNS, bracketed, missing_columns
from cx_pipeline.sources.config import (
    SourceConfig,
    SourcesConfig,
    TableConfig,
    expanded,
    load_sources,
    sources_path,
    without_secrets,
)
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.sources.databases import QueryError, open_database
from cx_pipeline.sources.file_landing import files_of
from cx_pipeline.sources.files import FileRefusedError, SourceUnreachableError, make_readable
from cx_pipeline.sources.mapping import Mapped, entity_select, try_on_rows, with_absent_keys
from cx_pipeline.sources.query_landing import broken_off, check_names, relation_of
from cx_pipeline.sources.readers import Reader
from cx_pipeline.sources.reference import reference_tables
from cx_pipeline.sources.table_queries import check_query, query_relation
from cx_pipeline.warehouse.company import Quarantine, read_company
from cx_pipeline.warehouse.config_files import ConfigError, Location, config_error

_SAMPLE_ROWS = 10_000
"""Of each file: their casts take hundredths of a second, and a wrong format fails on all."""

_SAMPLE_LOAD = 1
_TOLD_REASONS = 3


def validate(settings: Settings, notes: list[str] | None = None) -> list[str]:
    """Return what is wrong with the config and the sources; an empty list when nothing is.

    What may be meant so, and should be looked at, is added to `notes`.
    """
    problems: list[str] = []
    quarantine = Quarantine()
    try:
        reference_tables(settings)
        quarantine = read_company(settings).quarantine
    except ConfigError as error:
        problems += str(error).splitlines()
    try:
        config = load_sources(settings)
    except ConfigError as error:
        return problems + str(error).splitlines()
    with tempfile.TemporaryDirectory(prefix="cx-validate-") as folder, duckdb.connect() as database:
        check = _Check(database, settings, config, quarantine.max_share, Path(folder))
        for error in check.run():
            problems += str(error).splitlines()
    if notes is not None:
        notes += check.notes
    return list(dict.fromkeys(problems))


class _Check:
    """One look at all sources."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        config: SourcesConfig,
        max_share: float,
        scratch: Path,
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.config = config
        self.max_share = max_share
        self.scratch = scratch
        self.looked_at = datetime.now(UTC).replace(tzinfo=None)
        self.samples: dict[tuple[str, str], str] = {}
        self.numbers = itertools.count()
        self.notes: list[str] = []

    def run(self) -> Iterator[ConfigError]:
        for source_name, table_name, source, table in self.config.landed_tables():
            place: Location = ("sources", source_name, "tables", table_name)
            try:
                if source.is_database:
                    yield from self._look_at_database(place, source, table)
                else:
                    yield from self._look_at_files(place, source, table)
            except (SourceUnreachableError, QueryError, ConfigError) as error:
                message = without_secrets(str(error), source.url or source.path or "")
                yield self._fault(place, message)
        for source_name, table_name, source, table in self.config.tables():
            yield from self._check_mappings(source_name, table_name, source, table)
        yield from self._unread_inbox()

    def _unread_inbox(self) -> Iterator[ConfigError]:
        """Find an inbox in which something lies that no source reads."""
        inbox = self.settings.inbox_dir
        paths = []
        for source in self.config.sources.values():
            # Of a variable that is not set its own tables tell.
            with suppress(ConfigError):
                paths.append(expanded(source.path or "", self.settings))
        if any(path.startswith(str(inbox)) for path in paths) or not inbox.is_dir():
            return
        count = sum(path.is_file() for path in inbox.rglob("[!.]*"))
        if count:
            yield self._fault(
                ("sources",),
                f"no source reads {inbox}, in which are {count} files, such as changes of consent; "
                "copy the source `inbox` of the project's own config.",
            )

    def _fault(self, place: Location, sentence: str) -> ConfigError:
        return config_error(sources_path(self.settings), [(place, sentence)])

    def _look_at_database(
        self, place: Location, source: SourceConfig, table: TableConfig
    ) -> Iterator[ConfigError]:
        url = expanded(source.url or "", self.settings)
        with open_database(url, self.settings.config_dir) as database:
            relation = relation_of(database, str(place[-1]), table)
            columns = database.column_names(relation)
            if table.cursor and table.cursor not in columns:
                yield self._fault(
                    (*place, "cursor"),
                    f'there is no column "{table.cursor}"; the columns are: {", ".join(columns)}.',
                )
            else:
                check_names(columns, table)
            try:
                rows = database.stream(relation, limit=_SAMPLE_ROWS).read_all()
            except (pa.ArrowException, OSError) as error:
                raise broken_off(error) from None
        self.connection.register("rows", rows)
        try:
            sample = self._sampled("select * from rows")
        except duckdb.Error:
            # Text that is no UTF-8, which landing sets aside.
            self.connection.register("rows", rows.slice(0, 0))
            sample = self._sampled("select * from rows")
        self.connection.unregister("rows")
        self.samples[str(place[1]), str(place[-1])] = f"select * from {sample}"

    def _look_at_files(
        self, place: Location, source: SourceConfig, table: TableConfig
    ) -> Iterator[ConfigError]:
        files = files_of(source, table, self.settings)
        if not files:
            inbox = str(self.settings.inbox_dir)
            if not expanded(source.path or "", self.settings).startswith(inbox):
                patterns = ", ".join(table.files)
                yield self._fault(
                    (*place, "files"), f"no file matches {patterns} below {source.path}."
                )
            return
        reader = Reader(self.connection, table, self.scratch, self.looked_at)
        samples = []
        for file in {file.name: file for file in (files[0], files[-1])}.values():
            try:
                make_readable(file, table, self.scratch, next(self.numbers))
                rows = reader.format.sample(reader.format.columns(file), file, _SAMPLE_ROWS)
            except (FileRefusedError, OSError) as error:
                yield self._fault(place, f"file {file.name}: {error}.")
                continue
            try:
                sample = self._sampled(rows)
            except duckdb.Error:
                # Landing repairs the file or tells what is wrong with it; its columns are known.
                sample = self._sampled(f"from ({rows}) limit 0")
            if table.file_format == "jsonl":
                yield from self._misspelt_keys(place, table, sample)
            elif missing := missing_columns(self.connection, table, sample):
                yield self._fault(place, f"file {file.name}: {missing}.")
                continue
            samples.append(f"select * from {sample}")
        if samples:
            # A query reads all files of a table, also where a column got another name.
            relation = " union all by name ".join(samples)
            self.samples[str(place[1]), str(place[-1])] = relation

    def _sampled(self, rows: str) -> str:
        """Keep rows as a table that looks as if they were landed; return its name."""
        name = f"sample_{next(self.numbers)}"
        self.connection.execute(
            f"create table {name} as select *, null::varchar as _file, "
            f"row_number() over () as _row_number, {_SAMPLE_LOAD}::bigint as _load_id, "
            f"timestamp '{self.looked_at}' as _loaded_at from ({rows})"
        )
        return name

    def _misspelt_keys(
        self, place: Location, table: TableConfig, sample: str
    ) -> Iterator[ConfigError]:
        """Find keys that no record has and that look like one that records have.

        A key that is merely absent is no fault: a record leaves out what it does not know.
        """
        rows = self.connection.execute(f"describe {sample}").fetchall()
        there = {row[0].lower(): row[0] for row in rows if row[0] not in ROW_COLUMNS}
        for entity, mapping in table.entities.items():
            for column, given in mapping.columns.items():
                name = given.expression.strip('"')
                near = difflib.get_close_matches(name.lower(), list(there), n=1, cutoff=0.75)
                if name.isidentifier() and near and name.lower() not in there:
                    yield self._fault(
                        (*place, "entities", entity, "columns", column),
                        f'no record has the key "{name}"; did you mean "{there[near[0]]}"?',
                    )

    def _check_mappings(
        self, source_name: str, table_name: str, source: SourceConfig, table: TableConfig
    ) -> Iterator[ConfigError]:
        """Make the rows of a table's sample, as far as its expressions compile."""
        relation = self.samples.get((source_name, table_name))
        if not source.is_database and table.is_query_over_tables:
            try:
                relation = query_relation(
                    self.connection,
                    self.settings,
                    source_name,
                    table_name,
                    source,
                    [],
                    self.samples,
                )
                if relation:
                    check_query(self.connection, self.settings, source_name, table_name, relation)
            except ConfigError as error:
                yield error
                return
        if relation is None:
            return
        for entity_name, mapping in table.entities.items():
            names = (source_name, table_name, source, table)
            item = Mapped(*names, entity_contract()[entity_name], mapping, f"({relation})")
            try:
                yield from self._set_aside(self._widened(item))
            except ConfigError as error:
                yield error

    def _set_aside(self, item: Mapped) -> Iterator[ConfigError]:
        """Find mappings by which a run would set aside more of the sample than it tolerates.

        Raises:
            ConfigError: An expression does not compile, or fails on a row.
        """
        made = entity_select(self.connection, self.settings, item)
        if not item.source.is_database and item.table.is_query_over_tables:
            # Rows that a join did not find may lie behind the samples.
            return
        try_on_rows(self.connection, self.settings, item, [_SAMPLE_LOAD])
        self._note_undecided(item)
        self.connection.execute(
            f"create or replace table problems as select _problems from ({made})"
        )
        row_count, bad_count = self.connection.execute(
            "select count(*), count(*) filter (len(_problems) > 0) from problems"
        ).fetchone()
        max_share = item.source.quarantine.max_share if item.source.quarantine else self.max_share
        if item.entity.name == "consent_event" and max_share < 1:
            # One may be a refusal: see assert_every_statement_of_consent_is_read.
            max_share = 0
        if bad_count <= max_share * row_count:
            return
        reasons = self.connection.execute(
            "select reason, count(*) from (select unnest(_problems) as reason from problems) "
            f"group by all order by count(*) desc, reason limit {_TOLD_REASONS}"
        ).fetchall()
        told = "; ".join(f"{reason} ({count:,})" for reason, count in reasons)
        yield self._fault(
            item.place(),
            f"of {row_count:,} rows looked at, a run would set aside {bad_count:,}: {told}. "
            "Correct the mapping, such as a column's `format:` or `decimal:`, or the export.",
        )

    def _note_undecided(self, item: Mapped) -> None:
        """Count the rows that a run leaves out because `where` is neither true nor false."""
        where = item.mapping.where
        if where is None:
            return
        row_count, undecided = self.connection.execute(
            f"select count(*), count(*) filter (where {bracketed(where)} is null) "
            f"from {item.relation}"
        ).fetchone()
        if undecided:
            sentence = (
                f"of {row_count:,} rows looked at, a run leaves out {undecided:,} for which "
                f"`{where}` is neither true nor false, as an empty value is NULL. To keep them "
                "write `is distinct from` for `<>`, as in `storno is distinct from 'X'`; to leave "
                f"them out without this note, `({where}) is true`."
            )
            self.notes.append(str(self._fault(item.place("where"), sentence)))

    def _widened(self, item: Mapped) -> Mapped:
        """Give a sample of JSON records the keys that the mapping names and they have not."""
        is_files = not item.source.is_database and item.table.files
        if not is_files or item.table.file_format != "jsonl":
            return item
        relation = with_absent_keys(
            self.connection, item.relation[1:-1], item.table, item.table_name, []
        )
        return replace(item, relation=f"({relation})")
