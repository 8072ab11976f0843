"""The three tables are written together, and only where they differ."""

from pathlib import Path
from uuid import UUID, uuid5

import duckdb
import pyarrow as pa
import pytest

from cx_pipeline.identity.resolution import Resolution, resolve
from cx_pipeline.identity.tables import TABLES, write_resolution
from tests.identity.records import Record, evidence, usual_rules

RECORDS = [
    Record(1, {"email": "ann@home", "cookie_id": "c1"}),
    Record(1, {"crm_id": "bo", "device_id": "tablet"}),
    Record(1, {"crm_id": "cy", "device_id": "tablet"}),
    Record(2, {"phone": "+451"}),
]
LATER = Record(3, {"email": "ann@home", "phone": "+451"})


def with_uuids(records: list[Record]) -> Resolution:
    tables = []
    for table in evidence(records):
        for name in table.column_names:
            if name.endswith("profile_key"):
                keys = [str(uuid5(UUID(int=0), key)) for key in table[name].to_pylist()]
                place = table.column_names.index(name)
                table = table.set_column(place, name, pa.array(keys))
        tables.append(table)
    return resolve(*tables, usual_rules())


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("create schema identity")
        yield connection


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple]]:
    return {
        name: connection.execute(f"select * from identity.{name} order by all").fetchall()
        for name in TABLES
    }


def test_the_same_resolution_written_twice_changes_no_row(connection):
    assert write_resolution(connection, with_uuids(RECORDS)) > 0
    before = contents(connection)
    assert write_resolution(connection, with_uuids(RECORDS)) == 0
    assert contents(connection) == before


def test_what_is_written_on_top_equals_what_is_written_at_once(connection):
    write_resolution(connection, with_uuids(RECORDS))
    changed = write_resolution(connection, with_uuids([*RECORDS, LATER]))
    # The phone's row is closed and a new one opened; one merge.
    assert changed == 4
    on_top = contents(connection)
    for name in TABLES:
        connection.execute(f"drop table identity.{name}")
    write_resolution(connection, with_uuids([*RECORDS, LATER]))
    assert contents(connection) == on_top


def test_a_failure_leaves_all_three_tables_as_they_were(connection):
    write_resolution(connection, with_uuids(RECORDS))
    before = contents(connection)
    resolution = with_uuids([*RECORDS, LATER])
    broken = Resolution(
        customer_xref=resolution.customer_xref,
        id_changes=resolution.id_changes,
        rejected_links=resolution.rejected_links.drop(["rule"]),
    )
    with pytest.raises(duckdb.BinderException):
        write_resolution(connection, broken)
    assert contents(connection) == before
