"""What is told of a customer is built anew for those customers of whom a run brings something."""

import datetime as dt

import pytest

from tests.identity.test_identity_models import MODELS, IdentityRoom

MARKED = {"customer_identities": "best_identifier_type", "customer_attributes": "postal_area"}
"""Each table, and a column by which the first load's rows are known."""


def record(contact_id: str, crm_id: str, **columns: object) -> dict[str, object]:
    made_at = dt.datetime.fromisoformat("2025-12-01")
    return {"contact_id": contact_id, "crm_id": crm_id, "created_at": made_at, **columns}


def visit(event_id: str, day: str, **columns: object) -> dict[str, object]:
    occurred_at = dt.datetime.fromisoformat(f"{day}T12:00")
    return {
        "event_id": event_id,
        "event_name": "page_viewed",
        "occurred_at": occurred_at,
        **columns,
    }


class Story:
    """Two loads on two days, of which the second says nothing of Dan."""

    def __init__(self, room: IdentityRoom) -> None:
        self.room = room
        room.land(
            (
                "contacts",
                "1.csv",
                [
                    # 25 on the 10th.
                    record("c1", "ann", birth_date=dt.date(2001, 1, 10)),
                    record("c2", "bo", language="da"),
                    record("c3", "bo", language="sv"),
                    record("c4", "dan", birth_date=dt.date(1980, 6, 1)),
                    record("c5", "eve"),
                ],
            ),
            ("web_events", "1.csv", [visit("w1", "2026-01-05", crm_id="eve")]),
        )
        self.build()
        with room.connect() as connection:
            for table, column in MARKED.items():
                connection.execute(f"update identity.{table} set {column} = 'stands'")
        room.land(
            # The record was Cy's all along; a record of Bo's is left.
            ("contacts", "2.csv", [record("c3", "cy", language="sv")]),
            ("web_events", "2.csv", [visit("w2", "2026-01-12", crm_id="eve", cookie_id="E1")]),
        )
        self.build()
        self.attributes = self.told("customer_attributes", "language, age_band")
        self.identities = self.told("customer_identities", "identifier_count")
        self.standing = {
            table: {
                crm_id
                for crm_id, value in self.told(table, f"{column} = 'stands'").items()
                if value == (True,)
            }
            for table, column in MARKED.items()
        }

    def build(self) -> None:
        self.room.dbt("run", "--select", *MODELS, "stg_contacts", "+stg_as_of")
        self.room.resolve()
        self.room.dbt("run", "--select", *MARKED)

    def told(self, table: str, columns: str) -> dict[str, tuple]:
        """Return what a table says of each customer, by CRM number."""
        return {
            crm_id: tuple(values)
            for crm_id, *values in self.room.query(
                "select distinct sightings.crm_id, "
                + ", ".join(f"t.{column}" for column in columns.split(", "))
                + f" from identity.{table} as t "
                "inner join identity.customer_xref as xref "
                "on t.customer_id = xref.customer_id and xref.is_current "
                "inner join (select crm_id, profile_key from staging.stg_contacts "
                "union select crm_id, profile_key from staging.stg_web_events) as sightings "
                "on xref.profile_key = sightings.profile_key"
            )
        }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(IdentityRoom(tmp_path_factory.mktemp("customers_seen")))


def test_a_birthday_moves_a_customer_of_whom_nothing_came_to_the_next_age_band(story):
    assert story.attributes["ann"][1] == "25-34"


def test_a_record_that_moves_to_another_customer_leaves_nothing_with_the_first(story):
    assert story.attributes["bo"] == ("da", None)
    assert story.attributes["cy"] == ("sv", None)


def test_a_new_identifier_counts_for_its_customer(story):
    assert story.identities == {"ann": (1,), "bo": (1,), "cy": (1,), "dan": (1,), "eve": (2,)}


def test_of_whom_nothing_came_the_row_stands(story):
    assert story.standing == {
        "customer_attributes": {"dan"},
        "customer_identities": {"ann", "bo", "dan"},
    }
