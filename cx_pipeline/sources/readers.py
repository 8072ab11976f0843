"""The files of a table into Parquet parts, in bulk through DuckDB.

Reads:     prepared input files (files.py), by the reader of their format
Writes:    parts in a scratch folder (parts.py)
Keeps out: which files are new, and the manifest; that is landing.py

Every column of a CSV or JSON Lines file is landed as text: nothing is guessed, nothing is lost.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import duckdb

from cx_pipeline.sources.config import TableConfig
from cx_pipeline.sources.csv_reader import CsvReader
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.jsonl_reader import JsonlReader
from cx_pipeline.sources.parquet_reader import ParquetReader
from cx_pipeline.sources.parts import Landed, PartWriter
from cx_pipeline.warehouse.company import is_out_of_space

OWN_PART_BYTES = 32 << 20
"""A file from this size on gets a part of its own: its rows need no second pass for their
numbers, which costs 1.5 s per million rows."""

_FILES_PER_PART = 10_000
_FORMATS = {"csv": CsvReader, "jsonl": JsonlReader, "parquet": ParquetReader}


class FormatReader(Protocol):
    """How the files of one format are read."""

    def columns(self, file: InputFile) -> tuple[str, ...]:
        """Return what tells whether files fit one part: names, and types where a file has them.

        Raises:
            FileRefusedError: The file has no usable columns.
        """

    def sample(self, columns: tuple[str, ...], file: InputFile, row_count: int) -> str:
        """Return a select of so many rows of a file that can be read as they are.

        Raises:
            FileRefusedError: It has none, which only the rows can tell.
        """

    def read(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        """Land files of the same columns in one part.

        Raises:
            FileRefusedError: One of them cannot land.
            duckdb.Error: One of them cannot be read.
        """

    def repair(self, file: InputFile, columns: tuple[str, ...]) -> bool:
        """Make a copy of what is whole in a file; return whether that is anything new."""


class Reader:
    """Lands the files of one table."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: TableConfig,
        scratch: Path,
        loaded_at: datetime,
    ) -> None:
        self.parts = PartWriter(connection, scratch, loaded_at)
        self.format: FormatReader = _FORMATS[table.file_format](self.parts, table)
        self.table = table

    def read(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        """Land files of the same columns; one that breaks is refused, the others go on."""
        landed = Landed()
        small = [file for file in files if file.size_bytes < OWN_PART_BYTES]
        batches = [[file] for file in files if file.size_bytes >= OWN_PART_BYTES]
        batches += [
            small[start : start + _FILES_PER_PART]
            for start in range(0, len(small), _FILES_PER_PART)
        ]
        for batch in batches:
            self._read_or_split(columns, batch, landed)
        return landed

    def _read_or_split(
        self, columns: tuple[str, ...], files: Sequence[InputFile], landed: Landed
    ) -> None:
        if not files:
            return
        try:
            made = self.format.read(columns, files)
        except FileRefusedError as error:
            if len(files) == 1:
                landed.refused[files[0].name] = str(error)
                return
            made = None
        except (duckdb.Error, OSError) as error:
            if _is_our_fault(error, self.parts):
                raise
            if len(files) == 1 and self.format.repair(files[0], columns):
                self._read_or_split(columns, files, landed)
                return
            if len(files) == 1:
                landed.refused[files[0].name] = (
                    f"the file cannot be read as {self.table.file_format} "
                    f"({type(error).__name__}); export it again, or correct the table's format"
                )
                return
            made = None
        if made is None:
            # One of them is bad: halving finds it in log2(n) steps and spares the others.
            middle = len(files) // 2
            self._read_or_split(columns, files[:middle], landed)
            self._read_or_split(columns, files[middle:], landed)
            return
        moved = [file for file in files if file.current_stamp() != file.stamp]
        for file in moved:
            landed.refused[file.name] = (
                "the file changed or was removed while it was read; it comes in with the next run "
                "if it is there"
            )
        if moved:
            still = [file for file in files if file.name not in landed.refused]
            self._read_or_split(columns, still, landed)
            return
        landed.add(made)


def _is_our_fault(error: Exception, parts: PartWriter) -> bool:
    """Whether it is this machine that failed (memory, disk), and not the file.

    An error that names one of our own parts is about writing it. Only its first line is looked
    at: below may stand the statement, with every path.
    """
    ours = (duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InternalException)
    return (
        isinstance(error, ours)
        or is_out_of_space(error)
        or parts.is_named_in(str(error).partition("\n")[0])
    )
