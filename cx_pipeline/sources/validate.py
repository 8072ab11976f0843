"""Config and sources checked before any run, so that a run does not find it out half-way.

Reads:     sources.yml, purposes.yml, journey_stages.yml, company.yml; of each table the first and
           the last file, or the columns of the database table
Keeps out: the rows; what is wrong with them the run sets aside and tells
"""

import difflib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import NO_ROW, missing_columns
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
from cx_pipeline.sources.mapping import Mapped, casts_of, with_absent_keys
from cx_pipeline.sources.query_landing import relation_of
from cx_pipeline.sources.readers import NO_RECORD, Reader, name_fault
from cx_pipeline.sources.reference import reference_tables
from cx_pipeline.sources.table_queries import check_query, query_relation
from cx_pipeline.warehouse.config_files import ConfigError, Location, config_error
from cx_pipeline.warehouse.sql import quoted, text_literal

_SAMPLE_RECORDS = 10_000


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with its place and what to do."""

    message: str

    def __str__(self) -> str:
        return self.message


def validate(settings: Settings) -> list[Problem]:
    """Return what is wrong with the config and the sources; an empty list when nothing is."""
    problems = []
    try:
        reference_tables(settings)
    except ConfigError as error:
        problems += _problems_of(error)
    try:
        config = load_sources(settings)
    except ConfigError as error:
        return problems + _problems_of(error)
    with tempfile.TemporaryDirectory(prefix="cx-validate-") as folder, duckdb.connect() as database:
        check = _Check(database, settings, config, Path(folder))
        for error in check.run():
            problems += _problems_of(error)
    return list(dict.fromkeys(problems))


def _problems_of(error: ConfigError) -> list[Problem]:
    return [Problem(line) for line in str(error).splitlines()]


class _Check:
    """One look at all sources."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        config: SourcesConfig,
        scratch: Path,
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.config = config
        self.scratch = scratch
        self.samples: dict[tuple[str, str], str] = {}

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

    def _fault(self, place: Location, sentence: str) -> ConfigError:
        return config_error(sources_path(self.settings), [(place, sentence)])

    def _look_at_database(
        self, place: Location, source: SourceConfig, table: TableConfig
    ) -> Iterator[ConfigError]:
        url = expanded(source.url or "", self.settings)
        name = f"sample_{len(self.samples)}"
        with open_database(url, self.settings.config_dir) as database:
            relation = relation_of(database, str(place[-1]), table)
            columns = database.column_names(relation)
            self.connection.register("empty_rows", database.stream(relation, "1 = 0"))
            self.connection.execute(f"create table {name} as select *, {NO_ROW} from empty_rows")
            self.connection.unregister("empty_rows")
        self.samples[str(place[1]), str(place[-1])] = f"select * from {name}"
        if table.cursor and table.cursor not in columns:
            yield self._fault(
                (*place, "cursor"),
                f'there is no column "{table.cursor}"; the columns are: {", ".join(columns)}.',
            )

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
        # A moment of the epoch, for nothing of this is kept.
        loaded_at = self.connection.execute("select timestamp 'epoch'").fetchone()[0]
        reader = Reader(self.connection, table, self.scratch, loaded_at)
        relations = []
        for file in {file.name: file for file in (files[0], files[-1])}.values():
            try:
                number = len(list(self.scratch.iterdir()))
                make_readable(file, table, self.scratch, number)
                sample = self._sample(table, reader.columns(file), file.plain_path)
            except (FileRefusedError, OSError) as error:
                yield self._fault(place, f"file {file.name}: {error}.")
                continue
            relation = f"(select *, {NO_ROW} from ({sample}))"
            if table.file_format == "jsonl":
                yield from self._misspelt_keys(place, table, sample)
            elif missing := missing_columns(self.connection, table, relation):
                yield self._fault(place, f"file {file.name}: {missing}.")
                continue
            relations.append(f"select * from {relation}")
        if relations:
            # A query reads all files of a table, also where a column got another name.
            sample = " union all by name ".join(relations)
            self.samples[str(place[1]), str(place[-1])] = sample

    def _sample(self, table: TableConfig, columns: tuple[str, ...], path: Path | None) -> str:
        """Return a select that has a file's columns, whatever its rows.

        Raises:
            FileRefusedError: It has none.
        """
        place = text_literal(str(path))
        if table.file_format == "parquet":
            return f"select * from read_parquet({place})"
        if table.file_format == "jsonl":
            rows = self.connection.execute(
                "select distinct unnest(json_keys(json)) from (select json from "
                f"read_ndjson_objects({place}, ignore_errors = true) limit {_SAMPLE_RECORDS}) "
                "where starts_with(ltrim(json::varchar), '{')"
            ).fetchall()
            # As in landing, a record whose keys cannot land is left out.
            keys = {key.lower(): key for (key,) in sorted(rows) if not name_fault([key])}
            columns = tuple(keys.values())
            if not columns:
                raise FileRefusedError(NO_RECORD)
        return "select " + ", ".join(f"null::varchar as {quoted(name)}" for name in columns)

    def _misspelt_keys(
        self, place: Location, table: TableConfig, sample: str
    ) -> Iterator[ConfigError]:
        """Find keys that no record has and that look like one that records have.

        A key that is merely absent is no fault: a record leaves out what it does not know.
        """
        rows = self.connection.execute(f"describe {sample}").fetchall()
        there = {row[0].lower(): row[0] for row in rows}
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
        """Compile a table's expressions over the columns that are really there."""
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
                casts_of(self.connection, self.settings, self._widened(item))
            except ConfigError as error:
                yield error

    def _widened(self, item: Mapped) -> Mapped:
        """Give a sample of JSON records the keys that the mapping names and they have not."""
        is_files = not item.source.is_database and item.table.files
        if not is_files or item.table.file_format != "jsonl":
            return item
        relation = with_absent_keys(
            self.connection, item.relation[1:-1], item.table, item.table_name, []
        )
        return replace(item, relation=f"({relation})")
