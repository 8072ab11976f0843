"""Whether a run has anything to do: what the last published run was made of, and what is now.

A run's result depends on the landed rows, config/, the code and the date (a consent expires
without anybody sending a row). When none of them moved, everything behind the lake stands.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from cx_pipeline.settings import DBT_PROJECT_DIR, PROJECT_DIR, Settings

_CODE = ((PROJECT_DIR / "cx_pipeline", "**/*.py"), (DBT_PROJECT_DIR, "[dm]*/**/*.*"))


def run_fingerprint(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Return a SHA-256 over everything that decides a run's result."""
    digest = hashlib.sha256()
    digest.update(f"{duckdb.__version__} {datetime.now(UTC).date()}".encode())
    loads = connection.execute("select load_id, loaded_at from sources.loads order by load_id")
    digest.update(repr(loads.fetchall()).encode())
    folders = {settings.config_dir, PROJECT_DIR / "config"}
    files = [path for folder in sorted(folders) for path in folder.rglob("*.yml")]
    for folder, pattern in (*_CODE, (DBT_PROJECT_DIR, "*.yml")):
        files += folder.glob(pattern)
    for path in sorted(files):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def _published(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.published"


def _begun(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.begun"


def has_nothing_to_do(connection: duckdb.DuckDBPyConnection, settings: Settings) -> bool:
    """Whether the published file already holds what a whole run would make now."""
    path = _published(settings)
    published = (settings.serving_dir / "bi.duckdb").exists() and path.exists()
    return published and path.read_text() == run_fingerprint(connection, settings)


def note_begin(connection: duckdb.DuckDBPyConnection, settings: Settings, run_id: str) -> None:
    """Note what a whole run goes by, as it was when the run had landed everything."""
    _begun(settings).write_text(f"{run_id} {run_fingerprint(connection, settings)}")


def note_published(settings: Settings, run_id: str) -> None:
    """Note that the published file holds what this run went by, if it was a whole run."""
    path = _begun(settings)
    begun_run_id, _, fingerprint = (
        path.read_text().partition(" ") if path.exists() else ("", "", "")
    )
    if begun_run_id == run_id:
        path.write_text(fingerprint)
        path.replace(_published(settings))
