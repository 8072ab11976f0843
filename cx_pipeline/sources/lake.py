"""The lake on disk: which loads there are, what each holds, and whether it is still whole.

Reads:     data/lake/_manifest, data/lake/<source>/<table>/load_id=<n>/part-<k>.parquet
Writes:    the same; a table's entry in the manifest is what makes its files count
Keeps out: reading inputs (files.py, databases.py) and DuckDB's view of the rows (raw_views.py)

The manifest is JSON beside the rows, so the warehouse can be thrown away and rebuilt.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

VERIFY_AFTER = timedelta(days=7)
"""A lake file is hashed again when its size or times moved, or when this long ago. Hashing runs
at about 1 GB/s, so hashing 10 GB in every run would cost 10 s; a week spreads it."""


ADOPT_WITHIN = timedelta(hours=12)
"""A load that a killed run left open longer ago is closed as it is: under its old time the facts
of the days since would lie in the future."""

Record = TypeVar("Record", bound=BaseModel)


class LakeError(RuntimeError):
    """The lake is not what its manifest says."""


class Load(BaseModel):
    """One load: what one run landed, over all tables; `loaded_at` is UTC without an offset."""

    load_id: int
    loaded_at: datetime
    is_complete: bool = False


class Part(BaseModel):
    """One Parquet file of the lake.

    `row_offset` plus the 0-based position in the part is the row's number in its input file; it is
    None where the rows carry `_row_number` themselves. `columns` gives DuckDB's types.
    """

    name: str
    sha256: str
    size_bytes: int
    row_count: int
    row_offset: int | None
    columns: dict[str, str]


class LandedFile(BaseModel):
    """One input file (or database result) that was landed.

    `stamp` tells without reading whether the file was touched since; `first_row_number` is the
    number of its first row in the file (2 for a CSV with a header line). `moved_from` names the
    file whose rows these are, where it only moved.
    """

    file: str
    sha256: str
    stamp: str
    size_bytes: int
    row_count: int
    rejected_count: int
    first_row_number: int
    moved_from: str | None = None


class RejectedRow(BaseModel):
    """One input row that has no place in a table, or a whole file when `row_number` is None.

    `row_hash` is the content of a database's row: its place in the next read tells nothing.
    """

    file: str
    row_number: int | None
    column_name: str | None = None
    reason: str
    row_hash: str | None = None


class RefusedFile(BaseModel):
    """One input file of which nothing was landed; tried again in every run."""

    file: str
    sha256: str
    stamp: str
    reason: str


class Watermark(BaseModel):
    """How far a database table with a cursor is landed."""

    kind: str
    value: str


class Entry(BaseModel):
    """What one load holds of one table; written last, so a killed landing leaves no entry.

    `taken_away` names files that were refused and are no longer there: they have nothing to send.
    `entries_before` counts the table's earlier entries. When fewer are there, one was deleted to
    have its rows landed anew, and `watermark` and `seen` would keep them out.
    """

    load_id: int
    loaded_at: datetime | None = None
    entries_before: int | None = None
    source: str
    table: str
    parts: list[Part] = []
    files: list[LandedFile] = []
    rejected: list[RejectedRow] = []
    refused: list[RefusedFile] = []
    taken_away: list[str] = []
    watermark: Watermark | None = None
    seen: str | None = None

    @property
    def row_count(self) -> int:
        """Rows landed."""
        return sum(part.row_count for part in self.parts)


@dataclass(frozen=True)
class PartMade:
    """One part that is ready in the scratch folder; see Part for `row_offset`."""

    path: Path
    row_count: int
    row_offset: int | None
    columns: dict[str, str]


@dataclass(frozen=True)
class Harvest:
    """What is new in one table, ready to be put into the lake.

    `seen` is the file of the hashes of all rows, where a table is compared as a whole.
    """

    parts: list[PartMade]
    files: list[LandedFile]
    rejected: list[RejectedRow]
    refused: list[RefusedFile] = field(default_factory=list)
    taken_away: list[str] = field(default_factory=list)
    watermark: Watermark | None = None
    seen: Path | None = None


class Lake:
    """The lake of one company."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = folder / "_manifest"
        self._entries: dict[Path, Entry] = {}

    def loads(self) -> list[Load]:
        """Return every load, oldest first; one whose own record is gone is told by its entries."""
        loads = []
        for folder in sorted(self.manifest.glob("load_id=*")):
            path = folder / "load.json"
            if not path.exists():
                self._restore(folder)
            if path.exists():
                loads.append(_read(path, Load))
        return sorted(loads, key=lambda load: load.load_id)

    def open_load(self) -> Load:
        """Return the load that a killed run left open, else begin the next one.

        Adopting it keeps its number and time, so that a run that was killed and repeated equals
        one that was not.
        """
        loads, now = self.loads(), datetime.now(UTC).replace(tzinfo=None)
        if loads and not loads[-1].is_complete:
            if now - loads[-1].loaded_at < ADOPT_WITHIN:
                return loads[-1]
            self.close_open_load()
            loads = self.loads()
        load = Load(load_id=loads[-1].load_id + 1 if loads else 1, loaded_at=now)
        self._write_load(load)
        return load

    def complete(self, load: Load) -> None:
        """Close a load; from now on its rows are seen."""
        self._write_load(load.model_copy(update={"is_complete": True}))

    def close_open_load(self) -> None:
        """Complete the load that is open; one in which nothing came is forgotten."""
        for load in self.loads():
            if load.is_complete:
                continue
            if any(self._load_folder(load.load_id).glob("*.*.json")):
                self.complete(load)
            else:
                shutil.rmtree(self._load_folder(load.load_id))

    def entries(self, source: str | None = None, table: str | None = None) -> list[Entry]:
        """Return the entries of one table, or of all, oldest load first."""
        pattern = f"load_id=*/{source or '*'}.{table or '*'}.json"
        found = []
        for path in self.manifest.glob(pattern):
            if path not in self._entries:
                self._entries[path] = _read(path, Entry)
            found.append(self._entries[path])
        return sorted(found, key=lambda entry: (entry.load_id, entry.source, entry.table))

    def last_read(self, source: str, table: str) -> Entry | None:
        """Return the entry whose `watermark` and `seen` tell what is landed of a database table.

        None when an entry that it builds on was deleted: everything is then read anew.
        """
        entries = self.entries(source, table)
        for place, entry in reversed(list(enumerate(entries))):
            if entry.watermark or entry.seen:
                return entry if entry.entries_before in (None, place) else None
        return None

    def holds_any(self, load: Load, source: str, table: str, harvest: Harvest) -> bool:
        """Whether a load holds an input of the harvest already, as it was before."""

        def inputs(of: Harvest | Entry) -> set[str]:
            items = (*of.files, *of.rejected, *of.refused)
            return {item.file for item in items} | set(of.taken_away)

        return any(
            inputs(entry) & inputs(harvest)
            for entry in self.entries(source, table)
            if entry.load_id == load.load_id
        )

    def complete_entries(self) -> list[Entry]:
        """Return the entries whose load is complete, oldest load first."""
        complete = {load.load_id for load in self.loads() if load.is_complete}
        return [entry for entry in self.entries() if entry.load_id in complete]

    def commit(self, load: Load, source: str, table: str, harvest: Harvest) -> None:
        """Move what was landed into its place, then make it count: durable, all or nothing."""
        path = self._load_folder(load.load_id) / f"{source}.{table}.json"
        # A killed run that is taken up may already have landed other files of this table.
        before = [item for item in self.entries(source, table) if item.load_id < load.load_id]
        entry = (
            _read(path, Entry)
            if path.exists()
            else Entry(
                load_id=load.load_id,
                loaded_at=load.loaded_at,
                entries_before=len(before),
                source=source,
                table=table,
            )
        )
        parts = []
        for number, made in enumerate(harvest.parts, start=len(entry.parts)):
            part = Part(
                name=f"part-{number}.parquet",
                sha256=sha256_of(made.path),
                size_bytes=made.path.stat().st_size,
                row_count=made.row_count,
                row_offset=made.row_offset,
                columns=made.columns,
            )
            _move(made.path, self.part_path(entry, part))
            parts.append(part)
        seen = entry.seen
        if harvest.seen:
            seen = f"seen-{load.load_id}-{len(entry.parts)}.parquet"
            _move(harvest.seen, self.table_folder(source, table) / seen)
        entry = entry.model_copy(
            update={
                "parts": [*entry.parts, *parts],
                "files": [*entry.files, *harvest.files],
                "rejected": [*entry.rejected, *harvest.rejected],
                "refused": [*entry.refused, *harvest.refused],
                "taken_away": [*entry.taken_away, *harvest.taken_away],
                "watermark": harvest.watermark or entry.watermark,
                "seen": seen,
            }
        )
        _write(path, entry)
        self._entries[path] = entry

    def note_stamps(self, source: str, table: str, stamps: Mapping[tuple[str, str], str]) -> None:
        """Note how files look now whose content, by name and SHA-256, is what came before.

        Else a file that was only touched would be hashed in every run, and wait for ever.
        """
        for entry in self.entries(source, table):
            moved = [
                file
                for file in (*entry.files, *entry.refused)
                if stamps.get((file.file, file.sha256), file.stamp) != file.stamp
            ]
            for file in moved:
                file.stamp = stamps[file.file, file.sha256]
            if moved:
                _write(self._load_folder(entry.load_id) / f"{source}.{table}.json", entry)

    def table_folder(self, source: str, table: str) -> Path:
        """Return the folder of one table's parts."""
        return self.folder / source / table

    def part_path(self, entry: Entry, part: Part) -> Path:
        """Return the path of one part."""
        folder = self.table_folder(entry.source, entry.table)
        return folder / f"load_id={entry.load_id}" / part.name

    def scratch(self) -> Path:
        """Return an empty folder for half-made files, on the lake's own volume."""
        path = self.folder / "_scratch"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def sweep(self) -> None:
        """Remove what a killed run left: scratch files, and parts that no entry names."""
        shutil.rmtree(self.folder / "_scratch", ignore_errors=True)
        for partial in self.manifest.glob("**/*.partial"):
            partial.unlink()
        kept = set()
        last_seen: dict[tuple[str, str], Path] = {}
        for entry in self.entries():
            kept.update(self.part_path(entry, part) for part in entry.parts)
            if entry.seen:
                folder = self.table_folder(entry.source, entry.table)
                last_seen[entry.source, entry.table] = folder / entry.seen
        kept.update(last_seen.values())
        for pattern in ("*/*/load_id=*/part-*.parquet", "*/*/seen-*.parquet"):
            for path in self.folder.glob(pattern):
                if path not in kept:
                    path.unlink()
        for folder in self.folder.glob("*/*/load_id=*"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def verify(self, *, everything: bool = False) -> int:
        """Check that the lake's files are those that were written; return how many were hashed.

        Sizes are compared in every run. A file is hashed when its size or times are not those of
        its last check, when that check is more than VERIFY_AFTER ago, or with `everything`.

        Raises:
            LakeError: A file is missing or differs; says which, and how to bring it back.
        """
        book_path = self.manifest / "verified.json"
        book = _read(book_path, _Verified) if book_path.exists() else _Verified()
        now = datetime.now(UTC).replace(tzinfo=None)
        checked: dict[str, _Check] = {}
        hashed = 0
        for entry in self.entries():
            for part in entry.parts:
                path = self.part_path(entry, part)
                name = str(path.relative_to(self.folder))
                if not path.exists():
                    raise _damage(name, entry, "is missing")
                stamp = _stamp(path)
                if path.stat().st_size != part.size_bytes:
                    raise _damage(name, entry, "has another size than when it was written")
                known = book.files.get(name)
                if (
                    everything
                    or known is None
                    or known.stamp != stamp
                    or now - known.at > VERIFY_AFTER
                ):
                    hashed += 1
                    if sha256_of(path) != part.sha256:
                        raise _damage(name, entry, "holds other bytes than when it was written")
                    known = _Check(stamp=stamp, at=now)
                checked[name] = known
        if checked != book.files:
            _write(book_path, _Verified(files=checked))
        return hashed

    def _load_folder(self, load_id: int) -> Path:
        return self.manifest / f"load_id={load_id:06}"

    def _restore(self, folder: Path) -> None:
        """Write a load's record anew from its entries, if it has any."""
        paths = list(folder.glob("*.*.json"))
        if paths:
            entries = [_read(path, Entry) for path in paths]
            times = [entry.loaded_at for entry in entries if entry.loaded_at]
            written = datetime.fromtimestamp(min(path.stat().st_mtime for path in paths), UTC)
            self._write_load(
                Load(
                    load_id=entries[0].load_id,
                    loaded_at=min(times, default=written.replace(tzinfo=None)),
                    is_complete=True,
                )
            )

    def _write_load(self, load: Load) -> None:
        _write(self._load_folder(load.load_id) / "load.json", load)


class _Check(BaseModel):
    stamp: str
    at: datetime


class _Verified(BaseModel):
    files: dict[str, _Check] = {}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_durable(path: Path) -> None:
    """Bring a file, or a folder's list of names, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _move(made: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    make_durable(made)
    made.replace(place)
    make_durable(place.parent)


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _damage(name: str, entry: Entry, problem: str) -> LakeError:
    return LakeError(
        f"lake file {name} {problem}. Restore it from a backup; or, when the inputs are still "
        f"there, delete it and _manifest/load_id={entry.load_id:06}/{entry.source}.{entry.table}"
        ".json in the lake folder, and run again: the inputs are then landed anew."
    )


def _read(path: Path, model: type[Record]) -> Record:
    try:
        return model.model_validate_json(path.read_bytes())
    except ValueError:
        then = (
            "it is then written anew from the load's other files"
            if path.name == "load.json"
            else "the inputs that it named are then landed anew"
        )
        raise LakeError(
            f"manifest file {path} cannot be read; restore it from a backup, or delete it and run "
            f"again: {then}."
        ) from None


def _write(path: Path, record: BaseModel) -> None:
    """Write aside, sync, rename: a reader finds the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(record.model_dump_json())
    make_durable(partial)
    partial.replace(path)
    make_durable(path.parent)
