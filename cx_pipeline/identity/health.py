"""Whether the identifiers tell people apart: the figures behind identity's asset checks.

Keeps out: what to do about it (config/identity_rules.yml)
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.identity.resolution import Resolution
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES, IdentityRules

PLAUSIBLE_VALUES_PER_CUSTOMER = 5.0
"""Snowplow's guidance on distinct values per person: 1 is ideal, 2 to 5 are fine, tens are not."""

PLAUSIBLE_SHARE_AT_LIMIT = 0.02
"""Ours: where more customers than this have reached a limit, the limit decides who is who."""


@dataclass(frozen=True)
class Health:
    """The state of the map of customers."""

    keys: int
    """Distinct profile keys in the map."""
    current_rows: int
    customers: int
    known_customers: int
    values_per_customer: dict[str, float]
    """By identifier type: mean values of a known customer who has any of that type."""
    share_at_limit: dict[str, float]
    """By type with a limit above 1: share of those customers who have as many as are allowed."""
    concerns: tuple[str, ...]
    """What is not plausible, as sentences."""


def measure_health(resolution: Resolution, rules: IdentityRules) -> Health:
    """Count identifiers per known customer and type, and judge the counts."""
    xref = resolution.customer_xref
    current = xref.filter(xref["is_current"])
    known = current.filter(current["is_known"])
    by_type = known.group_by(["customer_id", "identifier_type"]).aggregate([([], "count_all")])
    values, at_limit, concerns = {}, {}, []
    for name in IDENTIFIER_TYPES:
        counts = by_type.filter(pc.equal(by_type["identifier_type"], name))["count_all"]
        if not len(counts):
            continue
        values[name] = pc.mean(counts).as_py()
        if values[name] > PLAUSIBLE_VALUES_PER_CUSTOMER:
            concerns.append(
                f"a customer with any {name} has {values[name]:.1f} of them on average; "
                f"more than {PLAUSIBLE_VALUES_PER_CUSTOMER:.0f} says little about who is who"
            )
        limit = rules.identifiers[name].max_per_customer
        if limit is not None and limit > 1:
            at_limit[name] = pc.mean(pc.greater_equal(counts, limit).cast(pa.float64())).as_py()
            if at_limit[name] > PLAUSIBLE_SHARE_AT_LIMIT:
                concerns.append(
                    f"{at_limit[name]:.0%} of the customers with any {name} have reached the "
                    f"limit of {limit}; look for shared values in identity.rejected_links"
                )
    return Health(
        keys=pc.count_distinct(xref["profile_key"]).as_py(),
        current_rows=current.num_rows,
        customers=pc.count_distinct(current["customer_id"]).as_py(),
        known_customers=pc.count_distinct(known["customer_id"]).as_py(),
        values_per_customer=values,
        share_at_limit=at_limit,
        concerns=tuple(concerns),
    )
