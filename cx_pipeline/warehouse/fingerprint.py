"""What a run goes by, and what the published file was made of.

A run's result depends on the landed rows, config/, the code and the date (a consent expires
without anybody sending a row). When none of them moved, everything behind the lake stands. When
config or code moved, rows that are built already no longer say what the same rows would give now,
so tables that grow by increments are built anew.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.settings import DBT_PROJECT_DIR, PROJECT_DIR, Settings

_CODE = (
    (PROJECT_DIR / "cx_pipeline", "**/*.py"),
    (DBT_PROJECT_DIR, "[dm]*/**/*.*"),
    (DBT_PROJECT_DIR, "*.yml"),
)


class HalfBuiltError(RuntimeError):
    """The warehouse holds what a run that did not end well left."""


def _hash_of(files: list[Path], *also: str) -> str:
    digest = hashlib.sha256(repr(also).encode())
    for path in sorted(set(files)):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def _config_files(settings: Settings) -> list[Path]:
    folders = {settings.config_dir, PROJECT_DIR / "config"}
    return [path for folder in folders for path in folder.rglob("*.yml")]


def rules_hash(settings: Settings) -> str:
    """Return a SHA-256 over what decides how a landed row is built.

    That is the code and config/ without its segments, which are compiled anew in every run.
    """
    config = [path for path in _config_files(settings) if path.parent.name != "segments"]
    return _hash_of(config + [path for folder, glob in _CODE for path in folder.glob(glob)])


def run_fingerprint(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Return a SHA-256 over everything that decides a run's result."""
    loads = connection.execute("select load_id, loaded_at from sources.loads order by load_id")
    return _hash_of(
        _config_files(settings),
        rules_hash(settings),
        duckdb.__version__,
        str(datetime.now(UTC).date()),
        repr(loads.fetchall()),
    )


def _published(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.published"


def _begun(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.begun"


def _other_rules(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.other_rules"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def has_nothing_to_do(connection: duckdb.DuckDBPyConnection, settings: Settings) -> bool:
    """Whether the published file already holds what a whole run would make now."""
    is_open = _begun(settings).exists() or _other_rules(settings).exists()
    if is_open or not (settings.serving_dir / "bi.duckdb").exists():
        return False
    made_of = _read(_published(settings)).get("fingerprint")
    return made_of == run_fingerprint(connection, settings)


def rules_moved(settings: Settings) -> bool:
    """Whether config or code is not what the warehouse's rows were built by.

    The rows of a run that did not end well count as built by the rules of the last one that did.
    """
    published_by = _read(_published(settings)).get("rules")
    return _other_rules(settings).exists() or published_by != rules_hash(settings)


def note_other_rules(settings: Settings) -> None:
    """Note that rows are about to be built by other rules than those of the published file.

    Until a whole run ends well the warehouse holds rows of both, also when the old rules are back.
    """
    _other_rules(settings).touch()


def full_refresh_is_open(settings: Settings) -> bool:
    """Whether a full refresh has begun and not ended well: the next run is one too."""
    return bool(_read(_begun(settings)).get("full_refresh"))


def _newest_load(connection: duckdb.DuckDBPyConnection) -> int:
    ((load_id,),) = connection.execute(
        "select coalesce(max(load_id), 0) from sources.loads"
    ).fetchall()
    return int(load_id)


def note_begin(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    run_id: str,
    *,
    full_refresh: bool = False,
) -> None:
    """Note what a whole run goes by, as it was when the run had landed everything."""
    noted = {
        "run_id": run_id,
        "fingerprint": run_fingerprint(connection, settings),
        "rules": rules_hash(settings),
        "load_id": _newest_load(connection),
        "full_refresh": full_refresh or full_refresh_is_open(settings),
    }
    path = _begun(settings)
    aside = path.with_suffix(".noting")
    aside.write_text(json.dumps(noted))
    aside.replace(path)


def refuse_half_built(settings: Settings, run_id: str) -> None:
    """Refuse to publish what another run, begun and not ended well, left in the warehouse.

    Raises:
        HalfBuiltError: Another whole run began and did not publish.
    """
    begun = _read(_begun(settings)).get("run_id", run_id)
    if begun != run_id:
        raise HalfBuiltError(
            f"run {begun} began and did not end well, so the warehouse may hold half of it. "
            "Readers keep what was published before. Run everything: `cx run`."
        )


def note_published(connection: duckdb.DuckDBPyConnection, settings: Settings, run_id: str) -> None:
    """Note that the published file holds what this run went by, if it was a whole run.

    The run has then tested every row of the loads that it began with: that is noted in the
    warehouse itself, since a warehouse made anew has tested nothing.
    """
    begun = _read(_begun(settings))
    if begun.get("run_id") == run_id:
        connection.execute(
            f"create or replace table sources.checked_load as "
            f"select {int(begun['load_id'])}::bigint as load_id"
        )
        _begun(settings).replace(_published(settings))
        _other_rules(settings).unlink(missing_ok=True)
