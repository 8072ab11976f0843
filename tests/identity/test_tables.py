"""The tables are written together, only where anything new touches them, and come out the same."""

from collections.abc import Iterator

import duckdb
import pytest

from cx_pipeline.identity import tables
from cx_pipeline.identity.tables import TABLES, InconsistentEvidenceError
from tests.identity.records import Record, Resolution, Warehouse, resolved, usual_rules

RECORDS = [
    Record(1, {"email": "ann@home", "cookie_id": "c1"}),
    Record(1, {"crm_id": "bo", "device_id": "tablet"}),
    Record(1, {"crm_id": "cy", "device_id": "tablet"}),
    *(Record(1, {"crm_id": f"p{n}", "email": f"p{n}@home"}) for n in range(10)),
    Record(2, {"phone": "+451"}),
]
LATER = Record(3, {"email": "ann@home", "phone": "+451"})
KEYS = 26


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    warehouse = Warehouse(usual_rules())
    with warehouse.connection:
        warehouse.land(RECORDS)
        warehouse.update()
        yield warehouse


def contents(warehouse: Warehouse) -> dict[str, list[tuple]]:
    return {
        name: warehouse.connection.execute(f"select * from identity.{name} order by all").fetchall()
        for name in TABLES
    }


def same(one: Resolution, other: Resolution) -> bool:
    return vars(one) == vars(other)


def test_without_news_nothing_is_worked_out_and_nothing_changes(warehouse):
    before = contents(warehouse)
    update = warehouse.update()
    assert (update.identifiers, update.resolved_identifiers, update.changed_rows) == (KEYS, 0, 0)
    assert contents(warehouse) == before


def test_a_load_works_out_those_whom_it_touches_and_no_others(warehouse):
    warehouse.land([*RECORDS, LATER])
    update = warehouse.update()
    # Ann's e-mail, her cookie and the phone.
    assert update.resolved_identifiers == 3
    # The phone's row is closed and a new one opened; one merge.
    assert update.changed_rows == 4
    assert same(warehouse.read(), resolved([*RECORDS, LATER], usual_rules()))


def test_a_refused_link_carries_on_to_those_behind_it(warehouse):
    """The tablet links nobody, but who stands beside it decides that it does not."""
    later = Record(3, {"crm_id": "bo", "email": "bo@home"})
    warehouse.land([*RECORDS, later])
    assert warehouse.update().resolved_identifiers == 4
    assert same(warehouse.read(), resolved([*RECORDS, later], usual_rules()))


@pytest.mark.parametrize(
    "reason", ["asked", "code or config", "a former load", "a lost table", "a long chain"]
)
def test_everything_is_worked_out_anew_when_a_part_would_not_do(warehouse, monkeypatch, reason):
    records, options = [*RECORDS, LATER], {}
    match reason:
        case "asked":
            options["anew"] = True
        case "code or config":
            options["made_by"] = "another release"
        case "a former load":
            records = records[1:]
        case "a lost table":
            warehouse.connection.execute("drop table identity.id_changes")
        case "a long chain":
            monkeypatch.setattr(tables, "ROUNDS_WORTH_A_PART", 1)
    warehouse.land(records)
    update = warehouse.update(**options)
    assert update.resolved_identifiers == update.identifiers
    assert same(warehouse.read(), resolved(records, usual_rules()))


def test_a_failure_leaves_all_tables_as_they_were(warehouse):
    warehouse.connection.execute("alter table identity.rejected_links add column more integer")
    before = contents(warehouse)
    warehouse.land([*RECORDS, LATER])
    with pytest.raises(duckdb.BinderException):
        warehouse.update()
    assert contents(warehouse) == before


def test_edges_that_lead_nowhere_are_an_error_in_a_part_too(warehouse):
    warehouse.land([*RECORDS, LATER, Record(3, {"crm_id": "di", "email": "di@home"})])
    warehouse.connection.execute(
        "delete from identity.identifiers where profile_key = 'email:di@home'"
    )
    with pytest.raises(InconsistentEvidenceError, match="full-refresh"):
        warehouse.update()
