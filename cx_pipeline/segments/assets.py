"""The segments room in Dagster: who is in which segment, and what the segments are."""

import dagster as dg

from cx_pipeline.segments.memberships import compute, read_segments
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.session import connect
from cx_pipeline.warehouse.tables import table_metadata

MEMBERSHIPS = dg.AssetKey(["segments", "memberships"])
DEFINITIONS = dg.AssetKey(["segments", "definitions"])
DEPS = [
    ["consent", "permissions"],
    ["consent", "purposes"],
    ["journey", "as_of"],
    ["journey", "touchpoints"],
    ["journey", "orders"],
    ["experience", "cases"],
    ["experience", "feedback"],
    ["customer_360", "customers"],
    ["customer_360", "customer_profiles"],
]


@dg.multi_asset(
    name="segments",
    specs=[
        dg.AssetSpec(
            key=MEMBERSHIPS,
            deps=DEPS,
            group_name="segments",
            kinds={"python", "duckdb"},
            description="One row per customer, segment and stay. Who is in, who was, since when; "
            "nobody is a member without permission for the segment's purpose.",
        ),
        dg.AssetSpec(
            key=DEFINITIONS,
            deps=DEPS,
            group_name="segments",
            kinds={"python", "duckdb"},
            description="One row per segment declared in config/segments/, with its size now.",
        ),
    ],
)
def segments() -> tuple[dg.MaterializeResult, dg.MaterializeResult]:
    """Compile every declared segment, run it and compare with who was in before."""
    settings = load_settings()
    declared = read_segments(settings)
    with connect(settings) as con:
        changes = compute(con, declared)
        return (
            dg.MaterializeResult(
                asset_key=MEMBERSHIPS,
                metadata={
                    **table_metadata(con, "segments.memberships", settings),
                    "entered": changes.entered_count,
                    "left": changes.left_count,
                },
            ),
            dg.MaterializeResult(
                asset_key=DEFINITIONS,
                metadata={
                    **table_metadata(con, "segments.definitions", settings),
                    "members": changes.member_counts,
                },
            ),
        )
