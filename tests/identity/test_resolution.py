"""Named people and what identity makes of them."""

import pytest

from cx_pipeline.identity.tables import InconsistentEvidenceError
from cx_pipeline.settings import PROJECT_DIR, Settings
from cx_pipeline.warehouse.identity_rules import read_identity_rules
from tests.identity.records import (
    Record,
    changes,
    current_customers,
    customer_id_of,
    evidence,
    groups,
    loaded_at,
    resolve,
    resolved,
    rules,
    usual_rules,
)

SHIPPED = read_identity_rules(Settings(config_dir=PROJECT_DIR / "config"))


def test_two_emails_on_one_account_make_one_customer():
    ann = [
        Record(1, {"crm_id": "ann", "email": "ann@work"}, entity="contacts"),
        Record(1, {"crm_id": "ann", "email": "ann@home"}),
        Record(1, {"email": "ann@home", "cookie_id": "c1"}),
    ]
    assert groups(resolved(ann, usual_rules())) == {
        frozenset({"crm_id:ann", "email:ann@work", "email:ann@home", "cookie_id:c1"})
    }


def test_a_customer_keeps_the_id_of_its_oldest_identifier():
    visits = [
        Record(1, {"cookie_id": "c1"}),
        Record(2, {"crm_id": "ann", "cookie_id": "c1"}),
    ]
    assert set(current_customers(resolved(visits, usual_rules())).values()) == {
        customer_id_of("cookie_id:c1")
    }


def test_a_visitor_becomes_known_without_a_new_id():
    before = resolved([Record(1, {"cookie_id": "c1"})], usual_rules())
    assert before.customer_xref["is_known"].to_pylist() == [False]
    after = resolved(
        [Record(1, {"cookie_id": "c1"}), Record(2, {"email": "ann@home", "cookie_id": "c1"})],
        usual_rules(),
    )
    assert after.customer_xref["is_known"].to_pylist() == [True, True]
    assert not changes(after, "merged")


@pytest.mark.parametrize("login", ["crm_id", "email"])
def test_a_shared_family_tablet_belongs_to_nobody(login):
    family = [
        Record(1, {"crm_id": "ann", "email": "ann@home"}),
        Record(1, {"crm_id": "bo", "email": "bo@home"}),
        Record(1, {login: "ann" if login == "crm_id" else "ann@home", "device_id": "tablet"}),
        Record(1, {login: "bo" if login == "crm_id" else "bo@home", "device_id": "tablet"}),
    ]
    resolution = resolved(family, usual_rules())
    assert groups(resolution) == {
        frozenset({"crm_id:ann", "email:ann@home"}),
        frozenset({"crm_id:bo", "email:bo@home"}),
        frozenset({"device_id:tablet"}),
    }
    assert resolution.rejected_links["rule"].to_pylist() == ["max_customers"] * 2
    assert (
        resolution.rejected_links["reason"].to_pylist()
        == ["this device_id was seen with 2 or more customers"] * 2
    )


def test_a_tablet_that_is_shared_later_stays_with_its_first_owner_and_joins_nobody():
    family = [
        Record(1, {"crm_id": "ann", "device_id": "tablet"}),
        Record(2, {"crm_id": "bo", "device_id": "tablet"}),
        Record(3, {"email": "ann@work", "device_id": "tablet"}),
    ]
    assert groups(resolved(family, usual_rules())) == {
        frozenset({"crm_id:ann", "device_id:tablet"}),
        frozenset({"crm_id:bo"}),
        frozenset({"email:ann@work"}),
    }


def test_a_kiosk_that_nobody_blocked_joins_nobody():
    guests = [Record(1, {"crm_id": f"g{n}", "cookie_id": "kiosk"}, hour=n) for n in range(50)]
    resolution = resolved(guests, usual_rules())
    assert len(groups(resolution)) == 51
    assert not changes(resolution, "merged")


def guests_at(shared: dict[str, str], count: int, loads: int = 1) -> list[Record]:
    """Strangers without a customer number who leave their e-mail at one device or phone."""
    return [
        Record(1 + n % loads, {"email": f"guest{n}", **shared}, hour=n * 24) for n in range(count)
    ]


@pytest.mark.parametrize("loads", [1, 50])
@pytest.mark.parametrize(
    ("shared", "count", "most"),
    [
        ({"device_id": "tablet"}, 2, 1),
        ({"cookie_id": "internet cafe"}, 50, 1),
        # A person may order with a second address: a phone makes one of two, never of three.
        ({"phone": "+4533000000"}, 50, 2),
    ],
)
def test_strangers_at_a_shared_value_do_not_become_one_customer(shared, count, most, loads):
    resolution = resolved(guests_at(shared, count, loads), SHIPPED)
    emails = [[key for key in keys if "email" in key] for keys in groups(resolution)]
    assert max(map(len, emails)) == (1 if loads == 1 else most)
    assert set(resolution.rejected_links["rule"].to_pylist()) == {"max_customers"}


def test_guests_on_the_device_of_a_known_customer_stay_apart_from_it_and_each_other():
    own = Record(1, {"crm_id": "ann", "email": "ann@home", "device_id": "tablet"})
    emails = ["ann@home", "guest0", "guest1", "guest2"]
    for loads in (1, 3):
        visits = [own, *guests_at({"device_id": "tablet"}, 3, loads)]
        current = current_customers(resolved(visits, SHIPPED))
        assert len({current[f"email:{email}"] for email in emails}) == 4


def test_two_browsers_of_one_device_do_not_join_two_people():
    visits = [
        Record(1, {"device_id": "tablet", "cookie_id": "c1"}),
        Record(2, {"email": "ann@home", "device_id": "tablet"}),
        Record(2, {"email": "bo@home", "cookie_id": "c1"}),
    ]
    current = current_customers(resolved(visits, SHIPPED))
    assert current["email:ann@home"] != current["email:bo@home"]


@pytest.mark.parametrize("number", ["crm_id", "loyalty_id", "erp_customer_number"])
def test_a_phone_with_three_customer_numbers_of_any_kind_is_a_switchboard(number):
    calls = [Record(1, {number: name, "phone": "+4533000000"}) for name in ("a", "b", "c")]
    assert len(groups(resolved(calls, SHIPPED))) == 4
    assert len(groups(resolved(calls[:2], SHIPPED))) == (2 if number == "crm_id" else 1)


def test_three_cards_of_one_account_count_as_one_customer():
    cards = [Record(1, {"crm_id": "ann", "loyalty_id": f"card{n}"}) for n in range(3)]
    receipts = [Record(1, {"loyalty_id": f"card{n}", "phone": "+4520304050"}) for n in range(3)]
    assert len(groups(resolved([*cards, *receipts], SHIPPED))) == 1


def test_an_email_on_three_accounts_is_an_offices():
    office = [Record(1, {"crm_id": name, "email": "info@office"}) for name in ("a", "b", "c")]
    assert len(groups(resolved(office, usual_rules()))) == 4
    assert len(groups(resolved(office[:2], usual_rules()))) == 2


def test_strong_evidence_is_heard_before_weak_in_one_load():
    couple = [
        # Bo once paid Ann's order as a guest with his e-mail and her phone: older than both.
        Record(1, {"email": "bo@home", "phone": "+451"}, hour=0),
        Record(1, {"crm_id": "ann", "phone": "+451"}, hour=5),
        Record(1, {"crm_id": "bo", "email": "bo@home"}, hour=6),
    ]
    assert groups(resolved(couple, usual_rules())) == {
        frozenset({"crm_id:ann", "phone:+451"}),
        frozenset({"crm_id:bo", "email:bo@home"}),
    }


def test_a_late_record_merges_two_customers_and_the_older_id_stays():
    records = [
        Record(1, {"email": "ann@home", "cookie_id": "c1"}, hour=3),
        Record(2, {"phone": "+451", "device_id": "d1"}, hour=30),
    ]
    before = resolved(records, usual_rules())
    assert len(groups(before)) == 2
    joining = Record(3, {"email": "ann@home", "phone": "+451"}, 50, "contacts", "crm")
    after = resolved([*records, joining], usual_rules())
    older, newer = customer_id_of("cookie_id:c1"), customer_id_of("device_id:d1")
    assert set(current_customers(after).values()) == {older}
    (merge,) = changes(after, "merged")
    assert (merge["customer_id"], merge["previous_customer_id"]) == (older, newer)
    assert merge["reason"] == "email and phone on one contacts of crm"
    assert merge["load_id"] == 3
    assert merge["changed_at"] == loaded_at(3)
    assert merge["effective_at"].hour == 2
    moved = [row for row in after.customer_xref.to_pylist() if row["profile_key"] == "phone:+451"]
    assert [(row["customer_id"], row["is_current"]) for row in moved] == [
        (newer, False),
        (older, True),
    ]
    assert moved[0]["valid_to"] == moved[1]["valid_from"] == loaded_at(3)
    assert moved[1]["valid_to"] is None


def test_a_cascade_of_merges_writes_one_change_for_each_customer_absorbed():
    records = [
        Record(1, {"cookie_id": "a"}, hour=1),
        Record(2, {"cookie_id": "b"}, hour=30),
        Record(3, {"cookie_id": "c"}, hour=60),
        Record(4, {"email": "x", "cookie_id": "b"}),
        Record(4, {"email": "x", "cookie_id": "c"}),
        Record(5, {"email": "y", "cookie_id": "a"}),
        Record(5, {"email": "y", "phone": "d"}),
        Record(6, {"email": "x", "phone": "d"}),
    ]
    resolution = resolved(records, usual_rules())
    a, b, c = (customer_id_of(f"cookie_id:{name}") for name in "abc")
    assert [
        (row["previous_customer_id"], row["customer_id"], row["load_id"])
        for row in changes(resolution, "merged")
    ] == [(c, b, 4), (b, a, 6)]
    history = resolution.customer_xref.to_pylist()
    assert [r["customer_id"] for r in history if r["profile_key"] == "cookie_id:c"] == [c, b, a]


def test_a_chain_joined_in_one_load_goes_straight_to_the_oldest():
    records = [Record(n, {"cookie_id": name}) for n, name in enumerate("abc", start=1)]
    records += [
        Record(4, {"email": "x", "cookie_id": "c"}),
        Record(4, {"email": "x", "cookie_id": "b"}),
        Record(4, {"email": "x", "phone": "p"}),
        Record(4, {"email": "y", "phone": "p"}),
        Record(4, {"email": "y", "cookie_id": "a"}),
    ]
    resolution = resolved(records, usual_rules())
    assert {row["customer_id"] for row in changes(resolution, "merged")} == {
        customer_id_of("cookie_id:a")
    }
    assert len(changes(resolution, "merged")) == 2


def test_a_diamond_is_one_customer_with_one_merge():
    records = [
        Record(1, {"loyalty_id": "left", "phone": "top"}),
        Record(1, {"email": "right", "phone": "top"}),
        Record(2, {"crm_id": "bottom"}),
        Record(3, {"crm_id": "bottom", "loyalty_id": "left"}),
        Record(3, {"crm_id": "bottom", "email": "right"}),
    ]
    resolution = resolved(records, usual_rules())
    assert len(groups(resolution)) == 1
    assert len(changes(resolution, "merged")) == 1


def test_a_customer_never_gets_more_values_than_allowed():
    emails = [Record(1, {"crm_id": "ann", "email": f"e{n}"}, hour=n) for n in range(7)]
    resolution = resolved(emails, usual_rules(email={"max_per_customer": 5}))
    (ann,) = [group for group in groups(resolution) if "crm_id:ann" in group]
    assert ann == {"crm_id:ann", *(f"email:e{n}" for n in range(5))}
    assert set(resolution.rejected_links["rule"].to_pylist()) == {"max_per_customer"}
    assert resolution.rejected_links["right_profile_key"].to_pylist() == ["email:e5", "email:e6"]


def test_a_type_that_does_not_link_still_has_its_own_customer():
    visit = [Record(1, {"crm_id": "ann", "cookie_id": "c1"})]
    resolution = resolved(visit, rules(cookie_id={"links": False}))
    assert len(groups(resolution)) == 2
    assert resolution.rejected_links["reason"].to_pylist() == ["cookie_id does not link"]


def test_the_best_identifier_that_may_not_link_does_not_keep_the_others_apart():
    order = [Record(1, {"crm_id": "ann", "email": "ann@home", "cookie_id": "c1"})]
    assert groups(resolved(order, rules(crm_id={"links": False}))) == {
        frozenset({"crm_id:ann"}),
        frozenset({"email:ann@home", "cookie_id:c1"}),
    }


def test_a_refused_link_is_not_reported_when_its_ends_are_one_customer_anyway():
    records = [
        Record(1, {"crm_id": "ann", "device_id": "tablet"}),
        Record(2, {"crm_id": "bo", "device_id": "tablet"}),
        Record(2, {"crm_id": "ann", "email": "ann@home"}),
        Record(3, {"email": "ann@home", "device_id": "tablet"}),
    ]
    refused = resolved(records, usual_rules()).rejected_links
    assert refused["left_profile_key"].to_pylist() == ["crm_id:bo"]


def test_no_records_make_no_customers():
    resolution = resolved([], usual_rules())
    assert resolution.customer_xref.num_rows == 0
    assert resolution.id_changes.num_rows == 0


def test_edges_without_their_identifiers_are_an_error():
    identifiers, edges = evidence([Record(1, {"crm_id": "ann", "email": "ann@home"})])
    with pytest.raises(InconsistentEvidenceError, match="full-refresh"):
        resolve(identifiers.slice(0, 1), edges, usual_rules())
