"""Rows of input files as parts of Parquet, each row with its file and its number in it.

Writes:    parts in a scratch folder, with `_file`, `_loaded_at` and, where a position in the part
           does not tell the row's number, `_row_number`
Keeps out: how the rows of a format are read (csv_reader.py, jsonl_reader.py, parquet_reader.py)
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from cx_pipeline.sources.binding import column_types
from cx_pipeline.sources.config import RESERVED_COLUMNS
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.lake import PartMade, RejectedRow
from cx_pipeline.warehouse.sql import text_literal

INPUT_PATH = "_input_path"
"""The column in which DuckDB tells the path of the file that a row came from."""

_PART = "made-"


@dataclass
class FileCount:
    """What became of one input file."""

    row_count: int
    rejected_count: int
    first_row_number: int


@dataclass
class Landed:
    """What became of some input files of one table."""

    parts: list[PartMade] = field(default_factory=list)
    counts: dict[str, FileCount] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Landed") -> None:
        """Take over what became of other files."""
        self.parts += other.parts
        self.counts |= other.counts
        self.rejected += other.rejected
        self.refused |= other.refused


@dataclass
class Reject:
    """A row that does not land; one without a reason is a blank line."""

    file: str
    row_number: int
    reason: str
    column: str | None = None


@dataclass(frozen=True)
class PartWriter:
    """Writes the parts of one table."""

    connection: duckdb.DuckDBPyConnection
    scratch: Path
    loaded_at: datetime
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_path(self, name: str) -> Path:
        """Return a path in the scratch folder that nothing has yet; `name` has a {} in it."""
        return self.scratch / name.format(next(self._numbers))

    def is_named_in(self, error: str) -> bool:
        """Whether an error is about one of our own parts."""
        return str(self.scratch / _PART) in error

    def copy(self, rows: str, files: Sequence[InputFile]) -> tuple[Path, int]:
        """Write rows, which have INPUT_PATH, to a new part; return it and their number.

        Where there are several files, `_file` is the path until `finish`.
        """
        part = self._new_part()
        file = text_literal(files[0].name) if len(files) == 1 else INPUT_PATH
        count = self.connection.execute(
            f"copy (select * exclude ({INPUT_PATH}), {file} as _file, "
            f"timestamp '{self.loaded_at}' as _loaded_at from ({rows})) "
            f"to {text_literal(str(part))} (format parquet)"
        ).fetchone()
        return part, count[0]

    def finish(
        self,
        part: Path,
        row_count: int,
        files: Sequence[InputFile],
        rejects: list[Reject],
        first: int,
    ) -> Landed:
        """Count the rows of each file, and number them where their position does not.

        Args:
            part: As `copy` made it.
            row_count: Its rows.
            files: Where they came from.
            rejects: The lines of the files that are not in it.
            first: Number of a file's first row.
        """
        counted = self.count(part, files, row_count)
        rejected = [reject for reject in rejects if reject.reason]
        rejected_counts = Counter(reject.file for reject in rejected)
        landed = Landed(
            counts={
                file.name: FileCount(counted[file.name], rejected_counts[file.name], first)
                for file in files
            },
            rejected=[
                RejectedRow(
                    file=reject.file,
                    row_number=reject.row_number,
                    column_name=reject.column,
                    reason=reject.reason,
                )
                for reject in rejected
            ],
        )
        if row_count and len(files) == 1 and not rejects:
            landed.parts.append(
                PartMade(part, row_count, first, column_types(self.connection, part))
            )
        elif row_count:
            self._number(part, files, rejects, first)
            landed.parts.append(
                PartMade(part, row_count, None, column_types(self.connection, part))
            )
        else:
            part.unlink()
        return landed

    def count(self, part: Path, files: Sequence[InputFile], row_count: int) -> Counter[str]:
        """Return the number of rows in a part that came from each file."""
        if len(files) == 1:
            return Counter({files[0].name: row_count})
        names = _names_in_part(files)
        rows = self.connection.execute(
            f"select _file, count(*) from read_parquet({text_literal(str(part))}) group by all"
        ).fetchall()
        return Counter({names[path]: count for path, count in rows})

    def _number(
        self, part: Path, files: Sequence[InputFile], rejects: list[Reject], first: int
    ) -> None:
        """Rewrite a part with each row's number in its input file.

        A rejected line before a row moves its number up by one, hence the as-of join: reject i
        (from 0) on line n has n - first - i accepted rows before it.
        """
        names = _names_in_part(files)
        jumps: dict[tuple[str, int], int] = {}
        seen: Counter[str] = Counter()
        for name, line in sorted((reject.file, reject.row_number) for reject in rejects):
            jumps[name, line - first - seen[name]] = seen[name] + 1
            seen[name] += 1
        connection = self.connection
        connection.execute("create or replace temp table input_names (path varchar, name varchar)")
        connection.execute(
            "insert into input_names select unnest($1), unnest($2)",
            [list(names), list(names.values())],
        )
        connection.execute(
            "create or replace temp table jumps (file varchar, from_row bigint, jump bigint)"
        )
        if jumps:
            connection.execute(
                "insert into jumps select unnest($1), unnest($2), unnest($3)",
                [
                    [name for name, _ in jumps],
                    [position for _, position in jumps],
                    list(jumps.values()),
                ],
            )
        numbered = self._new_part()
        connection.execute(
            f"""
            copy (
                with landed_rows as (
                    select *, file_row_number as position
                    from read_parquet({text_literal(str(part))}, file_row_number = true)
                ),

                starts as (
                    select _file as path, min(position) as start_position
                    from landed_rows
                    group by all
                ),

                placed as (
                    select
                        landed_rows.* exclude (_file, file_row_number, position),
                        input_names.name as _file,
                        landed_rows.position - starts.start_position as _row_index,
                    from landed_rows
                    inner join starts on landed_rows._file = starts.path
                    inner join input_names on landed_rows._file = input_names.path
                )

                select
                    placed.* exclude (_row_index),
                    {first} + _row_index {"+ coalesce(jumps.jump, 0)" if jumps else ""}
                        as _row_number,
                from placed
                {
                "asof left join jumps on placed._file = jumps.file "
                "and placed._row_index >= jumps.from_row"
                if jumps
                else ""
            }
            ) to {text_literal(str(numbered))} (format parquet)
            """
        )
        numbered.replace(part)

    def _new_part(self) -> Path:
        path = self.new_path(_PART + "{}.parquet")
        path.touch()
        return path


def _names_in_part(files: Sequence[InputFile]) -> dict[str, str]:
    """Return each file's name by what stands in column `_file` of a part, see PartWriter.copy."""
    if len(files) == 1:
        return {files[0].name: files[0].name}
    return {str(file.plain_path): file.name for file in files}


def check_names(names: Sequence[str]) -> None:
    """Check that columns of these names can land side by side.

    Raises:
        FileRefusedError: They cannot.
    """
    fault = name_fault(names)
    if fault:
        raise FileRefusedError(fault)


def name_fault(names: Sequence[str]) -> str:
    """Say why columns of these names cannot land side by side, '' when they can."""
    repeated = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
    if repeated:
        return (
            f'the column "{repeated[0]}" stands twice (upper and lower case are the same); '
            "rename one of the two"
        )
    reserved = [name for name in names if name.lower() in (*RESERVED_COLUMNS, INPUT_PATH)]
    if reserved:
        return f'the column name "{reserved[0]}" is kept for the lake; rename the column'
    if any("\0" in name for name in names):
        return "a column's name holds a zero byte: the file is no text; export it again"
    return "a column has an empty name; name it" if "" in names else ""


def path_list(files: Sequence[InputFile]) -> str:
    """Return the paths of prepared files as a list in SQL."""
    return "[" + ", ".join(text_literal(str(file.plain_path)) for file in files) + "]"
