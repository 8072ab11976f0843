"""How a run executes, wherever it was started: in one process that holds the write lease."""

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import Executor, InitExecutorContext
from dagster._core.execution.plan import active

from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.company import claim_data_folder
from cx_pipeline.warehouse.fingerprint import note_build_in_part
from cx_pipeline.warehouse.lease import WAIT_SECONDS, lease
from cx_pipeline.warehouse.session import clear_temp_dir

# A run that finds nothing new skips what it would build, and with it every check: Dagster warns of
# each that it "will proceed without gating on it", though nothing proceeds.
logging.getLogger(active.__name__).addFilter(
    lambda record: "emitted no result in step" not in record.getMessage()
)

_UNPUBLISHED_ROOMS = ("sources", "staging", "serving")
"""Rooms that build nothing which readers get: the last one writes what is built."""


class OneWriterExecutor(Executor):
    """The in-process executor, inside the lease of the data folder."""

    def __init__(self, in_process: Executor) -> None:
        self._in_process = in_process

    @property
    def retries(self) -> Any:
        """Return the retry mode of the executor inside."""
        return self._in_process.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Run the plan while holding the lease."""
        settings = load_settings()
        claim_data_folder(settings)
        with lease(settings.data_dir, f"run {plan_context.run_id}", WAIT_SECONDS):
            clear_temp_dir(settings)
            selection = plan_context.dagster_run.asset_selection or set()
            if any(key.path[0] not in _UNPUBLISHED_ROOMS for key in selection):
                note_build_in_part(settings)
            yield from self._in_process.execute(plan_context, execution_plan)


@dg.executor(name="one_writer")
def one_writer_executor(init_context: InitExecutorContext) -> Executor:
    """One process a run, one run at a time on a data folder.

    Dagster's default starts a process a step: 22-58 s for two trivial steps and a 40-model dbt
    build that took 18 s in process.
    """
    creation = dg.in_process_executor.executor_creation_fn
    return OneWriterExecutor(
        creation(
            InitExecutorContext(
                job=init_context.job,
                executor_def=dg.in_process_executor,
                executor_config={"retries": {"enabled": {}}},
                instance=init_context.instance,
            )
        )
    )
