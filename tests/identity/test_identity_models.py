"""The identity room over landed rows: dbt makes the evidence, Python the customers.

One story, since every call of dbt costs seconds: two loads, then everything anew from nothing.
"""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cx_pipeline.identity import tables
from cx_pipeline.identity.tables import TABLES, Update, update_identity
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.identity_rules import blocked_patterns, read_identity_rules
from cx_pipeline.warehouse.session import connect
from tests.journey.landed_sources import LandedSources, RandomCompany

# What identity needs of staging; all of staging takes ten times as long.
MODELS = ("stg_identifier_sightings", "identifiers", "id_edges", "contact_points")
QUARANTINE = """
    create schema staging;
    create table staging.quarantine (
        source_name varchar, table_name varchar, file varchar, row_number bigint, load_id bigint
    );
"""
CUSTOMER_OF_CONTACT_POINT = """
    select contact_points.value, customer_xref.customer_id
    from identity.contact_points as contact_points
    inner join identity.customer_xref as customer_xref
        on contact_points.profile_key = customer_xref.profile_key
    where customer_xref.is_current
"""


class IdentityRoom(LandedSources):
    """Landed rows, and the identity room built from them."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        with self.connect() as connection:
            connection.execute(QUARANTINE)

    def set_aside(self, entity: str, file: str, row_number: int) -> None:
        """Quarantine a row of the last load."""
        row = ["test", entity, file, row_number, self.load_id]
        with self.connect() as connection:
            connection.execute("insert into staging.quarantine values (?, ?, ?, ?, ?)", row)

    def build(self, *options: str) -> Update:
        """Work out who is who; return what it took in Python."""
        self.dbt("run", "--vars", self.blocked, "--select", *MODELS, *options)
        return self.resolve()

    @property
    def blocked(self) -> str:
        """The rules' blocked values, as dbt is given them."""
        rules = read_identity_rules(load_settings(data_dir=self.data_dir))
        return json.dumps({"blocked_identifiers": blocked_patterns(rules)})

    def resolve(self) -> Update:
        """Take the Python step alone."""
        settings = load_settings(data_dir=self.data_dir)
        with connect(settings) as connection:
            return update_identity(connection, read_identity_rules(settings), "test")


class Story:
    """The room after the first load, after the second and after a rebuild from nothing."""

    def __init__(self, room: IdentityRoom) -> None:
        self.room = room
        company = RandomCompany(seed=7, customers=15)
        days = [company.day(dt.date(2026, 1, day), size=12) for day in (1, 2)]
        room.land(
            (
                "contacts",
                "1.csv",
                [*days[0]["contacts"], contact("c1", "ann@old.dk", crm_id="ann")],
            ),
            ("orders", "1.csv", FIRST_ORDERS + days[0]["orders"]),
            ("web_events", "1.csv", days[0]["web_events"]),
        )
        room.set_aside("orders", "1.csv", 1 + FIRST_ORDERS.index(REPEATED_ORDER))
        room.build()
        self.customers_before = dict(room.query(CUSTOMER_OF_CONTACT_POINT))
        room.land(
            (
                "contacts",
                "2.csv",
                [
                    *days[1]["contacts"],
                    contact("c1", "ann@new.dk", crm_id="ann"),
                    contact("c2", "Bo@Home.dk ", phone="+4520304050"),
                ],
            ),
            ("web_events", "2.csv", days[1]["web_events"]),
        )
        self.second = room.build()
        self.customers = dict(room.query(CUSTOMER_OF_CONTACT_POINT))
        self.hashes = room.table_hashes("identity")
        self.without_news = room.resolve()
        self.hashes_without_news = room.table_hashes("identity")
        with room.connect() as connection:
            for table in TABLES:
                connection.execute(f"drop table identity.{table}")
        room.build("--full-refresh")
        self.hashes_after_rebuild = room.table_hashes("identity")


def contact(contact_id: str, email: str, **columns: object) -> dict[str, object]:
    return {"contact_id": contact_id, "email": email, "country": "DK", **columns}


def order(number: int, **columns: object) -> dict[str, object]:
    moment = dt.datetime.fromisoformat("2026-01-01") + dt.timedelta(hours=number)
    return {
        "order_id": f"o{number}",
        "ordered_at": moment,
        "currency_code": "DKK",
        "total_amount": 10,
        **columns,
    }


REPEATED_ORDER = order(1, email="eve@home.dk", phone="30 30 30 31")
FIRST_ORDERS = [
    order(1, email="bo@home.dk"),
    order(2, phone="20 30 40 50"),
    order(3, crm_id="cy", email="noreply@shop.dk", cookie_id="0000-0000"),
    order(4, crm_id="di", email="noreply@shop.dk", cookie_id="0000-0000", phone="null"),
    order(5, crm_id="cy", email="broken@home.dk", _problems=["total_amount: is missing"]),
    REPEATED_ORDER,
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CX_IDENTITY_KEY", "test key")
        # A load touches half of a room as small as this one.
        patch.setattr(tables, "SHARE_WORTH_A_PART", 1)
        yield Story(IdentityRoom(tmp_path_factory.mktemp("identity")))


def test_a_record_that_joins_two_customers_merges_them_once_and_keeps_the_older_id(story):
    older, newer = (story.customers_before[key] for key in ("bo@home.dk", "+4520304050"))
    assert older != newer
    assert story.customers["bo@home.dk"] == story.customers["+4520304050"] == older
    assert story.room.query(
        "select customer_id, reason from identity.id_changes "
        "where change_type = 'merged' and previous_customer_id = ?",
        newer,
    ) == [(older, "email and phone on one contacts of test")]


def test_an_email_that_a_customer_gave_up_still_finds_the_customer(story):
    assert story.customers["ann@old.dk"] == story.customers["ann@new.dk"]


def test_blocked_and_quarantined_rows_link_nobody(story):
    assert not {"noreply@shop.dk", "eve@home.dk", "broken@home.dk"} & set(story.customers)


def test_a_run_without_news_changes_nothing(story):
    assert story.second.changed_rows > 0
    assert story.without_news.changed_rows == story.without_news.resolved_identifiers == 0
    assert story.hashes_without_news == story.hashes


def test_the_second_load_works_out_only_those_whom_it_touches(story):
    assert 0 < story.second.resolved_identifiers < story.second.identifiers


def test_a_rebuild_from_nothing_gives_the_same_room_though_records_were_replaced(story):
    assert story.hashes_after_rebuild == story.hashes


def test_of_a_load_that_cannot_be_read_as_addresses_the_run_tells(tmp_path):
    test = "assert_addresses_and_phone_numbers_can_be_read"
    room = IdentityRoom(tmp_path)
    people = [contact(f"c{n}", f"{n}@home.dk", phone=f"20304{n:03}") for n in range(100)]
    written_out = [contact(f"d{n}", f"{n} at home.dk", phone="unknown") for n in range(30)]
    room.land(("contacts", "1.csv", [*people, *written_out]))
    room.build()
    room.dbt("compile", "--vars", room.blocked, "--select", test)
    (compiled,) = (room.data_dir / "target").rglob(f"{test}.sql")
    ((problem,),) = room.query(compiled.read_text())
    assert problem.startswith("test: 30 of 130 e-mail addresses of contacts cannot be read as such")
