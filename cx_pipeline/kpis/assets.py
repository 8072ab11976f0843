"""The kpis room in Dagster: the figures, and what they mean. The tables below them are dbt's."""

import dagster as dg

from cx_pipeline.kpis.queries import read_queries
from cx_pipeline.kpis.values import compute
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.project import semantic_manifest
from cx_pipeline.warehouse.session import connect
from cx_pipeline.warehouse.tables import table_metadata

KPI_VALUES = dg.AssetKey(["kpis", "kpi_values"])
DEFINITIONS = dg.AssetKey(["kpis", "definitions"])
# The models behind the semantic models; a test compares the two.
DEPS = [
    ["journey", "orders"],
    ["journey", "sessions"],
    ["experience", "feedback"],
    ["experience", "cases"],
    ["media", "campaign_days"],
    ["customer_360", "customers"],
    ["customer_360", "customer_profiles"],
    ["kpis", "media_days"],
    ["kpis", "fact_countries"],
    ["kpis", "buyer_months"],
    ["kpis", "stage_conversions"],
    ["kpis", "consent_coverage"],
    ["kpis", "customer_counts"],
    ["kpis", "segment_sizes"],
]


@dg.multi_asset(
    name="kpis",
    specs=[
        dg.AssetSpec(
            key=KPI_VALUES,
            deps=DEPS,
            group_name="kpis",
            kinds={"python", "duckdb"},
            description="One row per key figure, period and dimension value. Computed by the SQL "
            "that MetricFlow writes from dbt's metrics, so that both always agree.",
        ),
        dg.AssetSpec(
            key=DEFINITIONS,
            deps=DEPS,
            group_name="kpis",
            kinds={"python", "duckdb"},
            description="One row per key figure: what it means, its unit, which way is good.",
        ),
    ],
)
def kpis() -> tuple[dg.MaterializeResult, dg.MaterializeResult]:
    """Run the queries of every key figure."""
    settings = load_settings()
    figures, queries = read_queries(semantic_manifest(settings), settings.target_dir)
    with connect(settings) as con:
        compute(con, figures, queries)
        return (
            dg.MaterializeResult(
                asset_key=KPI_VALUES, metadata=table_metadata(con, "kpis.kpi_values", settings)
            ),
            dg.MaterializeResult(
                asset_key=DEFINITIONS, metadata=table_metadata(con, "kpis.definitions", settings)
            ),
        )
