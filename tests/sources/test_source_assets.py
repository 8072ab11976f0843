"""The room's assets: their keys, what they show, and that one bad source holds up no other."""

import dagster as dg
import pytest

from cx_pipeline.settings import PROJECT_DIR, load_settings
from cx_pipeline.sources.assets import build_source_assets
from cx_pipeline.sources.contract import entity_contract
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config

OTHER = """
  erp:
    url: sqlite:///../in/nothing.sqlite
    tables: {customers: {}}
"""


@pytest.fixture
def assets(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[dg.AssetsDefinition]:
    """The assets of a shop of one file and of an ERP that is not there."""
    monkeypatch.setenv("CX_CONFIG_DIR", str(site.settings.config_dir))
    monkeypatch.setenv("CX_DATA_DIR", str(site.settings.data_dir))
    monkeypatch.setenv("CX_IDENTITY_KEY", "key of the test suite")
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING) + OTHER)
    site.write("a.csv", "order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n1,2\n")
    return build_source_assets(site.settings)


def test_keys_follow_the_house_and_views_depend_on_what_is_mapped_to_them(
    assets: list[dg.AssetsDefinition],
) -> None:
    graph = dg.Definitions(assets=assets).resolve_asset_graph()
    raw = {dg.AssetKey(["sources", "shop", "orders"]), dg.AssetKey(["sources", "erp", "customers"])}
    views = {dg.AssetKey(["sources", entity.table]) for entity in entity_contract().values()}
    assert raw | views <= graph.get_all_asset_keys()
    assert graph.get(dg.AssetKey(["sources", "orders"])).parent_keys == {
        dg.AssetKey(["sources", "shop", "orders"])
    }
    assert graph.get(dg.AssetKey(["sources", "loads"])).parent_keys == raw
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name == "sources"
        assert node.description.startswith("One row per ")


@pytest.mark.parametrize("example", ["olist", "completejourney"])
def test_nothing_is_made_before_everything_is_landed(example: str) -> None:
    settings = load_settings(PROJECT_DIR / "config" / "examples" / example)
    tables, views = build_source_assets(settings)
    without_parents = [spec.key for spec in views.specs if not spec.deps]
    assert tables.keys
    assert without_parents == []


def test_a_run_shows_counts_and_a_source_that_fails_holds_up_no_other(
    assets: list[dg.AssetsDefinition],
) -> None:
    result = dg.materialize(assets, raise_on_error=False)
    made = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert made["sources/shop/orders"]["dagster/row_count"].value == 1
    assert made["sources/shop/orders"]["rows_rejected"].value == 1
    columns = made["sources/shop/orders"]["dagster/column_schema"].schema.columns
    assert [column.name for column in columns][:4] == ["order_no", "email", "amount", "placed"]
    assert made["sources/orders"]["dagster/row_count"].value == 1
    failed = {
        check.asset_key.to_user_string(): check.description
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert list(failed) == ["sources/erp/customers"]
    assert "there is no SQLite file" in failed["sources/erp/customers"]
