"""From identifiers and the pairs seen together to the map of customers and its history.

Reads:     Arrow tables of identity.identifiers and identity.id_edges, and the rules
Gives:     Arrow tables of identity.customer_xref, identity.id_changes and identity.rejected_links
Keeps out: which links are allowed (that is `clusters`); reading and writing (that is `tables`)

Everything is worked out anew from the first load on each time. Two million identifiers with 1.4
million pairs take 16 s on one core, so there is no second, incremental way that could differ.
"""

from dataclasses import dataclass
from hashlib import md5

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cx_pipeline.identity.clusters import (
    NEVER,
    NONE,
    History,
    Identifiers,
    Integers,
    Limits,
    Links,
    Verdict,
    grow,
)
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES, PERSON_TYPES, IdentityRules

IDENTIFIER_COLUMNS = (
    "profile_key",
    "identifier_type",
    "first_load_id",
    "first_loaded_at",
    "anchored_at",
    "source_name",
    "entity",
)
EDGE_COLUMNS = (
    "left_profile_key",
    "right_profile_key",
    "left_type",
    "right_type",
    "first_load_id",
    "first_loaded_at",
    "anchored_at",
    "source_name",
    "entity",
)


class InconsistentEvidenceError(ValueError):
    """Edges and identifiers do not belong together: one was built without the other."""


@dataclass(frozen=True)
class Resolution:
    """Who is who, how it came about, and what was not linked."""

    customer_xref: pa.Table
    id_changes: pa.Table
    rejected_links: pa.Table


def resolve(identifiers: pa.Table, edges: pa.Table, rules: IdentityRules) -> Resolution:
    """Decide which identifiers are one customer, for every load since the first.

    A customer is named after its oldest identifier (first load, then time, then key), so the same
    records give the same ids when everything is rebuilt, and of two customers that turn out to be
    one the older id stays.

    Args:
        identifiers: One row per profile key, with IDENTIFIER_COLUMNS.
        edges: One row per pair of profile keys seen on one record, with EDGE_COLUMNS.
        rules: What links, and how far.

    Raises:
        InconsistentEvidenceError: An edge names an identifier that is not there, or is older.
    """
    identifiers = _oldest_first(identifiers)
    keys = identifiers["profile_key"].combine_chunks()
    types = _type_codes(identifiers["identifier_type"])
    loads = identifiers["first_load_id"].to_numpy()
    edges, links = _in_order_of_judgement(edges, keys, loads)
    history = grow(Identifiers(types=types, loads=loads), links, _limits(rules))
    loaded_at = _loading_times(identifiers, edges)
    # What was taken over in the load that brought it never stood alone and has no id.
    created = np.flatnonzero(history.absorbed_in > loads)
    customer_ids = _CustomerIds(keys, created)
    return Resolution(
        customer_xref=_customer_xref(
            identifiers["profile_key"], types, loads, history, loaded_at, customer_ids
        ),
        id_changes=_id_changes(
            identifiers, edges, loads, created, history, loaded_at, customer_ids
        ),
        rejected_links=_rejected_links(edges, links, history, loaded_at, rules),
    )


def customer_id_of(profile_key: str) -> str:
    """Return the id of the customer whose oldest identifier is `profile_key`.

    It differs from the key on purpose: facts joined to customers without the map find nothing,
    rather than those few customers whose key it happens to be.
    """
    digits = md5(f"customer:{profile_key}".encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _CustomerIds:
    """The ids of the customers that ever stood alone at the end of a load, each made once."""

    def __init__(self, keys: pa.StringArray, created: Integers) -> None:
        self.ids = pa.array(
            [customer_id_of(key) for key in keys.take(pa.array(created)).to_pylist()], pa.string()
        )
        self.places = np.full(len(keys), NONE, dtype=np.int64)
        self.places[created] = np.arange(len(created))

    def of(self, customers: Integers) -> pa.Array:
        """Return the id of each customer, given by its oldest identifier."""
        return self.ids.take(pa.array(self.places[customers]))


def _oldest_first(identifiers: pa.Table) -> pa.Table:
    order = ("first_load_id", "anchored_at", "profile_key")
    return identifiers.sort_by([(column, "ascending") for column in order])


def _type_codes(types: pa.ChunkedArray) -> NDArray[np.int64]:
    codes = pc.index_in(types, value_set=pa.array(IDENTIFIER_TYPES, pa.string()))
    if codes.null_count:
        strange = pc.unique(pc.filter(types, pc.is_null(codes))).to_pylist()
        raise InconsistentEvidenceError(f"unknown identifier types {strange}")
    return codes.to_numpy().astype(np.int64)


def _in_order_of_judgement(
    edges: pa.Table, keys: pa.StringArray, loads: Integers
) -> tuple[pa.Table, Links]:
    """Sort the edges as they are judged: by load, then strongest evidence, then age.

    An edge is as strong as its weaker end: all e-mail addresses find their CRM number before any
    phone number is looked at, and both before cookies.
    """
    left, right = (
        pc.index_in(edges[column], value_set=keys)
        for column in ("left_profile_key", "right_profile_key")
    )
    if left.null_count or right.null_count:
        raise InconsistentEvidenceError(
            f"{left.null_count + right.null_count} ends of identity.id_edges are not in "
            "identity.identifiers; rebuild both with --full-refresh"
        )
    left, right = left.to_numpy().astype(np.int64), right.to_numpy().astype(np.int64)
    edge_loads = edges["first_load_id"].to_numpy()
    if (edge_loads < np.maximum(loads[left], loads[right])).any():
        raise InconsistentEvidenceError(
            "identity.id_edges holds edges older than their identifiers; "
            "rebuild both with --full-refresh"
        )
    ends = np.stack([_type_codes(edges["left_type"]), _type_codes(edges["right_type"])])
    moment = edges["anchored_at"].cast(pa.int64()).to_numpy()
    order = np.lexsort((right, left, moment, ends.min(axis=0), ends.max(axis=0), edge_loads))
    return edges.take(pa.array(order)), Links(left[order], right[order], edge_loads[order])


def _limits(rules: IdentityRules) -> Limits:
    chosen = [rules.identifiers[name] for name in IDENTIFIER_TYPES]
    return Limits(
        links=np.array([rule.links for rule in chosen]),
        max_per_customer=np.array([rule.max_per_customer or NEVER for rule in chosen]),
        max_customers=np.array([rule.max_customers or NEVER for rule in chosen]),
        is_person=np.array([name in PERSON_TYPES for name in IDENTIFIER_TYPES]),
    )


class _LoadingTimes:
    """When each load was made."""

    def __init__(self, loads: pa.Table) -> None:
        self.load_ids = loads["first_load_id"].combine_chunks()
        self.times = loads["first_loaded_at_min"].combine_chunks()

    def of(self, loads: Integers) -> pa.Array:
        """Return the time of each load; null for NEVER."""
        return self.times.take(pc.index_in(pa.array(loads), value_set=self.load_ids))


def _loading_times(identifiers: pa.Table, edges: pa.Table) -> _LoadingTimes:
    columns = ["first_load_id", "first_loaded_at"]
    both = pa.concat_tables([identifiers.select(columns), edges.select(columns)])
    return _LoadingTimes(both.group_by("first_load_id").aggregate([("first_loaded_at", "min")]))


def _customer_xref(
    profile_keys: pa.ChunkedArray,
    types: Integers,
    loads: Integers,
    history: History,
    loaded_at: _LoadingTimes,
    customer_ids: _CustomerIds,
) -> pa.Table:
    """Follow every identifier from customer to customer; each stay is a row."""
    person = [IDENTIFIER_TYPES.index(name) for name in PERSON_TYPES]
    is_known = history.type_counts[:, person].any(axis=1)
    member, customer, since = np.arange(len(loads)), np.arange(len(loads)), loads
    stays = []
    while len(member) or not stays:
        until = history.absorbed_in[customer]
        # Nothing is kept of a stay that began and ended in one load.
        stayed = until > since
        stays.append([column[stayed] for column in (member, customer, since, until)])
        moved = until != NEVER
        member, since = member[moved], until[moved]
        customer = history.absorbed_into[customer[moved]]
    member, customer, since, until = (np.concatenate(column) for column in zip(*stays, strict=True))
    order = np.lexsort((since, member))
    member, customer, since, until = (c[order] for c in (member, customer, since, until))
    return pa.table(
        {
            "profile_key": profile_keys.take(pa.array(member)),
            "identifier_type": _names(types[member]),
            "customer_id": customer_ids.of(customer),
            "is_known": is_known[customer],
            "valid_from": loaded_at.of(since),
            "valid_to": loaded_at.of(until),
            "is_current": until == NEVER,
        }
    )


def _names(codes: Integers) -> pa.Array:
    return pa.array(IDENTIFIER_TYPES, pa.string()).take(pa.array(codes))


def _id_changes(
    identifiers: pa.Table,
    edges: pa.Table,
    loads: Integers,
    created: Integers,
    history: History,
    loaded_at: _LoadingTimes,
    customer_ids: _CustomerIds,
) -> pa.Table:
    """One row per customer that appeared, and one per customer that an older one took over."""
    merged = created[history.absorbed_in[created] != NEVER]
    merged = merged[np.lexsort((merged, history.absorbed_in[merged]))]
    merge_loads = history.absorbed_in[merged]
    # The one that took over may itself have been taken over in the same load.
    survivor = history.absorbed_into[merged]
    while (again := history.absorbed_in[survivor] == merge_loads).any():
        survivor[again] = history.absorbed_into[survivor[again]]
    cause = edges.take(pa.array(history.absorbed_by[merged]))
    first = identifiers.take(pa.array(created))
    created_ids, merged_ids = customer_ids.of(created), customer_ids.of(merged)
    return pa.concat_tables(
        [
            pa.table(
                {
                    "id_change_key": _change_keys("created", created_ids),
                    "customer_id": created_ids,
                    "previous_customer_id": pa.nulls(len(created), pa.string()),
                    "effective_at": first["anchored_at"],
                    "changed_at": loaded_at.of(loads[created]),
                    "change_type": _repeat("created", len(created)),
                    "load_id": loads[created],
                    "reason": pc.binary_join_element_wise(
                        "first seen by",
                        first["identifier_type"],
                        "on",
                        first["entity"],
                        "of",
                        first["source_name"],
                        " ",
                    ),
                }
            ),
            pa.table(
                {
                    "id_change_key": _change_keys("merged", merged_ids),
                    "customer_id": customer_ids.of(survivor),
                    "previous_customer_id": merged_ids,
                    "effective_at": cause["anchored_at"],
                    "changed_at": loaded_at.of(merge_loads),
                    "change_type": _repeat("merged", len(merged)),
                    "load_id": merge_loads,
                    "reason": pc.binary_join_element_wise(
                        cause["left_type"],
                        "and",
                        cause["right_type"],
                        "on one",
                        cause["entity"],
                        "of",
                        cause["source_name"],
                        " ",
                    ),
                }
            ),
        ]
    )


def _repeat(value: str, times: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), times)


def _change_keys(change_type: str, customer_ids: pa.Array) -> pa.Array:
    """A customer is created once and taken over at most once."""
    return pc.binary_join_element_wise(change_type, customer_ids, ":")


def _rejected_links(
    edges: pa.Table,
    links: Links,
    history: History,
    loaded_at: _LoadingTimes,
    rules: IdentityRules,
) -> pa.Table:
    """The refused pairs whose ends are still two customers."""
    refused = np.flatnonzero(history.verdicts != Verdict.LINKED)
    ends = []
    for side in (links.left[refused], links.right[refused]):
        customers = side.copy()
        while (moved := history.absorbed_into[customers] != NONE).any():
            customers[moved] = history.absorbed_into[customers[moved]]
        ends.append(customers)
    refused = refused[ends[0] != ends[1]]
    rows = edges.take(pa.array(refused))
    verdicts, culprits = history.verdicts[refused], history.culprits[refused]
    kinds, kind = np.unique(np.stack([verdicts, culprits], axis=1), axis=0, return_inverse=True)
    texts = [_refusal(Verdict(v), IDENTIFIER_TYPES[c], rules) for v, c in kinds.tolist()]
    rule_names, reasons = (
        (list(column) for column in zip(*texts, strict=True)) if texts else ([], [])
    )
    kind = pa.array(kind.ravel())
    return pa.table(
        {
            "left_profile_key": rows["left_profile_key"],
            "right_profile_key": rows["right_profile_key"],
            "left_type": rows["left_type"],
            "right_type": rows["right_type"],
            "source_name": rows["source_name"],
            "entity": rows["entity"],
            "rule": pa.array(rule_names, pa.string()).take(kind),
            "reason": pa.array(reasons, pa.string()).take(kind),
            "load_id": rows["first_load_id"],
            "rejected_at": loaded_at.of(links.loads[refused]),
        }
    )


def _refusal(verdict: Verdict, identifier_type: str, rules: IdentityRules) -> tuple[str, str]:
    """Return the rule that refused a link, and what it says in words."""
    rule = rules.identifiers[identifier_type]
    match verdict:
        case Verdict.SHARED_VALUE:
            return (
                "max_customers",
                f"this {identifier_type} was seen with {rule.max_customers + 1} or more customers",
            )
        case Verdict.TOO_MANY_VALUES:
            return (
                "max_per_customer",
                f"one customer would have more than {rule.max_per_customer} {identifier_type}",
            )
        case _:
            return ("links", f"{identifier_type} does not link")
