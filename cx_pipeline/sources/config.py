"""What config/sources.yml says: the sources, their tables, and how each maps to the contract.

Reads:     config/sources.yml
Keeps out: reading any source (landing.py) and the SQL of a mapping (mapping.py)
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cx_pipeline.settings import Settings, environment_value
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.warehouse.config_files import (
    ConfigError,
    ConfigModel,
    Location,
    TimeZone,
    config_error,
    did_you_mean,
    read_config,
)

FORMATS = {
    "csv": (".csv", ".tsv", ".txt"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet", ".pq"),
}
"""File formats, each with the endings that name it (before .gz and the like)."""

COMPRESSIONS = (".gz", ".bz2", ".xz")
SPREADSHEETS = (".xlsx", ".xls", ".xlsb", ".ods")
UNREAD_PACKINGS = (".zst", ".zip", ".7z", ".br", ".lz4")
RESERVED_COLUMNS = (
    "_file",
    "_row_number",
    "_row_index",
    "_load_id",
    "_loaded_at",
    "load_id",
    "file_row_number",
)
"""Columns that the lake and its reading add; an input may not bring its own."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = ("password", "passwd", "pwd", "secret", "token", "key", "sslpassword")
"""Names of a URL's parameters whose values no message shows."""
_CREDENTIALS_END = re.compile(r"[^/]*@")


def _as_expression(value: Any) -> Any:
    """Take `1` and `true` as the SQL literals they are."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_column(value: Any) -> Any:
    return value if isinstance(value, dict) else {"expression": value}


Expression = Annotated[str, BeforeValidator(_as_expression), Field(min_length=1)]
"""A DuckDB scalar expression over the raw columns."""


class ColumnMapping(ConfigModel):
    """How one column of the contract is made."""

    expression: Expression
    format: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[], description="strptime format of a date or time written as text."
    )
    decimal: Literal[".", ","] = Field(default=".", description="Decimal sign of a number as text.")
    epoch: Literal["seconds", "milliseconds"] | None = Field(
        default=None, description="Unit of a time given as a number since 1970, UTC."
    )


class EntityMapping(ConfigModel):
    """How the rows of one raw table become rows of one entity."""

    columns: dict[str, Annotated[ColumnMapping, BeforeValidator(_as_column)]]
    where: Expression | None = Field(default=None, description="Which raw rows count.")
    group_by: Annotated[list[Expression], BeforeValidator(_as_list)] = Field(
        default=[],
        description="Raw columns of which each combination becomes one row; the expressions may "
        "then be aggregates. All raw rows of a combination must arrive in one load.",
    )


class TableConfig(ConfigModel):
    """One table of a source, and the entities it feeds."""

    description: str = ""
    files: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[], description="Glob or globs below the source's path."
    )
    format: Literal["csv", "jsonl", "parquet"] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=4)
    quote: str = Field(default='"', max_length=1)
    escape: str = Field(default='"', max_length=1)
    encoding: str = "utf-8"
    header: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[], description="Column names of a CSV that has no header line."
    )
    table: str | None = Field(default=None, description="Table of a database.")
    query: str | None = Field(
        default=None,
        description="A select: sent to the database, or, for a source of files, run over the "
        "other tables of the source.",
    )
    cursor: str | None = Field(
        default=None, description="Column of a database table that grows with every change."
    )
    entities: dict[str, EntityMapping] = {}

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(
                f'no encoding is named "{value}"; common ones are utf-8, latin-1, cp1252 and utf-16'
            ) from None
        return value

    @property
    def is_query_over_tables(self) -> bool:
        """Whether the table is made from other tables of a source of files, so lands nothing."""
        return not self.files and self.query is not None and self.table is None

    @property
    def file_format(self) -> str:
        """The format as given, or as the file name's ending tells."""
        if self.format:
            return self.format
        for pattern in self.files:
            name = pattern.lower().rstrip("*.")
            for ending in COMPRESSIONS:
                name = name.removesuffix(ending)
            for file_format, endings in FORMATS.items():
                if name.endswith(endings):
                    return file_format
        raise ValueError(
            "the file name does not tell the format; add format: csv, jsonl or parquet"
        )


class SourceQuarantine(ConfigModel):
    """How much bad input of this source a run tolerates; company.yml has the default."""

    max_share: float = Field(ge=0, le=1)


class SourceConfig(ConfigModel):
    """One system that sends data: a folder of files or a database."""

    description: str = ""
    path: str | None = Field(default=None, description="Folder, or any fsspec URL.")
    url: str | None = Field(default=None, description="SQLAlchemy URL of a database.")
    time_zone: TimeZone = Field(default="UTC", description="IANA zone of times without an offset.")
    quarantine: SourceQuarantine | None = None
    tables: dict[str, TableConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> "SourceConfig":
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path: (files) or url: (a database), and not both")
        return self

    @property
    def is_database(self) -> bool:
        """Whether the source is a database."""
        return self.url is not None

    def names_count(self, table: TableConfig) -> bool:
        """Whether the names of a table's files say something, as far as the mapping tells."""
        tables = [table, *(other for other in self.tables.values() if other.query)]
        if not any(item.entities for item in tables):
            return True
        texts = [str(item.model_dump(include={"query", "entities"})) for item in tables]
        return any(re.search(r"\b_file\b", text) for text in texts)


class SourcesConfig(ConfigModel):
    """The file config/sources.yml."""

    sources: dict[str, SourceConfig] = Field(min_length=1)

    def tables(self) -> Iterator[tuple[str, str, SourceConfig, TableConfig]]:
        """Walk all tables: source name, table name and their config."""
        for source_name, source in self.sources.items():
            for table_name, table in source.tables.items():
                yield source_name, table_name, source, table

    def landed_tables(self) -> Iterator[tuple[str, str, SourceConfig, TableConfig]]:
        """Walk the tables that are landed, so not those that are made from others."""
        for names in self.tables():
            if names[2].is_database or not names[3].is_query_over_tables:
                yield names


def load_sources(settings: Settings) -> SourcesConfig:
    """Read and check sources.yml against the input contract.

    Raises:
        ConfigError: Something in it cannot be used; names file, line and what to do.
    """
    path = sources_path(settings)
    config = read_config(path, SourcesConfig)
    faults = list(_faults(config))
    if faults:
        raise config_error(path, faults)
    return config


def sources_path(settings: Settings) -> Path:
    """Return the path of sources.yml."""
    return settings.config_file("sources.yml")


def expanded(text: str, settings: Settings) -> str:
    """Fill `{data_dir}`, `{config_dir}` and `${NAME}` in a path or URL.

    Raises:
        ConfigError: A variable that is named is not set, or cannot stand where it is named.
    """

    def value(match: re.Match[str]) -> str:
        found = environment_value(match[1])
        # Everything behind its @ would count as the host, and stand in messages.
        is_credential = "://" in text[: match.start()] and _CREDENTIALS_END.match(text, match.end())
        if found and "@" in found and is_credential:
            raise ConfigError(
                f"${{{match[1]}}} holds an @, which ends the credentials of a URL; write it there "
                "as %40."
            )
        if found is None:
            raise ConfigError(
                f"sources.yml names ${{{match[1]}}}, which is not set; set the environment "
                "variable or add it to .env."
            )
        return found

    filled = _VARIABLE.sub(value, text)
    filled = filled.replace("{data_dir}", str(settings.data_dir))
    return filled.replace("{config_dir}", str(settings.config_dir))


def without_secrets(text: str, url: str) -> str:
    """Blank in a message what a `${NAME}` of the URL stands for, and passwords written into it."""
    secrets = [environment_value(name) for name in _VARIABLE.findall(url)]
    with suppress(ValueError):
        parts = urlsplit(url)
        parameters = dict(pair.partition("=")[::2] for pair in parts.query.split("&"))
        written = [parts.password, *(parameters.get(name) for name in _SECRET)]
        secrets += [secret for secret in written if secret and not _VARIABLE.search(secret)]
    for secret in filter(None, secrets):
        for spelling in (secret, unquote(secret)):
            text = text.replace(spelling, "***")
    return text


def _faults(config: SourcesConfig) -> Iterator[tuple[Location, str]]:
    """Find what the model alone cannot see: names, and the mapping against the contract."""
    for source_name, source in config.sources.items():
        place: Location = ("sources", source_name)
        if not _NAME.fullmatch(source_name):
            yield place, "a source's name is lower case letters, digits and _, such as web_shop."
        for table_name, table in source.tables.items():
            yield from _table_faults((*place, "tables", table_name), source, table_name, table)


def _table_faults(
    place: Location, source: SourceConfig, table_name: str, table: TableConfig
) -> Iterator[tuple[Location, str]]:
    if not _NAME.fullmatch(table_name):
        yield place, "a table's name is lower case letters, digits and _, such as order_lines."
    if source.is_database:
        if table.files:
            yield (*place, "files"), "the source is a database; give table: or query: instead."
        if table.table and table.query:
            yield (*place, "query"), "give either table: or query:, and not both."
    elif table.table or table.cursor:
        word = "table" if table.table else "cursor"
        yield (*place, word), "the source is a folder; this word belongs to a database (url:)."
    elif bool(table.files) == bool(table.query):
        yield place, "give either files: (a glob below path) or query: (over the other tables)."
    elif table.files:
        yield from (((*place, "files"), fault) for fault in map(_glob_fault, table.files) if fault)
        try:
            table.file_format  # noqa: B018 - asked for its error
        except ValueError as error:
            yield place, f"{error}."
    for entity_name, mapping in table.entities.items():
        yield from _entity_faults((*place, "entities", entity_name), entity_name, mapping)


def _glob_fault(pattern: str) -> str:
    """Say what is wrong with a glob below a source's path, '' when nothing is."""
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        return f'"{pattern}" is not a glob below the source\'s path, such as "2026/*.csv".'
    if "**" in pattern.replace("**/", "") or re.search(r"[^/]\*\*/", pattern):
        return f'in "{pattern}" a ** is not a folder of its own; write "**/*.csv".'
    if pattern.lower().endswith(UNREAD_PACKINGS):
        return f'"{pattern}" is packed in a way that is not read; {", ".join(COMPRESSIONS)} are.'
    if pattern.lower().endswith(SPREADSHEETS):
        return f'"{pattern}" is a spreadsheet, which is not read; save its sheet as CSV.'
    return ""


def _entity_faults(
    place: Location, entity_name: str, mapping: EntityMapping
) -> Iterator[tuple[Location, str]]:
    contract = entity_contract()
    entity = contract.get(entity_name)
    if entity is None:
        guess = did_you_mean(entity_name, list(contract))
        yield place, f'no entity of the input contract is named "{entity_name}"{guess}'
        return
    for column in mapping.columns:
        if column not in entity.columns:
            guess = did_you_mean(column, list(entity.columns))
            yield (
                (*place, "columns", column),
                f'{entity_name} has no column "{column}"{guess} Columns that the contract does '
                "not name stay in the lake without being mapped.",
            )
    missing = [name for name in entity.required if name not in mapping.columns]
    if missing:
        yield (
            place,
            f"{entity_name} needs {', '.join(missing)}; map each of them "
            "(docs/input_contract.md tells what they mean).",
        )
