"""Raw values become the contract's columns and types, or a problem that says why not."""

import json
from datetime import datetime
from decimal import Decimal

import pytest

from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.warehouse.config_files import ConfigError
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config


def _order(**changes: str) -> str:
    """Return a mapping in which some columns are made otherwise."""
    columns = {
        "order_id": "order_no",
        "ordered_at": "placed",
        "currency_code": "\"'EUR'\"",
        "total_amount": "amount",
    } | changes
    lines = "".join(f"              {name}: {value}\n" for name, value in columns.items())
    return "          order:\n            columns:\n" + lines


def _one(site: Site, column: str, value: object, mapping: str, zone: str = "UTC") -> tuple:
    """Load one JSON record and return a contract column and the row's problems."""
    site.configure(shop_config("files: '*.jsonl'", mapping, zone))
    record = {"order_no": "1", "placed": "2026-01-02", "amount": "1"} | {column: value}
    site.write_lines("a.jsonl", record)
    site.load()
    contract = {
        "placed": "ordered_at",
        "amount": "total_amount",
        "promised": "promised_delivery_date",
    }
    return site.ask(f"select {contract.get(column, column)}, _problems from sources.orders")[0]


@pytest.mark.parametrize(
    ("given", "zone", "utc"),
    [
        ("2026-01-02 10:00:00", "UTC", "2026-01-02 10:00:00"),
        ("2026-01-02 10:00:00", "Europe/Copenhagen", "2026-01-02 09:00:00"),
        ("2026-07-02 10:00:00", "Europe/Copenhagen", "2026-07-02 08:00:00"),
        ("2026-07-02T10:00", "America/Sao_Paulo", "2026-07-02 13:00:00"),
        ("2026-07-02", "Europe/Copenhagen", "2026-07-01 22:00:00"),
        # An offset wins over the source's zone.
        ("2026-07-02T10:00:00Z", "Europe/Copenhagen", "2026-07-02 10:00:00"),
        ("2026-07-02 10:00:00.5+02:00", "Asia/Tokyo", "2026-07-02 08:00:00.5"),
        ("2026-01-02 10:00:00 UTC", "Europe/Copenhagen", "2026-01-02 10:00:00"),
        ("2026-01-02 10:00:00.123 UTC", "Europe/Copenhagen", "2026-01-02 10:00:00.123"),
        ("2026-07-02T10:00:00-0330", "Asia/Tokyo", "2026-07-02 13:30:00"),
        # The night in which the clock goes forward has no 02:30, the one in autumn has it twice:
        # both are read as winter time.
        ("2026-03-29 02:30:00", "Europe/Copenhagen", "2026-03-29 01:30:00"),
        ("2025-10-26 02:30:00", "Europe/Copenhagen", "2025-10-26 01:30:00"),
        ("2025-11-02 01:30:00", "America/New_York", "2025-11-02 06:30:00"),
        ("2025-10-26 01:59:59", "Europe/Copenhagen", "2025-10-25 23:59:59"),
        (" 2026-01-02 10:00:00 ", "UTC", "2026-01-02 10:00:00"),
    ],
)
def test_times_become_utc(site: Site, given: str, zone: str, utc: str) -> None:
    assert _one(site, "placed", given, _order(), zone) == (datetime.fromisoformat(utc), [])


def test_a_time_that_duckdb_cannot_read_with_its_offset_is_not_read_without(site: Site) -> None:
    made = _one(site, "placed", "2026-07-02T10:00+02", _order())
    # DuckDB 1.5 cannot read it, 2.0 can.
    assert made in (
        (None, ["ordered_at: not a valid timestamp"]),
        (datetime.fromisoformat("2026-07-02 08:00"), []),
    )


def test_the_session_time_zone_changes_nothing(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl'", _order(), "Europe/Copenhagen"))
    for number, given in enumerate(("2026-07-02T10:00:00Z", "2026-07-02 10:00:00")):
        record = {"order_no": number, "placed": given, "amount": 1}
        site.write_lines(f"{number}.jsonl", record)
    site.load()
    query = "select ordered_at from sources.orders order by order_id"
    answers = []
    for zone in ("UTC", "Asia/Tokyo"):
        site.ask(f"set timezone = '{zone}'")
        answers.append(site.ask(query))
    assert (
        answers[0]
        == answers[1]
        == [
            (datetime.fromisoformat("2026-07-02 10:00"),),
            (datetime.fromisoformat("2026-07-02 08:00"),),
        ]
    )


def test_formats_of_a_country_are_read_as_the_mapping_says(site: Site) -> None:
    mapping = _order(
        ordered_at='{expression: placed, format: ["%d.%m.%Y %H:%M", "%d.%m.%Y"]}',
        promised_delivery_date='{expression: placed, format: "%d.%m.%Y %H:%M"}',
        total_amount='{expression: amount, decimal: ","}',
    )
    site.configure(shop_config("files: '*.jsonl'", mapping, "Europe/Copenhagen"))
    site.write_lines(
        "a.jsonl", {"order_no": 1, "placed": "02.01.2026 00:30", "amount": "1.234.567,89"}
    )
    site.load()
    assert site.ask(
        "select ordered_at, promised_delivery_date::varchar, total_amount, _problems "
        "from sources.orders"
    ) == [(datetime.fromisoformat("2026-01-01 23:30"), "2026-01-02", Decimal("1234567.89"), [])]


NO_YEAR = "its year has not four digits"


@pytest.mark.parametrize(
    ("given", "forms", "utc", "problem"),
    [
        # CET is an hour ahead of UTC, whatever the zone of the source.
        ("2026-01-31 10:00:00 CET", '"%Y-%m-%d %H:%M:%S %Z"', "2026-01-31 09:00", None),
        ("Sat, 31 Jan 2026 10:00:00 GMT", '"%a, %d %b %Y %H:%M:%S %Z"', "2026-01-31 10:00", None),
        ("31.01.26 10:00", '["%d.%m.%Y %H:%M", "%d.%m.%y %H:%M"]', "2026-01-31 15:00", None),
        ("31.01.2026 10:00", '["%d.%m.%Y %H:%M", "%d.%m.%y %H:%M"]', "2026-01-31 15:00", None),
        ("31.01.26 10:00", '"%d.%m.%Y %H:%M"', None, NO_YEAR),
        ("01/02/26 10:00", None, None, NO_YEAR),
        ("0001-01-01 00:00:00", None, None, NO_YEAR),
        ("infinity", None, None, "not a valid timestamp"),
    ],
)
def test_a_time_of_another_shape_is_read_right_or_set_aside(
    site: Site, given: str, forms: str | None, utc: str | None, problem: str | None
) -> None:
    form = f", format: {forms}" if forms else ""
    mapping = _order(ordered_at=f"{{expression: placed{form}}}")
    made, problems = _one(site, "placed", given, mapping, "America/New_York")
    if problem:
        assert f"ordered_at: {problem}" in problems
    else:
        assert (made, problems) == (datetime.fromisoformat(utc or ""), [])


@pytest.mark.parametrize(
    ("given", "form", "day"),
    [
        ("2026-02-01", None, "2026-02-01"),
        ("2026-02-01 10:00", None, "2026-02-01"),
        # As JavaScript writes midnight of the first of February in Copenhagen.
        ("2026-01-31T23:00:00.000Z", None, "2026-02-01"),
        ("2026-01-31T23:00:00+0000", '"%Y-%m-%dT%H:%M:%S%z"', "2026-02-01"),
        ("2026-02-01 to 2026-02-04", None, None),
        ("26-02-01", None, None),
        ("infinity", None, None),
    ],
)
def test_a_date_is_the_day_in_the_zone_of_the_source_or_set_aside(
    site: Site, given: str, form: str | None, day: str | None
) -> None:
    form = f", format: {form}" if form else ""
    mapping = _order(promised_delivery_date=f"{{expression: promised{form}}}")
    made, problems = _one(site, "promised", given, mapping, "Europe/Copenhagen")
    if day:
        assert (made.isoformat(), problems) == (day, [])
    else:
        assert problems != []
    site.ask("set timezone = 'America/New_York'")
    assert site.ask("select promised_delivery_date, _problems from sources.orders") == [
        (made, problems)
    ]


@pytest.mark.parametrize(
    ("unit", "given"),
    [("seconds", 1767348000), ("seconds", "1767348000.0"), ("milliseconds", 1767348000000)],
)
def test_a_number_since_1970_is_utc_whatever_the_zone(site: Site, unit: str, given: object) -> None:
    mapping = _order(ordered_at=f"{{expression: placed, epoch: {unit}}}")
    made = _one(site, "placed", given, mapping, "Europe/Copenhagen")
    assert made == (datetime.fromisoformat("2026-01-02 10:00"), [])


@pytest.mark.parametrize(
    ("given", "decimal", "made"),
    [
        ("1234.5", ".", Decimal("1234.50")),
        ("-0.5", ".", Decimal("-0.50")),
        ("1.234,5", ",", Decimal("1234.50")),
        ("1 234,5", ",", Decimal("1234.50")),
        ("12,5", ",", Decimal("12.50")),
        # Read with the other sign these would be wrong by a factor of a hundred.
        ("12,50", ".", None),
        ("12.50", ",", None),
        ("1.23", ",", None),
        ("0.500", ",", None),
        ("12_50", ".", None),
        ("12 kr", ".", None),
        ("99999999999999999999", ".", None),
        # More places than the contract has are rounded, halves away from zero.
        ("0.005", ".", Decimal("0.01")),
        ("-1,005", ",", Decimal("-1.01")),
    ],
)
def test_money_is_read_with_its_decimal_sign_or_not_at_all(
    site: Site, given: str, decimal: str, made: Decimal | None
) -> None:
    mapping = _order(total_amount=f'{{expression: amount, decimal: "{decimal}"}}')
    problems = [] if made is not None else ["total_amount: not a valid decimal(18,2)"]
    assert _one(site, "amount", given, mapping) == (made, problems)


def test_a_row_tells_all_its_problems(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl'", _order(promised_delivery_date="promised")))
    site.write_lines(
        "a.jsonl",
        {"placed": "2099-01-01", "amount": "ten", "promised": "tomorrow", "order_no": " "},
    )
    site.load()
    assert site.ask("select _problems from sources.orders") == [
        (
            [
                "order_id: is empty",
                "ordered_at: in the future",
                "total_amount: not a valid decimal(18,2)",
                "promised_delivery_date: not a valid date",
            ],
        )
    ]


def test_an_empty_optional_value_is_no_problem(site: Site) -> None:
    for given in ("", "  ", None):
        mapping = _order(promised_delivery_date="promised", shipping_amount="promised")
        assert _one(site, "promised", given, mapping) == (None, [])


@pytest.mark.parametrize(
    ("column", "given", "made"),
    [
        ("installment_count", "3", 3),
        ("installment_count", "3.0", 3),
        ("installment_count", "3.7", None),
        ("installment_count", "9" * 30, None),
    ],
)
def test_whole_numbers_are_not_rounded(site: Site, column: str, given: str, made: object) -> None:
    site.configure(
        shop_config(
            "files: '*.jsonl'",
            "          payment:\n            columns:\n"
            f"              {{payment_id: id, order_id: id, amount: 1, {column}: given}}\n",
        )
    )
    site.write_lines("a.jsonl", {"id": 1, "given": given})
    site.load()
    problems = [] if made is not None else [f"{column}: not a valid bigint"]
    assert site.ask(f"select {column}, _problems from sources.payments") == [(made, problems)]


@pytest.mark.parametrize(
    ("given", "made"),
    [("true", True), ("0", False), ("Yes", True), (True, True), ("perhaps", None)],
)
def test_truth_values(site: Site, given: object, made: bool | None) -> None:
    site.configure(
        shop_config(
            "files: '*.jsonl'",
            "          contact:\n            columns: {contact_id: id, is_club_member: given}\n",
        )
    )
    site.write_lines("a.jsonl", {"id": 1, "given": given})
    site.load()
    problems = [] if made is not None else ["is_club_member: not a valid boolean"]
    assert site.ask("select is_club_member, _problems from sources.contacts") == [(made, problems)]


def test_keys_are_trimmed_and_texts_are_not(site: Site) -> None:
    site.configure(
        shop_config(
            "files: '*.jsonl'",
            "          case_message:\n            columns: {case_message_id: id, case_id: id, "
            "sent_at: \"'2026-01-01'\", author_type: \"'customer'\", body: body}\n",
        )
    )
    site.write_lines("a.jsonl", {"id": " 1 ", "body": " hi \n"})
    site.load()
    assert site.ask("select case_id, body from sources.case_messages") == [("1", " hi \n")]


@pytest.mark.parametrize(
    ("channel", "amounts"),
    [("'till'", [("T1", 25), ("T2", 7)]), ("min(_file)", [("T1", 65), ("T2", 7)])],
)
def test_a_group_counts_a_row_of_files_that_overlap_once(
    site: Site, channel: str, amounts: list[tuple[str, int]]
) -> None:
    """Twice in one file are two rows."""
    site.configure(
        shop_config(
            "files: '*.csv'",
            f"""
          order:
            where: kind = 'sale'
            group_by: [receipt]
            columns:
              order_id: receipt
              ordered_at: min(sold)
              currency_code: "'EUR'"
              channel: "{channel}"
              total_amount: sum(amount::decimal(18, 2))
""",
        )
    )
    header = "receipt,kind,sold,amount\n"
    row = "{},sale,2026-01-02 10:00:00,{}\n".format
    void = "T1,void,2026-01-02 10:00:00,1\n"
    site.write("1.csv", header + row("T1", 10) + row("T1", 10) + void)
    site.write("2.csv", header + row("T1", 10) + row("T1", 10) + row("T1", 5) + row("T2", 7))
    site.write("3.csv", header + row("T1", 10) * 2)
    asked = "select order_id, total_amount::int from sources.orders {} order by 1"
    site.load()
    assert site.ask(asked.format("")) == amounts
    # A later load makes the row anew.
    site.write("4.csv", header + row("T1", 10))
    site.load()
    assert site.ask(asked.format("where _load_id = 2")) == [("T1", 10)]


def test_an_order_that_its_system_marks_as_deleted_replaces_itself_as_a_cancelled_one(
    site: Site,
) -> None:
    """By a `where` it would be left out, and its earlier version stand."""
    status = "            status: case when deleted = 'J' then 'cancelled' end\n"
    mapping = ORDER_MAPPING + "  " + status
    site.configure(shop_config("files: '*.csv'", mapping))
    for deleted in ("N", "J"):
        site.write("a.csv", f"order_no,email,amount,placed,deleted\n1,,1,2026-01-02,{deleted}\n")
        site.load()
    assert site.ask("select status from sources.orders order by _load_id desc limit 1") == [
        ("cancelled",)
    ]


def test_one_table_feeds_several_entities_and_rows_can_be_picked_and_grouped(site: Site) -> None:
    site.configure(
        shop_config(
            "files: '*.csv'",
            """
          order:
            where: kind <> 'void'
            group_by: [receipt]
            columns:
              order_id: receipt
              ordered_at: min(sold)
              currency_code: "'EUR'"
              total_amount: sum(amount::decimal(18, 2))
          order_line:
            where: kind <> 'void'
            columns:
              order_line_id: receipt || '-' || line
              order_id: receipt
              product_id: sku
              quantity: 1
              line_amount: amount
""",
        )
    )
    site.write(
        "a.csv",
        "receipt,line,sku,amount,sold,kind\nr1,1,x,10.5,2026-01-02,sale\n"
        "r1,2,y,2,2026-01-02,sale\nr2,1,x,5,2026-01-03,void\nr3,1,x,5,2026-01-03,sale\n",
    )
    site.load()
    assert site.ask(
        "select order_id, total_amount::double, _row_number, _problems from sources.orders "
        "order by order_id"
    ) == [("r1", 12.5, 2, []), ("r3", 5.0, 5, [])]
    assert site.ask("select order_line_id from sources.order_lines order by 1") == [
        ("r1-1",),
        ("r1-2",),
        ("r3-1",),
    ]
    assert site.ask("select * from sources.mapped_entities order by all") == [
        ("shop", "orders", "order_lines"),
        ("shop", "orders", "orders"),
    ]


QUERY_CONFIG = """
sources:
  shop:
    path: ../in
    tables:
      orders: {files: "orders*.csv"}
      payments: {files: "payments*.csv"}
      orders_with_totals:
        query: >-
          select orders.*, paid.total from orders
          left join (select order_no, sum(amount::double) as total from payments group by 1)
          as paid using (order_no)
        entities:
          order:
            columns:
              {order_id: order_no, ordered_at: placed, currency_code: "'EUR'", total_amount: total}
"""


def _configure_query(site: Site, query: str) -> None:
    """Write sources.yml with another query."""
    before, _, after = QUERY_CONFIG.partition("query: >-")
    entities = after[after.index("        entities:") :]
    site.configure(f"{before}query: {json.dumps(query)}\n{entities}")


def test_a_query_joins_the_tables_of_a_source(site: Site) -> None:
    site.configure(QUERY_CONFIG)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n2,2026-01-02\n")
    site.write("payments.csv", "order_no,amount\n1,10\n1,5\n")
    site.load()
    query = "select order_id, total_amount::int, _file, _row_number, _table from sources.orders"
    assert site.ask(f"{query} order by 1") == [
        ("1", 15, "orders.csv", 2, "orders_with_totals"),
        ("2", None, "orders.csv", 3, "orders_with_totals"),
    ]


def test_a_query_sees_only_the_last_version_of_a_file(site: Site) -> None:
    site.configure(QUERY_CONFIG)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    for amount in (10, 20):
        site.write("payments.csv", f"order_no,amount\n1,{amount}\n")
        site.load()
    assert site.ask("select total_amount::int from sources.orders") == [(20,)]


def test_a_query_sees_what_a_copy_holds_when_the_file_that_landed_goes_on(site: Site) -> None:
    site.configure(QUERY_CONFIG)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n2,2026-01-02\n")
    asked = "select order_id, total_amount::int from sources.orders order by 1"
    for day, seen in ((1, [("1", 10), ("2", None)]), (2, [("1", 10), ("2", 20)])):
        for name in (f"payments-{day}.csv", "payments-latest.csv"):
            site.write(name, f"order_no,amount\n{day},{day}0\n")
        site.load()
        assert site.ask(asked) == seen
    site.write("payments-1.csv", "order_no,amount\n1,11\n")
    site.load()
    assert site.ask(asked) == [("1", 11), ("2", 20)]


@pytest.mark.parametrize("next_one", ["at once", "later", "never"])
def test_a_query_sees_a_file_that_moved_once_and_its_last_version(
    site: Site, next_one: str
) -> None:
    site.configure(QUERY_CONFIG.replace("payments*.csv", "**/payments*.csv"))
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n2,2026-01-02\n")
    path = site.write("new/payments.csv", "order_no,amount\n1,10\n")
    site.load()
    (site.inputs / "old").mkdir()
    path.rename(site.inputs / "old" / "payments.csv")
    if next_one == "later":
        site.load()
    if next_one != "never":
        site.write("new/payments.csv", "order_no,amount\n2,20\n")
    site.load()
    second = None if next_one == "never" else 20
    asked = "select order_id, total_amount::int from sources.orders order by 1"
    assert site.ask(asked) == [("1", 10), ("2", second)]
    site.write("old/payments.csv", "order_no,amount\n1,11\n")
    site.load()
    assert site.ask(asked) == [("1", 11), ("2", second)]


def test_a_row_that_its_file_no_longer_has_stays_in_a_query(site: Site) -> None:
    of_file = "select orders.*, split_part(_file, '.', 1) as store, paid.total"
    site.configure(QUERY_CONFIG.replace("select orders.*, paid.total", of_file))
    site.write("payments.csv", "order_no,amount\n1,10\n2,20\n")
    for orders in ("1,2026-01-02\n2,2026-01-02\n", "2,2026-01-03\n"):
        site.write("orders.csv", f"order_no,placed\n{orders}")
        site.load()
    assert site.ask(
        "select order_id, ordered_at::date::varchar, total_amount::int, _load_id "
        "from sources.orders order by all"
    ) == [("1", "2026-01-02", 10, 1), ("2", "2026-01-02", 20, 1), ("2", "2026-01-03", 20, 2)]


def test_a_query_can_say_that_a_row_joined_later_is_news(site: Site) -> None:
    newer = QUERY_CONFIG.replace(
        "select orders.*, paid.total",
        "select orders.* replace (greatest(orders._load_id, paid._load_id) as _load_id), total",
    ).replace("as total from", "as total, max(_load_id) as _load_id from")
    site.configure(newer)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    site.write("payments-1.csv", "order_no,amount\n")
    site.load()
    site.write("payments-2.csv", "order_no,amount\n1,20\n")
    site.load()
    assert site.ask("select total_amount::int, _file, _load_id from sources.orders") == [
        (20, "orders.csv", 2)
    ]
    site.write("orders.csv", "order_no,placed\n1,2026-01-03\n")
    site.load()
    site.write("payments-3.csv", "order_no,amount\n1,5\n")
    site.load()
    assert site.ask("select ordered_at::date::varchar, _load_id from sources.orders") == [
        ("2026-01-03", 4)
    ]


def test_a_query_waits_for_its_tables(site: Site) -> None:
    site.configure(QUERY_CONFIG)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    site.load()
    assert site.ask("select count(*) from sources.orders") == [(0,)]
    assert site.notes == ["shop.orders_with_totals: nothing landed yet"]


@pytest.mark.parametrize(
    "query",
    [
        "select orders.*, 1 as total, 2 as payments from orders",
        "select orders.*, 1 as total from orders -- not yet payments\n where true",
        "with payments as (select 1 as total) select orders.*, total from orders, payments",
        "with recursive payments as (select 1 as total union select total from payments) "
        "select orders.*, payments.total from Orders, payments",
    ],
)
def test_a_query_does_not_wait_for_a_table_that_it_does_not_read(site: Site, query: str) -> None:
    _configure_query(site, query)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    site.load()
    assert site.ask("select order_id, total_amount::int from sources.orders") == [("1", 1)]


@pytest.mark.parametrize(
    "query",
    [
        # Inside of it a name means the table, and the query's own select after it.
        "with payments as (select order_no, 1 as total from payments) "
        "select orders.*, total from orders join payments using (order_no)",
        "select orders.*, 1 as total from orders where order_no in (select order_no from payments)",
        "from (select *, 1 as total from orders) semi join payments using (order_no)",
    ],
)
def test_a_query_waits_for_a_table_that_it_reads_anywhere(site: Site, query: str) -> None:
    _configure_query(site, query)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    site.load()
    assert site.notes == ["shop.orders_with_totals: nothing landed yet"]
    site.write("payments.csv", "order_no,amount\n1,10\n")
    site.load()
    assert site.ask("select order_id, total_amount::int from sources.orders") == [("1", 1)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from orders, paymnts", 'reads "paymnts", which is no table of files of this'),
        ("select * from orders, paymnts", 'source; did you mean "payments"?'),
        ("select * from raw_shop.orders", 'reads "raw_shop.orders", which is no table of files'),
        ("select * from orders_with_totals", 'reads "orders_with_totals", which is no table'),
        ("select 1 as total", "reads no table of its source"),
        ("selec * from orders", "DuckDB does not understand the query: syntax error"),
        ("select * from orders; select * from orders", "DuckDB does not understand the query"),
        ("pivot orders on order_no using count(*)", "DuckDB does not understand the query"),
    ],
)
def test_a_query_that_reads_something_else_is_refused(site: Site, query: str, said: str) -> None:
    _configure_query(site, query)
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    with pytest.raises(ConfigError) as error:
        site.load()
    assert "sources.yml line 9: sources.shop.tables.orders_with_totals.query: " in str(error.value)
    assert said in str(error.value)


def test_a_comment_may_end_a_query(site: Site) -> None:
    _configure_query(site, "select orders.*, 1 as total from orders -- all of them")
    site.write("orders.csv", "order_no,placed\n1,2026-01-02\n")
    site.load()
    assert site.ask("select order_id, total_amount::int from sources.orders") == [("1", 1)]


def test_a_comment_may_end_an_expression(site: Site) -> None:
    mapping = _order(
        order_id="order_no -- ours",
        ordered_at="min(placed) -- the first",
        total_amount="sum(amount::integer) -- gross",
    )
    mapping += "            where: amount::integer > 0 -- no returns\n"
    mapping += "            group_by: order_no -- a row for each\n"
    site.configure(shop_config("files: '*.csv'", mapping))
    rows = "1,10,2026-01-02\n1,5,2026-01-02\n2,-1,2026-01-02\n"
    site.write("a.csv", f"order_no,amount,placed\n{rows}")
    site.load()
    assert site.ask("select order_id, total_amount::int from sources.orders") == [("1", 15)]


def test_every_entity_is_a_typed_view_before_anything_is_mapped(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'"))
    site.load()
    row = [
        ("_source", "VARCHAR"),
        ("_table", "VARCHAR"),
        ("_file", "VARCHAR"),
        ("_row_number", "BIGINT"),
        ("_load_id", "BIGINT"),
        ("_loaded_at", "TIMESTAMP"),
        ("_problems", "VARCHAR[]"),
    ]
    for entity in entity_contract().values():
        described = site.ask(f"describe select * from sources.{entity.table}")
        columns = [(name, column.data_type.upper()) for name, column in entity.columns.items()]
        assert [(name, kind.upper()) for name, kind, *_ in described] == columns + row


def test_a_mapped_view_has_the_same_columns_and_types_as_an_empty_one(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.load()
    empty = site.ask("describe select * from sources.orders")
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert site.ask("describe select * from sources.orders") == empty


def test_a_filter_on_the_load_reads_only_its_files(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    for day in range(1, 6):
        site.write(f"{day}.csv", f"order_no,email,amount,placed\n{day},a@x.dk,1,2026-01-02\n")
        site.load()
    plan = site.ask(
        "explain analyze select order_id, _problems from sources.orders "
        "where _load_id > (select 4) and len(_problems) = 0"
    )[0][1]
    assert "Total Files Read: 1" in plan


def test_a_column_that_comes_later_is_empty_before(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("1.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    site.configure(
        shop_config("files: '*.csv'", ORDER_MAPPING + "              coupon_code: code\n")
    )
    site.write("2.csv", "order_no,email,amount,placed,code\n2,a@x.dk,1,2026-01-02,X\n")
    site.load()
    assert site.ask("select order_id, coupon_code from sources.orders order by 1") == [
        ("1", None),
        ("2", "X"),
    ]


def test_a_key_that_no_json_record_has_is_empty_and_told(site: Site) -> None:
    assert _one(site, "amount", 1, _order(coupon_code="code"))[1] == []
    assert site.notes == ["shop.orders: no record has the keys code, which the mapping names"]


def test_a_json_key_that_is_renamed_is_told(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl'", _order(email="email")))
    record = {"order_no": "1", "placed": "2026-01-02", "amount": "1"}
    site.write_lines("a.jsonl", record | {"email": "a@x.dk"})
    site.load()
    site.write_lines("b.jsonl", record)
    site.load()
    assert site.notes == []
    site.write_lines("c.jsonl", record | {"e_mail": "a@x.dk"})
    site.load()
    assert site.notes == [
        "shop.orders: no record of load 3 has the keys email, which the mapping names and earlier "
        "loads had; new are e_mail. If a key was renamed, map both, such as coalesce(new_name, "
        "old_name)"
    ]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("amont", 'names the column "amont", which the table has not. Near it are: "amount"'),
        ("amount +", "DuckDB does not understand"),
        ("no_such_function(amount)", "DuckDB does not understand"),
        ("'[amount]'", None),
        ('"amount::integer"', "fails on a row (ConversionException)"),
        ("amount->>'$.net'", "fails on a row (InvalidInputException)"),
        ("make_date(2026, 1, 1)", "gives DATE, but the column is decimal(18,2)"),
    ],
)
def test_a_faulty_expression_names_its_place(site: Site, expression: str, said: str | None) -> None:
    site.configure(shop_config("files: '*.parquet'", _order(total_amount=expression)))
    site.write_parquet(
        "a.parquet", "select '1' as order_no, date '2026-01-02' as placed, 'x1' as amount"
    )
    if said is None:
        site.load()
        return
    if "amont" in expression:
        # A file without the column is refused; the config is to blame once rows are there.
        site.configure(shop_config("files: '*.parquet'", _order()))
        site.load()
        site.configure(shop_config("files: '*.parquet'", _order(total_amount=expression)))
    with pytest.raises(ConfigError) as error:
        site.load()
    message = str(error.value)
    assert (
        "sources.yml line 15: sources.shop.tables.orders.entities.order.columns.total_amount"
        in (message)
    )
    assert said in message
    assert "x1" not in message


def test_an_expression_that_may_raise_is_tried_once_a_load(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", _order(total_amount='"amount::integer * 2"')))
    site.write("1.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert site.ask("select load_id from sources.tried_mappings") == [(1,)]
    site.load()
    assert site.ask("select load_id from sources.tried_mappings") == [(1,)]
    site.write("2.csv", "order_no,email,amount,placed\n2,a@x.dk,oops,2026-01-02\n")
    with pytest.raises(ConfigError, match="fails on a row"):
        site.load()


def test_what_was_tried_of_a_mapping_is_forgotten_with_it(site: Site) -> None:
    site.write("1.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    for factor in (2, 3):
        mapping = _order(total_amount=f'"amount::integer * {factor}"')
        site.configure(shop_config("files: '*.csv'", mapping))
        site.load()
        assert site.ask("select load_id from sources.tried_mappings") == [(1,)]
    site.configure(shop_config("files: '*.csv'", _order()))
    site.load()
    assert site.ask("select load_id from sources.tried_mappings") == []


@pytest.mark.parametrize(
    ("mapping", "place"),
    [
        (_order() + "            where: amount::integer > 0\n", "where"),
        (
            _order(order_id="min(order_no)", ordered_at="min(placed)", total_amount="'1'")
            + "            group_by: amount::integer\n",
            "group_by",
        ),
    ],
)
def test_a_row_on_which_a_condition_fails_is_told_without_its_values(
    site: Site, mapping: str, place: str
) -> None:
    site.configure(shop_config("files: '*.csv'", mapping))
    site.write("1.csv", "order_no,email,amount,placed\n1,a@x.dk,secret,2026-01-02\n")
    with pytest.raises(ConfigError, match=rf"order\.{place}: `.*` fails on a row") as error:
        site.load()
    assert "secret" not in str(error.value)


def test_config_stands_as_tables(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'"))
    site.load()
    assert site.ask("select * from sources.exchange_rates") == [("EUR", "EUR", 1.0)]
    assert ("web", "*", "explore") in site.ask("select * from sources.event_stages")
    assert site.ask(
        "select distinct requires_consent from sources.purposes where purpose = 'marketing'"
    ) == [(True,)]
    assert site.ask("select * from sources.quarantine_limits") == [("shop", 0.05)]
