"""A fault in sources.yml is told with its file, its line and what to do."""

from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from cx_pipeline.cli import app
from cx_pipeline.settings import PROJECT_DIR
from cx_pipeline.sources.config import (
    ColumnMapping,
    EntityMapping,
    SourceConfig,
    TableConfig,
    load_sources,
)
from cx_pipeline.sources.validate import validate
from cx_pipeline.warehouse.config_files import ConfigError, ConfigModel, read_config
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config

GOOD = shop_config("files: '*.csv'", ORDER_MAPPING)


TWO_PLACES = "path: ../in\n    url: sqlite:///x"
BAD_ENCODING = "'*.csv'\n        encoding: utf9"
WITH_TABLE = "'*.csv'\n        table: orders"
TOTAL = "total_amount: amount"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("files:", "fiels:", 8, 'orders.fiels: "fiels" is not known here; did you mean "files"?'),
        ("path: ../in", TWO_PLACES, 3, "shop: give either path: (files) or url: (a database)"),
        ("zone: UTC", "zone: Cph", 5, 'time_zone: no time zone is named "Cph"; write an IANA name'),
        ("'*.csv'", BAD_ENCODING, 9, 'orders.encoding: no encoding is named "utf9"; common ones'),
        ("'*.csv'", "'*.data'", 7, "orders: the file name does not tell the format; add format:"),
        ("'*.csv'", WITH_TABLE, 9, "orders.table: the source is a folder; this word belongs"),
        ("files: '*.csv'", "format: csv", 7, "tables.orders: give either files:"),
        ("'*.csv'", "'/in/*.csv'", 8, '"/in/*.csv" is not a glob below the source\'s path'),
        ("'*.csv'", "['*.csv', '']", 8, '"" is not a glob below the source\'s path'),
        ("'*.csv'", "'**.csv'", 8, 'in "**.csv" a ** is not a folder of its own; write "**/*.csv"'),
        ("'*.csv'", "'*.csv.zst'", 8, "is packed in a way that is not read; .gz, .bz2, .xz are"),
        ("'*.csv'", "'*.XLSX'", 8, "is a spreadsheet, which is not read; save its sheet as CSV"),
        ("  order:", "  ordr:", 11, 'no entity of the input contract is named "ordr"; did you'),
        (
            "email: email",
            "e_mail: email",
            14,
            'order has no column "e_mail"; did you mean "email"?',
        ),
        (f"{TOTAL}\n", "\n", 11, "order needs total_amount; map each of them"),
        (TOTAL, "total_amount: {expresion: x}", 17, 'did you mean "expression"?'),
        (TOTAL, "total_amount: {expression: x, decimal: x}", 17, "should be '.' or ','"),
        (TOTAL, "total_amount:", 17, "total_amount"),
        ("  shop:", "  Web-Shop:", 3, "a source's name is lower case letters, digits and _"),
        ("      orders:", "      Orders:", 7, "a table's name is lower case letters"),
        ("email: email", "order_id: email", 14, 'found duplicate key "order_id"; keep one'),
        ("path: ../in", "path: [", 6, "not valid YAML"),
        ("path: ../in", "path: 'x", 8, "not valid YAML"),
    ],
)
def test_a_fault_names_file_line_and_remedy(
    site: Site, old: str, new: str, line: int, said: str
) -> None:
    site.configure(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_sources(site.settings)
    assert f"config/sources.yml line {line}: " in str(error.value)
    assert said in str(error.value)


def test_every_fault_is_told_at_once(site: Site) -> None:
    faulty = GOOD.replace("email: email", "e_mail: email").replace("total_amount", "totl_amount")
    site.configure(faulty)
    with pytest.raises(ConfigError) as error:
        load_sources(site.settings)
    assert len(str(error.value).splitlines()) == 3


def test_a_missing_file_and_a_missing_key_say_so(tmp_path: Path) -> None:
    class Model(ConfigModel):
        name: str
        count: int = 1

    with pytest.raises(ConfigError, match="does not exist; create it"):
        read_config(tmp_path / "none.yml", Model)
    path = tmp_path / "some.yml"
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match='some.yml line 1: name: is missing; add "name:".'):
        read_config(path, Model)
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="line 1: must start with a key"):
        read_config(path, Model)
    path.write_text("name: x\ncount: many\n")
    with pytest.raises(ConfigError, match=r"line 2: count: input should be .* \(given: 'many'\)"):
        read_config(path, Model)


def test_lists_and_nested_models_have_their_lines_too(tmp_path: Path) -> None:
    class Inner(BaseModel, extra="forbid"):
        name: str

    class Outer(BaseModel):
        items: list[Inner] | None = None

    path = tmp_path / "some.yml"
    path.write_text("items:\n  - name: a\n  - nam: b\n")
    with pytest.raises(ConfigError) as error:
        read_config(path, Outer)
    assert 'line 3: items.1.nam: "nam" is not known here; did you mean "name"?' in str(error.value)


def test_a_country_named_no_stays_a_country(tmp_path: Path) -> None:
    """YAML 1.1 reads NO as false; we read 1.2."""

    class Model(ConfigModel):
        country: str

    path = tmp_path / "some.yml"
    path.write_text("country: NO\n")
    assert read_config(path, Model).country == "NO"


def test_validate_finds_nothing_wrong_with_a_good_company(site: Site) -> None:
    site.configure(GOOD)
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    assert validate(site.settings) == []
    assert not site.settings.lake_dir.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("*.csv", "*.none.csv", "no file matches *.none.csv below ../in."),
        ("../in", "../nowhere", "there is no folder"),
        (
            "email: email",
            "email: mail",
            'file a.csv: the column "mail" is missing, which order.email is made from',
        ),
        ("email: email", "email: upper(email", "DuckDB does not understand `upper(email`"),
        (
            "ordered_at: placed",
            "ordered_at: '1'",
            "gives INTEGER, but the column is timestamp; for a number since 1970 add epoch",
        ),
        ("delimiter", "delimiter", None),
    ],
)
def test_validate_tells_before_any_run(site: Site, old: str, new: str, said: str | None) -> None:
    site.configure(GOOD.replace(old, new))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    problems = validate(site.settings)
    if said is None:
        assert problems == []
        return
    assert len(problems) == 1
    assert said in problems[0]
    assert "config/sources.yml line " in problems[0]


def test_validate_guesses_a_misspelt_json_key(site: Site) -> None:
    site.configure(GOOD.replace("*.csv", "*.jsonl").replace("email: email", "email: emial"))
    site.write_lines(
        "a.jsonl", {"order_no": 1, "email": "a@x.dk", "amount": 1, "placed": "2026-01-02"}
    )
    assert [
        'no record has the key "emial"; did you mean "email"?' in text
        for text in validate(site.settings)
    ] == [True]


@pytest.mark.parametrize(
    "text", ["[\n{}\n]\n", "[]", "{}", "null", "\n\n", '{"a":', '{"": 1}', "<html>error</html>"]
)
def test_validate_tells_of_a_file_without_any_record(site: Site, text: str) -> None:
    site.configure(GOOD.replace("*.csv", "*.jsonl"))
    site.write("a.jsonl", text)
    (problem,) = validate(site.settings)
    assert "file a.jsonl: " in problem
    assert "JSON" in problem or "empty" in problem


@pytest.mark.parametrize(
    ("email", "header", "said"),
    [
        ("email", "order_no;email;amount;placed", "the header is one column, order_no;email"),
        ("email", "Report of May", "if that is a title"),
        ("e-mail", "order_no,e-mail,amount,placed", "write '\"e-mail\"' to name the column"),
        ("email", "order_no,email,amount,PK\0", "holds a zero byte"),
    ],
)
def test_validate_tells_what_is_odd_about_a_header(
    site: Site, email: str, header: str, said: str
) -> None:
    site.configure(GOOD.replace("email: email", f"email: {email}"))
    site.write("a.csv", f"{header}\n1,a@x.dk,1,2026-01-02\n")
    (problem,) = validate(site.settings)
    assert said in problem


def test_validate_finds_nothing_wrong_with_a_mapping_that_picks_no_row(site: Site) -> None:
    site.configure(GOOD.replace("columns:", "where: amount = '2'\n            columns:"))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    assert validate(site.settings) == []


@pytest.mark.parametrize(
    ("where", "orders", "undecided"),
    [
        ("storno <> 'X'", ["3"], 2),
        ("storno is distinct from 'X'", ["1", "3", "4"], 0),
        ("(storno <> 'X') is true", ["3"], 0),
    ],
)
def test_validate_counts_the_rows_for_which_a_where_is_neither_true_nor_false(
    site: Site, monkeypatch: pytest.MonkeyPatch, where: str, orders: list[str], undecided: int
) -> None:
    # cx sets these for dbt and Dagster; they must not reach other tests.
    for name, folder in (("CX_CONFIG_DIR", "config"), ("CX_DATA_DIR", "data")):
        monkeypatch.setenv(name, str(site.folder / folder))
    site.configure(GOOD.replace("columns:", f'where: "{where}"\n            columns:'))
    site.write(
        "a.csv",
        "order_no,email,amount,placed,storno\n1,a@x.dk,1,2026-01-02,\n2,a@x.dk,1,2026-01-02,X\n"
        '3,a@x.dk,1,2026-01-02,N\n4,a@x.dk,1,2026-01-02,""\n',
    )
    site.load()
    assert [row[0] for row in site.ask("select order_id from sources.orders order by 1")] == orders
    told = CliRunner().invoke(app, ["validate"])
    assert told.exit_code == 0, told.output
    place = "sources.yml line 12: sources.shop.tables.orders.entities.order.where"
    said = f"of 4 rows looked at, a run leaves out {undecided} for which `{where}` is neither true"
    assert (f"{place}: {said}" in told.output, "look at" in told.output) == (bool(undecided),) * 2


def test_validate_reads_a_query_over_the_columns_of_all_files(site: Site) -> None:
    """A column that got another name in between."""
    site.configure(
        GOOD.split("        entities:")[0]
        + """      all_orders:
        query: "select coalesce(total, amount) as total, * exclude (total) from orders"
        entities:
          order:
            columns:
              order_id: order_no
              ordered_at: placed
              currency_code: "'DKK'"
              total_amount: total
"""
    )
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.write("b.csv", "order_no,email,total,placed\n2,a@x.dk,1,2026-01-02\n")
    assert validate(site.settings) == []
    assert site.load()
    assert site.ask("select order_id, total_amount::int from sources.orders order by 1") == [
        ("1", 1),
        ("2", 1),
    ]


def test_validate_passes_over_keys_that_cannot_land(site: Site) -> None:
    site.configure(GOOD.replace("*.csv", "*.jsonl"))
    good = {"order_no": 1, "email": "a@x.dk", "placed": "2026-01-02", "amount": 1}
    site.write_lines("a.jsonl", good, {"": 1}, {"load_id": 1}, {"Email": 1})
    assert validate(site.settings) == []


def test_validate_checks_the_columns_of_a_database(site: Site) -> None:
    site.configure(
        """
sources:
  erp:
    url: sqlite:///../in/erp.sqlite
    tables:
      customers:
        cursor: changed
        entities:
          contact: {columns: {contact_id: id, email: mail}}
      visits: {}
"""
    )
    site.write_sqlite("erp.sqlite", "create table customers (id, email)")
    problems = "\n".join(validate(site.settings))
    assert 'line 7: sources.erp.tables.customers.cursor: there is no column "changed"' in problems
    assert '`mail` names the column "mail", which the table has not' in problems
    assert "line 10: sources.erp.tables.visits: no such table: visits" in problems


CONSENT = """
          consent_event:
            columns:
              consent_event_id: order_no
              email: email
              purpose: "'marketing'"
              status: amount
              captured_at: placed
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,a@x.dk,1,2026-01-02\n" * 95 + "2,b@x.dk,1,31.12.2025\n" * 5, None),
        (
            "1,a@x.dk,1,2026-01-02\n" * 94 + "2,b@x.dk,1,31.12.2025\n" * 5 + ",,1,2026-01-02\n",
            "of 100 rows looked at, a run would set aside 6: ordered_at: not a valid timestamp "
            "(5); order_id: is empty (1). Correct the mapping",
        ),
    ],
)
def test_validate_tells_when_a_run_would_set_aside_more_than_it_tolerates(
    site: Site, text: str, said: str | None
) -> None:
    """5% by default."""
    site.configure(GOOD)
    site.write("a.csv", f"order_no,email,amount,placed\n{text}")
    problems = validate(site.settings)
    assert len(problems) == (said is not None)
    if said:
        assert f"sources.shop.tables.orders.entities.order: {said}" in problems[0]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "erp.sqlite"])
def test_validate_reads_rows_of_every_kind_of_source(site: Site, name: str) -> None:
    good = shop_config(f"files: '*.{name.partition('.')[2]}'", ORDER_MAPPING)
    row = {"order_no": "1", "email": "a@x.dk", "amount": "1", "placed": "31.12.2025"}
    if name == "a.csv":
        site.write(name, "order_no,email,amount,placed\n1,a@x.dk,1,31.12.2025\n")
    elif name == "a.jsonl":
        site.write_lines(name, row)
    elif name == "a.parquet":
        site.write_parquet(name, f"select unnest({row})")
    else:
        good = shop_config("{}", ORDER_MAPPING).replace(
            "path: ../in", f"url: sqlite:///../in/{name}"
        )
        good = good.replace("        {}\n", "")
        site.write_sqlite(
            name,
            f"create table orders as select {', '.join(f'{v!r} as {k}' for k, v in row.items())}",
        )
    site.configure(good)
    (problem,) = validate(site.settings)
    assert "of 1 rows looked at, a run would set aside 1: ordered_at: not a valid" in problem


def test_validate_looks_at_the_rows_of_groups_too(site: Site) -> None:
    grouped = GOOD.replace("columns:", "group_by: [order_no, email, placed]\n            columns:")
    site.configure(grouped.replace(": amount", ": sum(amount::int)"))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,31.12.2025\n")
    (problem,) = validate(site.settings)
    assert "of 1 rows looked at, a run would set aside 1: ordered_at: not a valid" in problem


def test_validate_tells_of_one_statement_of_consent_that_cannot_be_read(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", CONSENT))
    rows = "1,a@x.dk,granted,2026-01-02\n" * 99 + "2,b@x.dk,withdrawn,yesterday\n"
    site.write("a.csv", f"order_no,email,amount,placed\n{rows}")
    (problem,) = validate(site.settings)
    assert "a run would set aside 1: captured_at: not a valid timestamp (1)" in problem


def test_validate_tells_of_an_expression_that_fails_on_a_row(site: Site) -> None:
    site.configure(GOOD.replace("total_amount: amount", "total_amount: amount::int"))
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,much,2026-01-02\n")
    (problem,) = validate(site.settings)
    assert "`amount::int` fails on a row" in problem
    assert "much" not in problem


def test_a_variable_that_is_not_set_is_told(site: Site) -> None:
    site.configure(GOOD.replace("../in", "'${CX_TEST_NOT_SET}/in'"))
    assert "sources.yml names ${CX_TEST_NOT_SET}, which is not set" in validate(site.settings)[0]


def test_a_password_that_would_end_the_credentials_of_its_url_is_not_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CX_TEST_PASSWORD", "s3cr@t-word")
    url = "postgresql://reader:${CX_TEST_PASSWORD}@127.0.0.1:1/prod"
    site.configure(f"sources:\n  erp:\n    url: {url}\n    tables: {{customers: {{}}}}\n")
    (problem,) = validate(site.settings)
    assert "CX_TEST_PASSWORD" in problem
    assert "%40" in problem
    assert "t-word" not in problem


def test_validate_tells_of_an_inbox_that_no_source_reads(site: Site) -> None:
    site.configure(GOOD)
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n")
    site.settings.inbox_dir.mkdir(parents=True)
    assert validate(site.settings) == []
    (site.settings.inbox_dir / "consents.jsonl").write_text("{}\n")
    (problem,) = validate(site.settings)
    assert "in which are 1 files, such as changes of consent; copy the source `inbox`" in problem


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:1/prod?user=reader&password=s3cr%40t-word",
        "postgresql://reader:s3cr%40t-word@127.0.0.1:1/prod",
    ],
)
def test_a_password_that_is_written_into_a_url_is_not_told(site: Site, url: str) -> None:
    site.configure(f"sources:\n  erp:\n    url: {url}\n    tables: {{customers: {{}}}}\n")
    (problem,) = validate(site.settings)
    assert "does not answer" in problem
    assert "t-word" not in problem


def test_a_row_in_the_place_of_a_header_is_not_told(site: Site) -> None:
    site.configure(GOOD)
    for row in ("A1,signe.vang@example.dk,10,EUR", "A1;signe.vang@example.dk;10;EUR"):
        site.write("a.csv", f"{row}\n{row}\n")
        (problem,) = validate(site.settings)
        assert "signe" not in problem
        assert "header" in problem


def test_the_page_about_sources_names_every_word_and_its_example_is_valid(site: Site) -> None:
    page = (PROJECT_DIR / "docs" / "sources.md").read_text(encoding="utf-8")
    for model in (SourceConfig, TableConfig, EntityMapping, ColumnMapping):
        for word in model.model_fields:
            assert f"`{word}`" in page or f"{word}:" in page, word
    site.configure(page.split("```yaml\n")[1].split("```")[0])
    assert list(load_sources(site.settings).sources) == ["crm", "erp"]
