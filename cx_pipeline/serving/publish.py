"""The versions of the published file: built aside, checked, then one link is swapped.

Reads:     every published table of the warehouse, dbt's manifest
Writes:    data/serving/bi-<n>.duckdb and the link data/serving/bi.duckdb -> bi-<n>.duckdb
Keeps out: which columns may leave (`catalogue`); what is in a file (`version_file`)

A reader opens the link at any moment and gets one whole version: a process that is killed in here
leaves the old link, and what it left half-made is swept up by the next one.
"""

import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import duckdb

from cx_pipeline.serving.catalogue import (
    OBJECTORS,
    PROFILE_KEYS_OF_OBJECTORS,
    Table,
    published_tables,
)
from cx_pipeline.serving.content import (
    Content,
    changed_days,
    content_of,
    existing_columns,
    hash_of,
)
from cx_pipeline.serving.version_file import (
    Current,
    Plan,
    PublicationError,
    read_version,
    verify_version,
    write_version,
)
from cx_pipeline.settings import Settings

LINK_NAME = "bi.duckdb"
KEPT_VERSIONS = 3
"""A reader that resolved the link just before two more publications still finds its file."""

WRITTEN_AFRESH_AFTER = timedelta(days=7)
"""A row that DuckDB deletes stays in the file's free blocks until others take them. So a copy of a
copy is made for a week at most; then every byte of the file is written anew."""

_VERSION_FILE = re.compile(r"^bi-(\d+)\.duckdb$")
_LEFTOVER = re.compile(r"^\.bi-\d+\.duckdb\.building(\.wal)?$|^\.bi\.duckdb\.link$")


@dataclass(frozen=True)
class Publication:
    """What readers have now."""

    path: Path
    version: int
    is_new: bool
    row_counts: dict[str, int]
    withheld: dict[str, tuple[str, ...]]
    size_bytes: int


def publish(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    manifest: Mapping[str, Any],
    run_id: str = "",
) -> Publication:
    """Publish the warehouse's marts for BI tools, unless readers already have exactly these.

    Args:
        con: A connection to the warehouse, outside any transaction.
        settings: Where the published files are.
        manifest: dbt's manifest as a dict: what each table and column is.
        run_id: The run that publishes; told in `publication.version`.

    Raises:
        TableNotBuiltError: A declared table does not exist yet.
        UndeclaredColumnError: Nobody has said what a table or column is.
        PublicationError: The file built does not equal the warehouse.
    """
    directory = settings.serving_dir
    directory.mkdir(parents=True, exist_ok=True)
    next_version = 1 + max([0, *_versions(directory)])
    _sweep(directory)
    columns = existing_columns(con)
    tables = published_tables(manifest, columns)
    con.execute(f"create or replace temp table {OBJECTORS} as {PROFILE_KEYS_OF_OBJECTORS}")
    current = _current(directory)
    now = datetime.now(tz=UTC).replace(tzinfo=None)
    is_fresh = current and now - current.written_afresh_at <= WRITTEN_AFRESH_AFTER
    base = current if is_fresh else None
    known = current.contents if current else {}
    with _Building(directory / f".bi-{next_version}.duckdb.building", base) as building:
        contents: dict[str, Content] = {}
        for table in tables:
            contents[table.key] = content_of(con, table, columns[table.key])
            if changed_days(known.get(table.key), contents[table.key]) != ():
                building.begin_copy()
        content_hash = hash_of(contents)
        if (
            current
            and is_fresh
            and current.content_hash == content_hash
            and _is_sound(current, tables, contents, settings)
        ):
            version, path = current.version, current.path
        else:
            version = next_version
            ((as_of_date,),) = con.execute("select as_of_date from journey.as_of").fetchall()
            about = {
                "version": version,
                "published_at": now,
                "run_id": run_id,
                "as_of_date": as_of_date,
                "content_hash": content_hash,
            }
            path = _build(con, settings, building, tables, contents, about)
            _swap(directory, path)
    for old in _versions(directory)[:-KEPT_VERSIONS]:
        # Whoever still reads the file keeps it: its name goes, its bytes stay until they close it.
        with suppress(OSError):
            (directory / f"bi-{old}.duckdb").unlink()
    return Publication(
        path=directory / LINK_NAME,
        version=version,
        is_new=version == next_version,
        row_counts={key: content.row_count for key, content in contents.items()},
        withheld={table.key: table.withheld for table in tables if table.withheld},
        size_bytes=path.stat().st_size,
    )


def _linked_version(directory: Path) -> int | None:
    link = directory / LINK_NAME
    found = _VERSION_FILE.match(link.readlink().name) if link.is_symlink() else None
    return int(found[1]) if found else None


def _current(directory: Path) -> Current | None:
    """Return what readers have; None where there is nothing sound."""
    link, version = directory / LINK_NAME, _linked_version(directory)
    if version is None or not link.exists():
        return None
    current = read_version(link.resolve())
    return current if current and current.version == version else None


def _sweep(directory: Path) -> None:
    """Take away what killed publications left: half-built files, and versions never linked to."""
    linked = _linked_version(directory)
    for path in list(directory.iterdir()):
        named = _VERSION_FILE.match(path.name)
        never_linked = named and linked is not None and int(named[1]) > linked
        if never_linked or _LEFTOVER.match(path.name):
            path.unlink()


def _versions(directory: Path) -> list[int]:
    """Return every version number in use; the link counts even if its file was taken away."""
    link = directory / LINK_NAME
    names = [path.name for path in directory.iterdir()]
    if link.is_symlink():
        names.append(link.readlink().name)
    return sorted({int(found[1]) for name in names if (found := _VERSION_FILE.match(name))})


class _Building:
    """The file that becomes a version, and a thread that copies the last one into it.

    Tables are hashed meanwhile; at 10 million contacts it is a copy of 0.9 GB.
    Leaving the context takes away what was not given a name.
    """

    def __init__(self, path: Path, base: Current | None) -> None:
        self.path = path
        self.base = base
        self._pool = ThreadPoolExecutor(1)
        self._copying: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self.clear()

    def begin_copy(self) -> None:
        if self.base and not self._copying:
            self._copying = self._pool.submit(shutil.copyfile, self.base.path, self.path)

    def finish_copy(self) -> None:
        """Wait for the copy.

        Raises:
            OSError: There is no room, or the last version cannot be read.
        """
        self.begin_copy()
        if self._copying:
            self._copying.result()
            self.path.chmod(0o600)

    def clear(self) -> None:
        """Take the file away: half a file on a full disk would be in the way of the next try."""
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)


def _build(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    building: _Building,
    tables: list[Table],
    contents: dict[str, Content],
    about: dict[str, Any],
) -> Path:
    """Write the version beside the others, check it, and only then give it its name."""
    # The last version may be damaged, and a copy of it would be for ever.
    for base in (building.base, None) if building.base else (None,):
        try:
            if base:
                building.finish_copy()
            write_version(con, building.path, Plan(base, tables, contents, about))
            verify_version(building.path, tables, contents, about["version"], settings)
            break
        except (duckdb.Error, OSError, PublicationError):
            building.clear()
            if base is None:
                raise
    # Not writable: a reader that forgets `read_only` gets an error instead of a changed file.
    building.path.chmod(0o444)
    _flush(building.path)
    path = building.path.with_name(f"bi-{about['version']}.duckdb")
    building.path.rename(path)
    _flush(path.parent)
    return path


def _is_sound(
    current: Current, tables: list[Table], contents: dict[str, Content], settings: Settings
) -> bool:
    """Whether readers find in their version what it says it holds."""
    try:
        verify_version(current.path, tables, contents, current.version, settings)
    except (duckdb.Error, PublicationError):
        return False
    return True


def _swap(directory: Path, path: Path) -> None:
    """Point the link at a version in one step: there is no moment without a link."""
    link = directory / f".{LINK_NAME}.link"
    link.symlink_to(path.name)
    link.replace(directory / LINK_NAME)
    _flush(directory)


def _flush(path: Path) -> None:
    """Make the system write a file, or a directory's entries, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
