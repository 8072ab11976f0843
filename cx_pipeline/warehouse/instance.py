"""The Dagster instance of a data folder: one place for runs from the CLI, the UI and schedules."""

import os

import dagster as dg

from cx_pipeline.settings import Settings

# One run at a time: the warehouse has one writer. Slots are freed after a crash, otherwise the
# next run would wait for ever.
INSTANCE_CONFIG = """\
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  free_slots_after_run_end_seconds: 10
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days: {skipped: 7, failure: 30, success: 90}
freshness:
  enabled: true
"""


def prepare_dagster_home(settings: Settings) -> None:
    """Write dagster.yaml into the data folder and point this process and its children at it."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    path = settings.dagster_home / "dagster.yaml"
    if not path.exists() or path.read_text() != INSTANCE_CONFIG:
        path.write_text(INSTANCE_CONFIG)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["CX_DATA_DIR"] = str(settings.data_dir)
    os.environ["CX_CONFIG_DIR"] = str(settings.config_dir)


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of a data folder."""
    prepare_dagster_home(settings)
    return dg.DagsterInstance.get()
