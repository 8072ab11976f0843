"""config/sources.yml: every entity is filled, and only the planted defects are set aside."""

import json
from datetime import date

import duckdb
import pytest

from cx_pipeline.demo import simulate
from cx_pipeline.settings import PROJECT_DIR, load_settings
from cx_pipeline.sources.config import load_sources
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.sources.landing import land
from cx_pipeline.sources.views import register

# The demo company has nobody who drops files.
CONSENT_CHANGE = {
    "consent_event_id": "1",
    "crm_id": "K-1",
    "email": "ann@example.org",
    "phone": "+4520123456",
    "purpose": "marketing",
    "channel": "email",
    "status": "withdrawn",
    "captured_at": "2026-03-31T10:00:00Z",
    "mechanism": "phone",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """The exports of a small company, landed and seen through the contract's views."""
    settings = load_settings(PROJECT_DIR / "config", tmp_path_factory.mktemp("data"))
    simulate(settings.exports_dir, settings.truth_dir, 500, 5, 60, date(2026, 3, 31))
    settings.inbox_dir.mkdir()
    (settings.inbox_dir / "consent_1.jsonl").write_text(json.dumps(CONSENT_CHANGE) + "\n")
    with duckdb.connect() as connection:
        outcomes = land(connection, settings)
        notes = register(connection, settings)
        yield connection, settings, outcomes, notes


def test_every_export_lands_without_an_error(lake):
    _, _, outcomes, notes = lake
    assert [outcome for outcome in outcomes if outcome.error or outcome.files_refused] == []
    assert notes == []


def test_every_entity_of_the_contract_is_filled(lake):
    connection = lake[0]
    empty = [
        entity.table
        for entity in entity_contract().values()
        if connection.execute(f"select count(*) from sources.{entity.table}").fetchall() == [(0,)]
    ]
    assert empty == []


def test_only_planted_defects_are_set_aside(lake):
    connection, settings = lake[:2]
    planted = connection.execute(
        f"select source, count(*) from '{settings.truth_dir}/defects.parquet' group by 1"
    ).fetchall()
    most = dict(planted)
    for entity in entity_contract().values():
        for source, count, example in connection.execute(
            f"select _source, count(*), any_value(_problems) from sources.{entity.table} "
            "where len(_problems) > 0 group by 1"
        ).fetchall():
            assert count <= most.get(source, 0), (entity.table, source, example)


def test_columns_of_the_contract_hold_what_the_exports_know(lake):
    """No mapped column is empty in every row, which is how a misspelt key in JSON would show."""
    connection, settings = lake[:2]
    silent = []
    for source, table, _, table_config in load_sources(settings).tables():
        for entity_name, mapping in table_config.entities.items():
            for column in mapping.columns:
                found = connection.execute(
                    f"select count({column}) from sources.{entity_contract()[entity_name].table} "
                    "where _source = $1 and _table = $2",
                    [source, table],
                ).fetchall()
                if found == [(0,)]:
                    silent.append((source, table, column))
    assert silent == []


def test_a_till_in_london_is_read_on_its_own_clock(lake):
    connection = lake[0]
    hours = connection.execute(
        "select store_id[:2], min(hour(ordered_at)), max(hour(ordered_at)) from sources.orders "
        "where channel = 'store' group by 1"
    ).fetchall()
    for country, first, last in hours:
        earliest, latest = (8, 18) if country == "GB" else (7, 17)
        assert earliest <= first, country
        assert last <= latest, country


def test_an_appointment_in_london_is_read_on_its_own_clock(lake):
    connection, settings = lake[:2]
    (mapping,) = [
        table.entities["store_visit"].columns["visited_at"]
        for source, _, _, table in load_sources(settings).tables()
        if source == "bookings"
    ]
    read = connection.execute(
        f"select {mapping.expression} from (values ('DK01', '2026-03-02 09:00'), "
        "('GB01', '2026-03-02 09:00'), ('GB01', '31-02 09:00')) as t (branch, startLocal)"
    ).fetchall()
    # Copenhagen's clock; what is no time is for the contract to set aside.
    assert read == [("2026-03-02 09:00",), ("2026-03-02 10:00:00",), ("31-02 09:00",)]


def test_the_same_moment_is_the_same_in_shop_and_erp(lake):
    """The webshop says UTC, the ERP Copenhagen time; an order is completed as it is placed."""
    connection = lake[0]
    worst = connection.execute(
        "select max(abs(epoch(event.occurred_at) - epoch(o.ordered_at))) "
        "from sources.web_events as event inner join sources.orders as o using (order_id)"
    ).fetchall()
    assert worst[0][0] < 5
