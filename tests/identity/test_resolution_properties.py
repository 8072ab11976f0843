"""What holds for any records whatever."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.identity import tables
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES
from tests.identity.records import (
    Record,
    Resolution,
    Warehouse,
    changes,
    current_customers,
    customer_id_of,
    evidence,
    groups,
    resolve,
    resolved,
    rules,
)

LIMITED = rules(
    crm_id={"max_per_customer": 1},
    loyalty_id={"max_per_customer": 2, "max_customers": 2},
    email={"max_per_customer": 2, "max_customers": 1},
    phone={"max_per_customer": 2},
    device_id={"max_per_customer": 2, "max_customers": 1},
    cookie_id={"max_per_customer": 3, "max_customers": 2},
)
UNLIMITED = rules()

# 400 cases of each property have passed (of load by load 120); 25 keep the suite quick.
some_cases = settings(deadline=None, max_examples=25)

identifiers_of_a_record = st.dictionaries(
    st.sampled_from(IDENTIFIER_TYPES), st.sampled_from("abcd"), min_size=1, max_size=4
)


# Of four values a type nearly all records hang together; of twelve they fall into groups.
identifiers_of_many_people = st.dictionaries(
    st.sampled_from(IDENTIFIER_TYPES), st.sampled_from("abcdefghijkl"), min_size=1, max_size=3
)


@st.composite
def some_records(
    draw: st.DrawFn, loads: int = 4, identifiers: st.SearchStrategy = identifiers_of_a_record
) -> list[Record]:
    return [
        Record(draw(st.integers(1, loads)), draw(identifiers), draw(st.integers(0, 9)))
        for _ in range(draw(st.integers(1, 25)))
    ]


def differences(one: Resolution, other: Resolution) -> list[str]:
    """Return the tables in which a row differs."""
    return [
        table
        for table in ("customer_xref", "id_changes", "rejected_links")
        if getattr(one, table) != getattr(other, table)
    ]


def only_until(records: list[Record], load_id: int) -> list[Record]:
    return [record for record in records if record.load_id <= load_id]


@given(some_records(), st.randoms())
@some_cases
def test_the_order_of_rows_does_not_matter(records, random):
    identifiers, edges = evidence(records)
    shuffled = [
        table.take(pa.array(random.sample(range(table.num_rows), table.num_rows), pa.int64()))
        for table in (identifiers, edges)
    ]
    assert not differences(resolve(identifiers, edges, LIMITED), resolve(*shuffled, LIMITED))


@given(
    st.one_of(some_records(), some_records(identifiers=identifiers_of_many_people)),
    # With 1 a part is resolved however large it is.
    st.sampled_from([1, tables.SHARE_WORTH_A_PART]),
)
@some_cases
def test_load_by_load_comes_out_as_all_at_once(records, share):
    warehouse = Warehouse(LIMITED)
    with pytest.MonkeyPatch.context() as patch, warehouse.connection:
        patch.setattr(tables, "SHARE_WORTH_A_PART", share)
        for load_id in sorted({record.load_id for record in records}):
            landed = only_until(records, load_id)
            warehouse.land(landed)
            warehouse.update()
            assert not differences(warehouse.read(), resolved(landed, LIMITED))


@given(some_records(), st.randoms())
@some_cases
def test_without_limits_any_split_into_loads_gives_the_same_people(records, random):
    split = [Record(random.randint(1, 6), r.identifiers, r.hour) for r in records]
    assert groups(resolved(records, UNLIMITED)) == groups(resolved(split, UNLIMITED))


@given(some_records())
@some_cases
def test_limits_are_never_exceeded(records):
    for members in groups(resolved(records, LIMITED)):
        counts = Counter(key.split(":")[0] for key in members)
        for name, count in counts.items():
            assert count <= (LIMITED.identifiers[name].max_per_customer or count)


@given(some_records())
@some_cases
def test_every_key_has_one_current_customer_and_an_unbroken_history(records):
    resolution = resolved(records, LIMITED)
    rows = resolution.customer_xref.to_pylist()
    keys = {key for record in records for _, key in record.keys}
    assert {row["profile_key"] for row in rows} == keys
    for key in keys:
        stays = [row for row in rows if row["profile_key"] == key]
        assert [row["is_current"] for row in stays] == [False] * (len(stays) - 1) + [True]
        for before, after in zip(stays, stays[1:], strict=False):
            assert before["valid_to"] == after["valid_from"] > before["valid_from"]
            assert before["customer_id"] != after["customer_id"]
        assert stays[-1]["valid_to"] is None


@given(some_records())
@some_cases
def test_what_a_load_decided_stands_after_later_loads(records):
    whole = resolved(records, LIMITED)
    for load_id in range(1, 5):
        early = resolved(only_until(records, load_id), LIMITED)
        late = {row["id_change_key"]: row for row in whole.id_changes.to_pylist()}
        for row in early.id_changes.to_pylist():
            assert late[row["id_change_key"]] == row
        survivors = {
            row["previous_customer_id"]: row["customer_id"] for row in changes(whole, "merged")
        }
        final = current_customers(whole)
        for key, customer in current_customers(early).items():
            while customer in survivors:
                customer = survivors[customer]
            assert final[key] == customer


@given(some_records())
@some_cases
def test_replaying_the_changes_on_the_first_customers_gives_the_current_ones(records):
    resolution = resolved(records, LIMITED)
    first = {}
    for row in resolution.customer_xref.to_pylist():
        first.setdefault(row["profile_key"], row["customer_id"])
    created = {row["customer_id"] for row in changes(resolution, "created")}
    assert set(first.values()) <= created
    for change in sorted(changes(resolution, "merged"), key=lambda row: row["load_id"]):
        for key, customer in first.items():
            if customer == change["previous_customer_id"]:
                first[key] = change["customer_id"]
    assert first == current_customers(resolution)


@given(some_records())
@some_cases
def test_a_customer_is_named_after_its_oldest_identifier(records):
    identifiers, _ = evidence(records)
    age = {
        row["profile_key"]: (row["first_load_id"], row["anchored_at"], row["profile_key"])
        for row in identifiers.to_pylist()
    }
    current = current_customers(resolved(records, LIMITED))
    for customer in set(current.values()):
        oldest = min((key for key, owner in current.items() if owner == customer), key=age.get)
        assert customer == customer_id_of(oldest)


@given(some_records())
@some_cases
def test_a_merge_keeps_the_older_customer_and_happens_once(records):
    resolution = resolved(records, LIMITED)
    born = {row["customer_id"]: row["load_id"] for row in changes(resolution, "created")}
    absorbed = [row["previous_customer_id"] for row in changes(resolution, "merged")]
    assert len(absorbed) == len(set(absorbed))
    for row in changes(resolution, "merged"):
        assert born[row["customer_id"]] <= born[row["previous_customer_id"]] < row["load_id"]


@given(some_records(), st.integers(1, 5))
@some_cases
def test_a_record_of_somebody_else_changes_nothing(records, load_id):
    stranger = Record(load_id, {"email": "stranger", "cookie_id": "strange"})
    before = resolved(records, LIMITED)
    after = resolved([*records, stranger], LIMITED)
    theirs = {"email:stranger", "cookie_id:strange"}
    left = [r for r in after.customer_xref.to_pylist() if r["profile_key"] not in theirs]
    assert left == before.customer_xref.to_pylist()
    assert after.rejected_links == before.rejected_links


@given(some_records())
@some_cases
def test_every_pair_on_a_record_is_linked_or_its_refusal_is_on_file(records):
    resolution = resolved(records, LIMITED)
    current = current_customers(resolution)
    refused = {
        (row["left_profile_key"], row["right_profile_key"])
        for row in resolution.rejected_links.to_pylist()
    }
    for record in records:
        (_, best), *others = record.keys
        for _, key in others:
            assert (current[best] == current[key]) != ((best, key) in refused)
