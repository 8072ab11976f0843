"""What the demo's people truly said, against what the pipeline believes it may do with them."""

import hmac
import os
from collections import defaultdict
from uuid import UUID

import duckdb
import pytest

Answers = dict[tuple[str, str, str], bool]


@pytest.fixture(scope="module")
def people_of_customer(demo_company) -> dict[str, set[str]]:
    """Who truly stands behind each customer."""
    key = os.environ["CX_IDENTITY_KEY"].encode()
    customer_of = dict(
        demo_company.ask_warehouse(
            "select profile_key, customer_id from identity.customer_xref where is_current"
        )
    )
    people = defaultdict(set)
    for person, known_as in duckdb.execute(
        "select person_id, identifier_type || ':' || identifier_value from read_parquet($1)",
        [str(demo_company.data_dir / "truth/identifiers.parquet")],
    ).fetchall():
        profile_key = UUID(bytes=hmac.digest(key, known_as.encode(), "sha256")[:16])
        if profile_key in customer_of:
            people[customer_of[profile_key]].add(person)
    return people


@pytest.fixture(scope="module")
def truly_granted(demo_company) -> Answers:
    """What each person truly grants; the empty channel is all channels of the purpose."""
    rows = duckdb.execute(
        "select person_id, purpose, channel, status = 'granted' from read_parquet($1)",
        [str(demo_company.data_dir / "truth/consent.parquet")],
    ).fetchall()
    return {(person, purpose, channel): granted for person, purpose, channel, granted in rows}


@pytest.fixture(scope="module")
def believed(demo_company) -> Answers:
    """What the pipeline permits where consent is needed."""
    rows = demo_company.ask_warehouse(
        "select customer_id, purpose, channel, is_permitted from consent.permissions "
        "where purpose in ('marketing', 'surveys', 'personalisation', 'advertising')"
    )
    return {(customer, purpose, channel): yes for customer, purpose, channel, yes in rows}


def test_nobody_is_permitted_what_they_did_not_grant(believed, truly_granted, people_of_customer):
    checked = 0
    for (customer, purpose, channel), is_permitted in believed.items():
        if not is_permitted or len(people_of_customer[customer]) != 1:
            continue  # two people taken for one is a matter of identity
        (person,) = people_of_customer[customer]
        granted = truly_granted.get(
            (person, purpose, channel), truly_granted.get((person, purpose, ""), False)
        )
        assert granted, (customer, person, purpose, channel)
        checked += 1
    assert checked > 100


def test_what_was_granted_is_known(believed, truly_granted, people_of_customer):
    customers_of = defaultdict(set)
    for customer, people in people_of_customer.items():
        for person in people:
            customers_of[person].add(customer)
    permitted = {
        (customer, purpose, place)
        for (customer, purpose, channel), is_permitted in believed.items()
        if is_permitted
        for place in (channel, "")
    }
    granted = known = 0
    for (person, purpose, channel), yes in truly_granted.items():
        if not yes or person not in customers_of:
            continue
        granted += 1
        known += any((customer, purpose, channel) in permitted for customer in customers_of[person])
    assert known >= 0.98 * granted > 100
