"""How a run executes, wherever it was started: in one process that holds the write lease."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import Executor, InitExecutorContext

from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.company import claim_data_folder
from cx_pipeline.warehouse.lease import lease
from cx_pipeline.warehouse.session import clear_temp_dir

# A run that was started while another one ends should not fail for a matter of seconds.
LEASE_WAIT_SECONDS = 60


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
        with lease(settings.data_dir, f"run {plan_context.run_id}", LEASE_WAIT_SECONDS):
            clear_temp_dir(settings)
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
