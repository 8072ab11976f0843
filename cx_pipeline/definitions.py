"""The house put together: every room's assets, the job, the schedule and the sensor.

Keeps out: any asset itself; each lives in its room's assets.py.
"""

from datetime import timedelta

import dagster as dg

from cx_pipeline.identity import assets as identity_assets
from cx_pipeline.kpis import assets as kpis_assets
from cx_pipeline.segments import assets as segments_assets
from cx_pipeline.serving.assets import build_serving_asset
from cx_pipeline.settings import load_settings
from cx_pipeline.sources.assets import build_source_assets
from cx_pipeline.sources.landing import pending_files
from cx_pipeline.warehouse.assets import build_dbt_assets
from cx_pipeline.warehouse.company import read_company
from cx_pipeline.warehouse.executor import one_writer_executor
from cx_pipeline.warehouse.run import JOB_NAME, run_log

# What people rely on in the morning: made every night, so 26 h leaves two for a slow one.
RELIED_ON = {
    dg.AssetKey(["customer_360", "customers"]),
    dg.AssetKey(["segments", "memberships"]),
    dg.AssetKey(["kpis", "kpi_values"]),
    dg.AssetKey(["serving", "bi"]),
}
DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=36), warn_window=timedelta(hours=26)
)
OWNER = "team:customer_data"


def _with_owner_and_freshness(spec: dg.AssetSpec) -> dg.AssetSpec:
    owned = spec if spec.owners else spec.replace_attributes(owners=[OWNER])
    return dg.apply_freshness_policy(owned, DAILY) if spec.key in RELIED_ON else owned


def build_definitions() -> dg.Definitions:
    """Assemble the code location for the config and data folders of the settings.

    Raises:
        ConfigError: A file under config/ is wrong; names file and line.
    """
    settings = load_settings()
    company = read_company(settings)
    dbt_models = build_dbt_assets()
    assets = dg.map_asset_specs(
        _with_owner_and_freshness,
        [
            *build_source_assets(settings),
            dbt_models,
            *dg.load_assets_from_modules([identity_assets, segments_assets, kpis_assets]),
            build_serving_asset(dbt_models),
        ],
    )
    checks = dg.load_asset_checks_from_modules([identity_assets, segments_assets, kpis_assets])
    job = dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.all(),
        description="Everything from the sources to the published file.",
        config={"loggers": {"run_log": {}}},
    )
    daily = dg.ScheduleDefinition(
        name="daily",
        job=job,
        cron_schedule="0 4 * * *",
        execution_timezone=company.time_zone,
        description="Every night at four, company time, before the first shop opens.",
    )

    @dg.sensor(
        job=job,
        name="file_drops",
        minimum_interval_seconds=60,
        description="Runs when a source folder or the inbox holds a file that is not landed yet.",
    )
    def file_drops(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        waiting = pending_files(load_settings())
        if not waiting:
            return dg.SkipReason("every file is landed")
        if waiting == context.cursor:
            return dg.SkipReason("a run has been asked for since the last file came")
        context.update_cursor(waiting)
        return dg.RunRequest(run_key=waiting)

    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[job],
        schedules=[daily],
        sensors=[file_drops],
        executor=one_writer_executor,
        loggers={"run_log": run_log},
    )


defs = build_definitions()
