"""Whether the identifiers tell people apart: the figures behind identity's asset checks.

Keeps out: what to do about it (config/identity_rules.yml)
"""

from dataclasses import dataclass

import duckdb

from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES, IdentityRules

PLAUSIBLE_VALUES_PER_CUSTOMER = 5.0
"""Snowplow's guidance on distinct values per person: 1 is ideal, 2 to 5 are fine, tens are not."""

PLAUSIBLE_SHARE_AT_LIMIT = 0.02
"""Ours: where more customers than this have reached a limit, the limit decides who is who."""


@dataclass(frozen=True)
class Health:
    """The state of the map of customers."""

    missing_keys: int
    """Profile keys of identity.identifiers without a current row."""
    current_rows: int
    customers: int
    known_customers: int
    values_per_customer: dict[str, float]
    """By identifier type: mean values of a known customer who has any of that type."""
    share_at_limit: dict[str, float]
    """By type with a limit above 1: share of those customers who have as many as are allowed."""
    concerns: tuple[str, ...]
    """What is not plausible, as sentences."""


def measure_health(connection: duckdb.DuckDBPyConnection, rules: IdentityRules) -> Health:
    """Count identity.customer_xref per known customer and type, and judge the counts."""
    counts = ", ".join(
        f"count(*) filter (identifier_type = '{name}') as {name}" for name in IDENTIFIER_TYPES
    )
    figures = ", ".join(
        f"avg({name}) filter ({name} > 0), "
        f"avg(({name} >= {rules.identifiers[name].max_per_customer or 'null'})::integer) "
        f"filter ({name} > 0)"
        for name in IDENTIFIER_TYPES
    )
    ((current_rows, customers, known_customers, *per_type),) = connection.execute(
        f"""
        with customers as (
            select customer_id, any_value(is_known) as is_known, count(*) as key_count, {counts}
            from identity.customer_xref where is_current group by customer_id
        ), figures as (
            select {figures} from customers where is_known
        )
        select totals.*, figures.* from figures cross join (
            select coalesce(sum(key_count), 0), count(*), count(*) filter (is_known) from customers
        ) as totals
        """
    ).fetchall()
    ((missing,),) = connection.execute(
        "select count(*) from identity.identifiers where profile_key not in "
        "(select profile_key from identity.customer_xref where is_current)"
    ).fetchall()
    values, at_limit, concerns = {}, {}, []
    for name, mean, share in zip(IDENTIFIER_TYPES, per_type[::2], per_type[1::2], strict=True):
        if mean is None:
            continue
        values[name] = mean
        if mean > PLAUSIBLE_VALUES_PER_CUSTOMER:
            concerns.append(
                f"a customer with any {name} has {mean:.1f} of them on average; "
                f"more than {PLAUSIBLE_VALUES_PER_CUSTOMER:.0f} says little about who is who"
            )
        limit = rules.identifiers[name].max_per_customer
        if limit is not None and limit > 1:
            at_limit[name] = share
            if share > PLAUSIBLE_SHARE_AT_LIMIT:
                concerns.append(
                    f"{share:.0%} of the customers with any {name} have reached the "
                    f"limit of {limit}; look for shared values in identity.rejected_links"
                )
    return Health(
        missing_keys=missing,
        current_rows=int(current_rows),
        customers=customers,
        known_customers=known_customers,
        values_per_customer=values,
        share_at_limit=at_limit,
        concerns=tuple(concerns),
    )
