"""The Dagster instance of a data folder: one place for runs from the CLI, the UI and schedules."""

import json
import os
import re
import time

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.lease import WAIT_SECONDS, LeaseHeldError, lease

# One run at a time: the warehouse has one writer. Whoever is still running after six hours hangs:
# 65 million touchpoints take half an hour.
INSTANCE_CONFIG = """\
event_log_storage:
  module: cx_pipeline.warehouse.event_log
  class: EventLogStorage
  config:
    base_dir: EVENT_LOG_DIR
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  max_runtime_seconds: 21600
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days: {skipped: 7, failure: 30, success: 90}
nux:
  enabled: false
freshness:
  enabled: true
"""


def prepare_dagster_home(settings: Settings) -> None:
    """Write dagster.yaml into the data folder and point this process and its children at it."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    path = settings.dagster_home / "dagster.yaml"
    event_log_dir = json.dumps(str(settings.dagster_home / "history" / "runs"))
    config = INSTANCE_CONFIG.replace("EVENT_LOG_DIR", event_log_dir)
    if not path.exists() or path.read_text() != config:
        path.write_text(config)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["CX_DATA_DIR"] = str(settings.data_dir)
    os.environ["CX_CONFIG_DIR"] = str(settings.config_dir)


def error_message(error: SerializableErrorInfo) -> str:
    """Return what made a step fail; the class in front of words of our own is left out."""
    # Dagster wraps what an asset raises; the cause is what a person can act on.
    root = error.cause or error
    if root.cls_name == "DagsterExecutionInterruptedError":
        return "The run was interrupted. Readers keep what was published before; run again."
    message = root.message.strip()
    return re.sub(r"^(dagster|cx_pipeline)[\w.]+: ", "", message)


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of a data folder."""
    prepare_dagster_home(settings)
    return dg.DagsterInstance.get()


# By then a run holds the lease or has given up. A younger one may be waiting for it: whoever looks
# in the moment between two holders would find it dead.
_STARTING_SECONDS = WAIT_SECONDS + 10


def end_dead_runs(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process is gone, so that queued ones need not wait for them.

    Dagster cannot see that a process it did not start was killed: such a run would stay "started",
    and with one run at a time the next one would wait for ever. Nobody holds the lease means that
    nobody runs.
    """
    try:
        with lease(settings.data_dir, "looking for dead runs"):
            for record in instance.get_run_records(
                dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
            ):
                if time.time() - (record.start_time or 0) > _STARTING_SECONDS:
                    message = "The process of this run ended without a word; it was killed."
                    instance.report_run_failed(record.dagster_run, message)
    except LeaseHeldError:
        return
