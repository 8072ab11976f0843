"""The assets of the identity room that Python makes: who is who, since when and why.

Reads:     identity.identifiers, identity.id_edges, config/identity_rules.yml
Writes:    identity.customer_xref, identity.id_changes, identity.rejected_links
Keeps out: personal data; only keyed hashes come in here
"""

from collections.abc import Iterator

import dagster as dg

from cx_pipeline.identity.health import measure_health
from cx_pipeline.identity.resolution import resolve
from cx_pipeline.identity.tables import read_edges, read_identifiers, write_resolution
from cx_pipeline.settings import load_settings
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
def identity_resolution() -> Iterator[dg.MaterializeResult]:
    """Work out who is who from all loads, and store what differs from what is stored."""
    settings = load_settings()
    rules = read_identity_rules(settings)
    with connect(settings) as connection:
        identifiers, edges = read_identifiers(connection), read_edges(connection)
        resolution = resolve(identifiers, edges, rules)
        changed = write_resolution(connection, resolution)
        health = measure_health(resolution, rules)
        for table in ("customer_xref", "id_changes", "rejected_links"):
            checks = []
            metadata = table_metadata(connection, f"identity.{table}")
            if table == "customer_xref":
                metadata |= {"changed_rows": changed}
                checks = [
                    dg.AssetCheckResult(
                        check_name="every_key_has_one_current_customer",
                        passed=health.current_rows == health.keys == identifiers.num_rows,
                        metadata={
                            "keys": health.keys,
                            "current_rows": health.current_rows,
                            "identifiers": identifiers.num_rows,
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
