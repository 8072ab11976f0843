"""What parity finds: a planted difference, readably, and nothing where there is none."""

from pathlib import Path

import duckdb
import pytest

from parity.compare import Compared, compare_files

KEYS = {"journey.orders": ["order_id"]}
ORDERS = """
create schema journey;
create table journey.orders (
    order_id varchar, profile_key uuid, amount decimal(18, 2), share double, placed_at timestamp
);
insert into journey.orders values
    ('a', '00000000-0000-0000-0000-000000000001', 1.50, 0.1, '2026-01-01 10:00:00'),
    ('b', null, 2.00, null, null);
"""


def file_of(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in (ORDERS, *statements):
            connection.execute(statement)
    return path


@pytest.fixture
def compared(tmp_path: Path):
    def compare(*planted: str, with_types: bool = False) -> Compared:
        left = file_of(tmp_path / "left.duckdb")
        right = file_of(tmp_path / "right.duckdb", *planted)
        (found,) = compare_files(left, right, ["journey"], KEYS, with_types=with_types)
        return found

    return compare


def test_equal_tables_are_equal_whatever_the_order_of_their_rows(compared):
    found = compared(
        "create or replace table journey.orders as from journey.orders order by order_id desc"
    )
    assert found.is_equal
    assert (found.left_rows, found.right_rows) == (2, 2)


@pytest.mark.parametrize(
    ("planted", "shown"),
    [
        (
            "update journey.orders set amount = 1.51 where order_id = 'a'",
            "journey.orders  order_id=a  amount: 1.50 | 1.51",
        ),
        (
            "update journey.orders set share = 0.1 + 1e-6 where order_id = 'a'",
            "journey.orders  order_id=a  share: 0.1 | 0.100001",
        ),
        (
            "update journey.orders set placed_at = '2026-01-01 10:00:00' where order_id = 'b'",
            "journey.orders  order_id=b  placed_at: null | 2026-01-01 10:00:00",
        ),
        (
            "delete from journey.orders where order_id = 'b'",
            "journey.orders  order_id=b  (row): there | missing",
        ),
        (
            "insert into journey.orders (order_id) values ('c')",
            "journey.orders  order_id=c  (row): missing | there",
        ),
        (
            "insert into journey.orders from journey.orders where order_id = 'a'",
            "journey.orders  order_id=a  (row): missing | there",
        ),
        (
            "alter table journey.orders drop column amount",
            "journey.orders  (columns)  amount: DECIMAL(18,2) | missing",
        ),
    ],
)
def test_one_planted_difference_is_found_and_shown(compared, planted, shown):
    found = compared(planted)
    assert found.difference_count == 1
    assert [str(difference) for difference in found.differences] == [shown]


def test_the_last_bits_of_a_double_are_no_difference(compared):
    assert compared("update journey.orders set share = share + 1e-15").is_equal


def test_a_uuid_and_its_text_are_equal(compared):
    as_text = "alter table journey.orders alter profile_key type varchar"
    assert compared(as_text).is_equal


def test_another_type_is_a_difference_where_types_count(compared):
    as_text = "alter table journey.orders alter profile_key type varchar"
    (difference,) = compared(as_text, with_types=True).differences
    assert str(difference) == "journey.orders  (type)  profile_key: UUID | VARCHAR"
