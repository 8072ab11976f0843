"""Who is in which segment, since when: the files compiled, run and compared with what was so.

Reads:     config/segments/*.yml, config/purposes.yml, the contract of customer_360.customers,
           and the tables of `compiling`
Writes:    segments.memberships, segments.definitions
Keeps out: the language (`conditions`), its translation (`compiling`)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import BaseModel, ConfigDict

from cx_pipeline.segments.compiling import RFM_SCORES, compile_scores, compile_segment
from cx_pipeline.segments.conditions import (
    Catalogue,
    Segment,
    SegmentFile,
    checked_against,
    kind_of,
)
from cx_pipeline.settings import DBT_PROJECT_DIR, Settings
from cx_pipeline.warehouse.config_files import config_error, read_config, shown_path

_TABLES = """
create schema if not exists segments;
create table if not exists segments.memberships (
    customer_id varchar,
    segment varchar,
    purpose varchar,
    entered_date date,
    left_date date,
    is_current boolean
);
create table if not exists segments.definitions (
    segment varchar,
    title varchar,
    description varchar,
    owner varchar,
    purpose varchar,
    channel varchar,
    member_count bigint
);
"""


@dataclass(frozen=True)
class Changes:
    """What a computation of all segments changed."""

    member_counts: dict[str, int]
    entered_count: int
    left_count: int


class _ContractColumn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    data_type: str | None = None


class _ContractModel(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    columns: list[_ContractColumn] = []


class _Contract(BaseModel):
    model_config = ConfigDict(extra="ignore")

    models: list[_ContractModel]


class _Purpose(BaseModel):
    model_config = ConfigDict(extra="ignore")

    channels: list[str]


class _Purposes(BaseModel):
    model_config = ConfigDict(extra="ignore")

    purposes: dict[str, _Purpose]


CONTRACT_PATH = DBT_PROJECT_DIR / "models" / "customer_360" / "_customer_360__models.yml"


def read_catalogue(settings: Settings) -> Catalogue:
    """Return the columns, purposes and channels that a segment may name.

    Raises:
        ConfigError: purposes.yml cannot be used.
    """
    contract = read_config(CONTRACT_PATH, _Contract)
    columns = {
        column.name: kind_of(column.data_type)
        for model in contract.models
        if model.name == "customers"
        for column in model.columns
        if column.data_type
    }
    purposes = read_config(settings.config_file("purposes.yml"), _Purposes).purposes
    return Catalogue(
        columns=columns,
        channels={name: tuple(purpose.channels) for name, purpose in purposes.items()},
    )


def read_segments(settings: Settings) -> list[Segment]:
    """Read every file of config/segments/, in the order of their names.

    Raises:
        ConfigError: A file says something it cannot, or two segments have one name; names file
            and line.
    """
    catalogue = read_catalogue(settings)
    found: dict[str, tuple[Segment, Path]] = {}
    directory = settings.config_file("segments")
    with checked_against(catalogue):
        for path in sorted(directory.glob("*.yml")):
            for position, segment in enumerate(read_config(path, SegmentFile).segments):
                if segment.name in found:
                    other = shown_path(found[segment.name][1])
                    raise config_error(
                        path,
                        [
                            (
                                ("segments", position, "name"),
                                f'"{segment.name}" is declared in {other} already; '
                                "give one of them another name.",
                            )
                        ],
                    )
                found[segment.name] = (segment, path)
    return [segment for segment, _ in found.values()]


def compute(con: duckdb.DuckDBPyConnection, segments: list[Segment]) -> Changes:
    """Bring segments.memberships up to the day of the data, in one transaction.

    Whoever no longer meets a segment's condition, may no longer be used for its purpose, was
    merged into another customer, or belongs to a segment that is not declared any more, leaves
    it on that day. The same input again changes nothing.
    """
    con.execute(_TABLES)
    con.execute("begin transaction")
    try:
        changes = _compute(con, segments)
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise
    finally:
        for table in ("members", RFM_SCORES):
            con.execute(f"drop table if exists temp.main.{table}")
    return changes


def _compute(con: duckdb.DuckDBPyConnection, segments: list[Segment]) -> Changes:
    con.execute(
        "create or replace temp table members "
        "(customer_id varchar, segment varchar, purpose varchar)"
    )
    queries = [(segment, compile_segment(segment)) for segment in segments]
    if any(query.reads_scores for _, query in queries):
        con.execute(f"create or replace temp table {RFM_SCORES} as {compile_scores()}")
    for segment, query in queries:
        con.execute(
            f"insert into members select customer_id, $segment, $purpose from ({query.sql})",
            {**query.parameters, "segment": segment.name, "purpose": segment.purpose},
        )
    counts = dict(con.execute("select segment, count(*) from members group by all").fetchall())
    left, entered = _keep_history(con)
    _replace_definitions(con, segments, counts)
    return Changes(
        member_counts={segment.name: counts.get(segment.name, 0) for segment in segments},
        entered_count=entered,
        left_count=left,
    )


def _keep_history(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Compare the members with what is stored; return how many left and how many entered.

    The day of a change is the last day of the data, but never before the stay that it ends or
    follows: that day moves back when a wrong fact is corrected, and does not move while only
    consents arrive. No stay is taken away, and who comes back on the day of leaving never left.
    """
    con.execute(
        "set variable segments_as_of = "
        "(select coalesce(max(as_of_date), current_date) from journey.as_of)"
    )
    closed = _changed_rows(
        con,
        "update segments.memberships set is_current = false, "
        "left_date = greatest(getvariable('segments_as_of'), entered_date) "
        # By place: asked row by row whether a member exists, it takes twice as long.
        "where rowid in (select memberships.rowid from segments.memberships as memberships "
        "anti join members using (customer_id, segment, purpose) where is_current)",
    )
    reopened = _changed_rows(
        con,
        "update segments.memberships set left_date = null, is_current = true "
        "where left_date >= getvariable('segments_as_of') and exists ("
        "select 1 from members where members.customer_id = memberships.customer_id "
        "and members.segment = memberships.segment and members.purpose = memberships.purpose) "
        "and not exists ("
        "select 1 from segments.memberships as later "
        "where later.customer_id = memberships.customer_id and later.segment = memberships.segment "
        "and (later.is_current or later.left_date > memberships.left_date "
        "or later.purpose = memberships.purpose "
        "and later.entered_date > memberships.entered_date))",
    )
    added = _changed_rows(
        con,
        "insert into segments.memberships "
        "select customer_id, segment, purpose, "
        "greatest(getvariable('segments_as_of'), last_left_date), null, true "
        "from members anti join (from segments.memberships where is_current) "
        "using (customer_id, segment, purpose) "
        "left join (select customer_id, segment, max(left_date) as last_left_date "
        "from segments.memberships where left_date is not null group by all) "
        "using (customer_id, segment)",
    )
    return closed, reopened + added


def _changed_rows(con: duckdb.DuckDBPyConnection, statement: str) -> int:
    (row,) = con.execute(statement).fetchall()
    return int(row[0])


def _replace_definitions(
    con: duckdb.DuckDBPyConnection, segments: list[Segment], counts: dict[str, int]
) -> None:
    con.execute("delete from segments.definitions")
    rows: list[list[Any]] = [
        [
            segment.name,
            segment.title,
            segment.description,
            segment.owner,
            segment.purpose,
            segment.channel,
            counts.get(segment.name, 0),
        ]
        for segment in segments
    ]
    if rows:
        con.executemany("insert into segments.definitions values (?, ?, ?, ?, ?, ?, ?)", rows)
