"""The serving room in Dagster: the file that BI tools read."""

import dagster as dg
from dagster_dbt.asset_utils import DAGSTER_DBT_MANIFEST_METADATA_KEY

from cx_pipeline.serving.catalogue import published_nodes
from cx_pipeline.serving.publish import publish
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.fingerprint import (
    HalfBuiltError,
    note_published,
    refuse_half_built,
)
from cx_pipeline.warehouse.project import manifest_as_dict
from cx_pipeline.warehouse.session import connect


def build_serving_asset(dbt_models: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Return the asset of the published file, which comes after every table that it holds.

    Args:
        dbt_models: The asset definition over the dbt project.
    """
    project = next(iter(dbt_models.specs)).metadata[DAGSTER_DBT_MANIFEST_METADATA_KEY]
    deps = [dg.AssetKey(table.split(".", 1)) for table in published_nodes(project.manifest)]

    @dg.asset(
        key=["serving", "bi"],
        group_name="serving",
        deps=deps,
        kinds={"duckdb"},
        description="One row per published table, in `publication.manifest` of "
        "data/serving/bi.duckdb. The file holds the marts under the rooms' names, without direct "
        "personal data; a reader never waits for a run and never sees half of one.",
    )
    def bi(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        settings = load_settings()
        selection = context.run.asset_selection
        is_whole = selection is None or selection.issuperset(deps)
        try:
            refuse_half_built(settings, context.run_id, is_whole=is_whole)
        except HalfBuiltError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        manifest = manifest_as_dict(settings)
        with connect(settings) as con:
            publication = publish(con, settings, manifest, run_id=context.run_id)
            note_published(con, settings, context.run_id)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(publication.row_counts.values()),
                "path": dg.MetadataValue.path(str(publication.path)),
                "version": publication.version,
                "is_new_version": publication.is_new,
                "size_bytes": publication.size_bytes,
                "row_counts": publication.row_counts,
                "withheld_columns": {
                    table: list(columns) for table, columns in publication.withheld.items()
                },
            }
        )

    return bi
