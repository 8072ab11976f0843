"""What becomes of landed rows: which one stands, which are set aside, and do the books balance."""

import datetime as dt
import hashlib
import hmac
import random
import re
from pathlib import Path
from uuid import UUID

import duckdb
import jinja2
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from cx_pipeline.settings import DBT_PROJECT_DIR, load_settings
from cx_pipeline.warehouse.phone_numbers import (
    _parsed_phone,
    normalise_phone,
    plain_phone_pattern,
)
from cx_pipeline.warehouse.session import prepare_connection
from tests.journey.landed_sources import ENTITIES, LandedSources

MODELS = (
    *(f"stg_{entity}" for entity in ENTITIES),
    "load_balance",
    "quarantine",
)
DAY = dt.datetime.fromisoformat("2026-03-01T12:00")
UNREAD = ["occurred_at: is no timestamp"]


def order(order_id: str, **values: object) -> dict:
    return {
        "order_id": order_id,
        "ordered_at": DAY,
        "currency_code": " dkk ",
        "total_amount": 100,
        **values,
    }


def product(product_id: str, brand: str, **values: object) -> dict:
    return {"product_id": product_id, "brand": brand, **values}


def mail(event_id: str, event_name: str | None, **values: object) -> dict:
    return {"event_id": event_id, "event_name": event_name, "channel": "email", **values}


def keyed_hash(identifier: str) -> UUID:
    digest = hmac.new(b"test key", identifier.encode(), hashlib.sha256).hexdigest()
    return UUID(digest[:32])


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> LandedSources:
    """Two loads; the second corrects what the first had wrong."""
    landed = LandedSources(tmp_path_factory.mktemp("staging"))
    landed.land(
        (
            "products",
            "a.csv",
            [
                product("p1", "first"),
                product("p1", "first"),
                product("p1", "another"),
                product("p2", "in a"),
                product("p3", "broken", _problems=["list_price: 'x' is no number"]),
                product("p4", "old"),
            ],
        ),
        ("products", "b.csv", [product("p2", "in b")]),
        ("products", "day-9.csv", [product("p5", "in 9")]),
        ("products", "day-10.csv", [product("p5", "in 10")]),
        ("stores", "bad.csv", [{"store_id": "s1", "_problems": ["store_id: is taken"]}]),
        (
            "orders",
            "orders.csv",
            [
                order("o1", email=" Ann@Example.com ", cookie_id="cookie"),
                order("o2", crm_id="c1", email="ann@example.com"),
                order("o3", email="nonsense"),
                order("o4"),
                order("o5"),
            ],
        ),
        (
            "orders",
            "till.csv",
            [order("o4", total_amount=77, _table="till"), order("o5", _table="till")],
        ),
        # A query over the table of this file makes rows of another table's name.
        (
            "orders",
            "made.csv",
            [order("o6", _table="made", _problems=["total_amount: 'x' is no number"])],
        ),
        # A database's table: its rows bear its name as their file.
        (
            "stores",
            "stores",
            [{"store_id": key, "_problems": ["country: is empty"]} for key in ("s2", "s3", None)],
        ),
    )
    landed.dbt("run", "--select", *MODELS)
    landed.land(
        (
            "products",
            "a.csv",
            [product("p1", "first"), product("p3", "mended"), product("p4", "new")],
        ),
        ("stores", "bad.csv", [{"store_id": "s1"}]),
        ("stores", "stores", [{"store_id": "s2"}]),
        ("orders", "made.csv", [order("o6", _table="made")]),
        (
            "message_events",
            "mails.csv",
            [
                mail("m1", " SpamReport "),
                mail("m2", "opened", _problems=UNREAD),
                mail("m3", "Complaint", _problems=UNREAD),
                mail("m4", "unsubscribed", _problems=UNREAD),
                mail("m5", None, _problems=["event_name: is empty"]),
            ],
        ),
    )
    with landed.connect() as connection:
        connection.execute(
            "insert into sources.rejected_rows values "
            "(2, 'test', 'products', 'c.csv', 7, null, 'has 3 fields instead of 5'), "
            "(2, 'test', 'products', 'd.csv', null, null, 'cannot be read'), "
            "(2, 'test', 'products', 'e.csv', 4, null, 'has 3 fields instead of 5'), "
            "(2, 'test', 'products', 'e.csv', null, null, 'cannot be read')"
        )
        connection.execute(
            "insert into sources.taken_away_files values (3, 'test', 'products', 'e.csv')"
        )
    landed.dbt("run", "--select", *MODELS)
    return landed


def test_the_macros_know_the_key_of_every_entity():
    macro = (Path(DBT_PROJECT_DIR) / "macros" / "accepted_rows.sql").read_text()
    written = dict(re.findall(r"'(\w+)': '(\w+)'", macro))
    assert written == {name: table["columns"][0]["name"] for name, table in ENTITIES.items()}


def test_of_each_key_one_row_stands(landed):
    brands = landed.query("select product_id, brand, _load_id from staging.stg_products order by 1")
    assert brands == [
        ("p1", "first", 2),
        ("p2", "in b", 1),
        ("p3", "mended", 2),
        ("p4", "new", 2),
        ("p5", "in 10", 1),
    ]


def test_the_books_of_every_load_balance(landed):
    books = landed.query(
        "select load_id, entity, table_name, rows_read, rows_landed, rows_deduplicated, "
        "rows_quarantined from staging.load_balance order by all"
    )
    assert books == [
        (1, "orders", "made", 1, 0, 0, 1),
        (1, "orders", "orders", 5, 3, 1, 1),
        (1, "orders", "till", 2, 2, 0, 0),
        (1, "products", "products", 9, 4, 3, 2),
        (1, "stores", "stores", 4, 0, 0, 4),
        (2, "message_events", "message_events", 5, 1, 0, 4),
        (2, "orders", "made", 1, 1, 0, 0),
        (2, "products", "products", 5, 3, 0, 2),
        (2, "stores", "stores", 2, 2, 0, 0),
    ]
    assert all(read == sum(parts) for _, _, _, read, *parts in books)


def failures(connection: duckdb.DuckDBPyConnection, test: str) -> list[str]:
    """Run a dbt test of the whole project and return the problems it finds."""
    template = (Path(DBT_PROJECT_DIR) / "tests" / f"{test}.sql").read_text()
    sql = jinja2.Environment(autoescape=False).from_string(template)
    keys = {name: table["columns"][0]["name"] for name, table in ENTITIES.items()}
    rendered = sql.render(
        config=lambda **_: "",
        ref=lambda model: f"staging.{model}",
        source=lambda schema, table: f"{schema}.{table}",
        entity_keys=lambda: keys,
    )
    return [row[0] for row in connection.execute(rendered).fetchall()]


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("select 1", []),
        (
            "insert into staging.stg_products from staging.stg_products where product_id = 'p4'",
            ["products of test.products, load 2: 3 rows should stand in staging and 4 do"],
        ),
        (
            "delete from staging.stg_stores where store_id = 's2'",
            ["stores of test.stores, load 2: 2 rows should stand in staging and 1 do"],
        ),
        (
            "delete from staging.load_balance where entity = 'orders' and table_name = 'till'",
            ["orders of test.till, load 1: 0 rows should stand in staging and 2 do"],
        ),
    ],
)
def test_the_books_are_compared_with_what_staging_holds(landed, planted, found):
    with landed.connect() as connection:
        connection.begin()
        connection.execute(planted)
        problems = failures(connection, "assert_the_books_balance")
        connection.rollback()
    assert [problem.split(";")[0] for problem in problems] == found


def test_a_load_whose_files_are_refused_exceeds_the_limit(landed):
    """One file may hold a hundred thousand rows, which nobody can count."""
    with landed.connect() as connection:
        connection.begin()
        problems = {}
        for share in (0.6, 0.05):
            connection.execute("delete from sources.quarantine_limits")
            connection.execute("insert into sources.quarantine_limits values ('test', ?)", [share])
            problems[share] = failures(connection, "assert_quarantine_stays_within_limits")
        connection.rollback()
    assert problems == {
        0.6: [],
        0.05: [
            "test.products: 1 of 2 files of load 2 are refused as a whole, such as d.csv (cannot "
            "be read). Correct them and send them again, or take them away."
        ],
    }


def test_one_statement_of_consent_that_cannot_be_read_fails_a_check(landed):
    """It may be a refusal: the consent given before it would stand."""
    test = "assert_every_statement_of_consent_is_read"
    with landed.connect() as connection:
        connection.begin()
        connection.execute("delete from sources.quarantine_limits")
        connection.execute("insert into sources.quarantine_limits values ('crm', 0.05)")
        problems = [failures(connection, test)]
        connection.execute(
            "insert into staging.quarantine by name select 'q' as quarantine_id, "
            "'crm' as source_name, 'consents' as table_name, 'consent_events' as entity, "
            "'c.csv' as file, 3 as row_number, 'captured_at' as column_name, "
            "'is empty' as reason, 1 as load_id, true as may_be_refusal, false as is_resolved"
        )
        problems.append(failures(connection, test))
        connection.execute("update sources.quarantine_limits set max_share = 1")
        problems.append(failures(connection, test))
        connection.rollback()
    assert problems == [
        [],
        [
            "crm.consents: 1 records that may take a consent back, or files of them, are set "
            "aside, such as c.csv row 3 (captured_at is empty). Correct the export, or how "
            "sources.yml reads it, and run again."
        ],
        [],
    ]


def test_a_click_that_takes_a_consent_back_is_known_in_the_words_of_other_systems(landed):
    assert landed.query("select event_name from staging.stg_message_events") == [
        ("marked_as_spam",)
    ]
    assert landed.query(
        "select row_number from staging.quarantine where may_be_refusal order by all"
    ) == [(3,), (4,), (5,)]


def test_quarantine_tells_where_and_why_and_what_was_mended(landed):
    quarantined = landed.query(
        "select load_id, file, row_number, column_name, reason, is_resolved "
        "from staging.quarantine order by load_id, file, row_number nulls last"
    )
    assert quarantined == [
        (
            1,
            "a.csv",
            3,
            "product_id",
            "duplicate key, and the row differs from the first one in the file",
            True,
        ),
        (1, "a.csv", 5, "list_price", "'x' is no number", True),
        (1, "bad.csv", 1, "store_id", "is taken", True),
        (1, "made.csv", 1, "total_amount", "'x' is no number", True),
        (
            1,
            "orders.csv",
            4,
            "order_id",
            "the key comes from test.till too, and the row there differs; make the keys of the "
            "two tables differ in sources.yml",
            False,
        ),
        # s2 came well later, s3 and the row without a key did not.
        (1, "stores", 1, "country", "is empty", True),
        (1, "stores", 2, "country", "is empty", False),
        (1, "stores", 3, "country", "is empty", False),
        (2, "c.csv", 7, None, "has 3 fields instead of 5", False),
        (2, "d.csv", None, None, "cannot be read", False),
        # Taken away: nothing more can be read of the file; a row of it is still missing.
        (2, "e.csv", 4, None, "has 3 fields instead of 5", False),
        (2, "e.csv", None, None, "cannot be read", True),
        *[(2, "mails.csv", row, "occurred_at", "is no timestamp", False) for row in (2, 3, 4)],
        (2, "mails.csv", 5, "event_name", "is empty", False),
    ]


def test_a_load_of_which_every_row_was_refused_breaks_nothing(landed):
    stores = landed.query("select store_id, _load_id from staging.stg_stores order by 1")
    assert stores == [("s1", 2), ("s2", 2)]


def test_the_profile_key_is_the_keyed_hash_of_the_best_identifier(landed):
    keys = dict(landed.query("select order_id, profile_key from staging.stg_orders"))
    assert keys == {
        "o1": keyed_hash("email:ann@example.com"),
        "o2": keyed_hash("crm_id:c1"),
        "o3": None,
        "o4": None,
        "o5": None,
        "o6": None,
    }


def test_the_secret_stands_in_no_compiled_model(landed):
    for path in (landed.data_dir / "target").rglob("*.sql"):
        assert "test key" not in path.read_text()


def test_rebuilding_staging_from_the_lake_changes_nothing(landed):
    before = landed.table_hashes("staging")
    landed.dbt("run", "--full-refresh", "--select", *MODELS)
    after = landed.table_hashes("staging")
    assert after == before


def test_a_number_that_counts_as_plain_is_one_that_normalising_leaves_alone():
    plain, dice = re.compile(plain_phone_pattern()), random.Random(1)
    found = 0
    for _ in range(20_000):
        code = dice.choice([1, 44, 45, 46, 47, 49, *COUNTRY_CODE_TO_REGION_CODE])
        number = f"+{code}{dice.randrange(10 ** dice.randint(3, 13))}"
        if plain.fullmatch(number):
            assert normalise_phone(number, "DK") == number
            found += 1
    assert found > 2_000
    assert plain.fullmatch("+4520304050")
    assert not plain.fullmatch("+452030405")


def test_a_number_read_without_parsing_is_read_as_parsing_reads_it():
    def written(dice: random.Random) -> str:
        digits = str(dice.randrange(10 ** dice.randint(5, 10)))
        start = dice.choice(["", "", "", "0", "+", "00", "+45", "0046", "+47 ", "49", "99", "(0)"])
        marks = [*[""] * 30, " ", "-", ".", "(", ")", "/", "x"]
        return start + "".join(digit + dice.choice(marks) for digit in digits)

    dice, parsed = random.Random(1), _parsed_phone.__wrapped__
    countries = ["DK", "SE", "NO", "DE", "FI", "GB", "US", "IT", "GG", "XX", None]
    before = _parsed_phone.cache_info()
    for _ in range(20_000):
        number, country = written(dice), dice.choice(countries)
        if number.endswith(".0"):
            continue
        assert normalise_phone(number, country) == parsed(number, country), (number, country)
    after = _parsed_phone.cache_info()
    parsings = after.hits + after.misses - before.hits - before.misses
    assert 20_000 - parsings > 2_000
    assert normalise_phone("20 30 40 50", " dk ") == "+4520304050"


def test_a_phone_number_that_pandas_made_a_fraction_of_has_no_digit_more():
    assert normalise_phone("8123456.0", "SE") == normalise_phone("8123456", "SE") == "+468123456"


def test_the_phone_function_of_sql_is_never_given_a_null_and_never_gives_one(tmp_path):
    # With null_handling="special" DuckDB 1.5.5 crashed the process now and then.
    with duckdb.connect() as connection:
        prepare_connection(connection, load_settings(data_dir=tmp_path))
        rows = connection.execute(
            "select phone, country, normalise_phone(phone, country) from (values "
            "('20 12 34 56', 'DK'), ('nobody', 'DK'), (null, 'DK'), ('20123456', null)"
            ") as given (phone, country) order by all"
        ).fetchall()
    assert rows == [
        ("20 12 34 56", "DK", "+4520123456"),
        ("20123456", None, None),
        ("nobody", "DK", ""),
        (None, "DK", None),
    ]
