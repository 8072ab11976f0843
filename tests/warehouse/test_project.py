"""dbt in this process: a build ends, also when nobody reads its results to the end."""

from threading import Event, Thread, enumerate
from types import SimpleNamespace

import pytest
from dbt.cli.main import dbtRunnerResult

from cx_pipeline.settings import Settings, load_settings
from cx_pipeline.warehouse import project


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("CX_IDENTITY_KEY", "key of the test suite")
    return load_settings(data_dir=tmp_path / "data")


def test_a_build_that_nobody_reads_on_ends_though_a_thread_of_dbt_collects_it(
    settings, monkeypatch
):
    node = next(id_ for id_ in project.load_manifest(settings).nodes if id_.startswith("test."))
    left = Event()

    class Runner:
        """Finishes one node, and of its own threads one throws away what nobody reads."""

        def __init__(self, callbacks, **_):
            (self.tell,) = callbacks

        def invoke(self, _):
            outcome = SimpleNamespace(message="", execution_time=0, num_failures=0)
            status = SimpleNamespace(unique_id=node, node_status="pass")
            data = SimpleNamespace(run_result=outcome, node_info=status)
            self.tell(SimpleNamespace(info=SimpleNamespace(name="NodeFinished"), data=data))
            left.wait()
            worker = Thread(target=results.close, daemon=True)
            worker.start()
            worker.join()
            return dbtRunnerResult(success=True)

    monkeypatch.setattr(project, "dbtRunner", Runner)
    results = project.build(settings, [node])
    assert next(results).unique_id == node
    (thread,) = [thread for thread in enumerate() if thread.name == "dbt"]
    left.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
