"""The assets of the sources room: what each system sent, and its rows under the contract's names.

Reads:     the sources of config/sources.yml
Writes:    the lake, and the views and books of schema `sources` in the warehouse
Keeps out: how landing works (landing.py) and what the views hold (views.py)

Two steps for all tables together: a step costs Dagster more than most tables take to land.
"""

from collections.abc import Iterator

import dagster as dg
import duckdb

from cx_pipeline.settings import Settings, load_settings
from cx_pipeline.sources.books import BOOKS
from cx_pipeline.sources.config import SourcesConfig, load_sources
from cx_pipeline.sources.contract import entity_contract
from cx_pipeline.sources.lake import LakeError
from cx_pipeline.sources.landing import Outcome, land
from cx_pipeline.sources.reference import REFERENCE_TABLES
from cx_pipeline.sources.views import register
from cx_pipeline.warehouse.assets import FULL_REFRESH_TAG
from cx_pipeline.warehouse.config_files import ConfigError
from cx_pipeline.warehouse.fingerprint import has_nothing_to_do, note_begin
from cx_pipeline.warehouse.session import connect, set_limits
from cx_pipeline.warehouse.tables import table_metadata

GROUP = "sources"

_ANSWERED = "answered"

# For what goes wrong outside a source's own reading, which already asks three times.
_PATIENCE = dg.RetryPolicy(max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL)


def build_source_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets of every table of sources.yml and of every entity of the contract.

    Raises:
        ConfigError: sources.yml cannot be used; names file and line.
    """
    config = load_sources(settings)
    return [_raw_tables(config), _contract_views(config)]


def _raw_key(source_name: str, table_name: str) -> dg.AssetKey:
    return dg.AssetKey([GROUP, source_name, table_name])


def _raw_tables(config: SourcesConfig) -> dg.AssetsDefinition:
    specs = []
    for source_name, table_name, source, table in config.landed_tables():
        kind = "sql" if source.is_database else table.file_format
        about = table.description or source.description
        told = f" {about.rstrip('.')}." if about else ""
        specs.append(
            dg.AssetSpec(
                key=_raw_key(source_name, table_name),
                description=f"One row per row that {source_name} sent of {table_name}, untouched."
                + told,
                group_name=GROUP,
                kinds={kind, "parquet"},
            )
        )

    @dg.multi_asset(
        name="source_tables",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(
                _ANSWERED, asset=spec.key, description="The source could be read in this run."
            )
            for spec in specs
        ],
        can_subset=True,
        retry_policy=_PATIENCE,
    )
    def source_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """Land what is new in every selected table; one that does not answer holds up no other."""
        settings = load_settings()
        only = {(key.path[1], key.path[2]) for key in context.selected_asset_keys}
        with duckdb.connect() as connection:
            set_limits(connection, settings)
            try:
                outcomes = land(connection, settings, only)
            except (ConfigError, LakeError) as error:
                raise dg.Failure(str(error), allow_retries=False) from None
        for outcome in outcomes:
            yield _materialised(outcome)

    return source_tables


def _materialised(outcome: Outcome) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        asset_key=_raw_key(outcome.source, outcome.table),
        metadata={
            "dagster/row_count": outcome.rows_in_lake,
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, data_type) for name, data_type in outcome.columns.items()]
            ),
            "rows_landed": outcome.rows_landed,
            "rows_rejected": outcome.rows_rejected,
            "files_landed": outcome.files_landed,
            "files_refused": outcome.files_refused,
            **({"load_id": outcome.load_id} if outcome.load_id else {}),
        },
        check_results=[
            dg.AssetCheckResult(
                asset_key=_raw_key(outcome.source, outcome.table),
                check_name=_ANSWERED,
                passed=not outcome.error,
                description=outcome.error or None,
            )
        ],
    )


def _contract_views(config: SourcesConfig) -> dg.AssetsDefinition:
    feeding: dict[str, set[dg.AssetKey]] = {name: set() for name in entity_contract()}
    everything = {_raw_key(source, table) for source, table, _, _ in config.landed_tables()}
    for source_name, table_name, source, table in config.tables():
        if source.is_database or not table.is_query_over_tables:
            keys = {_raw_key(source_name, table_name)}
        else:
            keys = {key for key in everything if key.path[1] == source_name}
        for entity in table.entities:
            feeding[entity] |= keys
    specs = [_spec(name, description, everything) for name, description in BOOKS.items()]
    # An entity that nothing is mapped to comes after the landing too: without a parent Dagster
    # would make it, and ask whether there is anything to do, before anything is landed.
    landed = {specs[0].key}
    specs += [
        _spec(entity.table, entity.description, feeding[entity.name] or landed)
        for entity in entity_contract().values()
    ]
    # They need no landing, but with other parents than the views they would be a step of their own,
    # and split dbt's first part in two besides: 2 s of a run.
    specs += [
        _spec(name, description, everything) for name, description in REFERENCE_TABLES.items()
    ]

    @dg.multi_asset(name="source_contract", specs=specs, can_subset=True)
    def source_contract(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """Make the views over the lake and the books anew."""
        settings = load_settings()
        with connect(settings) as connection:
            try:
                notes = register(connection, settings)
            except (ConfigError, LakeError) as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            for note in notes:
                context.log.info(note)
            # Whoever picks assets by hand wants them made; a whole run may find them made already.
            if context.run.asset_selection is None:
                full_refresh = FULL_REFRESH_TAG in context.run.tags
                if not full_refresh and has_nothing_to_do(connection, settings):
                    context.log.info("nothing new in sources, config or code: the rest is skipped")
                    return
                note_begin(connection, settings, context.run_id, full_refresh=full_refresh)
            # In the order of the specs: Dagster wants the books before what comes after them.
            for key in [spec.key for spec in specs if spec.key in context.selected_asset_keys]:
                metadata = table_metadata(connection, ".".join(key.path), settings)
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return source_contract


def _spec(name: str, description: str, deps: set[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=[GROUP, name],
        description=description,
        deps=sorted(deps),
        group_name=GROUP,
        kinds={"duckdb"},
        skippable=True,
    )
