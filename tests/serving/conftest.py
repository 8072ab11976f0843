"""A warehouse with planted personal data, ready to publish."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from cx_pipeline.settings import Settings, load_settings
from tests.serving.planted_warehouse import fill_warehouse


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(data_dir=tmp_path / "data")


@pytest.fixture
def warehouse(settings: Settings) -> Any:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(str(settings.warehouse_path))
    fill_warehouse(con, 1)
    yield con
    con.close()
