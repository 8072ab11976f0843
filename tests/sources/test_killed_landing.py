"""A run that is killed while it lands leaves nothing half-read, and the next equals no kill."""

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from cx_pipeline.sources.lake import Lake, Load
from cx_pipeline.sources.views import register
from tests.sources.conftest import COMPANY, ORDER_MAPPING, Site, shop_config

CONFIG = """
sources:
  shop:
    path: ../in
    tables:
      orders: {files: "orders/*.csv"}
      events: {files: "events*.jsonl"}
      items: {files: "items*.parquet"}
  erp:
    url: "sqlite:///../in/erp.sqlite"
    tables:
      customers: {table: customers}
      payments: {table: payments, cursor: updated_at}
"""

# Kills itself at the n-th time that something is brought onto the disk: parts, entries, loads.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import duckdb
from cx_pipeline.settings import load_settings
from cx_pipeline.sources import lake
from cx_pipeline.sources.landing import land

left = int(sys.argv[2])
really = lake.make_durable

def make_durable(path):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    really(path)

lake.make_durable = make_durable
folder = Path(sys.argv[1])
land(duckdb.connect(), load_settings(folder / "config", folder / "data"))
"""


def _fill(site: Site) -> None:
    site.configure(CONFIG)
    for number in range(5):
        rows = "".join(f"{number}-{row},x\n" for row in range(50))
        site.write(f"orders/{number}.csv", f"id,note\n{rows}ragged\n")
    site.write_lines("events.jsonl", *({"id": number} for number in range(100)))
    site.write_parquet("items.parquet", "select range as id from range(100)")
    site.write_sqlite(
        "erp.sqlite",
        "create table customers (id, name)",
        "create table payments (id, updated_at)",
        "insert into customers values (1, 'a'), (2, 'b')",
        "insert into payments values (1, '2026-01-01 10:00:00'), (2, '2026-01-02 10:00:00')",
    )


def _more(site: Site) -> None:
    site.write("orders/9.csv", "id,note\n9-1,x\n")
    site.write_sqlite("erp.sqlite", "insert into customers values (3, 'c')")


def _books(site: Site) -> list[list[tuple]]:
    return [
        site.ask("select load_id, is_complete from sources.loads order by all"),
        site.ask("select * exclude (sha256, size_bytes) from sources.loaded_files order by all"),
        site.ask("select * from sources.rejected_rows order by all"),
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list]:
    """What a run that nobody kills makes of the same inputs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in ("config", "in"):
        (folder / name).mkdir()
    (folder / "config" / "company.yml").write_text(COMPANY)
    with duckdb.connect() as connection:
        site = Site(folder, connection)
        _fill(site)
        site.load()
        _more(site)
        site.load()
        return site.lake_content(), _books(site)


# Two for the load, four for a table of one part; the last falls after the last table.
@pytest.mark.parametrize("kill_at", [2, 5, 9, 13, 24])
def test_a_killed_and_repeated_run_equals_an_undisturbed_one(
    site: Site, undisturbed: tuple[dict, list], kill_at: int
) -> None:
    _fill(site)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(site.folder), str(kill_at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    site.load()
    _more(site)
    site.load()
    assert (site.lake_content(), _books(site)) == undisturbed
    _assert_no_litter(site.settings.lake_dir)


def test_a_run_that_is_killed_twice_is_taken_up_twice(
    site: Site, undisturbed: tuple[dict, list]
) -> None:
    _fill(site)
    for kill_at in (9, 9):
        subprocess.run(
            [sys.executable, "-c", KILLED_RUN, str(site.folder), str(kill_at)], check=False
        )
    site.load()
    _more(site)
    site.load()
    assert (site.lake_content(), _books(site)) == undisturbed


def test_files_that_came_after_the_kill_join_the_load_that_is_taken_up(site: Site) -> None:
    _fill(site)
    subprocess.run([sys.executable, "-c", KILLED_RUN, str(site.folder), "13"], check=False)
    site.write("orders/9.csv", "id,note\n9-1,x\n")
    site.load()
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, True)]
    assert site.ask("select count(*), count(distinct id) from raw_shop.orders") == [(251, 251)]
    _assert_no_litter(site.settings.lake_dir)


# Before and after the table's entry counts.
@pytest.mark.parametrize(("kill_at", "file"), [(5, "old/a.csv"), (7, "new/a.csv")])
def test_a_file_that_moved_after_the_kill_lands_once(site: Site, kill_at: int, file: str) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    path = site.write("new/a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(site.folder), str(kill_at)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (site.inputs / "old").mkdir()
    path.rename(site.inputs / "old" / "a.csv")
    site.load()
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, True)]
    assert site.ask("select order_id, _file from sources.orders") == [("1", file)]
    _assert_no_litter(site.settings.lake_dir)


def test_inputs_that_changed_after_the_kill_begin_the_next_load(site: Site) -> None:
    """Both versions in one load could not be told apart."""
    _fill(site)
    subprocess.run([sys.executable, "-c", KILLED_RUN, str(site.folder), "24"], check=False)
    site.write("orders/0.csv", "id,note\n0-0,y\n")
    site.write_sqlite("erp.sqlite", "update customers set name = 'z' where id = 1")
    site.load()
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, True), (2, True)]
    assert site.ask("select note, _load_id from raw_shop.orders where id = '0-0' order by all") == [
        ("x", 1),
        ("y", 2),
    ]
    assert site.ask("select name, _load_id from raw_erp.customers where id = '1' order by 2") == [
        ("a", 1),
        ("z", 2),
    ]
    _assert_no_litter(site.settings.lake_dir)


def test_a_load_that_was_left_open_for_days_is_closed(site: Site) -> None:
    """Under its time the facts of the days since would lie in the future."""
    _fill(site)
    subprocess.run([sys.executable, "-c", KILLED_RUN, str(site.folder), "13"], check=False)
    path = site.settings.lake_dir / "_manifest/load_id=000001/load.json"
    begun = Load(load_id=1, loaded_at=datetime.fromisoformat("2026-01-01 03:00"))
    path.write_text(begun.model_dump_json())
    site.load()
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, True), (2, True)]
    assert site.ask("select count(*), count(distinct id) from raw_shop.orders") == [(250, 250)]


def test_rows_of_a_load_that_is_not_complete_are_not_seen(site: Site) -> None:
    _fill(site)
    subprocess.run([sys.executable, "-c", KILLED_RUN, str(site.folder), "13"], check=False)
    register(site.connection, site.settings)
    assert site.ask("select view_name from duckdb_views() where schema_name = 'raw_shop'") == []
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, False)]


def _assert_no_litter(folder: Path) -> None:
    lake = Lake(folder)
    named = {lake.part_path(entry, part) for entry in lake.entries() for part in entry.parts}
    named |= {
        lake.table_folder(entry.source, entry.table) / entry.seen
        for entry in lake.entries()
        if entry.seen
    }
    books = {path for path in folder.glob("_manifest/**/*") if path.suffix == ".json"}
    there = {path for path in folder.rglob("*") if path.is_file()}
    # Only the newest hashes of a table are kept.
    assert there - books <= named
    assert not (folder / "_scratch").exists()
