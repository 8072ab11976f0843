"""One run of the pipeline from Python: the same job, instance and lease as from the UI.

Reads:     the job of `cx_pipeline.definitions`
Writes:    the run into the data folder's Dagster instance, and its log into data/logs
Keeps out: what a person sees of it (that is cli.py)
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType

from cx_pipeline.settings import Settings, load_settings
from cx_pipeline.warehouse.assets import FULL_REFRESH_TAG
from cx_pipeline.warehouse.company import disk_is_full, is_out_of_space
from cx_pipeline.warehouse.config_files import did_you_mean
from cx_pipeline.warehouse.instance import (
    dagster_instance,
    end_dead_runs,
    error_message,
    prepare_dagster_home,
)
from cx_pipeline.warehouse.session import ROOMS

JOB_NAME = "cx_run"
RUN_ROOMS = (*ROOMS, "serving")
"""The rooms that a run makes, in the order of the house."""
_LOGGER_NAME = "cx_pipeline.run"
_LANDING_LOGGER_NAME = "cx_pipeline.sources.landing"
"""Tells of what no check may tell, as it may quote a row."""


@dataclass(frozen=True)
class AssetMade:
    """An asset that a run has made."""

    room: str
    asset: str


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run_id: str
    is_successful: bool
    log_path: Path
    errors: tuple[str, ...]
    failed_checks: tuple[str, ...]
    warnings: tuple[str, ...]
    """Checks that tell of something and stop nothing."""


@dg.logger
def run_log(init_context: dg.InitLoggerContext) -> logging.Logger:
    """Write the full log of a run to data/logs/<run id>.log, and nothing to the terminal."""
    log_dir = load_settings().log_dir
    log_dir.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(log_dir / f"{init_context.run_id}.log")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in (_LOGGER_NAME, _LANDING_LOGGER_NAME):
        logger = logging.getLogger(name)
        logger.propagate = False
        for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
        logger.addHandler(to_file)
    logger = logging.getLogger(_LOGGER_NAME)
    logger.setLevel(logging.DEBUG)
    return logger


class _ProgressHandler(logging.Handler):
    def __init__(self, listener: Callable[[AssetMade], None]) -> None:
        super().__init__()
        self.listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        if event is None:
            return
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.event_specific_data.materialization
            room, *asset = materialization.asset_key.path
            self.listener(AssetMade(room, "/".join(asset)))


class OutOfSpaceError(RuntimeError):
    """The disk is full, so that a run could not even be noted as failed."""


_NO_MEMORY = ("Out of Memory Error", "could not allocate", "Java heap space")


def out_of_space(told: str, settings: Settings) -> str:
    """Return what to do about a disk or memory that ran out; empty where neither did."""
    if is_out_of_space(told):
        spilled = settings.temp_dir and str(settings.temp_dir) in told
        return disk_is_full(settings.temp_dir if spilled else settings.data_dir)
    if any(word in told for word in _NO_MEMORY):
        limit = f"CX_MEMORY_LIMIT={settings.memory_limit or 'its default'}"
        return (
            f"The engine's memory ({limit}) did not do, or {settings.temp_dir} could not take "
            "what did not fit. Readers keep what was published before. Raise CX_MEMORY_LIMIT, "
            "lower CX_THREADS, or point CX_TEMP_DIR to a disk with room, and run again."
        )
    return ""


def load_job() -> dg.JobDefinition:
    """Return the job over every asset."""
    # Definitions read config/ and parse dbt when they are imported, so not before they are needed.
    from cx_pipeline.definitions import defs

    return defs.resolve_job_def(JOB_NAME)


class UnknownRoomError(ValueError):
    """A run was asked for of a room that does not exist."""


def planned_assets(settings: Settings, rooms: Collection[str] = ()) -> dict[str, int]:
    """Return how many assets a run makes in each room, in the order of the house.

    Raises:
        ConfigError: A file under config/ is wrong.
        UnknownRoomError: There is no such room.
    """
    for room in rooms:
        if room not in RUN_ROOMS:
            raise UnknownRoomError(f'there is no room "{room}"{did_you_mean(room, RUN_ROOMS)}')
    prepare_dagster_home(settings)
    keys = load_job().asset_layer.executable_asset_keys
    counts = Counter(key.path[0] for key in keys if not rooms or key.path[0] in set(rooms))
    return {room: counts[room] for room in RUN_ROOMS if counts[room]}


def run_pipeline(
    settings: Settings,
    rooms: Collection[str] = (),
    on_progress: Callable[[AssetMade], None] = lambda _: None,
    *,
    full_refresh: bool = False,
) -> RunOutcome:
    """Run the pipeline in this process and wait for it.

    Args:
        settings: Where to run.
        rooms: The rooms to run; all of them when empty.
        on_progress: Called for every asset made.
        full_refresh: Whether everything behind the lake is built anew.

    Raises:
        OutOfSpaceError: The disk is full.
    """
    logger = logging.getLogger(_LOGGER_NAME)
    handler = _ProgressHandler(on_progress)
    logger.addHandler(handler)
    with ExitStack() as stack:
        stack.callback(logger.removeHandler, handler)
        instance = stack.enter_context(dagster_instance(settings))
        end_dead_runs(settings, instance)
        job = dg.reconstructable(load_job)
        selection = None
        if rooms:
            keys = load_job().asset_layer.executable_asset_keys
            selection = sorted(key for key in keys if key.path[0] in set(rooms))
        try:
            result = dg.execute_job(
                job,
                instance=instance,
                asset_selection=selection,
                tags={FULL_REFRESH_TAG: "true"} if full_refresh else {},
            )
        except Exception as error:
            # Dagster's own files lie on the same disk.
            if advice := out_of_space(str(error), settings):
                raise OutOfSpaceError(advice) from error
            raise
        failures = [
            event.step_failure_data.error
            for event in result.all_events
            if event.event_type == DagsterEventType.STEP_FAILURE
        ] or [
            event.job_failure_data.error
            for event in result.all_events
            if event.event_type == DagsterEventType.RUN_FAILURE
        ]
        errors = tuple(error_message(error) for error in failures if error)
        # What the engine says of a full disk or memory is in the log; a person needs the remedy.
        errors = tuple(dict.fromkeys(out_of_space(error, settings) or error for error in errors))
        told: dict[dg.AssetCheckSeverity, list[str]] = {}
        for event in result.all_events:
            if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if not evaluation.passed:
                    told.setdefault(evaluation.severity, []).append(
                        f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}: "
                        f"{evaluation.description or 'see the log'}"
                    )
        return RunOutcome(
            run_id=result.run_id,
            is_successful=result.success,
            log_path=settings.log_dir / f"{result.run_id}.log",
            errors=errors,
            failed_checks=tuple(told.get(dg.AssetCheckSeverity.ERROR, ())),
            warnings=tuple(told.get(dg.AssetCheckSeverity.WARN, ())),
        )
