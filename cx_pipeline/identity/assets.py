"""The assets of the identity room that Python makes: who is who, since when and why.

Reads:     identity.identifiers, identity.id_edges, config/identity_rules.yml
Writes:    identity.customer_xref, identity.id_changes, identity.rejected_links, and in
           identity.resolved_evidence how far they are worked out
Keeps out: personal data; only keyed hashes come in here
"""

from collections.abc import Iterator

import dagster as dg

from cx_pipeline.identity.health import measure_health
from cx_pipeline.identity.tables import update_identity
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.assets import FULL_REFRESH_TAG
from cx_pipeline.warehouse.fingerprint import full_refresh_is_open, rules_hash
from cx_pipeline.warehouse.identity_rules import read_identity_rules
from cx_pipeline.warehouse.session import connect
from cx_pipeline.warehouse.tables import table_metadata

_EVIDENCE = [dg.AssetKey(["identity", "identifiers"]), dg.AssetKey(["identity", "id_edges"])]
_XREF = dg.AssetKey(["identity", "customer_xref"])


def _spec(name: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=["identity", name],
        deps=_EVIDENCE,
        description=description,
        group_name="identity",
        kinds={"python", "duckdb"},
    )


@dg.multi_asset(
    name="identity_resolution",
    specs=[
        _spec(
            "customer_xref",
            "One row per profile key and period in which it belonged to the same customer.",
        ),
        _spec(
            "id_changes",
            "One row per customer that appeared, and per customer merged into an older one.",
        ),
        _spec(
            "rejected_links",
            "One row per pair of identifiers that the rules kept from making one customer of two.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_key_has_one_current_customer",
            asset=_XREF,
            blocking=True,
            description="Each profile key of identity.identifiers has exactly one current row.",
        ),
        dg.AssetCheckSpec(
            "identifiers_per_customer_are_plausible",
            asset=_XREF,
            description=(
                "Known customers have about one to five values of each type; more, or many "
                "customers at a limit, means that an identifier does not tell people apart."
            ),
        ),
    ],
)
def identity_resolution(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    """Work out who is who where anything new touches it, and store what differs."""
    settings = load_settings()
    rules = read_identity_rules(settings)
    with connect(settings) as connection:
        anew = FULL_REFRESH_TAG in context.run.tags or full_refresh_is_open(settings)
        update = update_identity(connection, rules, rules_hash(settings), anew=anew)
        health = measure_health(connection, rules)
        for table in ("customer_xref", "id_changes", "rejected_links"):
            checks = []
            metadata = table_metadata(connection, f"identity.{table}", settings)
            if table == "customer_xref":
                metadata |= {
                    "changed_rows": update.changed_rows,
                    "resolved_identifiers": update.resolved_identifiers,
                }
                checks = [
                    dg.AssetCheckResult(
                        check_name="every_key_has_one_current_customer",
                        # With a row for each and as many rows as keys, no key has two.
                        passed=(
                            not health.missing_keys and health.current_rows == update.identifiers
                        ),
                        metadata={
                            "keys_without_a_customer": health.missing_keys,
                            "current_rows": health.current_rows,
                            "identifiers": update.identifiers,
                        },
                    ),
                    dg.AssetCheckResult(
                        check_name="identifiers_per_customer_are_plausible",
                        passed=not health.concerns,
                        severity=dg.AssetCheckSeverity.WARN,
                        metadata={
                            "concerns": dg.MetadataValue.md("\n".join(health.concerns) or "none"),
                            "customers": health.customers,
                            "known_customers": health.known_customers,
                            **{
                                f"{name}_per_customer": round(share, 3)
                                for name, share in health.values_per_customer.items()
                            },
                        },
                    ),
                ]
            yield dg.MaterializeResult(
                asset_key=["identity", table], metadata=metadata, check_results=checks
            )
