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


_MAKES_EXPORTS = "cx_pipeline/demo/"
"""Code whose work a run only sees in what it lands."""


def _hash_of(files: dict[str, Path], *also: str) -> str:
    digest = hashlib.sha256(repr(also).encode())
    for name, path in sorted(files.items()):
        digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def _files(name: str, folder: Path, glob: str = "**/*.yml") -> dict[str, Path]:
    """Return files by names that stay when their folder is moved."""
    return {f"{name}/{path.relative_to(folder)}": path for path in folder.glob(glob)}


def _config_files(settings: Settings) -> dict[str, Path]:
    return _files("config", settings.config_dir) | _files("default", PROJECT_DIR / "config")


def rules_hash(settings: Settings) -> str:
    """Return a SHA-256 over what decides how a landed row is built.

    That is the code and config/ without its segments, which are compiled anew in every run.
    """
    config = _config_files(settings)
    files = {name: path for name, path in config.items() if path.parent.name != "segments"}
    for folder, glob in _CODE:
        files |= _files(folder.name, folder, glob)
    return _hash_of(
        {name: path for name, path in files.items() if not name.startswith(_MAKES_EXPORTS)}
    )


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


def _full_refresh(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.full_refresh"


def _staging_in_part(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.staging_in_part"


def _in_part(settings: Settings) -> Path:
    return settings.data_dir / "warehouse.in_part"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def has_nothing_to_do(connection: duckdb.DuckDBPyConnection, settings: Settings) -> bool:
    """Whether the published file already holds what a whole run would make now."""
    is_open = any(
        note(settings).exists() for note in (_begun, _full_refresh, _in_part, _staging_in_part)
    )
    # Without the note of what was checked the warehouse is a new one: somebody took the old away.
    is_new = not connection.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'sources' and table_name = 'checked_load'"
    ).fetchall()
    if is_open or is_new or not (settings.serving_dir / "bi.duckdb").exists():
        return False
    made_of = _read(_published(settings)).get("fingerprint")
    return made_of == run_fingerprint(connection, settings)


def rules_moved(settings: Settings) -> bool:
    """Whether config or code is not what the warehouse's rows were built by.

    The rows of a run that did not end well count as built by the rules of the last one that did.
    """
    return _read(_published(settings)).get("rules") != rules_hash(settings)


def full_refresh_is_open(settings: Settings) -> bool:
    """Whether a full refresh has begun and no whole run has ended well since: each is one too."""
    return _full_refresh(settings).exists()


def note_full_refresh(settings: Settings) -> None:
    """Note that tables are about to be built anew, or by other rules than the published file's.

    Until a whole run ends well the warehouse holds tables of before and after beside each other,
    also when the old rules are back.
    """
    _full_refresh(settings).touch()


def staging_is_in_part(settings: Settings) -> bool:
    """Whether the last build of the room staging did not end well.

    Some of its tables may hold a load that others lack. Facts that were built from them would count
    the load as done, and never come to what the others get of it later.
    """
    return _staging_in_part(settings).exists()


def note_staging(settings: Settings, *, is_whole: bool) -> None:
    """Note that staging is about to be built, or that all of it was."""
    if is_whole:
        _staging_in_part(settings).unlink(missing_ok=True)
    else:
        _staging_in_part(settings).touch()


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
    if full_refresh:
        note_full_refresh(settings)
    noted = {
        "run_id": run_id,
        "fingerprint": run_fingerprint(connection, settings),
        "rules": rules_hash(settings),
        "load_id": _newest_load(connection),
    }
    path = _begun(settings)
    aside = path.with_suffix(".noting")
    aside.write_text(json.dumps(noted))
    aside.replace(path)


def note_build_in_part(settings: Settings) -> None:
    """Note that some of what is published is about to be built and the rest is not.

    The rest may come from it: who withdrew a consent would be published as a member of a segment.
    """
    _in_part(settings).touch()


def refuse_half_built(settings: Settings, run_id: str, *, is_whole: bool) -> None:
    """Refuse to publish tables of which some are of before and others of after.

    Args:
        settings: Where the warehouse is.
        run_id: The run that publishes.
        is_whole: Whether it builds all that is published.

    Raises:
        HalfBuiltError: Another whole run began and did not publish, or rooms were built by hand
            since the last one.
    """
    if _in_part(settings).exists() and not is_whole:
        raise HalfBuiltError(
            "only some of the published tables were built since the last whole run, so others may "
            "not fit to them. Readers keep what was published before. Run everything: `cx run`."
        )
    begun = _read(_begun(settings)).get("run_id", run_id)
    if begun != run_id:
        raise HalfBuiltError(
            f"run {begun} began and did not end well, so the warehouse may hold half of it. "
            "Readers keep what was published before. Run everything: `cx run`."
        )


def note_published(connection: duckdb.DuckDBPyConnection, settings: Settings, run_id: str) -> None:
    """Note that the published file fits together, and what it holds if this was a whole run.

    The run has then tested every row of the loads that it began with: that is noted in the
    warehouse itself, since a warehouse made anew has tested nothing.
    """
    # Else it would have been refused.
    _in_part(settings).unlink(missing_ok=True)
    begun = _read(_begun(settings))
    if begun.get("run_id") == run_id:
        connection.execute(
            f"create or replace table sources.checked_load as "
            f"select {int(begun['load_id'])}::bigint as load_id"
        )
        _begun(settings).replace(_published(settings))
        _full_refresh(settings).unlink(missing_ok=True)
