"""The rules of the house, each held by a guard."""

import ast
import re
from pathlib import Path

import pytest

from cx_pipeline.serving.catalogue import PUBLISHED_ROWS, is_published
from cx_pipeline.settings import PROJECT_DIR, Settings, load_settings

PACKAGE = PROJECT_DIR / "cx_pipeline"

MAY_READ = {
    "sources": set(),
    "staging": {"sources"},
    "identity": {"staging"},
    "consent": {"staging", "identity"},
    "journey": {"staging", "identity", "consent"},
    "experience": {"staging", "identity", "consent", "journey"},
    "media": {"staging"},
    "customer_360": {"identity", "consent", "journey", "experience"},
    "segments": {"consent", "journey", "experience", "customer_360"},
    "kpis": {"journey", "experience", "media", "customer_360", "segments", "consent"},
    "serving": {
        "identity",
        "consent",
        "journey",
        "experience",
        "media",
        "customer_360",
        "segments",
        "kpis",
    },
}
"""Which rooms' tables each room may read besides its own, in the order of the house."""

# fideslang keys of what names or reaches a person directly.
PERSONAL = ("user.name", "user.contact", "user.content", "user.unique_id", "user.device.cookie_id")
ROOMS_WITH_PERSONAL_DATA = {"sources", "staging", "identity", "experience"}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def manifest() -> dict:
    from cx_pipeline.warehouse.project import manifest_as_dict

    return manifest_as_dict(load_settings())


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("room", MAY_READ)
def test_a_room_never_imports_another_room(room):
    floor = {"settings", "warehouse"}
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for module in imported_modules(path):
            if module.startswith("cx_pipeline."):
                place = module.split(".")[1]
                assert place in {room} | floor, f"{path.name} imports {module}"


def test_what_leads_from_a_fact_to_its_customer_is_published_without_objectors(manifest):
    maps = {
        f"{node['schema']}.{node['name']}"
        for node in [*manifest["nodes"].values(), *manifest["sources"].values()]
        if is_published(node["schema"], node["name"])
        and "customer_id" in node["columns"]
        and any(column["data_type"] == "uuid" for column in node["columns"].values())
    }
    assert maps == set(PUBLISHED_ROWS)


def test_the_floor_imports_no_room():
    for path in sorted((PACKAGE / "warehouse").rglob("*.py")):
        for module in imported_modules(path) - {"cx_pipeline.definitions"}:
            if module.startswith("cx_pipeline."):
                assert module.split(".")[1] in {"settings", "warehouse"}, f"{path}: {module}"


def test_every_asset_reads_only_what_its_room_may():
    from cx_pipeline.definitions import defs

    graph = defs.resolve_asset_graph()
    wrong = [
        f"{key.to_user_string()} reads {parent.to_user_string()}"
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
        if parent.path[0] not in MAY_READ[key.path[0]] | {key.path[0]}
    ]
    assert not wrong


def test_every_asset_says_what_it_is_who_owns_it_and_lives_in_its_rooms_group():
    from cx_pipeline.definitions import defs

    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.group_name == spec.key.path[0], name
        assert spec.description, name
        assert spec.owners, name


def test_every_check_says_what_it_checks():
    from cx_pipeline.warehouse.assets import build_dbt_assets

    assert [spec.name for spec in build_dbt_assets().check_specs if not spec.description] == []


def test_the_environment_is_read_in_settings_alone():
    for path in python_files():
        if path.name == "settings.py":
            continue
        tree = ast.parse(path.read_text())
        # `os.environ["X"] = ...` hands a value to a child process and reads nothing.
        written = {
            id(target.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Subscript)
        }
        for node in ast.walk(tree):
            imported = isinstance(node, ast.ImportFrom) and node.module == "os"
            names = {alias.name for alias in node.names} if imported else set()
            if isinstance(node, ast.Attribute) and id(node) not in written:
                names = {node.attr}
            assert not names & {"environ", "environb", "getenv", "getenvb"}, path


def test_every_setting_stands_in_the_example_of_the_environment():
    example = (PROJECT_DIR / ".env.example").read_text()
    named = set(re.findall(r"^#?(CX_[A-Z_]+)=", example, re.MULTILINE))
    assert named == {f"CX_{name.upper()}" for name in Settings.model_fields}


def test_every_model_says_its_grain_and_describes_every_column(manifest):
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model":
            continue
        assert node["description"].startswith("One row per"), node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], f"{node['name']}.{column['name']}"


def test_personal_data_stays_in_the_rooms_that_may_hold_it(manifest):
    tagged = 0
    for node in (*manifest["nodes"].values(), *manifest["sources"].values()):
        for column in node.get("columns", {}).values():
            meta = {**column.get("meta", {}), **column.get("config", {}).get("meta", {})}
            category = meta.get("data_category", "")
            if category.startswith(PERSONAL):
                tagged += 1
                assert node["schema"] in ROOMS_WITH_PERSONAL_DATA, (
                    f"{node['schema']}.{node['name']}.{column['name']} holds {category}"
                )
    assert tagged > 50


def test_a_walled_gardens_row_never_meets_a_person(manifest):
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model":
            continue
        parents = [manifest["nodes"].get(p, {}) for p in node["depends_on"]["nodes"]]
        if node["schema"] == "media":
            assert not {"profile_key", "customer_id"} & set(node["columns"]), node["name"]
        if any(parent.get("schema") == "media" for parent in parents):
            assert node["schema"] in {"media", "kpis"}, node["name"]
            assert not {"profile_key", "customer_id"} & set(node["columns"]), node["name"]


def test_no_room_reads_the_demo_companys_truth():
    writers = {"demo", "settings.py", "cli.py"}
    for path in python_files():
        if path.relative_to(PACKAGE).parts[0] not in writers:
            assert "truth" not in path.read_text(), path
    for path in (PROJECT_DIR / "dbt_project").rglob("*.sql"):
        assert "truth" not in path.read_text(), path
    for path in (PROJECT_DIR / "config").rglob("*.yml"):
        assert "truth" not in path.read_text(), path


def test_every_dbt_test_runs_as_a_check_of_some_asset(manifest):
    from cx_pipeline.definitions import defs

    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    tests = {n["name"] for n in manifest["nodes"].values() if n["resource_type"] == "test"}
    assert tests <= checks


def test_only_the_engine_folders_know_which_engine_runs():
    engines = PACKAGE / "warehouse" / "engine"
    for path in python_files():
        if path.is_relative_to(engines) or path.name == "settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant):
                assert node.value != "spark", path
            if isinstance(node, ast.Compare):
                named = {
                    side.value for side in (node.left, *node.comparators)
                    if isinstance(side, ast.Constant)
                }  # fmt: skip
                assert "duckdb" not in named, path
    dbt_project = PROJECT_DIR / "dbt_project"
    for path in dbt_project.glob("[mt]*/**/*.sql"):
        if not path.is_relative_to(dbt_project / "macros" / "engine"):
            assert not re.search(r"target\.(type|name)|adapter\.type|spark__", path.read_text()), (
                path
            )
