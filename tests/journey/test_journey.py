"""A load costs the facts that it touches, and no order of loads changes a row."""

import datetime as dt

import pytest

from tests.journey.landed_sources import LandedSources

ROOMS = ("path:models/staging", "path:models/journey", "path:models/media")
COPENHAGEN = '{"time_zone": "Europe/Copenhagen"}'


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"2026-{text}")


def visit(event_id: str, occurred_at: str, visitor: str = "ann") -> dict:
    return {
        "event_id": event_id,
        "cookie_id": visitor,
        "event_name": "page_viewed",
        "occurred_at": at(occurred_at),
    }


def order(order_id: str, ordered_at: str, **values: object) -> dict:
    return {
        "order_id": order_id,
        "crm_id": f"buyer of {order_id}",
        "ordered_at": at(ordered_at),
        "currency_code": "DKK",
        "total_amount": 100,
        **values,
    }


def delivery(delivery_id: str, order_id: str, shipped_at: str | None) -> dict:
    return {
        "delivery_id": delivery_id,
        "order_id": order_id,
        "shipped_at": shipped_at and at(shipped_at),
    }


class Story:
    """Three loads, and what the tables said after the last."""

    def __init__(self, landed: LandedSources) -> None:
        self.landed = landed
        landed.land(
            (
                "web_events",
                "1.jsonl",
                [
                    visit("e1", "03-01T21:00"),
                    # Copenhagen's midnight is 23:00 UTC.
                    visit("e2", "03-01T22:50"),
                    visit("e3", "03-01T23:40"),
                    visit("f1", "03-10T12:00", "bo"),
                    visit("g1", "03-20T12:00", "cy"),
                    visit("h1", "03-15T22:50", "di"),
                    visit("h2", "03-15T23:10", "di"),
                ],
            ),
            (
                "orders",
                "1.csv",
                [
                    order("o1", "03-01T12:00"),
                    order("o2", "03-10T12:00"),
                    order("o3", "03-20T12:00"),
                ],
            ),
            (
                "deliveries",
                "1.csv",
                [delivery("d1", "o1", "03-05T12:00"), delivery("d9", "late_order", "03-25T12:00")],
            ),
            ("payments", "1.csv", [{"payment_id": "p1", "order_id": "o2", "amount": 60}]),
            # Neither the case nor the answer to its survey names anybody.
            (
                "cases",
                "1.csv",
                [{"case_id": "c1", "order_id": "late_order", "opened_at": at("03-26T12:00")}],
            ),
            (
                "case_messages",
                "1.csv",
                [
                    {
                        "case_message_id": "cm1",
                        "case_id": "c1",
                        "author_type": "employee",
                        "sent_at": at("03-26T13:00"),
                    }
                ],
            ),
            (
                "survey_responses",
                "1.csv",
                [{"response_id": "s1", "case_id": "c1", "answered_at": at("03-27T12:00")}],
            ),
        )
        self.run()
        landed.land(
            # Joins e2 and e3 to one session over midnight.
            (
                "web_events",
                "2.jsonl",
                [
                    visit("e4", "03-01T23:15"),
                    # Was somebody else's, so what it led over midnight begins on the day after.
                    visit("h1", "03-15T22:50", "ed"),
                ],
            ),
            # Moves from a day of which nothing is left.
            ("orders", "2.csv", [order("o2", "03-11T12:00")]),
            # Was shipped after all not, on a day on which nothing else happened.
            ("deliveries", "2.csv", [delivery("d1", "o1", None)]),
        )
        marked = (
            ("orders", "order_id", "coupon_code"),
            ("touchpoints", "touchpoint_id", "campaign_id"),
        )
        for model, _, column in marked:
            landed.query(f"update journey.{model} set {column} = 'stands'")
        self.run()
        self.built_by_second_run = {}
        for model, key, column in marked:
            self.built_by_second_run[model] = {
                found
                for (found,) in landed.query(
                    f"select {key} from journey.{model} where {column} is null"
                )
            }
            landed.query(f"update journey.{model} set {column} = null")
        landed.land(
            ("web_events", "3.jsonl", [visit("f1", "02-01T12:00", "bo")]),
            ("orders", "3.csv", [order("late_order", "03-24T12:00")]),
            ("payments", "3.csv", [{"payment_id": "p2", "order_id": "o2", "amount": 40}]),
        )
        self.run()

    def run(self, *options: str) -> None:
        self.landed.dbt("run", "--vars", COPENHAGEN, "--select", *ROOMS, *options)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(LandedSources(tmp_path_factory.mktemp("journey")))


def test_a_late_event_joins_two_sessions_over_midnight_into_one(story):
    sessions = story.landed.query(
        "select session_id, event_date::varchar, event_count from journey.sessions "
        "where started_at between '2026-03-01' and '2026-03-03' order by started_at"
    )
    assert sessions == [
        ("session:e1", "2026-03-01", 1),
        ("session:e2", "2026-03-01", 3),
    ]


def test_what_comes_loose_of_a_session_after_midnight_is_a_session_of_the_day_after(story):
    sessions = story.landed.query(
        "select session_id, event_date::varchar, event_count from journey.sessions "
        "where session_id like '%:h%' order by started_at"
    )
    assert sessions == [("session:h1", "2026-03-15", 1), ("session:h2", "2026-03-16", 1)]


def test_a_row_that_a_killed_run_moved_is_gone_from_where_it_was(tmp_path):
    landed = LandedSources(tmp_path)
    payment = {"payment_id": "p1", "amount": 60}
    landed.land(
        ("orders", "1.csv", [order("a", "03-01T12:00"), order("b", "03-01T12:00")]),
        ("payments", "1.csv", [{**payment, "order_id": "a"}]),
    )
    landed.dbt("run", "--select", *ROOMS)
    landed.land(("payments", "2.csv", [{**payment, "order_id": "b"}]))
    # Killed before it came to the facts; the next export has the row again.
    landed.dbt("run", "--select", "path:models/staging")
    landed.land(("payments", "3.csv", [{**payment, "order_id": "b"}]))
    landed.dbt("run", "--select", *ROOMS)
    paid = landed.query("select order_id, paid_amount from journey.orders order by 1")
    assert paid == [("a", None), ("b", 60)]


def test_an_event_that_moved_leaves_no_session_behind(story):
    sessions = story.landed.query(
        "select session_id, event_date::varchar from journey.sessions where session_id like '%:f1'"
    )
    assert sessions == [("session:f1", "2026-02-01")]


@pytest.mark.parametrize("built_alone", ["touchpoints", "sessions"])
def test_an_event_that_moved_leaves_no_session_though_one_table_was_built_alone(
    tmp_path, built_alone
):
    landed = LandedSources(tmp_path)
    for number, moment in enumerate(("03-01T12:00", "03-10T12:00", "03-20T12:00")):
        landed.land(("web_events", f"{number}.jsonl", [visit("e1", moment, "bo")]))
        chosen = (*ROOMS,) if number != 1 else ("path:models/staging", built_alone)
        landed.dbt("run", "--select", *chosen)
    found = landed.query("select event_date::varchar from journey.sessions")
    assert found == [("2026-03-20",)]


def test_a_run_builds_only_the_facts_that_its_load_touches(story):
    assert story.built_by_second_run == {
        # The parcel of the one that did not change was not shipped after all.
        "orders": {"o1", "o2"},
        "touchpoints": {"order:o2", "web:e4", "web:h1"},
    }


def test_an_order_that_moved_stands_on_its_new_day_alone(story):
    orders = story.landed.query(
        "select event_date::varchar, paid_amount from journey.orders where order_id = 'o2'"
    )
    assert orders == [("2026-03-11", 100)]


def test_a_contact_that_did_not_happen_after_all_is_gone_from_a_day_without_others(story):
    contacts = story.landed.query(
        "select touchpoint_id from journey.touchpoints where event_date = '2026-03-05'"
    )
    assert contacts == []


def test_a_delivery_finds_its_person_when_the_order_comes_later(story):
    found = story.landed.query(
        "select touchpoints.profile_key = orders.profile_key, deliveries.event_date::varchar "
        "from journey.orders as orders "
        "inner join journey.touchpoints as touchpoints using (order_id) "
        "inner join journey.deliveries as deliveries using (order_id) "
        "where touchpoints.touchpoint_id = 'delivery_shipped:d9'"
    )
    assert found == [(True, "2026-03-25")]


def test_what_names_nobody_finds_its_person_when_the_order_comes_later(story):
    found = story.landed.query(
        "select touchpoint_id from journey.touchpoints where profile_key = "
        "(select profile_key from journey.orders where order_id = 'late_order') "
        "and touchpoint_type in ('case', 'survey') order by 1"
    )
    assert found == [("case:c1",), ("case_message:cm1",), ("survey:s1",)]


def test_the_unit_tests_of_these_rooms_hold(story):
    results = story.landed.dbt("test", "--select", *(f"{room},test_type:unit" for room in ROOMS))
    assert {result.status for result in results} == {"pass"}
    assert len(results) >= 8


def test_a_second_run_on_the_same_input_changes_no_table(story):
    before = story.landed.table_hashes("staging", "journey", "media")
    story.run()
    assert story.landed.table_hashes("staging", "journey", "media") == before


def test_a_full_refresh_equals_the_sum_of_the_increments(story):
    before = story.landed.table_hashes("staging", "journey", "media")
    story.run("--full-refresh")
    assert story.landed.table_hashes("staging", "journey", "media") == before
