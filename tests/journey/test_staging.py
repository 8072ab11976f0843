"""What becomes of landed rows: which one stands, which are set aside, and do the books balance."""

import datetime as dt
import hashlib
import hmac
import random
import re
from pathlib import Path
from uuid import UUID

import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from cx_pipeline.settings import DBT_PROJECT_DIR
from cx_pipeline.warehouse.session import normalise_phone, plain_phone_pattern
from tests.journey.landed_sources import ENTITIES, LandedSources

MODELS = (
    *(f"stg_{entity}" for entity in ENTITIES),
    "load_balance",
    "quarantine",
)
DAY = dt.datetime.fromisoformat("2026-03-01T12:00")


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
        ("stores", "bad.csv", [{"store_id": "s1", "_problems": ["store_id: is taken"]}]),
        (
            "orders",
            "orders.csv",
            [
                order("o1", email=" Ann@Example.com ", cookie_id="cookie"),
                order("o2", crm_id="c1", email="ann@example.com"),
                order("o3", email="nonsense"),
            ],
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
    )
    with landed.connect() as connection:
        connection.execute(
            "insert into sources.rejected_rows values "
            "(2, 'test', 'products', 'c.csv', 7, null, 'has 3 fields instead of 5'), "
            "(2, 'test', 'products', 'd.csv', null, null, 'cannot be read')"
        )
    landed.dbt("run", "--select", *MODELS)
    return landed


def test_the_macros_know_the_key_of_every_entity():
    macro = (Path(DBT_PROJECT_DIR) / "macros" / "accepted_rows.sql").read_text()
    written = dict(re.findall(r"'(\w+)': '(\w+)'", macro))
    assert written == {name: table["columns"][0]["name"] for name, table in ENTITIES.items()}


def test_of_each_key_one_row_stands(landed):
    brands = landed.query("select product_id, brand, _load_id from staging.stg_products order by 1")
    assert brands == [("p1", "first", 2), ("p2", "in b", 1), ("p3", "mended", 2), ("p4", "new", 2)]


def test_the_books_of_every_load_balance(landed):
    books = landed.query(
        "select load_id, entity, rows_read, rows_landed, rows_deduplicated, rows_quarantined "
        "from staging.load_balance order by all"
    )
    assert books == [
        (1, "orders", 3, 3, 0, 0),
        (1, "products", 7, 3, 2, 2),
        (1, "stores", 1, 0, 0, 1),
        (2, "products", 4, 3, 0, 1),
        (2, "stores", 1, 1, 0, 0),
    ]
    assert all(read == sum(parts) for _, _, read, *parts in books)


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
        (2, "c.csv", 7, None, "has 3 fields instead of 5", False),
        (2, "d.csv", None, None, "cannot be read", False),
    ]


def test_a_load_of_which_every_row_was_refused_breaks_nothing(landed):
    assert landed.query("select store_id, _load_id from staging.stg_stores") == [("s1", 2)]


def test_the_profile_key_is_the_keyed_hash_of_the_best_identifier(landed):
    keys = dict(landed.query("select order_id, profile_key from staging.stg_orders"))
    assert keys == {
        "o1": keyed_hash("email:ann@example.com"),
        "o2": keyed_hash("crm_id:c1"),
        "o3": None,
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
