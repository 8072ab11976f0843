"""The command line `cx`: run, demo, status, validate, dev.

Keeps out: any work; each command calls the room or the floor that does it.
"""

import logging
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import duckdb
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cx_pipeline.settings import PROJECT_DIR, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from cx_pipeline.warehouse.run import RunOutcome

app = typer.Typer(
    help="Customer-experience pipeline: raw exports to a consent-aware customer 360.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of sources.yml. [default: config]")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of lake and warehouse. [default: data]")
]


def _settings(config: Path | None, data: Path | None) -> Settings:
    try:
        settings = load_settings(config, data)
    except SettingsError as error:
        _fail(error)
    # dbt, Dagster and their children find the same folders by the names that settings.py reads.
    os.environ["CX_CONFIG_DIR"] = str(settings.config_dir)
    os.environ["CX_DATA_DIR"] = str(settings.data_dir)
    return settings


def _tell(label: str, message: object, style: str = "red") -> None:
    """Print what config, data or a library says: as it stands, for `[a-z]` is no markup in it."""
    console.print(Text(label, style=style), Text(str(message)), soft_wrap=True)


def _fail(error: object) -> NoReturn:
    _tell("failed", error)
    raise typer.Exit(1)


def _claimed(settings: Settings) -> Settings:
    """Make sure that the data folder is this company's; exit 1 when it is not."""
    from cx_pipeline.warehouse.company import DataFolderError, claim_data_folder
    from cx_pipeline.warehouse.config_files import ConfigError
    from cx_pipeline.warehouse.engine import EngineMissingError, engine_of
    from cx_pipeline.warehouse.session import IdentityKeyMissingError

    try:
        engine_of(settings)
        claim_data_folder(settings)
    except (ConfigError, DataFolderError, EngineMissingError, IdentityKeyMissingError) as error:
        _fail(error)
    return settings


def _run(settings: Settings, rooms: list[str], *, full_refresh: bool = False) -> None:
    """Run, showing how far it is, then say what came of it; exit 1 when it failed."""
    # A log that cannot be written (the disk is full) is not worth a traceback a line.
    logging.raiseExceptions = False
    # Importing Dagster and dbt takes seconds; `cx --help` should not wait for them.
    from cx_pipeline.warehouse.config_files import ConfigError
    from cx_pipeline.warehouse.fingerprint import full_refresh_is_open, rules_moved
    from cx_pipeline.warehouse.run import OutOfSpaceError, UnknownRoomError, planned_assets

    try:
        with console.status("Reading config and models"):
            planned = planned_assets(settings, rooms)
    except (ConfigError, UnknownRoomError) as error:
        _fail(error)
    published = settings.serving_dir / "bi.duckdb"
    if published.exists() and rules_moved(settings):
        console.print("Config or code has changed since the last run: all rows are built anew.")
    elif published.exists() and full_refresh_is_open(settings):
        console.print(
            "A full refresh was not of everything or did not end well: all rows are built anew."
        )
    try:
        outcome, made = _run_with_bars(settings, rooms, planned, full_refresh=full_refresh)
    except OutOfSpaceError as error:
        _fail(error)
    if not outcome.is_successful:
        for error in outcome.errors:
            _tell("failed", error)
        console.print(Text(f"Full log: {outcome.log_path}"), soft_wrap=True)
        raise typer.Exit(1)
    if not made.get("staging", rooms):
        console.print("Nothing new in the sources, config or code: everything stands as it is.")
    if published.exists():
        _print_kpis(published)
        console.print(Text(f"\nPublished   {published}"), soft_wrap=True)
    console.print(Text(f"Full log    {outcome.log_path}"), soft_wrap=True)
    command = "make dev, or cx dev"
    if settings.data_dir != Settings.model_fields["data_dir"].default:
        command = f"cx dev --config {settings.config_dir} --data {settings.data_dir}"
    console.print(Text(f"Open the UI {command}"), soft_wrap=True)
    _tell_what_to_look_at(settings, outcome)
    if outcome.failed_checks:
        raise typer.Exit(1)


def _run_with_bars(
    settings: Settings, rooms: list[str], planned: dict[str, int], *, full_refresh: bool
) -> tuple["RunOutcome", dict[str, set[str]]]:
    """Run; return what came of it, and which assets of each room were made.

    On a terminal each room has a progress bar; a log gets a line when a room is done.

    Raises:
        OutOfSpaceError: The disk or the engine's memory did not do.
    """
    from cx_pipeline.warehouse.run import AssetMade, run_pipeline

    bars = Progress(
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[latest]}", style="dim"),
        console=console,
        disable=not console.is_terminal,
    )
    done: dict[str, set[str]] = {room: set() for room in planned}
    with bars:
        tasks = {
            room: bars.add_task(room, total=count, latest="", start=False)
            for room, count in planned.items()
        }

        def show(made: AssetMade) -> None:
            task = tasks[made.room]
            if not done[made.room]:
                bars.start_task(task)
            # A step that is tried again makes its assets again.
            done[made.room].add(made.asset)
            finished = len(done[made.room]) >= planned[made.room]
            latest = "" if finished else made.asset
            bars.update(task, completed=len(done[made.room]), latest=latest)
            if finished:
                bars.stop_task(task)
                if bars.disable:
                    console.print(f"{time.strftime('%H:%M:%S')} {made.room} done", highlight=False)

        return run_pipeline(settings, rooms, show, full_refresh=full_refresh), done


def _tell_what_to_look_at(settings: Settings, outcome: "RunOutcome") -> None:
    """Tell what a run that ended well did not use, or found to be odd."""
    from cx_pipeline.warehouse.status import read_sources

    tables = read_sources(settings)
    for table in tables:
        if table.set_aside:
            what = f"{table.set_aside} of {table.source}.{table.table}: see staging.quarantine"
            _tell("set aside", what, "yellow")
    for source in dict.fromkeys(table.source for table in tables if not table.is_configured):
        what = f"source {source} is no longer in sources.yml; what it once sent stays in the lake"
        _tell("not used", what, "yellow")
    for warning in outcome.warnings:
        _tell("look at", warning, "yellow")
    for failed in outcome.failed_checks:
        _tell("check failed", failed)


def _print_kpis(published: Path) -> None:
    try:
        _print_kpis_of(published)
    except duckdb.Error:
        _fail(
            f"{published} is damaged. `cx run --select serving` writes it anew; should it happen "
            "again, look at the disk."
        )


def _print_kpis_of(published: Path) -> None:
    with duckdb.connect(str(published), read_only=True) as connection:
        rows = connection.execute(
            """
            select title, dimension_value, unit, value, kpi_values.n,
                case
                    when is_snapshot then 'now'
                    when period_grain = 'month' then strftime(period_start, '%Y-%m')
                    else 'all'
                end as period
            from kpis.kpi_values
            inner join kpis.definitions using (kpi)
            where
                (dimension = 'all' or kpi in ('consent_rate', 'stage_conversion_rate'))
                and case
                    when is_snapshot then period_grain = 'total'
                    -- the last whole month says more than the first days of the running one
                    when period_grain = 'month' then is_complete
                    else period_grain = 'total'
                end
            qualify row_number() over (
                partition by kpi, dimension_value
                order by period_grain, period_start desc
            ) = 1
            order by
                position,
                list_position(['discover', 'explore', 'buy', 'deliver'], dimension_value),
                dimension_value
            """
        ).fetchall()
        ((currency,),) = connection.execute(
            "select any_value(currency_code) from customer_360.customers"
        ).fetchall()
    months = [period for *_, period in rows if period not in ("now", "all")]
    what = "the last whole month" if months else "all days, as no month is whole"
    table = Table(title=f"KPIs of {what}", title_justify="left")
    for name, justify in (("KPI", "left"), ("month", "left"), ("value", "right"), ("n", "right")):
        table.add_column(name, justify=justify)
    for title, dimension_value, unit, value, n, period in rows:
        name = title if dimension_value == "all" else f"{title}: {dimension_value}"
        cells = (name, period, _shown(value, unit, currency), f"{n:,.0f}")
        table.add_row(*map(Text, cells))
    console.print(table)


def _shown(value: float, unit: str, currency: str | None) -> str:
    """Return a figure as people write it, with its unit."""
    if unit == "share":
        return f"{value:.1%}"
    number = f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.2f}"
    unit = {"base currency": currency or "", "ratio": ""}.get(unit, unit)
    return f"{number} {unit}".strip()


@app.command()
def run(
    config: ConfigOption = None,
    data: DataOption = None,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Only this room; repeat for more.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option(help="Build everything behind the lake anew.")
    ] = False,
) -> None:
    """Run the pipeline on what the sources hold now."""
    _run(_claimed(_settings(config, data)), select or [], full_refresh=full_refresh)


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=100, help="People of the demo company.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same company.")] = 1,
    days: Annotated[
        int,
        typer.Option(
            min=30,
            help="Days of exports, ending yesterday; orders are known from a year before.",
        ),
    ] = 395,
    data: DataOption = None,
) -> None:
    """Write the demo company's exports, then run the pipeline on them."""
    from cx_pipeline.demo.simulator import WorldError, simulate

    settings = _claimed(_settings(PROJECT_DIR / "config", data))
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    is_landed = next(settings.lake_dir.rglob("*.parquet"), None) is not None
    try:
        with console.status(f"Writing the exports of a company of {customers:,} people"):
            simulate(
                settings.exports_dir,
                settings.truth_dir,
                customers=customers,
                seed=seed,
                days=days,
                until=yesterday,
                is_landed=is_landed,
            )
    except WorldError as error:
        _fail(error)
    _run(settings, [])


@app.command()
def validate(config: ConfigOption = None, data: DataOption = None) -> None:
    """Check config and sources before any run; exit 1 when something is wrong."""
    from cx_pipeline.segments.memberships import read_segments
    from cx_pipeline.sources.validate import validate as validate_sources
    from cx_pipeline.warehouse.config_files import ConfigError
    from cx_pipeline.warehouse.identity_rules import read_identity_rules

    settings = _settings(config, data)
    notes: list[str] = []
    problems = validate_sources(settings, notes)
    for read in (read_segments, read_identity_rules):
        try:
            read(settings)
        except ConfigError as error:
            problems += str(error).splitlines()
    for problem in dict.fromkeys(problems):
        _tell("wrong", problem)
    for note in notes:
        _tell("look at", note, "yellow")
    if problems:
        raise typer.Exit(1)
    console.print("Config and sources are in order.")
    decided = ("company.yml", "purposes.yml", "journey_stages.yml", "identity_rules.yml")
    lent = [name for name in (*decided, "segments") if not (settings.config_dir / name).exists()]
    if lent:
        what = f"Not in {settings.config_dir}, so taken from the demo company: {', '.join(lent)}."
        console.print(Text(what), soft_wrap=True)


@app.command()
def status(data: DataOption = None) -> None:
    """Say what is fresh, what failed, how many rows there are and when was last published."""
    from cx_pipeline.warehouse.company import DataFolderError, expect_room
    from cx_pipeline.warehouse.status import read_status

    settings = _settings(None, data)
    if data and not settings.data_dir.is_dir():
        _fail(f"there is no folder {settings.data_dir}; correct --data.")
    if settings.data_dir.is_dir() and not os.access(settings.data_dir, os.W_OK):
        _fail(f"{settings.data_dir} cannot be written, which Dagster's log needs to be read.")
    try:
        if settings.data_dir.is_dir():
            expect_room(settings)
    except DataFolderError as error:
        _fail(error)
    found = read_status(settings)
    console.print(Text(f"Last run        {found.last_run}"), soft_wrap=True)
    console.print(Text(f"Last publication {found.last_publication}"), soft_wrap=True)
    for title, header, rows in found.tables():
        table = Table(title=title, title_justify="left")
        for name in header:
            table.add_column(name)
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        console.print(table)


@app.command()
def dev(
    config: ConfigOption = None,
    data: DataOption = None,
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
) -> None:
    """Open the Dagster UI and daemon on the same data, on this machine only."""
    from cx_pipeline.warehouse.instance import dagster_instance, end_dead_runs

    settings = _claimed(_settings(config, data))
    with dagster_instance(settings) as instance:
        end_dead_runs(settings, instance)
    dagster = Path(sys.executable).with_name("dagster")
    command = [str(dagster), "dev", "-w", str(PROJECT_DIR / "workspace.yaml")]
    command += ["-h", "127.0.0.1", "-p", str(port)]
    # In this process's place: whoever ends it ends the web server and the daemon.
    os.execv(command[0], command)
