"""The dbt project inside this process: its manifest, the values it gets from config/, and runs.

dbt runs in process (`dbtRunner`): a killed run leaves no dbt child behind that goes on writing,
and the 2 s that importing dbt takes are paid once a run and not once an invocation.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any

import dagster as dg
from dbt.artifacts.schemas.results import NodeStatus
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt.node_types import NodeType
from dbt_common.events.base_types import EventMsg

from cx_pipeline.settings import DBT_PROJECT_DIR, Settings
from cx_pipeline.warehouse.company import read_company
from cx_pipeline.warehouse.engine import Engine, engine_of
from cx_pipeline.warehouse.identity_rules import blocked_patterns, read_identity_rules

SUCCESSFUL = {NodeStatus.Success, NodeStatus.Pass, NodeStatus.Warn}


class DbtProjectError(RuntimeError):
    """The dbt project does not parse, or one of its runs failed."""


@dataclass(frozen=True)
class NodeResult:
    """What became of one model or test."""

    unique_id: str
    status: str
    message: str
    seconds: float
    failures: int
    row_count: int | None = None
    columns: tuple[dg.TableColumn, ...] = ()

    @property
    def is_successful(self) -> bool:
        """Whether the node did what it should; a test that only warns did."""
        return self.status in SUCCESSFUL


def config_vars(settings: Settings) -> dict[str, Any]:
    """Return the dbt vars that config/ decides."""
    company, rules = read_company(settings), read_identity_rules(settings)
    return {
        "blocked_identifiers": blocked_patterns(rules),
        "linking_identifiers": [name for name, rule in rules.identifiers.items() if rule.links],
        "default_country": company.country,
        "time_zone": company.time_zone,
        "base_currency": company.base_currency,
        "session_timeout_minutes": company.session_timeout_minutes,
        **engine_of(settings).dbt_vars(settings),
    }


def _common_arguments(settings: Settings) -> list[str]:
    # profiles.yml asks for the data folder by the name that settings.py reads.
    os.environ["CX_DATA_DIR"] = str(settings.data_dir)
    return [
        "--project-dir",
        str(DBT_PROJECT_DIR),
        "--profiles-dir",
        str(DBT_PROJECT_DIR),
        "--target",
        engine_of(settings).target,
        "--target-path",
        str(settings.target_dir),
        "--log-path",
        str(settings.log_dir),
        "--log-level",
        "none",
        "--log-level-file",
        "info",
        "--vars",
        json.dumps(config_vars(settings), sort_keys=True),
    ]


# It warns of every metric that has a filter of its own, to the terminal and not through dbt's log.
logging.getLogger("metricflow_semantic_interfaces").setLevel(logging.ERROR)


@dataclass(frozen=True)
class _Parsed:
    """The project as it was parsed, and what dbt wrote of it into the target folder."""

    manifest: Manifest
    manifest_json: str
    semantic_manifest_json: str


@lru_cache(maxsize=1)
def _parse(arguments: tuple[str, ...], target_dir: Path) -> _Parsed:
    target_dir.mkdir(parents=True, exist_ok=True)
    # dbt writes these files in place, and `cx dev` has three processes that parse: of 400 looks at
    # the manifest while another one parsed, 46 found half of it.
    with (target_dir / "parse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = dbtRunner().invoke(["parse", *arguments])
        if not outcome.success:
            raise DbtProjectError(f"the dbt project does not parse: {outcome.exception}")
        return _Parsed(
            outcome.result,
            (target_dir / "manifest.json").read_text(),
            (target_dir / "semantic_manifest.json").read_text(),
        )


def _parsed(settings: Settings) -> _Parsed:
    return _parse(tuple(_common_arguments(settings)), settings.target_dir)


def load_manifest(settings: Settings) -> Manifest:
    """Parse the dbt project (0.5 s when nothing changed) and keep the result for this process.

    Raises:
        DbtProjectError: The project does not parse.
    """
    return _parsed(settings).manifest


def manifest_as_dict(settings: Settings) -> dict[str, Any]:
    """Return the manifest in the form of target/manifest.json."""
    return json.loads(_parsed(settings).manifest_json)


def semantic_manifest(settings: Settings) -> str:
    """Return the text of target/semantic_manifest.json: metrics and what they are made from."""
    return _parsed(settings).semantic_manifest_json


def _problems(engine: Engine, manifest: Manifest, result: NodeResult) -> str:
    """Return what a failed test says in its column `problem`, or else what it is about."""
    node = manifest.expect(result.unique_id)
    if node.resource_type != NodeType.Test or not node.compiled_code:  # skipped: not compiled
        return ""
    if "as problem" not in node.compiled_code:
        description = node.config.meta.get("description")
        return f"does not hold: {description} {result.message}" if description else ""
    return "\n".join(row[0] for row in engine.ask(f"select problem from ({node.compiled_code})"))


def _with_table(engine: Engine, manifest: Manifest, result: NodeResult) -> NodeResult:
    """Add row count and columns of the table that dbt has just built."""
    node = manifest.nodes.get(result.unique_id)
    if node is None or node.resource_type != NodeType.Model:
        return result
    columns = []
    for name, data_type, *_ in engine.ask(f"describe {node.relation_name}"):
        told = node.columns.get(name)
        columns.append(dg.TableColumn(name, data_type, told.description if told else None))
    ((row_count,),) = engine.ask(f"select count(*) from {node.relation_name}")
    return replace(result, row_count=row_count, columns=tuple(columns))


def build(
    settings: Settings, unique_ids: list[str], *, full_refresh: bool = False
) -> Iterator[NodeResult]:
    """Build models and run tests; yield each result as it arrives.

    Args:
        settings: Where to build.
        unique_ids: Exactly the nodes to run; nothing is added.
        full_refresh: Whether incremental models are built anew.

    Raises:
        DbtProjectError: dbt itself failed; a node that fails is a result, not an error.
    """
    engine, manifest = engine_of(settings), load_manifest(settings)
    queue: SimpleQueue[NodeResult | None] = SimpleQueue()

    def listen(event: EventMsg) -> None:
        if event.info.name == "NodeFinished":
            result = event.data.run_result
            queue.put(
                NodeResult(
                    unique_id=event.data.node_info.unique_id,
                    status=event.data.node_info.node_status,
                    message=result.message,
                    seconds=result.execution_time,
                    failures=result.num_failures,
                )
            )

    # What dbt would write is the manifest, as parsing has, and the results of a part of the run.
    arguments = ["build", *_common_arguments(settings), "--no-write-json"]
    arguments += ["--indirect-selection", "empty"]
    # Unit tests are about the SQL, not about today's data; `make test` runs them.
    arguments += ["--exclude-resource-type", "unit_test"]
    if full_refresh:
        arguments.append("--full-refresh")
    names = [".".join(manifest.expect(unique_id).fqn) for unique_id in unique_ids]
    arguments += ["--select", *(f"fqn:{name}" for name in names)]
    outcomes: list[dbtRunnerResult] = []
    left_to_dbt = ExitStack()

    def invoke() -> None:
        with left_to_dbt:
            try:
                outcomes.append(dbtRunner(manifest=manifest, callbacks=[listen]).invoke(arguments))
            finally:
                queue.put(None)

    thread, reader = Thread(target=invoke, name="dbt"), current_thread()
    with ExitStack() as open_things:
        open_things.enter_context(engine.building(settings, full_refresh=full_refresh))
        thread.start()
        try:
            while (result := queue.get()) is not None:
                if result.status in (NodeStatus.Success, NodeStatus.Pass):
                    yield _with_table(engine, manifest, result)
                else:
                    told = _problems(engine, manifest, result)
                    yield replace(result, message=told or result.message)
        finally:
            if current_thread() is reader:
                thread.join()
            else:
                # Dagster could not write an event (the disk is full), went away, and a thread of
                # dbt collects what is left: it would wait for itself. dbt ends alone.
                left_to_dbt.enter_context(open_things.pop_all())
    if not outcomes:
        raise DbtProjectError("dbt stopped without a result; see the log of the run")
    if outcomes[0].exception:
        raise DbtProjectError(str(outcomes[0].exception))
