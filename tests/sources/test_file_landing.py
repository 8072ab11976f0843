"""Files come into the lake whole, once, and with the number of every row."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from cx_pipeline.sources import file_landing
from cx_pipeline.sources.landing import pending_files
from cx_pipeline.sources.validate import validate
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config

CSV = "order_no;email;amount;placed;note\n"


def test_every_column_of_a_csv_is_kept_as_text(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    site.write("a.csv", CSV + "007;ann@x.dk;12.50;2026-01-02 10:00:00;hello\n")
    site.load()
    assert site.ask("select order_no, amount, note, _file, _row_number from raw_shop.orders") == [
        ("007", "12.50", "hello", "a.csv", 2)
    ]


def test_the_same_input_twice_adds_nothing(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    site.write("a.csv", CSV + "1;a@x.dk;1;2026-01-02;\n")
    site.load()
    before = site.lake_content()
    again = site.load()
    assert [outcome.load_id for outcome in again] == [None]
    assert site.lake_content() == before
    assert site.ask("select load_id, is_complete from sources.loads") == [(1, True)]


def test_a_file_that_was_only_touched_is_not_landed_again(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    path = site.write("a.csv", CSV + "1;a@x.dk;1;2026-01-02;\n")
    site.load()
    os.utime(path, (1, 1))
    assert site.load()[0].rows_landed == 0


def test_a_new_file_is_a_new_load_and_old_ones_stay(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    site.write("a.csv", CSV + "1;a@x.dk;1;2026-01-02;\n")
    site.load()
    site.write("b.csv", CSV + "2;b@x.dk;2;2026-01-03;\n")
    site.load()
    assert site.ask("select order_id, _load_id from sources.orders order by 1") == [
        ("1", 1),
        ("2", 2),
    ]


def test_a_changed_file_lands_again_as_a_later_load_even_when_it_changes_back(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    for amount in ("1", "2", "1"):
        site.write("a.csv", CSV + f"1;a@x.dk;{amount};2026-01-02;\n")
        site.load()
    assert site.ask("select _load_id, total_amount::int from sources.orders order by 1") == [
        (1, 1),
        (2, 2),
        (3, 1),
    ]


def test_a_copy_of_a_file_is_noted_and_its_rows_are_not_landed_again(site: Site) -> None:
    grouped = ORDER_MAPPING.replace("order:", "order:\n            group_by: [order_no]")
    for old, new in (("amount", "sum(amount::double)"), ("placed", "min(placed)")):
        grouped = grouped.replace(f": {old}", f": {new}")
    grouped = grouped.replace(": email", ": min(email)")
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', grouped))
    site.write("a.csv", CSV + "1;a@x.dk;10;2026-01-02;\n1;a@x.dk;5;2026-01-02;\n")
    site.write("a copy.csv", (site.inputs / "a.csv").read_bytes())
    site.load()
    assert site.ask("select total_amount::int from sources.orders") == [(15,)]
    assert site.ask("select file, row_count from sources.loaded_files order by 2") == [
        ("a copy.csv", 0),
        ("a.csv", 2),
    ]
    # It stays a copy of what it was when the other one moves on.
    site.write("a.csv", CSV + "1;a@x.dk;20;2026-01-02;\n")
    for _ in range(2):
        site.load()
    assert site.ask(
        "select total_amount::int, _load_id from sources.orders order by all desc limit 1"
    ) == [(20, 2)]
    assert site.load()[0].load_id is None


def test_a_snapshot_that_changes_back_is_no_copy(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', ORDER_MAPPING))
    for day, amount in ((8, 1), (9, 2), (10, 1)):
        site.write(f"day-{day}.csv", CSV + f"1;a@x.dk;{amount};2026-01-02;\n")
    site.load()
    assert site.ask("select _file from raw_shop.orders order by 1") == [
        ("day-10.csv",),
        ("day-9.csv",),
    ]
    site.write("day-11.csv", CSV + "1;a@x.dk;2;2026-01-02;\n")
    assert site.load()[0].rows_landed == 1


def _newest(site: Site, order_no: str = "1") -> list[tuple]:
    return site.ask(
        "select total_amount::int, _load_id, _file from sources.orders "
        f"where order_id = '{order_no}' order by _load_id desc, _file desc limit 1"
    )


def _write_amount(site: Site, name: str, amount: int) -> Path:
    return site.write(name, f"order_no,email,amount,placed\n1,a@x.dk,{amount},2026-01-02\n")


def _move(site: Site, name: str, to: str) -> None:
    (site.inputs / to).parent.mkdir(parents=True, exist_ok=True)
    (site.inputs / name).rename(site.inputs / to)


def test_a_file_that_moved_is_noted_and_its_old_rows_do_not_land_as_the_newest(site: Site) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    for month in (1, 2):
        _write_amount(site, f"new/{month}.csv", month)
        site.load()
    for name, to in (("new/1.csv", "old/1.csv"), ("old/1.csv", "older/1.csv")):
        _move(site, name, to)
        outcome = site.load()[0]
        assert (outcome.files_landed, outcome.rows_landed) == (1, 0)
        assert pending_files(site.settings) == ""
        assert site.load()[0].load_id is None
    assert _newest(site) == [(2, 2, "new/2.csv")]
    assert site.ask("select file, row_count from sources.loaded_files order by load_id") == [
        ("new/1.csv", 1),
        ("new/2.csv", 1),
        ("old/1.csv", 0),
        ("older/1.csv", 0),
    ]
    # Back where it was it is known, and corrected where it is it lands.
    _move(site, "older/1.csv", "new/1.csv")
    assert site.load()[0].load_id is None
    _move(site, "new/1.csv", "older/1.csv")
    _write_amount(site, "older/1.csv", 3)
    site.load()
    assert _newest(site) == [(3, 5, "older/1.csv")]


@pytest.mark.parametrize("days", [(1, 2), (2, 1)])
def test_files_of_one_name_that_move_out_of_their_folders_do_not_land_again(
    site: Site, days: tuple[int, int]
) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    for day in days:
        _write_amount(site, f"{day}/a.csv", day)
        site.load()
    for day in days:
        _move(site, f"{day}/a.csv", f"old/{day}/a.csv")
    assert site.load()[0].rows_landed == 0
    assert _newest(site)[0][0] == days[1]


def test_a_file_that_moves_when_the_next_one_takes_its_place_does_not_land_again(
    site: Site,
) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    _write_amount(site, "new/a.csv", 1)
    site.load()
    _move(site, "new/a.csv", "old/a.csv")
    _write_amount(site, "new/a.csv", 2)
    assert site.load()[0].rows_landed == 1
    assert _newest(site) == [(2, 2, "new/a.csv")]


def test_a_version_that_comes_back_in_a_folder_of_its_own_lands(site: Site) -> None:
    """The folders of the days before are cleaned away."""
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    for day, amount in ((1, 1), (2, 2), (3, 1)):
        path = _write_amount(site, f"{day}/a.csv", amount)
        site.load()
        assert _newest(site)[0][0] == amount
        path.unlink()


def test_what_changed_and_changes_back_under_its_own_name_lands_though_it_moved_in_between(
    site: Site,
) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    _write_amount(site, "a.csv", 1)
    site.load()
    _move(site, "a.csv", "old/a.csv")
    _write_amount(site, "a.csv", 2)
    site.load()
    _move(site, "old/a.csv", "a.csv")
    site.load()
    assert _newest(site) == [(1, 3, "a.csv")]


def test_a_file_that_moved_lands_anew_when_what_landed_under_its_old_name_is_damaged(
    site: Site,
) -> None:
    site.configure(shop_config("files: '**/*.csv'", ORDER_MAPPING))
    _write_amount(site, "new/a.csv", 1)
    site.load()
    _move(site, "new/a.csv", "old/a.csv")
    site.load()
    (site.settings.lake_dir / "shop/orders/load_id=1/part-0.parquet").unlink()
    (site.settings.lake_dir / "_manifest/load_id=000001/shop.orders.json").unlink()
    site.load()
    assert _newest(site) == [(1, 3, "old/a.csv")]
    assert site.load()[0].load_id is None


def test_a_file_that_moved_lands_again_where_names_count(site: Site) -> None:
    mapping = ORDER_MAPPING + "              store_id: _file\n"
    site.configure(shop_config("files: '**/*.csv'", mapping))
    _write_amount(site, "s1/a.csv", 1)
    site.load()
    _move(site, "s1/a.csv", "s2/a.csv")
    site.load()
    assert _newest(site) == [(1, 2, "s2/a.csv")]


def test_copies_of_a_refused_file_come_in_with_it(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    for name in ("a.csv", "b.csv"):
        site.write(name, "order_no,mail,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert [row[0] for row in site.quarantined()] == ["a.csv", "b.csv"]
    (site.inputs / "b.csv").unlink()
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING.replace(": email", ": mail")))
    site.load()
    assert site.ask("select _file from sources.orders") == [("a.csv",)]


def test_two_files_of_equal_content_are_two_files_where_their_names_count(site: Site) -> None:
    """The name may be what tells them apart, such as the store of a till."""
    mapping = ORDER_MAPPING + "              store_id: parse_filename(_file, true)\n"
    site.configure(shop_config('files: "*.csv"\n        delimiter: ";"', mapping))
    for store in ("s1", "s2"):
        site.write(f"{store}.csv", CSV + "1;a@x.dk;1;2026-01-02;\n")
    site.load()
    assert site.ask("select store_id from sources.orders order by 1") == [("s1",), ("s2",)]


def test_files_with_other_columns_or_order_land_side_by_side(site: Site) -> None:
    site.configure(shop_config('files: "**/*.csv"', ORDER_MAPPING))
    site.write("2025/a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2025-01-02\n")
    site.write("2026/a.csv", "placed,amount,extra,email,order_no\n2026-01-02,2,x,b@x.dk,2\n")
    site.load()
    assert site.ask("select order_no, amount, extra, _file from raw_shop.orders order by 1") == [
        ("1", "1", None, "2025/a.csv"),
        ("2", "2", "x", "2026/a.csv"),
    ]


def test_each_row_has_its_number_in_its_own_file(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"', ORDER_MAPPING))
    for file in range(20):
        rows = "".join(f"{file}-{row},a@x.dk,1,2026-01-02\n" for row in range(2, 2 + file))
        site.write(f"{file:02}.csv", "order_no,email,amount,placed\n" + rows)
    site.load()
    wrong = site.ask(
        "select * from raw_shop.orders where order_no <> _file[:2]::int || '-' || _row_number"
    )
    assert wrong == []
    assert site.ask("select count(*) from raw_shop.orders") == [(sum(range(20)),)]
    assert site.ask("select count(*), sum(row_count) from sources.loaded_files") == [(20, 190)]


def test_rejected_lines_do_not_shift_the_numbers_of_the_rows_after_them(site: Site) -> None:
    site.configure(shop_config('files: "*.csv"', ORDER_MAPPING))
    for name, bad in (("a", {3, 4, 7, 12}), ("b", {2, 12}), ("c", set())):
        lines = [
            f"{line},too,many,fields,here" if line in bad else f"{line},a@x.dk,1,2026-01-02"
            for line in range(2, 13)
        ]
        site.write(f"{name}.csv", "order_no,email,amount,placed\n" + "\n".join(lines))
    site.load()
    assert site.ask("select * from raw_shop.orders where order_no::int <> _row_number") == []
    assert [(file, row) for file, row, _, _ in site.quarantined()] == [
        *(("a.csv", row) for row in (3, 4, 7, 12)),
        *(("b.csv", row) for row in (2, 12)),
    ]


def test_a_blank_line_counts_and_a_value_of_several_lines_does_not(site: Site) -> None:
    """As in a spreadsheet, and the same for rows that land and rows that do not."""
    site.configure(shop_config('files: "*.csv"', ORDER_MAPPING))
    header = "order_no,email,amount,placed\n"
    site.write("a.csv", f'{header}\n3,"x\n\ny",1,2026-01-02\n\r\n\n6,too,few\n7,a,1,2026-01-02\n\n')
    site.write("b.csv", f"{header}2,a,1,2026-01-02\n\n4,a,1,2026-01-02\n")
    site.write("c.csv", f"{header}2,a,1,2026-01-02\n\n\n")
    site.load()
    assert site.ask("select _file, order_no, _row_number from raw_shop.orders order by all") == [
        ("a.csv", "3", 3),
        ("a.csv", "7", 7),
        ("b.csv", "2", 2),
        ("b.csv", "4", 4),
        ("c.csv", "2", 2),
    ]
    assert [row[:2] for row in site.quarantined()] == [("a.csv", 6)]


def test_json_lines_keep_every_key_and_nested_values_as_json(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl'", ORDER_MAPPING))
    site.write_lines(
        "a.jsonl",
        {"order_no": 1, "email": "a@x.dk", "amount": 1.5, "placed": "2026-01-02T10:00:00Z"},
        {
            "order_no": "2",
            "placed": "2026-01-02",
            "amount": 2,
            "basket": [{"sku": "x"}],
            "ok": True,
        },
    )
    site.load()
    assert site.ask(
        "select order_no, amount, basket, ok, _row_number from raw_shop.orders order by 1"
    ) == [("1", "1.5", None, None, 1), ("2", "2", '[{"sku":"x"}]', "true", 2)]


def test_parquet_keeps_its_types(site: Site) -> None:
    site.configure(shop_config("files: '*.parquet'", ORDER_MAPPING))
    site.write_parquet(
        "a.parquet",
        "select 1 as order_no, 'a@x.dk' as email, 12.5::decimal(9,2) as amount, "
        "timestamp '2026-01-02 10:00:00' as placed, [1, 2] as list",
    )
    site.load()
    assert site.ask("select typeof(amount), typeof(placed), list from raw_shop.orders") == [
        ("DECIMAL(9,2)", "TIMESTAMP", [1, 2])
    ]
    assert site.ask("select order_id, total_amount::double from sources.orders") == [("1", 12.5)]


def test_parquet_text_that_is_not_marked_as_such_is_read_as_utf8_else_as_hexadecimal(
    site: Site,
) -> None:
    """Impala, Hive and older Spark write text as bytes; a uuid may be bytes too."""
    mapping = KEYED_MAPPING.replace("'web:' || order_no", "lower(name)")
    site.configure(
        shop_config("files: '*.parquet'", mapping + "              cookie_id: visitor.id\n")
    )
    select = (
        "select {} as order_no, {} as name, {{'id': '\\xAB\\x01'::blob}} as visitor, 2 as amount, "
        "timestamp '2026-01-02' as placed"
    )
    site.write_parquet("1.parquet", select.format("encode('ø1')", "encode('Sørensen')"))
    site.write_parquet("2.parquet", select.format("'\\xFF\\x01'::blob", "null::blob"))
    assert [problem for problem in validate(site.settings) if "orders" in problem] == []
    site.load()
    site.write_parquet("3.parquet", select.format("'ø3'", "'Ærø'"))
    site.load()
    assert site.ask("select order_id, crm_id, cookie_id from sources.orders order by _file") == [
        ("ø1", "sørensen", "ab01"),
        ("ff01", None, "ab01"),
        ("ø3", "ærø", "ab01"),
    ]


def test_a_column_that_changes_its_type_between_files_stays_readable(site: Site) -> None:
    site.configure(shop_config("files: '*.parquet'", ORDER_MAPPING))
    common = "'a@x.dk' as email, timestamp '2026-01-02' as placed"
    site.write_parquet("a.parquet", f"select 1 as order_no, 1.5 as amount, {common}, 7 as odd")
    site.write_parquet(
        "b.parquet", f"select 'B2' as order_no, '2,x' as amount, {common}, date '2026-01-01' as odd"
    )
    site.load()
    assert site.ask("select order_id, len(_problems) from sources.orders order by 1") == [
        ("1", 0),
        ("B2", 1),
    ]
    assert site.ask("select odd from raw_shop.orders order by order_no") == [
        ("7",),
        ("2026-01-01",),
    ]


KEYED_MAPPING = """
          order:
            columns:
              order_id: order_no
              crm_id: "'web:' || order_no"
              ordered_at: placed
              currency_code: "'EUR'"
              total_amount: amount * 1.25
"""


@pytest.mark.parametrize(
    ("types", "crm_ids"),
    [
        (("bigint", "double"), ["web:101", "web:102"]),
        (("bigint", "decimal(18, 2)"), ["web:101", "web:102"]),
        (("integer", "varchar"), ["web:101", "web:102"]),
        (("double", "bigint"), ["web:101.0", "web:102.0"]),
    ],
)
def test_a_key_stays_the_same_when_the_type_of_its_number_changes(
    site: Site, types: tuple[str, str], crm_ids: list[str]
) -> None:
    """pandas makes 102.0 of a whole number as soon as one value of the column is empty."""
    site.configure(shop_config("files: '*.parquet'", KEYED_MAPPING))
    landed: list[tuple] = []
    for number, kind in enumerate(types, start=101):
        site.write_parquet(
            f"{number}.parquet",
            f"select {number}::{kind} as order_no, {number - 99} / 2 as amount, "
            "timestamp '2026-01-02' as placed",
        )
        site.load()
        before, landed = landed, site.ask("select order_id, crm_id from sources.orders order by 1")
        assert landed[: len(before)] == before
    assert landed == [("101", crm_ids[0]), ("102", crm_ids[1])]


def test_whole_numbers_with_a_fraction_later_stay_numbers(site: Site) -> None:
    site.configure(shop_config("files: '*.parquet'", KEYED_MAPPING))
    for number, amount in enumerate(("2", "2.5::double", "'nan'::double")):
        site.write_parquet(
            f"{number}.parquet",
            f"select 1 as order_no, {amount} as amount, timestamp '2026-01-02' as placed",
        )
        site.load()
    assert site.ask("select total_amount::double from sources.orders order by _load_id") == [
        (2.5,),
        (3.13,),
        (None,),
    ]


def test_a_file_whose_types_the_mapping_cannot_take_is_refused_and_comes_in_mended(
    site: Site,
) -> None:
    """Once in the lake it would stop every later run of all sources."""
    site.configure(shop_config("files: '*.parquet'", KEYED_MAPPING))
    select = "select {} as order_no, {} as amount, timestamp '2026-01-02' as placed"
    site.write_parquet("1.parquet", select.format(1, "2.0"))
    site.load()
    site.write_parquet("2.parquet", select.format(2, "'2,5'"))
    site.write_parquet("3.parquet", select.format(3, "4.0"))
    site.load()
    assert site.quarantined() == [
        (
            "2.parquet",
            None,
            None,
            'the column "amount" was DECIMAL(2,1) and is VARCHAR now, so that `amount * 1.25` no '
            "longer compiles. Export it with the earlier type, or correct the mapping in "
            "sources.yml so that it takes text",
        )
    ]
    assert site.ask("select order_id from sources.orders order by 1") == [("1",), ("3",)]
    assert site.load()[0].load_id is None
    site.write_parquet("2.parquet", select.format(2, "2.5"))
    site.load()
    assert site.ask("select order_id from sources.orders order by 1") == [("1",), ("2",), ("3",)]


def test_a_record_may_gain_a_field(site: Site) -> None:
    site.configure(
        shop_config("files: '*.parquet'", KEYED_MAPPING.replace("amount *", "paid.sum *"))
    )
    for number, paid in enumerate(("{'sum': 2}", "{'sum': 4, 'tip': 1}")):
        site.write_parquet(
            f"{number}.parquet",
            f"select {number} as order_no, {paid} as paid, timestamp '2026-01-02' as placed",
        )
        site.load()
    assert site.ask("select total_amount::double from sources.orders order by order_id") == [
        (2.5,),
        (5.0,),
    ]


def test_a_csv_without_a_header_takes_its_names_from_the_config(site: Site) -> None:
    header = "files: '*.csv'\n        header: [order_no, email, amount, placed]"
    site.configure(shop_config(header, ORDER_MAPPING))
    site.write("a.csv", "1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert site.ask("select order_no, _row_number from raw_shop.orders") == [("1", 1)]


@pytest.mark.parametrize(
    ("encoding", "ending"),
    [("latin-1", "\n"), ("cp1252", "\r\n"), ("utf-16", "\n"), ("utf-8", "\r\n")],
)
def test_any_encoding_and_line_ending_is_read(site: Site, encoding: str, ending: str) -> None:
    site.configure(shop_config(f"files: '*.csv'\n        encoding: {encoding}", ORDER_MAPPING))
    lines = ["order_no,email,amount,placed,navn", "1,a@x.dk,1,2026-01-02,Søren Ærø", ""]
    site.write("a.csv", ending.join(lines).encode(encoding))
    site.load()
    assert site.ask("select navn from raw_shop.orders") == [("Søren Ærø",)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ('delimiter: "\\t"', "1\ta@x.dk\t1\t2026-01-02\tx"),
        ('delimiter: "||"', "1||a@x.dk||1||2026-01-02||x"),
        ('quote: ""', '1,a@x.dk,1,2026-01-02,"x'),
        ('quote: "\'"', "1,a@x.dk,1,2026-01-02,'\"x'"),
        ('escape: "\\\\"', '1,a@x.dk,1,2026-01-02,"\\"x"'),
    ],
)
def test_other_signs_than_commas_and_quotes_are_read(site: Site, words: str, line: str) -> None:
    site.configure(shop_config(f"files: '*.csv'\n        {words}", ORDER_MAPPING))
    delimiter = line[1 : line.index("a@")]
    site.write(
        "a.csv", delimiter.join(["order_no", "email", "amount", "placed", "note"]) + f"\n{line}\n"
    )
    site.load()
    assert [row[0].strip('"') for row in site.ask("select note from raw_shop.orders")] == ["x"]
    assert site.ask("select order_id, len(_problems) from sources.orders") == [("1", 0)]


def test_a_byte_order_mark_is_no_part_of_the_first_column(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", b"\xef\xbb\xbforder_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert site.ask("select order_id from sources.orders") == [("1",)]


def test_a_byte_order_mark_is_no_part_of_the_first_record(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl*'"))
    content = b'\xef\xbb\xbf{"order_no": 1}\n{"order_no": 2}\n'
    site.write("a.jsonl", content)
    site.write("b.jsonl.gz", gzip.compress(content))
    assert (site.load()[0].rows_landed, site.quarantined()) == (4, [])


def test_files_that_write_a_key_in_upper_and_in_lower_case_both_land(site: Site) -> None:
    site.configure(shop_config("files: '*.jsonl'"))
    for name, key in (("a", "Email"), ("b", "email"), ("c", "EMAIL")):
        site.write_lines(f"{name}.jsonl", {"order_no": 1, key: name})
    site.load()
    assert site.ask("select email, _file from raw_shop.orders order by 1") == [
        (name, f"{name}.jsonl") for name in "abc"
    ]


def test_a_value_may_hold_the_delimiter_quotes_and_line_breaks(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write(
        "a.csv",
        "order_no,email,amount,placed,note\n"
        '1,a@x.dk,1,2026-01-02,"a, ""b""\nc"\n'
        "2,b@x.dk,2,2026-01-02,\n",
    )
    site.load()
    assert site.ask("select order_no, note, _row_number from raw_shop.orders order by 1") == [
        ("1", 'a, "b"\nc', 2),
        ("2", None, 3),
    ]


def test_a_file_name_with_signs_of_a_pattern_is_one_file(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a[1]?.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    assert site.ask("select _file from raw_shop.orders") == [("a[1]?.csv",)]


def test_a_file_that_somebody_is_still_writing_is_left_alone(site: Site) -> None:
    site.configure(shop_config("files: '*'\n        format: csv", ORDER_MAPPING))
    for name in ("a.csv.part", ".a.csv.swp", "b.tmp"):
        site.write(name, "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    assert site.load()[0].files_landed == 0


def test_a_header_without_rows_is_a_day_without_sales(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", "order_no,email,amount,placed\n")
    outcome = site.load()[0]
    assert (outcome.files_landed, outcome.files_refused, outcome.rows_landed) == (1, 0, 0)
    assert site.load()[0].load_id is None


def test_the_lake_alone_rebuilds_the_books(site: Site, tmp_path: Path) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n1,2\n")
    site.load()
    books = ("loads", "loaded_files", "rejected_rows", "mapped_entities")
    before = {book: site.ask(f"select * from sources.{book}") for book in books}
    shutil.rmtree(site.inputs)
    site.inputs.mkdir()
    site.ask("drop schema sources cascade")
    site.load()
    assert {book: site.ask(f"select * from sources.{book}") for book in books} == before
    assert site.ask("select count(*) from sources.orders") == [(1,)]


def test_the_sensor_sees_a_new_file_until_it_is_landed(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    assert pending_files(site.settings) == ""
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.write("bad.csv", "")
    waiting = pending_files(site.settings)
    assert waiting
    assert pending_files(site.settings) == waiting
    site.load()
    assert pending_files(site.settings) == ""


def test_a_file_that_was_only_touched_is_looked_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(shop_config("files: '*.csv'"))
    paths = [site.write("a.csv", "order_no\n1\n"), site.write("bad.csv", "order_no,_file\n1,2\n")]
    site.load()
    for path in paths:
        os.utime(path, (1, 1))
    assert pending_files(site.settings)
    assert site.load()[0].load_id is None
    assert pending_files(site.settings) == ""
    hashed = []
    really = file_landing.prepare
    monkeypatch.setattr(
        file_landing, "prepare", lambda file, *rest: [hashed.append(file.name), really(file, *rest)]
    )
    site.load()
    # A file that was refused is tried in every run.
    assert hashed == ["bad.csv"]


def test_linked_folders_and_upper_case_endings_are_found(site: Site, tmp_path: Path) -> None:
    site.configure(shop_config("files: ['2*/**/*.csv', '*.csv']"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "B.CSV").write_text("order_no\n2\n")
    for name in ("2025/A.csv", "2026/a.Csv", "other/no.csv", "no.txt", "no.csv.bak"):
        site.write(name, "order_no\n1\n")
    (site.inputs / "2026/linked").symlink_to(tmp_path / "elsewhere")
    (site.inputs / "2026/round").symlink_to(site.inputs)
    (site.inputs / "broken.csv").symlink_to(tmp_path / "nothing")
    site.load()
    assert site.ask("select _file from raw_shop.orders order by 1") == [
        ("2025/A.csv",),
        ("2026/a.Csv",),
        ("2026/linked/B.CSV",),
    ]


def test_the_inbox_may_be_empty_or_not_there_yet(site: Site) -> None:
    site.configure(
        shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "'{data_dir}/inbox/back'")
    )
    assert site.load()[0].files_landed == 0
    # A folder made here would be open to others, where nothing has closed the data folder yet.
    assert not site.settings.inbox_dir.exists()
    (site.settings.inbox_dir / "back").mkdir(parents=True)
    (site.settings.inbox_dir / "back" / "a.csv").write_text(
        "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n"
    )
    assert site.load()[0].rows_landed == 1


def test_a_view_of_a_table_that_left_the_config_is_dropped(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.load()
    site.configure(
        shop_config("files: '*.csv'", ORDER_MAPPING).replace("      orders:", "      sales:")
    )
    site.load()
    assert site.ask("select view_name from duckdb_views() where schema_name = 'raw_shop'") == [
        ("sales",)
    ]
