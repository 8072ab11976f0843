"""Input files: found, recognised, and made into plain local UTF-8 files that DuckDB reads.

Reads:     local folders and any fsspec URL
Writes:    scratch copies, only of files that DuckDB cannot read where they are
Keeps out: what the files hold; that is readers.py
"""

import bz2
import codecs
import functools
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
from fsspec.core import url_to_fs

from cx_pipeline.sources.config import COMPRESSIONS, UNREAD_PACKINGS, TableConfig
from cx_pipeline.sources.csv_repair import Repaired

_BLOCK_BYTES = 1 << 20
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
"""Endings of files that somebody is still writing; they are left alone."""


class SourceUnreachableError(RuntimeError):
    """A source does not answer; other sources are not concerned.

    `may_pass` tells whether asking again a moment later may help.
    """

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class FileRefusedError(ValueError):
    """Nothing of a file can be landed; the message says why and what to do."""


@dataclass
class InputFile:
    """One file of a source, by its path below the source's own path."""

    name: str
    stamp: str
    size_bytes: int
    filesystem: Any
    remote_path: str
    local_path: Path | None
    sha256: str = ""
    plain_path: Path | None = field(default=None, repr=False)
    repaired: Repaired | None = field(default=None, repr=False)

    def open(self) -> BinaryIO:
        """Open the file as it is.

        Raises:
            SourceUnreachableError: It lies elsewhere, and the place does not answer.
            OSError: The file itself cannot be opened.
        """
        if self.local_path is not None:
            return self.local_path.open("rb")
        with self._asking_its_place():
            return self.filesystem.open(self.remote_path, "rb")

    def blocks(self, raw: BinaryIO) -> Iterator[bytes]:
        """Read the opened file to its end, in blocks.

        Raises:
            SourceUnreachableError: It lies elsewhere, and the place does not answer.
            OSError: The file itself cannot be read.
        """
        while True:
            with self._asking_its_place():
                block = raw.read(_BLOCK_BYTES)
            if not block:
                return
            yield block

    def current_stamp(self) -> str:
        """Return the stamp that the file has now, or "gone".

        Raises:
            SourceUnreachableError: It lies elsewhere, and the place does not answer.
        """
        try:
            if self.local_path is not None:
                return _local_stamp(self.local_path.stat())
            with self._asking_its_place():
                return _remote_stamp(self.filesystem, self.remote_path)[0]
        except FileNotFoundError:
            return "gone"

    @contextmanager
    def _asking_its_place(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every file system brings its own
            # That one file is gone or locked says nothing of the place.
            is_the_files = isinstance(error, FileNotFoundError | PermissionError)
            if self.local_path is not None or is_the_files:
                raise
            raise SourceUnreachableError(
                f"{self.name} cannot be read ({type(error).__name__}: {error}); check the file, "
                "the credentials and the network."
            ) from None


def find_files(path: str, patterns: Collection[str], base: Path) -> list[InputFile]:
    """Return the files below a source's path that match any pattern, by name.

    Args:
        path: Folder or fsspec URL; a relative folder is below `base`.
        patterns: Globs such as `2026/*.csv`; `**/` crosses folders, linked ones too. An ending is
            the same in upper and lower case.
        base: Folder of the config file.

    Raises:
        SourceUnreachableError: The folder or the remote place is not there.
    """
    if "://" in path or "::" in path:
        return _find_remote(path, patterns)
    folder = (base / path).resolve()
    if not folder.is_dir():
        raise SourceUnreachableError(
            f"there is no folder {folder}; correct `path:` or bring the files there.",
            may_pass=False,
        )
    try:
        found = {
            name: InputFile(
                name=name,
                stamp=_local_stamp(status),
                size_bytes=status.st_size,
                filesystem=None,
                remote_path=str(folder / name),
                local_path=folder / name,
            )
            for name, status in _files_below(folder, "", patterns, ())
        }
    except OSError as error:
        raise SourceUnreachableError(
            f"{error.filename or folder} cannot be read ({error.strerror}); check its rights."
        ) from None
    return [found[name] for name in sorted(found)]


def _files_below(
    folder: Path, prefix: str, patterns: Collection[str], above: tuple[Path, ...]
) -> Iterator[tuple[str, os.stat_result]]:
    """Walk the files of a folder and of those in it that a pattern may reach into."""
    real = folder.resolve()
    # A link to a folder that it lies in would go round for ever.
    if real in above:
        return
    with os.scandir(folder) as items:
        for item in items:
            name = prefix + item.name
            if item.is_dir():
                if any(_may_hold(name, pattern) for pattern in patterns):
                    yield from _files_below(
                        folder / item.name, name + "/", patterns, (*above, real)
                    )
            elif _is_finished(item.name) and any(_matches(name, pattern) for pattern in patterns):
                try:
                    status = item.stat()
                except FileNotFoundError:
                    # Removed since it was listed, or a link to nothing.
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield name, status


def prepare(file: InputFile, table: TableConfig, scratch: Path, number: int) -> None:
    """Hash a file and, where DuckDB could not read it in place, make a plain copy of it.

    Sets `sha256` (of the file as it came) and `plain_path`.

    Raises:
        FileRefusedError: The file is empty, cut off, or not the text that it should be.
    """
    if file.size_bytes == 0:
        raise FileRefusedError("the file is empty (0 bytes); export it again")
    ending = PurePosixPath(file.name.lower()).suffix
    if ending in UNREAD_PACKINGS:
        raise FileRefusedError(
            f"{ending} is not unpacked here, but {', '.join(COMPRESSIONS)} are; pack the file anew"
        )
    if not _is_readable_in_place(file, table):
        _copy_plain(file, table, scratch, number)
        return
    file.plain_path = file.local_path
    is_text = table.file_format != "parquet"
    with file.open() as raw:
        holds_nul = [is_text and b"\0" in block for block in _hashed(file, raw)]
    if any(holds_nul):
        raise FileRefusedError(_NUL_SENTENCE)


def make_readable(file: InputFile, table: TableConfig, scratch: Path, number: int) -> None:
    """Set `plain_path` as `prepare` does, without reading a file that is readable in place.

    Raises:
        FileRefusedError: As by `prepare`, of what a glance can tell.
    """
    if file.size_bytes and _is_readable_in_place(file, table):
        file.plain_path = file.local_path
    else:
        prepare(file, table, scratch, number)


def _is_readable_in_place(file: InputFile, table: TableConfig) -> bool:
    is_text = table.file_format != "parquet"
    return (
        file.local_path is not None
        # DuckDB skips the byte order mark of a CSV, but not that of JSON.
        and not (table.file_format == "jsonl" and _begins_with_mark(file))
        and not (is_text and codecs.lookup(table.encoding).name != "utf-8")
        and not file.name.lower().endswith(COMPRESSIONS)
        # DuckDB takes these for a pattern.
        and re.search(r"[*?\[\]{}]", str(file.local_path)) is None
    )


def _begins_with_mark(file: InputFile) -> bool:
    with file.open() as raw:
        return raw.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _copy_plain(file: InputFile, table: TableConfig, scratch: Path, number: int) -> None:
    ending = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}[table.file_format]
    copy = scratch / f"input-{number}{ending}"
    is_text = table.file_format != "parquet"
    recode = is_text and codecs.lookup(table.encoding).name != "utf-8"
    with file.open() as raw, copy.open("wb") as plain:
        blocks = _hashed(file, raw)
        try:
            for block in _recoded(_unpacked(blocks, file.name), table.encoding, recode):
                if is_text and b"\0" in block:
                    raise FileRefusedError(_NUL_SENTENCE)
                is_first = is_text and not plain.tell()
                plain.write(block.removeprefix(codecs.BOM_UTF8) if is_first else block)
        finally:
            if not file.sha256:
                _hash_whole(file)
    file.plain_path = copy


_NUL_SENTENCE = (
    "the file holds NUL bytes, so it is not text in this encoding; if it is UTF-16, "
    "add `encoding: utf-16` to the table, else export it again"
)


def _find_remote(path: str, patterns: Collection[str]) -> list[InputFile]:
    found = {}
    try:
        filesystem, root = url_to_fs(path)
        filesystem.invalidate_cache()
        prefix = root.rstrip("/") + "/" if root.strip("/") else ""
        for remote in filesystem.find(root, withdirs=False):
            name = remote.removeprefix(prefix).lstrip("/")
            if not _is_finished(PurePosixPath(name).name):
                continue
            if any(_matches(name, pattern) for pattern in patterns):
                stamp, size = _remote_stamp(filesystem, remote)
                found[name] = InputFile(
                    name=name,
                    stamp=stamp,
                    size_bytes=size,
                    filesystem=filesystem,
                    remote_path=remote,
                    local_path=None,
                )
    except ImportError as error:
        raise SourceUnreachableError(
            f"{path}: {error} (`.venv/bin/python -m pip install …`); credentials are read in that "
            "package's way.",
            may_pass=False,
        ) from None
    except Exception as error:  # noqa: BLE001 - every file system brings its own
        raise SourceUnreachableError(
            f"{path} does not answer ({type(error).__name__}: {error}); check the address, the "
            "credentials and the network."
        ) from None
    return [found[name] for name in sorted(found)]


def _matches(name: str, pattern: str) -> bool:
    return _expression(pattern).fullmatch(name) is not None


def _may_hold(folder: str, pattern: str) -> bool:
    """Whether a folder may hold files that match a glob."""
    if "**/" in pattern:
        return True
    pieces = pattern.split("/")
    depth = folder.count("/") + 1
    return depth < len(pieces) and _matches(folder, "/".join(pieces[:depth]))


@functools.cache
def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a glob in which `*` stays within a folder and `**/` crosses folders."""
    globs = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    ending = re.search(r"(\.\w+)*$", pattern)[0]
    expression = ""
    for piece in re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern.removesuffix(ending)):
        is_set = piece.startswith("[") and piece.endswith("]")
        expression += piece.replace("[!", "[^") if is_set else globs.get(piece, re.escape(piece))
    return re.compile(f"{expression}(?i:{re.escape(ending)})")


def _is_finished(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith(_UNFINISHED)


def written_at(stamp: str) -> str:
    """Return the time in a stamp that a file keeps when it moves, '' of one that lies elsewhere."""
    local = re.fullmatch(r"\d+:(\d+):\d+", stamp)
    return local[1] if local else ""


def _local_stamp(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _remote_stamp(filesystem: fsspec.AbstractFileSystem, path: str) -> tuple[str, int]:
    info = filesystem.info(path)
    told = {
        key: str(info[key])
        for key in ("ETag", "etag", "LastModified", "mtime", "created", "CRC", "date_time")
        if key in info
    }
    size = int(info.get("size") or 0)
    # A file system that tells neither time nor hash is read in every run, and its content decides.
    return (f"{size}:{sorted(told.items())}" if told else "", size)


def _hashed(file: InputFile, raw: BinaryIO) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for block in file.blocks(raw):
        digest.update(block)
        yield block
    file.sha256 = digest.hexdigest()


def _hash_whole(file: InputFile) -> None:
    """Hash a file of which reading stopped half-way."""
    with file.open() as raw:
        for _ in _hashed(file, raw):
            pass


def _unpacked(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompress, checking the checksum: DuckDB accepts a gzip file whose CRC is wrong."""
    ending = PurePosixPath(name.lower()).suffix
    if ending not in COMPRESSIONS:
        yield from blocks
        return
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[ending]
    try:
        unpacked = opener(io.BufferedReader(_Stream(blocks)), "rb")
        while block := unpacked.read(_BLOCK_BYTES):
            yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise FileRefusedError(
            f"the compressed file is damaged or cut off ({error}); copy or export it again"
        ) from None


class _Stream(io.RawIOBase):
    """Blocks as a readable file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._blocks, b"")
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _recoded(blocks: Iterator[bytes], encoding: str, recode: bool) -> Iterator[bytes]:
    """Turn any encoding into UTF-8, in blocks.

    A byte that the encoding does not have is passed on as it is; it is then no UTF-8, and the
    reader sets just its row aside.
    """
    if not recode:
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogateescape")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        raise FileRefusedError(
            f"the file is not {encoding} ({error.__class__.__name__}); give the table the right "
            "`encoding:` or export the file again"
        ) from None
