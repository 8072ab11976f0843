"""What the environment says, and what of it is refused."""

import pytest

from cx_pipeline.settings import PROJECT_DIR, SettingsError, load_settings
from cx_pipeline.warehouse.session import clear_temp_dir, process_temp_dir


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CX_ENGINE", "duckbd"),
        ("CX_THREADS", "many"),
        ("CX_THREADS", "-3"),
        ("CX_MEMORY_LIMIT", "nonsense"),
        ("CX_MEMORY_LIMIT", "80%"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_name_of_its_variable(
    monkeypatch, variable, value
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable} is '{value}': .* correct it in"):
        load_settings()


def test_a_config_folder_that_is_not_there_is_refused_and_not_taken_from_the_project(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder .*my_cnofig; correct --config"):
        load_settings(tmp_path / "my_cnofig", tmp_path)


@pytest.mark.parametrize("name", ["sources.yaml", "segments/ours.yaml"])
def test_a_config_file_that_would_be_overlooked_is_named(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(SettingsError, match=f"{name} is not read, only what ends in .yml"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ("", 0),
        ("8GB", 8 * 1000**3),
        ("1.5gb", 1_500_000_000),
        ("8 GiB", 8 * 1024**3),
        ("512MB", 512 * 1000**2),
        ("2g", 2 * 1000**3),
        ("100B", 100),
    ],
)
def test_a_memory_limit_counts_the_same_bytes_on_each_engine(monkeypatch, limit, size):
    monkeypatch.setenv("CX_MEMORY_LIMIT", limit)
    assert load_settings().memory_limit_bytes == size


def test_two_data_folders_never_share_a_folder_for_what_does_not_fit_into_memory(
    monkeypatch, tmp_path
):
    config = PROJECT_DIR / "config"
    assert load_settings(config, tmp_path / "one").temp_dir == tmp_path / "one" / "temp"
    monkeypatch.setenv("CX_TEMP_DIR", str(tmp_path / "scratch"))
    one, again, two = (
        load_settings(config, tmp_path / name).temp_dir for name in ("one", "one", "two")
    )
    assert one == again != two
    assert one.parent == two.parent == tmp_path / "scratch"


def test_what_a_killed_run_spilled_is_deleted_and_nothing_else(tmp_path):
    settings = load_settings(PROJECT_DIR / "config", tmp_path / "data")
    clear_temp_dir(settings)
    settings.temp_dir.mkdir(parents=True)
    for name in ("duckdb_temp_storage_DEFAULT-0.tmp", "of_somebody_else"):
        (settings.temp_dir / name).touch()
    own = process_temp_dir(settings)
    for folder in (own, own.with_name(f"{own.name}0")):
        (folder / "blocks").mkdir(parents=True)
    clear_temp_dir(settings)
    left = {path.name for path in settings.temp_dir.iterdir()}
    assert left == {"of_somebody_else", own.name}
