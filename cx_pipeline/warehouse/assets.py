"""The whole dbt project as Dagster assets and asset checks, and nothing else.

One `@dbt_assets` is enough though Python rooms sit in the middle: Dagster runs it in as many
parts as the graph needs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets
from dagster_dbt.asset_utils import DAGSTER_DBT_UNIQUE_ID_METADATA_KEY

from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.fingerprint import (
    full_refresh_is_open,
    note_full_refresh,
    note_staging,
    rules_moved,
    staging_is_in_part,
)
from cx_pipeline.warehouse.project import (
    NodeResult,
    build,
    manifest_as_dict,
)

_CHECKED = {
    "primary_key": "Every row has a {column_name}, and no other row has the same.",
    "unique": "No two rows have the same {column_name}.",
    "not_null": "Every row has a {column_name}.",
    "accepted_values": "{column_name} is one of {values}.",
}
"""What a generic test of dbt looks at, in words; the others say it themselves."""


class Translator(DagsterDbtTranslator):
    """Dagster-dbt's own keys and groups; the description without the SQL under it."""

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the model's description as its YAML gives it."""
        return dbt_resource_props["description"]

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """Return dagster-dbt's own check, with words for what it checks."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        test = manifest["nodes"][unique_id].get("test_metadata") or {}
        said = _CHECKED.get(test.get("name"))
        if spec is None or spec.description or said is None:
            return spec
        return spec._replace(description=said.format(**test["kwargs"]))


FULL_REFRESH_TAG = "cx/full_refresh"
"""Run tag that makes dbt build its incremental models anew."""


def _is_staging(key: dg.AssetKey) -> bool:
    return key.path[0] == "staging"


def build_dbt_assets() -> dg.AssetsDefinition:
    """Return the asset definition over every model of the dbt project."""
    manifest = manifest_as_dict(load_settings())
    translator = Translator()

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="dbt_models")
    def dbt_models(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        settings = load_settings()
        model_keys = {
            spec.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]: spec.key
            for spec in context.assets_def.specs
            if spec.key in context.selected_asset_keys
        }
        checks = {
            spec.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]: spec
            for spec in context.assets_def.check_specs
            if spec.key in context.selected_asset_check_keys
        }
        staging = {id_ for id_, key in model_keys.items() if _is_staging(key)}
        left_out = sum(_is_staging(spec.key) for spec in dbt_models.specs) - len(staging)
        if staging and left_out:
            raise dg.Failure(
                f"The room staging is built as one, and {left_out} of its tables were not picked. "
                "Pick the whole group, or run `cx run --select staging`.",
                allow_retries=False,
            )
        if model_keys and not staging and staging_is_in_part(settings):
            raise dg.Failure(
                "The last build of the room staging did not end well: some of its tables may lack "
                "rows of a load that others have, and what is built from them now would never get "
                "those rows. Build that room first: `cx run --select staging`.",
                allow_retries=False,
            )
        if staging:
            note_staging(settings, is_whole=False)
        asked = FULL_REFRESH_TAG in context.run.tags
        # Staging built anew has forgotten what a moved row belonged to before.
        if rules_moved(settings) or (asked and staging):
            note_full_refresh(settings)
        full_refresh = asked or full_refresh_is_open(settings)
        failed: list[NodeResult] = []
        for result in build(settings, [*model_keys, *checks], full_refresh=full_refresh):
            if not result.is_successful:
                failed.append(result)
            if result.unique_id in model_keys and result.is_successful:
                yield dg.MaterializeResult(
                    asset_key=model_keys[result.unique_id],
                    metadata={
                        "seconds": round(result.seconds, 3),
                        "dagster/row_count": result.row_count,
                        "dagster/column_schema": dg.TableSchema(list(result.columns)),
                    },
                )
            # One that could not be asked, as of a full disk, says nothing of the rows.
            elif result.unique_id in checks and result.status in ("pass", "warn", "fail"):
                spec = checks[result.unique_id]
                yield dg.AssetCheckResult(
                    asset_key=spec.asset_key,
                    check_name=spec.name,
                    passed=result.status == "pass",
                    severity=(
                        dg.AssetCheckSeverity.WARN
                        if result.status == "warn"
                        else dg.AssetCheckSeverity.ERROR
                    ),
                    description=result.message,
                    metadata={"failing_rows": result.failures},
                )
        if staging and staging.isdisjoint(result.unique_id for result in failed):
            note_staging(settings, is_whole=True)
        broken = [result for result in failed if result.status != "skipped"]
        if broken:
            nodes: dict[str, list[str]] = {}
            for result in broken:
                nodes.setdefault(result.message, []).append(result.unique_id)
            lines = "\n".join(f"  {', '.join(of)}: {message}" for message, of in nodes.items())
            raise dg.Failure(
                f"{len(broken)} of {len(model_keys) + len(checks)} dbt nodes failed:\n{lines}",
                allow_retries=False,
            )

    return dbt_models
