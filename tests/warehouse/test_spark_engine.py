"""What Spark makes of our SQL and of a cluster's catalogue, on a cluster of this machine."""

import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

pyspark = pytest.importorskip("pyspark", reason="Spark is not installed: make parity does")
pytest.importorskip("dbt.adapters.spark", reason="dbt-spark is not installed: make parity does")

from dbt.adapters.spark.session import Cursor  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from cx_pipeline.settings import Settings, load_settings  # noqa: E402
from cx_pipeline.warehouse.engine import EngineMissingError, spark_engine  # noqa: E402
from cx_pipeline.warehouse.engine.spark_engine import (  # noqa: E402
    ENGINE,
    CatalogueNotOwnError,
    SparkEngine,
)
from cx_pipeline.warehouse.session import connect  # noqa: E402

START_SECONDS = 120
QUOTE = "'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect server, as a cluster has one; give its address."""
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.ui.enabled": "false",
    }
    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        *("--master", "local[1]", "--driver-memory", "1g"),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
        *(word for name, value in options.items() for word in ("--conf", f"{name}={value}")),
        "spark-internal",
    ]
    log = folder / "server.log"
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with log.open("wb") as told:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=told, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + START_SECONDS
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the Spark Connect server did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield f"sc://127.0.0.1:{port}"
    finally:
        # Nothing of it is kept, and a session that is still open holds up a polite end.
        server.kill()
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def settings(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A data folder on that cluster, with a name that a text of SQL must not end at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CX_IDENTITY_KEY", "key of the test suite")
        patch.setenv("CX_SPARK_REMOTE", cluster)
        patch.setenv("CX_ENGINE", "spark")
        for name in ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
            # The engine and pyspark set them; the patch takes away again what it knows.
            patch.setenv(name, "")
            patch.delenv(name)
        settings = load_settings(data_dir=tmp_path_factory.mktemp("o'brien") / "data")
        settings.data_dir.mkdir()
        with connect(settings) as connection:
            connection.execute("create table sources.loads (load_id bigint, is_complete boolean)")
        yield settings
        # Else its end waits minutes for a server that is gone.
        SparkSession.builder.remote(cluster).getOrCreate().stop()


@pytest.fixture(scope="module")
def refusal(settings: Settings, cluster: str) -> str:
    """Another team's table is where a first build would begin: what is said of it."""
    session = SparkSession.builder.remote(cluster).getOrCreate()
    session.sql("create schema staging")
    session.sql("create table staging.of_another_team as select 42 as answer")
    with (
        pytest.raises(CatalogueNotOwnError) as refused,
        ENGINE.building(settings, full_refresh=False),
    ):
        pass
    assert session.table("staging.of_another_team").collect()[0].answer == 42
    session.sql("drop table staging.of_another_team")
    return str(refused.value)


@pytest.fixture(scope="module")
def from_the_future(settings: Settings) -> Path:
    """A table that was written before the clock was set back."""
    version = settings.data_dir / "spark" / "media" / "campaigns" / "29990101T000000000000"
    version.mkdir(parents=True)
    duckdb.execute(f"copy (select 1 as x) to '{str(version).replace(QUOTE, 2 * QUOTE)}/a.parquet'")
    (version / "_SUCCESS").touch()
    return version


@pytest.fixture(scope="module")
def building(settings: Settings, refusal: str, from_the_future: Path) -> Iterator[None]:
    """A build that goes on."""
    with ENGINE.building(settings, full_refresh=False):
        yield


def test_a_catalogue_with_tables_of_others_is_refused_and_keeps_them(refusal):
    assert "catalogue has staging.`of_another_team`, which is not of this data folder" in refusal
    assert "CX_SPARK_REMOTE" in refusal


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ("our-cluster", "no Spark Connect address as sc://host:15002"),
        ("sc://127.0.0.1:15002;token=s3cret", "no Spark Connect address as sc://host:15002"),
        ("sc://127.0.0.1:99999", "No Spark cluster answers at 127.0.0.1: Port out of range"),
        # Nobody listens on the port that is reserved for nobody.
        ("sc://127.0.0.1:1/;token=s3cret", "No Spark cluster answers at 127.0.0.1: "),
    ],
)
def test_a_cluster_that_does_not_answer_is_named_at_once_and_its_token_is_not(
    tmp_path, monkeypatch, remote, said
):
    monkeypatch.setenv("CX_IDENTITY_KEY", "key of the test suite")
    elsewhere = load_settings(data_dir=tmp_path).model_copy(update={"spark_remote": remote})
    with connect(elsewhere) as connection:
        connection.execute("create table sources.loads (load_id bigint, is_complete boolean)")
    with (
        pytest.raises(EngineMissingError, match=re.escape(said)) as refused,
        SparkEngine().building(elsewhere, full_refresh=False),
    ):
        pass
    assert "s3cret" not in str(refused.value)


def test_a_server_that_is_no_cluster_is_named(monkeypatch):
    monkeypatch.setattr(spark_engine, "_ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        remote = f"sc://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(EngineMissingError, match="does not speak gRPC"):
            spark_engine._expect_answer(remote)
        with pytest.raises(EngineMissingError, match="is not sc://host:port") as refused:
            spark_engine._expect_answer(f"{remote}/;s3cret")
        assert "s3cret" not in str(refused.value)


def test_dbt_sends_to_the_session_that_has_the_functions(building):
    cursor = Cursor()
    cursor.execute("select normalise_phone('20 12 34 56', 'DK'), length(keyed_hash('email:a'))")
    assert cursor.fetchall() == [("+4520123456", 36)]


def test_a_table_from_before_the_clock_was_set_back_does_not_outlive_its_successor(
    building, settings, from_the_future
):
    (old,) = from_the_future.parent.iterdir()
    assert old.name[:2] == "20"
    assert ENGINE.ask("select x from media.campaigns") == [(1,)]
    assert old.name < f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


TEXTS = (
    *(" a ", "\u00a0signe@example.dk\u2003", "\ta", "", None, "x\u3000y", "  "),
    "\ufeffsig\u00adne@example.dk\u200b",
)


@pytest.mark.parametrize(
    "expression",
    [
        "trim(value)",
        "nullif(trim(value), '')",
        "lower(trim(value))",
        r"regexp_full_match(trim(value), '[^@\s\p{Cf}]+@[^@\s\p{Cf}]+\.[^@\s\p{Cf}]+')",
        r"regexp_replace(value, '\p{Cf}+', '', 'g')",
    ],
)
def test_a_text_is_the_same_on_spark(building, expression):
    rows = ", ".join("(null)" if text is None else f"('{text}')" for text in TEXTS)
    query = f"select {expression} as said from (values {rows}) as texts (value)"
    assert Counter(ENGINE.ask(query)) == Counter(duckdb.execute(query).fetchall())


@pytest.mark.parametrize(
    "pattern",
    ["[[:digit:]]+", "0+|unknown", "(?P<all>test.*)", "[a-z&&[^t]]+", "Ægir", r"\d{3}", "(null)"],
)
def test_a_blocked_pattern_blocks_the_same_values_on_spark(building, pattern):
    values = ("123", "000", "UNKNOWN", "test1", "abc", "ægir", "t", "&", "", "null")
    rows = ", ".join(f"('{value}')" for value in values) + ", (null)"
    query = "select value, {} as said from (values {}) as texts (value)"
    on_spark = query.format(f"matches_whole(value, '{pattern}')", rows)
    on_duckdb = query.format(f"regexp_full_match(value, '{pattern}', 'i')", rows)
    assert Counter(ENGINE.ask(on_spark)) == Counter(duckdb.execute(on_duckdb).fetchall())
