"""Bad input is set aside with its place, its reason and what to do; no good row is lost.

Every case says how many records a person counts in the files, and the books must agree:
landed + quarantined = read, where a row with problems is landed but quarantined by the contract.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from cx_pipeline.sources import file_landing
from cx_pipeline.sources.csv_reader import CsvReader
from cx_pipeline.sources.files import InputFile
from cx_pipeline.sources.lake import LakeError
from cx_pipeline.sources.parts import PartWriter
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config

HEADER = "order_no,email,amount,placed\n"
GOOD = ["1,a@x.dk,10,2026-01-02", "2,b@x.dk,20,2026-01-03", "3,c@x.dk,30,2026-01-04"]


def _csv(*lines: str) -> bytes:
    return (HEADER + "\n".join(lines) + "\n").encode()


def _parquet(tmp_path: Path, select: str, options: str = "") -> bytes:
    path = tmp_path / "made.parquet"
    duckdb.execute(f"copy ({select}) to '{path}' (format parquet{options})")
    return path.read_bytes()


def _record(number: int) -> str:
    return json.dumps({"order_no": number, "email": "a@x.dk", "amount": 1, "placed": "2026-01-02"})


ROWS = (
    "select i as order_no, 'a@x.dk' as email, i * 1.0 as amount, date '2026-01-02' as placed "
    "from range(1, 4) as numbers(i)"
)


@dataclass(frozen=True)
class Case:
    """A bad file, and what must become of its records."""

    name: str
    content: bytes | Callable[[Path], bytes]
    good: int
    quarantined: int
    reason: str
    is_whole_file: bool = False
    table: str = ""


CASES = [
    Case("cut_off_line.csv", _csv(*GOOD, "4,d@x.dk"), 3, 1, "2 fields and the header 4"),
    Case("extra_field.csv", _csv(GOOD[0], "2,b@x.dk,2,5,2026-01-03", GOOD[2]), 2, 1, "5 fields"),
    Case("stray_encoding.csv", _csv(*GOOD).replace(b"b@x", b"\xe6@x"), 2, 1, "encoding"),
    Case("open_quote_at_the_end.csv", _csv(*GOOD, '4,"d@x.dk'), 3, 1, "quote"),
    Case("text_after_quote.csv", _csv(GOOD[0], '2,"b"b,2,2026-01-03', GOOD[2]), 2, 1, "quote"),
    Case("not_a_number.csv", _csv(*GOOD, "4,d@x.dk,ten,2026-01-02"), 3, 1, "not a valid decimal"),
    Case("not_a_date.csv", _csv(*GOOD, "4,d@x.dk,1,2026-02-30"), 3, 1, "not a valid timestamp"),
    Case("no_key.csv", _csv(*GOOD, ",d@x.dk,1,2026-01-02"), 3, 1, "order_id: is empty"),
    Case("blank_key.csv", _csv(*GOOD, "  ,d@x.dk,1,2026-01-02"), 3, 1, "order_id: is empty"),
    Case("future.csv", _csv(*GOOD, "4,d@x.dk,1,2099-01-02"), 3, 1, "ordered_at: in the future"),
    Case("infinite.csv", _csv(*GOOD, "4,d@x.dk,nan,2026-01-02"), 3, 1, "not a valid decimal"),
    Case("empty.csv", b"", 0, 0, "is empty (0 bytes)", is_whole_file=True),
    Case("nul_bytes.csv", _csv("1,a\0@x.dk,1,2026-01-02"), 0, 0, "NUL bytes", is_whole_file=True),
    Case("utf_16.csv", _csv(*GOOD).decode().encode("utf-16"), 0, 0, "utf-16", is_whole_file=True),
    Case(
        "missing_column.csv",
        b"order_no,email,placed\n1,a@x.dk,2026-01-02\n",
        0,
        0,
        'the column "amount" is missing, which order.total_amount is made from',
        is_whole_file=True,
    ),
    Case(
        "header_twice.csv",
        b"order_no,email,amount,placed,Amount\n1,a@x.dk,1,2026-01-02,2\n",
        0,
        0,
        'the column "amount" stands twice',
        is_whole_file=True,
    ),
    Case(
        "reserved_column.csv",
        b"order_no,email,amount,placed,_file\n1,a@x.dk,1,2026-01-02,x\n",
        0,
        0,
        "kept for the lake",
        is_whole_file=True,
    ),
    Case("open_quote.csv", _csv('0,"a@x.dk,1,2026-01-02', *GOOD), 3, 1, "quote is not closed"),
    Case("open_quote_closed_below.csv", _csv('0,"z', *GOOD, '4,"d",4,2026-01-05'), 4, 1, "quote"),
    Case("stray_quotes.csv", _csv('0,"z,1,2026-01-02', *GOOD, '4,d",4,2026-01-05'), 4, 1, "quote"),
    Case("cut_off_text.csv", _csv(*GOOD, '4,"Dear shop,', "I, too,", "want it"), 3, 3, "quote"),
    Case(
        "name_of_the_reader.csv",
        b"order_no,email,amount,placed,file_row_number\n1,a@x.dk,1,2026-01-02,x\n",
        0,
        0,
        "kept for the lake",
        is_whole_file=True,
    ),
    Case(
        "open_quote_in_the_header.csv",
        _csv(*GOOD).replace(b"placed", b'"placed', 1),
        0,
        0,
        "is missing",
        is_whole_file=True,
    ),
    Case(
        "error_page.csv",
        b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
        0,
        0,
        "an error page",
        is_whole_file=True,
    ),
    Case(
        "half_written.jsonl",
        (_record(1) + "\n" + _record(2) + "\n" + _record(3)[:30]).encode(),
        2,
        1,
        "not a JSON object",
    ),
    Case(
        "not_an_object.jsonl",
        "\n".join([_record(1), "[1, 2]", "null", '"x"', _record(5)]).encode(),
        2,
        3,
        "not a JSON object",
    ),
    Case(
        "stray_bytes.jsonl",
        (_record(1) + "\n").encode() + _record(2).encode().replace(b"a@", b"\xe6@"),
        1,
        1,
        "not a JSON object",
    ),
    Case(
        "reserved_key.jsonl",
        (_record(1) + "\n" + _record(2).replace("{", '{"load_id": 7, ') + "\n").encode(),
        1,
        1,
        '"load_id" is kept for the lake',
    ),
    Case("empty_key.jsonl", (_record(1) + '\n{"": 1}\n').encode(), 1, 1, "empty name"),
    Case(
        "key_twice.jsonl",
        (_record(1) + "\n" + _record(2).replace("{", '{"Email": 7, ') + "\n").encode(),
        1,
        1,
        '"email" stands twice',
    ),
    Case(
        "two_spellings.jsonl",
        "\n".join([_record(1), _record(2).replace("email", "Email"), _record(3)]).encode(),
        2,
        1,
        'the key "Email" is written "email" in other records',
    ),
    Case(
        "reserved_key_everywhere.jsonl",
        _record(1).replace("{", '{"_file": 7, ').encode(),
        0,
        0,
        '"_file" is kept for the lake',
        is_whole_file=True,
    ),
    Case("empty_object.jsonl", (_record(1) + "\n{}\n").encode(), 1, 1, "order_id: is empty"),
    Case(
        "error_page.jsonl",
        b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
        0,
        0,
        "no line of the file is a JSON object",
        is_whole_file=True,
    ),
    Case("array.jsonl", b"[" + _record(1).encode() + b"]", 0, 0, "no line", is_whole_file=True),
    Case("empty.jsonl", b"", 0, 0, "is empty (0 bytes)", is_whole_file=True),
    Case(
        "cut_off.parquet",
        lambda folder: _parquet(folder, ROWS)[:-20],
        0,
        0,
        "not a whole Parquet file",
        is_whole_file=True,
    ),
    Case("text.parquet", b"hello", 0, 0, "not a whole Parquet file", is_whole_file=True),
    Case(
        "brotli.parquet",
        lambda folder: _parquet(folder, ROWS, ", compression brotli"),
        0,
        0,
        "Brotli",
        is_whole_file=True,
    ),
    Case(
        "missing_column.parquet",
        lambda folder: _parquet(folder, "select 1 as order_no, 'a' as email, now() as placed"),
        0,
        0,
        'the column "amount" is missing',
        is_whole_file=True,
    ),
    Case(
        "cut_off.csv.gz",
        gzip.compress(_csv(*GOOD) * 50)[:-12],
        0,
        0,
        "damaged or cut off",
        is_whole_file=True,
    ),
    Case(
        "wrong_checksum.csv.gz",
        (lambda packed: packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])(
            gzip.compress(_csv(*GOOD))
        ),
        0,
        0,
        "damaged or cut off",
        is_whole_file=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input_is_set_aside_and_the_rest_lands(site: Site, tmp_path: Path, case: Case) -> None:
    ending = case.name.removesuffix(".gz").rsplit(".", 1)[1]
    site.configure(shop_config(f"files: '*.{ending}*'{case.table}", ORDER_MAPPING))
    content = case.content(tmp_path) if callable(case.content) else case.content
    site.write(case.name, content)
    # A good file beside it, of which nothing may be missing.
    neighbour = {
        "csv": _csv("n1,a@x.dk,10,2026-01-02", "n2,b@x.dk,20,2026-01-03"),
        "jsonl": (_record(101) + "\n" + _record(102) + "\n").encode(),
        "parquet": _parquet(tmp_path, ROWS.replace("(1, 4)", "(101, 103)")),
    }[ending]
    site.write(f"neighbour.{ending}", neighbour)
    site.load()

    landed = site.ask(f"select count(*) from sources.orders where _file = '{case.name}'")[0][0]
    problems = site.ask(
        f"select count(*) from sources.orders where len(_problems) > 0 and _file = '{case.name}'"
    )[0][0]
    rejected = [row for row in site.quarantined() if row[0] == case.name]
    rows_rejected = [row for row in rejected if row[1] is not None]
    assert landed - problems == case.good
    assert problems + len(rows_rejected) == case.quarantined
    assert [row[1] for row in rejected] == [None] * case.is_whole_file + sorted(
        row[1] for row in rows_rejected
    )
    reasons = [row[3] for row in rejected] + [
        problem
        for (found,) in site.ask("select _problems from sources.orders where len(_problems) > 0")
        for problem in found
    ]
    assert case.reason in " ".join(reasons)
    assert site.ask(
        "select count(*), count(*) filter (len(_problems) > 0) from sources.orders "
        f"where _file = 'neighbour.{ending}'"
    ) == [(2, 0)]
    # The same bad input again is nothing new.
    assert site.load()[0].load_id is None


def test_an_open_quote_costs_its_own_line_however_far_the_next_quote_is(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'"))
    # Large enough for several threads, of which the later ones begin behind the open quote.
    lines = [f"{row},person{row:06}@example.dk,{row},2026-01-02" for row in range(2, 300_002)]
    lines[100] = '102,"person@example.dk,102,2026-01-02'
    lines[150_000] = '150002,"person@example.dk",1,2026-01-02'
    site.write("a.csv", _csv(*lines))
    outcome = site.load()[0]
    assert (outcome.rows_landed, outcome.rows_rejected) == (299_999, 1)
    assert site.quarantined()[0][1] == 102
    assert site.ask("select count(*) from raw_shop.orders where order_no::int <> _row_number") == [
        (0,)
    ]


def test_rows_between_quotes_are_told_from_text_in_lines(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'"))
    address = '"Main Street 4, 2nd floor\nYard, left\nBerlin, DE"'
    site.write("text.csv", _csv(*GOOD, f"4,{address},1,2026-01-02", f"5,6,{address},x"))
    site.write("short.csv", _csv('1,"a,1,2026-01-02', '2,"b",2,2026-01-03', *GOOD))
    site.load()
    # Of one line behind an open quote nobody can tell: it is set aside with it.
    assert [row[:2] for row in site.quarantined()] == [("short.csv", 2), ("short.csv", 3)]
    assert site.ask(
        "select count(*), count(*) filter (contains(email || amount, 'Yard')) from raw_shop.orders"
    ) == [(3 + 5, 2)]


def test_mixed_line_ends_are_read_and_those_in_quotes_kept(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'"))
    site.write("lf.csv", HEADER + '1,a,1,x\n2,"b\r\nc\rd\n",2,x\r\n3,"c",3,x\r\n4,5\n')
    site.write("lf_header.csv", HEADER + "1,a,1,x\r\n2,b,2,x\r\n")
    site.write("joined.csv", (HEADER + "1,a,1,x\n").replace("\n", "\r") + "2,b,2,x\n")
    assert site.load()[0].rows_landed == 3 + 2 + 2
    assert [row[:2] for row in site.quarantined()] == [("lf.csv", 5)]
    assert site.ask("select email from raw_shop.orders where len(email) > 1") == [("b\r\nc\rd\n",)]
    assert site.ask("select * from raw_shop.orders where order_no::int + 1 <> _row_number") == []


def test_a_file_removed_while_it_is_read_is_refused_and_the_others_land(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(shop_config("files: '*.csv'"))
    paths = [site.write(f"{name}.csv", _csv(*GOOD)) for name in "abcd"]
    really = CsvReader.columns

    def columns(reader: CsvReader, file: InputFile) -> tuple[str, ...]:
        if file.name == "a.csv":
            paths[0].unlink()
        found = really(reader, file)
        if file.name == "c.csv":
            paths[1].unlink()
        return found

    monkeypatch.setattr(CsvReader, "columns", columns)
    assert site.load()[0].rows_landed == 6
    assert [row[0] for row in site.quarantined()] == ["a.csv", "b.csv"]


def test_no_fault_of_one_table_stops_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "files: '*.csv'\n      events:\n        files: '*.jsonl'"
    site.configure(shop_config(both))
    site.write("a.csv", _csv(*GOOD))
    site.write("a.jsonl", _record(1))
    with monkeypatch.context() as patch:
        patch.setattr(CsvReader, "read", lambda *_: (_ for _ in ()).throw(RuntimeError("ann@x.dk")))
        orders, events = site.load_with_errors()
    assert "shop.orders: landing failed with RuntimeError" in orders.error
    assert "ann@x.dk" not in orders.error
    assert (events.error, events.rows_landed) == ("", 1)
    assert [outcome.rows_landed for outcome in site.load()] == [3, 0]


@pytest.mark.parametrize(
    ("of", "name", "fault"),
    [
        (PartWriter, "copy", duckdb.IOException("Could not write: Disk quota exceeded")),
        (PartWriter, "copy", duckdb.IOException("Could not write: No space left on device")),
        (PartWriter, "_new_part", PermissionError(13, "Permission denied")),
        (file_landing, "prepare", OSError(122, "Disk quota exceeded")),
    ],
)
def test_what_this_machine_cannot_write_refuses_no_file(
    site: Site, monkeypatch: pytest.MonkeyPatch, of: object, name: str, fault: Exception
) -> None:
    site.configure(shop_config("files: '*.csv'"))
    site.write("a.csv", _csv(*GOOD))

    def fail(*given: object) -> None:
        if isinstance(fault, PermissionError):
            fault.filename = str(given[0].scratch / "made-0.parquet")
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(of, name, fail)
        (orders,) = site.load_with_errors()
    assert f"shop.orders: landing failed with {type(fault).__name__}: " in orders.error
    assert site.quarantined() == []
    assert site.load()[0].rows_landed == 3


@pytest.mark.parametrize("ending", [".zst", ".zip"])
def test_a_packing_that_cannot_be_checked_is_refused(site: Site, ending: str) -> None:
    site.configure(shop_config("files: '*.csv*'"))
    site.write(f"a.csv{ending}", b"(\xb5/\xfd cut off")
    site.load()
    assert f"{ending} is not unpacked here, but .gz, .bz2, .xz are" in site.quarantined()[0][3]


def test_a_mended_file_comes_in_with_the_next_run(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv(*GOOD, "4,d@x.dk"))
    site.write("b.csv", "")
    site.load()
    site.write("a.csv", _csv(*GOOD, "4,d@x.dk,40,2026-01-05"))
    site.write("b.csv", _csv("5,e@x.dk,50,2026-01-05"))
    site.load()
    assert site.ask("select order_id from sources.orders where _load_id = 2 order by 1") == [
        (number,) for number in "12345"
    ]


def test_a_file_refused_for_its_columns_comes_in_when_the_mapping_is_mended(site: Site) -> None:
    wrong = ORDER_MAPPING.replace("total_amount: amount", "total_amount: total")
    site.configure(shop_config("files: '*.csv'", wrong))
    site.write("a.csv", _csv(*GOOD))
    assert site.load()[0].files_refused == 1
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    assert site.load()[0].rows_landed == 3


def test_a_refused_file_that_is_taken_away_is_noted_once_and_may_come_again(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv(*GOOD))
    junk = site.write("junk.csv", "a;b\n1;2\n")
    assert site.load()[0].files_refused == 1
    content = junk.read_text()
    junk.unlink()
    for _ in range(2):
        site.load()
        assert site.ask("select load_id, file from sources.taken_away_files") == [(2, "junk.csv")]
    site.write("junk.csv", content)
    assert site.load()[0].files_refused == 1
    assert [row[0] for row in site.quarantined()] == ["junk.csv", "junk.csv"]
    site.write("junk.csv", _csv("9,ann@x.dk,1.0,2026-01-02"))
    assert site.load()[0].rows_landed == 1


def test_reasons_quote_no_value_of_a_row(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv("1,secret@x.dk,ten,2026-01-02", "2,secret@x.dk", "3,s\xff@x"))
    site.load()
    told = str(site.quarantined()) + str(site.ask("select _problems from sources.orders"))
    assert "secret" not in told
    assert "ten" not in told.replace("written", "")


def test_one_unreadable_file_among_many_is_found(site: Site) -> None:
    site.configure(shop_config("files: '*.parquet'", ORDER_MAPPING))
    for number in range(30):
        site.write_parquet(f"{number:02}.parquet", ROWS.replace("1.0", f"{number}.0"))
    path = site.inputs / "17.parquet"
    content = bytearray(path.read_bytes())
    # The first page's header; the footer stays whole, so only reading the rows shows it.
    content[4:12] = b"\xff" * 8
    path.write_bytes(content)
    site.load()
    assert [row[0] for row in site.quarantined()] == ["17.parquet"]
    assert site.ask("select count(*) from sources.orders") == [(29 * 3,)]


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
def test_a_flipped_bit_in_the_lake_stops_the_run(site: Site, offset: float) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv(*(f"{n},a@x.dk,{n},2026-01-02" for n in range(5000))))
    site.load()
    part = next(site.settings.lake_dir.glob("shop/orders/load_id=1/*.parquet"))
    content = bytearray(part.read_bytes())
    content[int(len(content) * offset)] ^= 4
    part.write_bytes(content)
    with pytest.raises(LakeError, match="holds other bytes than when it was written"):
        site.load()


def test_a_lake_file_that_was_lost_is_landed_anew_as_the_error_says(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv(*GOOD))
    site.load()
    part = next(site.settings.lake_dir.glob("shop/orders/load_id=1/*.parquet"))
    part.unlink()
    with pytest.raises(LakeError, match="is missing.*delete it and _manifest/load_id=000001/shop"):
        site.load()
    (site.settings.lake_dir / "_manifest/load_id=000001/shop.orders.json").unlink()
    assert site.load()[0].rows_landed == 3


@pytest.mark.parametrize("cursor", ["", "\n        cursor: id"])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_rows_of_a_database_are_read_anew_as_the_error_says(
    site: Site, cursor: str, lost: int
) -> None:
    """What later loads know of the table would keep them out."""
    site.configure(
        "sources:\n  erp:\n    url: sqlite:///../in/erp.sqlite\n    tables:\n"
        f"      orders:\n        table: orders{cursor}\n"
    )
    site.write_sqlite("erp.sqlite", "create table orders (id integer)")
    for number in (20_000, 40_000, 60_000):
        site.write_sqlite("erp.sqlite", f"insert into orders values ({number})")
        site.load()
    lake = site.settings.lake_dir
    (lake / f"erp/orders/load_id={lost}/part-0.parquet").unlink()
    (lake / f"_manifest/load_id=00000{lost}/erp.orders.json").unlink()
    for _ in range(2):
        site.load()
        assert site.ask("select distinct id from raw_erp.orders order by 1") == [
            ("20000",),
            ("40000",),
            ("60000",),
        ]
    assert site.load()[0].load_id is None


def test_the_record_of_a_load_is_written_anew_from_its_other_files(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING))
    site.write("a.csv", _csv(*GOOD))
    site.load()
    before = site.ask("select * from sources.loads")
    path = site.settings.lake_dir / "_manifest/load_id=000001/load.json"
    path.write_text("{")
    with pytest.raises(LakeError, match="delete it and run again: it is then written anew"):
        site.load()
    path.unlink()
    site.load()
    assert site.ask("select * from sources.loads") == before
    assert site.ask("select count(*) from sources.orders") == [(3,)]
