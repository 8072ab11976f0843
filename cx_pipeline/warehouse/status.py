"""What `cx status` tells: last run, what failed, freshness per source, rows, last publication.

Reads:     the Dagster instance, the published file and, when no run holds it, the warehouse
Writes:    into the Dagster instance that a run has failed whose process is gone
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg
import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.instance import dagster_instance, end_dead_runs, error_message
from cx_pipeline.warehouse.lease import LeaseHeldError, lease

Row = tuple[object, ...]

_RUNS_LOOKED_AT = 100
"""How far back the newest run of everything is looked for, of whose checks status tells."""


class SourceTable(NamedTuple):
    """What came of one table of a source."""

    source: str
    table: str
    last_landed: str
    rows_sent: str = ""
    set_aside: str = ""
    is_configured: bool = True
    """Whether sources.yml still names its source; else nothing is built from its rows."""


@dataclass
class Status:
    """The state of one data folder at one moment."""

    last_run: str = "none yet"
    last_publication: str = "none yet"
    failed_steps: list[Row] = field(default_factory=list)
    failed_checks: list[Row] = field(default_factory=list)
    sources: list[SourceTable] = field(default_factory=list)
    published_tables: list[Row] = field(default_factory=list)

    def tables(self) -> list[tuple[str, tuple[str, ...], list[Row]]]:
        """Return title, header and rows of each part that has something to say."""
        parts = [
            ("Failed steps of the last run", ("step", "error"), self.failed_steps),
            ("Failed checks", ("asset", "check", "severity", "rows", "what"), self.failed_checks),
            (
                "Sources",
                ("source", "table", "last landed", "rows sent", "set aside"),
                [table[:-1] for table in self.sources],
            ),
            ("Published", ("table", "rows"), self.published_tables),
        ]
        return [part for part in parts if part[2]]


def _age(moment: datetime) -> str:
    hours = (datetime.now(UTC) - moment).total_seconds() / 3600
    return f"{moment:%Y-%m-%d %H:%M} UTC ({hours:,.1f} h ago)"


def read_status(settings: Settings) -> Status:
    """Collect the state of a data folder; parts that cannot be read now say so."""
    status = Status()
    if (settings.dagster_home / "dagster.yaml").exists():
        with dagster_instance(settings) as instance:
            end_dead_runs(settings, instance)
            _read_last_run(status, instance)
            _read_failed_checks(status, instance)
    published = settings.serving_dir / "bi.duckdb"
    if published.exists():
        try:
            with duckdb.connect(str(published), read_only=True) as connection:
                _read_publication(status, connection)
        except duckdb.Error:
            status.last_publication = "damaged; `cx run --select serving` writes it anew"
    status.sources = read_sources(settings)
    return status


def read_sources(settings: Settings) -> list[SourceTable]:
    """Return what came of each table of a source; where nobody can tell now, one entry says why."""
    if not settings.warehouse_path.exists():
        return []
    try:
        with (
            # Held by whoever writes; a run that starts now waits for this moment's look.
            lease(settings.data_dir, "cx status"),
            duckdb.connect(str(settings.warehouse_path), read_only=True) as connection,
        ):
            return _read_sources(connection)
    except duckdb.CatalogException:
        return [SourceTable("", "no run has come as far as staging yet", "")]
    except LeaseHeldError:
        return [SourceTable("", "a run is writing the warehouse; ask again later", "")]
    except duckdb.Error as error:
        if "No files found" in str(error):
            told = (
                "the tables are not where they were built, such as after the folder was moved; "
                "`cx run` shows them anew"
            )
            return [SourceTable("", told, "")]
        told = (
            f"{settings.warehouse_path} cannot be read. Where no other program has it open, it is "
            "damaged: bring back a copy, or put it aside; then `cx run` builds it from the lake, "
            "but for past stays in segments, earlier months of customer, consent and segment "
            "figures, and corrections in the consent log"
        )
        return [SourceTable("", told, "")]


def _read_last_run(status: Status, instance: dg.DagsterInstance) -> None:
    records = instance.get_run_records(limit=1)
    if not records:
        return
    run = records[0].dagster_run
    if records[0].start_time:
        begun = f"started {_age(datetime.fromtimestamp(records[0].start_time, UTC))}"
    else:
        begun = f"asked for {_age(records[0].create_timestamp)}"
    status.last_run = f"{run.status.value.lower()}, {begun}, run {run.run_id}"
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        error = event.dagster_event.step_failure_data.error
        status.failed_steps.append((event.step_key, error_message(error)))


def _read_failed_checks(status: Status, instance: dg.DagsterInstance) -> None:
    """Read the newest result of each check: a run that finds nothing new checks sources alone."""
    seen = set()
    for record in instance.get_run_records(limit=_RUNS_LOOKED_AT):
        run = record.dagster_run
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        rooms = set()
        # A step that was tried again has checked again.
        for event in reversed(events):
            evaluation = event.dagster_event.asset_check_evaluation_data
            rooms.add(evaluation.asset_key.path[0])
            if evaluation.asset_check_key in seen:
                continue
            seen.add(evaluation.asset_check_key)
            if not evaluation.passed:
                rows = evaluation.metadata.get("failing_rows")
                status.failed_checks.append(
                    (
                        evaluation.asset_key.to_user_string(),
                        evaluation.check_name,
                        evaluation.severity.value.lower(),
                        rows.value if rows else "",
                        evaluation.description or "",
                    )
                )
        if run.is_success and not run.asset_selection and rooms - {"sources"}:
            break
    status.failed_checks.sort()


def _read_publication(status: Status, connection: duckdb.DuckDBPyConnection) -> None:
    number, published_at = connection.execute(
        "select version, published_at from publication.version"
    ).fetchall()[0]
    status.last_publication = f"version {number}, {_age(published_at.replace(tzinfo=UTC))}"
    status.published_tables = connection.execute(
        "select schema_name || '.' || table_name, row_count from publication.manifest order by all"
    ).fetchall()


def _read_sources(connection: duckdb.DuckDBPyConnection) -> list[SourceTable]:
    rows = connection.execute(
        """
        with landed as (
            select
                source_name,
                table_name,
                max(loads.loaded_at) as landed_at,
                sum(row_count + rejected_count) as row_count,
            from sources.loaded_files
            inner join sources.loads using (load_id)
            group by all
        ),

        set_aside as (
            select
                source_name,
                table_name,
                count(distinct hash(file, row_number)) filter (
                    where row_number is not null
                ) as set_aside_count,
                count(distinct file) filter (where row_number is null) as refused_count,
            from staging.quarantine
            where not is_resolved
            group by all
        )

        select
            source_name,
            table_name,
            landed_at,
            coalesce(row_count, 0),
            coalesce(set_aside_count, 0),
            coalesce(refused_count, 0),
            source_name in (select source_name from sources.quarantine_limits),
        from landed
        full join set_aside using (source_name, table_name)
        order by all
        """
    ).fetchall()
    tables = []
    for source, table, landed_at, row_count, set_aside, refused, is_configured in rows:
        if landed_at:
            last_landed = _age(landed_at.replace(tzinfo=UTC))
        else:
            last_landed = "never" if refused else "made by a query"
        if not is_configured:
            last_landed += ", no longer in sources.yml"
        told = ", ".join(
            f"{count:,.0f} {what}{'s' * (count > 1)}"
            for count, what in ((set_aside, "row"), (refused, "file"))
            if count
        )
        tables.append(
            SourceTable(source, table, last_landed, f"{row_count:,.0f}", told, is_configured)
        )
    return tables
