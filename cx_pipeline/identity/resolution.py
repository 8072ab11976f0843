"""From identifiers and the pairs seen together to customers and their history.

Reads:     NumPy arrays, in which an identifier is its place among all, the oldest first, and an
           edge its place in the order of judgement
Gives:     Arrow tables of such numbers
Keeps out: which links are allowed (that is `clusters`); keys, texts and the warehouse (that is
           `tables`)

Numbers, because ten million contacts have 3.6 million identifiers: as keys of 36 characters they
took 5 GiB in Python and three times as long.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

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


@dataclass(frozen=True)
class Resolution:
    """Who is who, how it came about, and what was not linked.

    A customer is the place of its oldest identifier, which names it for good: the same records
    give the same ids when everything is rebuilt, and of two customers that turn out to be one the
    older id stays.
    """

    customers: pa.Table
    """One row per customer that ever stood alone at the end of a load: customer, is_known."""
    stays: pa.Table
    """One row per identifier and period with one customer: member, customer, since, until (load
    ids; until is null for the current row)."""
    merges: pa.Table
    """One row per customer taken over by an older one: customer, survivor, load_id, edge."""
    refusals: pa.Table
    """One row per refused edge whose ends are still two customers: edge, rule, reason."""


def resolve(identifiers: Identifiers, links: Links, rules: IdentityRules) -> Resolution:
    """Decide which identifiers are one customer, for every load since the first.

    Identifiers that no chain of edges connects do not know of each other: resolved apart they
    become what they become together.

    Args:
        identifiers: All identifiers, or those of whole groups connected by edges.
        links: The edges among them, in the order of judgement.
        rules: What links, and how far.
    """
    history = grow(identifiers, links, _limits(rules))
    # What was taken over in the load that brought it never stood alone and has no id.
    created = np.flatnonzero(history.absorbed_in > identifiers.loads)
    return Resolution(
        customers=pa.table({"customer": created, "is_known": history.person_counts[created] > 0}),
        stays=_stays(identifiers.loads, history),
        merges=_merges(created, history),
        refusals=_refusals(links, history, rules),
    )


def _limits(rules: IdentityRules) -> Limits:
    chosen = [rules.identifiers[name] for name in IDENTIFIER_TYPES]
    return Limits(
        links=np.array([rule.links for rule in chosen]),
        max_per_customer=np.array([rule.max_per_customer or NEVER for rule in chosen]),
        max_customers=np.array([rule.max_customers or NEVER for rule in chosen]),
        is_person=np.array([name in PERSON_TYPES for name in IDENTIFIER_TYPES]),
    )


def _stays(loads: Integers, history: History) -> pa.Table:
    """Follow every identifier from customer to customer; each stay is a row."""
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
    return pa.table(
        {
            "member": member,
            "customer": customer,
            "since": since,
            "until": pa.array(until, mask=until == NEVER),
        }
    )


def _merges(created: Integers, history: History) -> pa.Table:
    merged = created[history.absorbed_in[created] != NEVER]
    loads = history.absorbed_in[merged]
    # The one that took over may itself have been taken over in the same load.
    survivor = history.absorbed_into[merged]
    while (again := history.absorbed_in[survivor] == loads).any():
        survivor[again] = history.absorbed_into[survivor[again]]
    return pa.table(
        {
            "customer": merged,
            "survivor": survivor,
            "load_id": loads,
            "edge": history.absorbed_by[merged],
        }
    )


def _refusals(links: Links, history: History, rules: IdentityRules) -> pa.Table:
    """The refused pairs whose ends are still two customers."""
    refused = np.flatnonzero(history.verdicts != Verdict.LINKED)
    ends = []
    for side in (links.left[refused], links.right[refused]):
        customers = side.copy()
        while (moved := history.absorbed_into[customers] != NONE).any():
            customers[moved] = history.absorbed_into[customers[moved]]
        ends.append(customers)
    refused = refused[ends[0] != ends[1]]
    kinds, kind = np.unique(
        np.stack([history.verdicts[refused], history.culprits[refused]], axis=1),
        axis=0,
        return_inverse=True,
    )
    texts = [_refusal(Verdict(v), IDENTIFIER_TYPES[c], rules) for v, c in kinds.tolist()]
    names, reasons = (list(column) for column in zip(*texts, strict=True)) if texts else ([], [])
    kind = pa.array(kind.ravel())
    return pa.table(
        {
            "edge": refused,
            "rule": pa.array(names, pa.string()).take(kind),
            "reason": pa.array(reasons, pa.string()).take(kind),
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
