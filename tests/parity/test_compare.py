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
    def compare(*planted: str, is_published: bool = False) -> Compared:
        left = file_of(tmp_path / "left.duckdb")
        right = file_of(tmp_path / "right.duckdb", *planted)
        (found,) = compare_files(left, right, ["journey"], KEYS, is_published=is_published)
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
            "update journey.orders set share = 'nan' where order_id = 'a'",
            "journey.orders  order_id=a  share: 0.1 | nan",
        ),
        (
            "update journey.orders set share = '-inf' where order_id = 'a'",
            "journey.orders  order_id=a  share: 0.1 | -inf",
        ),
        (
            "alter table journey.orders alter amount type double",
            "journey.orders  (type)  amount: DECIMAL(18,2) | DOUBLE",
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


def test_a_uuid_that_is_published_as_text_is_a_difference(compared):
    as_text = "alter table journey.orders alter profile_key type varchar"
    (difference,) = compared(as_text, is_published=True).differences
    assert str(difference) == "journey.orders  (type)  profile_key: UUID | VARCHAR"


@pytest.fixture
def purposes(tmp_path: Path):
    """Compare a table of which nobody says what identifies a row."""

    def compare(*planted: str) -> list[str]:
        made = (
            "create schema consent",
            "create table consent.said as from (values ('a', 'marketing', 'email', 1.0), "
            "('a', 'marketing', 'sms', 1e-10), ('b', 'surveys', null, 'nan')) "
            "as said (person, purpose, channel, weight)",
            "alter table consent.said alter weight type double",
        )
        files = tmp_path / "left.duckdb", tmp_path / "right.duckdb"
        for path, changes in zip(files, ((), planted), strict=True):
            path.unlink(missing_ok=True)
            with duckdb.connect(str(path)) as connection:
                for statement in (*made, *changes):
                    connection.execute(statement)
        (found,) = compare_files(*files, ["consent"], {})
        return [str(difference) for difference in found.differences]

    return compare


def test_a_table_without_a_key_is_known_by_its_first_columns(purposes):
    assert purposes() == []
    assert purposes("update consent.said set weight = 2 where channel = 'email'") == [
        "consent.said  person=a, purpose=marketing, channel=email  weight: 1.0 | 2.0"
    ]


def test_small_doubles_differ_by_their_size(purposes):
    assert purposes("update consent.said set weight = 9e-10 where channel = 'sms'") == [
        "consent.said  person=a, purpose=marketing, channel=sms  weight: 1e-10 | 9e-10"
    ]


def test_a_table_of_doubles_alone_cannot_be_compared_and_says_so(purposes):
    left_out = [f"alter table consent.said drop {n}" for n in ("person", "purpose", "channel")]
    assert purposes(*left_out)[-1] == (
        "consent.said  (columns)  (key): person, purpose, channel, weight | weight"
    )
