"""Who is who in the demo company: against the truth, and without moving a fact."""

import hmac
import os
from collections import Counter, defaultdict
from math import comb
from uuid import UUID

import duckdb
import pytest

from cx_pipeline.warehouse.identity_rules import PERSON_TYPES


def pairs(counts: Counter) -> int:
    return sum(comb(count, 2) for count in counts.values())


def test_identity_finds_the_true_people(demo_company):
    """Over all pairs of identifiers that name a person and truly belong to one person only."""
    customer_of: dict[UUID, str] = dict(
        demo_company.ask_warehouse(
            "select profile_key, customer_id from identity.customer_xref where is_current"
        )
    )
    secret = os.environ["CX_IDENTITY_KEY"].encode()
    owners = defaultdict(set)
    for person, name, value in duckdb.execute(
        "select person_id, identifier_type, identifier_value from read_parquet($1)",
        [str(demo_company.data_dir / "truth/identifiers.parquet")],
    ).fetchall():
        if name in PERSON_TYPES:
            digest = hmac.digest(secret, f"{name}:{value}".encode(), "sha256")
            owners[UUID(bytes=digest[:16])].add(person)
    found = [
        (person, customer_of[key])
        for key, (person, *others) in owners.items()
        if key in customer_of and not others
    ]
    together = pairs(Counter(found))
    # Precision and recall are 1.000 and 0.990 of 300 people, 0.9995 and 0.987 of 20,000.
    assert together >= 0.999 * pairs(Counter(customer for _, customer in found))
    assert together >= 0.98 * pairs(Counter(person for person, _ in found)) > 1000


@pytest.mark.parametrize(
    ("facts", "records", "key"),
    [
        ("journey.orders", "stg_orders", "order_id"),
        ("journey.contracts", "stg_contracts", "contract_id"),
        ("journey.touchpoints", "stg_message_events", "message:event_id"),
        ("experience.cases", "stg_cases", "case_id"),
    ],
)
def test_a_merge_moves_no_fact(demo_company, facts, records, key):
    """A fact has the key of its own record, though its customer is best known by another."""
    *prefix, column = key.split(":")
    fact_key = "facts.touchpoint_id" if prefix else f"facts.{column}"
    ((count, moved, could_move),) = demo_company.ask_warehouse(
        "select count(*), count(*) filter (facts.profile_key <> records.profile_key), "
        "count(*) filter (customers.best_profile_key <> records.profile_key) "
        f"from {facts} as facts inner join staging.{records} as records "
        f"on {fact_key} = concat_ws(':', $1, records.{column}) "
        "inner join identity.customer_xref as xref "
        "on records.profile_key = xref.profile_key and xref.is_current "
        "inner join identity.customer_identities as customers using (customer_id)",
        *(prefix or [None]),
    )
    assert count >= could_move > 0
    assert moved == 0
