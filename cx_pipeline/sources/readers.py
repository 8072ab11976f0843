"""CSV, JSON Lines and Parquet files into Parquet parts, in bulk through DuckDB.

Reads:     prepared input files (files.py)
Writes:    parts in a scratch folder, with `_file`, `_loaded_at` and, where a position in the part
           does not tell the row's number, `_row_number`
Keeps out: which files are new, and the manifest; that is landing.py

Every column of a CSV or JSON Lines file is landed as text: nothing is guessed, nothing is lost.
"""

import csv
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from pyarrow import ArrowException

from cx_pipeline.sources.binding import column_types
from cx_pipeline.sources.config import RESERVED_COLUMNS, TableConfig
from cx_pipeline.sources.csv_repair import OPEN_QUOTE, line_count, repair
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.lake import PartMade, RejectedRow
from cx_pipeline.warehouse.company import is_out_of_space
from cx_pipeline.warehouse.sql import text_literal

OWN_PART_BYTES = 32 << 20
"""A file from this size on gets a part of its own: its rows need no second pass for their
numbers, which costs 1.5 s per million rows."""

NO_RECORD = (
    "no line of the file is a JSON object with keys that can land; is it another format, or an "
    "error page? JSON Lines has one object on each line"
)

_FILES_PER_PART = 10_000
_PATH = "_input_path"
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


@dataclass(frozen=True)
class Reader:
    """Lands the files of one table."""

    connection: duckdb.DuckDBPyConnection
    table: TableConfig
    scratch: Path
    loaded_at: datetime
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def columns(self, file: InputFile) -> tuple[str, ...]:
        """Return what tells whether files fit one part: names, and types where a file has them.

        Raises:
            FileRefusedError: The file has no usable columns.
        """
        if self.table.file_format == "csv":
            return _csv_header(file, self.table)
        if self.table.file_format == "parquet":
            return _parquet_columns(file)
        return ()

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
            made = self._read_batch(columns, files)
        except FileRefusedError as error:
            if len(files) == 1:
                landed.refused[files[0].name] = str(error)
                return
            made = None
        except (duckdb.Error, OSError) as error:
            if _is_our_fault(error, self.scratch / _PART):
                raise
            if len(files) == 1 and self._repair(files[0], columns):
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

    def _read_batch(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        if self.table.file_format == "csv":
            return self._read_csv(columns, files)
        if self.table.file_format == "jsonl":
            return self._read_jsonl(files)
        return self._read_parquet(files)

    def _read_csv(self, header: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        table = self.table
        types = ", ".join(f"{text_literal(name)}: 'varchar'" for name in header)
        for rejects in ("reject_errors", "reject_scans"):
            self.connection.execute(f"drop table if exists temp.{rejects}")
        source = (
            f"read_csv({_paths(files)}, columns = {{{types}}}, auto_detect = false, "
            f"header = {'false' if table.header else 'true'}, "
            f"delim = {text_literal(table.delimiter)}, "
            f"quote = {text_literal(table.quote)}, escape = {text_literal(table.escape)}, "
            f"store_rejects = true, filename = '{_PATH}')"
        )
        part, row_count = self._copy(f"select * from {source}", files)
        rejects = self._csv_rejects(files)
        first = 1 if table.header else 2
        read = self._count(part, files, row_count) + Counter(reject.file for reject in rejects)
        if self._must_read_again(header, files, read):
            part.unlink()
            return self._read_csv(header, files)
        for file in files:
            if file.repaired:
                rejects += [_Reject(file.name, *line) for line in file.repaired.left_out]
        return self._finish(part, row_count, files, rejects, first)

    def _must_read_again(
        self, header: tuple[str, ...], files: Sequence[InputFile], read: Counter[str]
    ) -> bool:
        """Repair the files of which a line is in no row; return whether that changed any.

        Raises:
            FileRefusedError: The rows of a repaired file do not add up either.
        """
        changed = False
        for file in files:
            found = read[file.name] + (0 if self.table.header else 1)
            if file.repaired is None and found != line_count(file.plain_path):
                as_read = file.plain_path
                self._repair(file, header)
                if file.repaired.left_out or found != file.repaired.row_count:
                    changed = True
                    continue
                file.plain_path = as_read
            if file.repaired and not self.table.header and file.repaired.original_row(1) != 1:
                raise FileRefusedError(f"the header line cannot be read: {OPEN_QUOTE}")
            if file.repaired and found != file.repaired.row_count:
                raise FileRefusedError(
                    f"by its quotes the file has {file.repaired.row_count} rows, but {found} can "
                    "be read; export it again with every value in quotes"
                )
        return changed

    def _repair(self, file: InputFile, header: tuple[str, ...]) -> bool:
        """Make a copy of a CSV file's whole rows; return whether that is anything new."""
        if self.table.file_format != "csv" or file.repaired or not file.plain_path.exists():
            return False
        copy = self.scratch / f"repaired-{next(self._numbers)}.csv"
        file.repaired = repair(file.plain_path, copy, self.table, len(header))
        file.plain_path = copy
        return True

    def _csv_rejects(self, files: Sequence[InputFile]) -> list["_Reject"]:
        """Return the rows that DuckDB could not read, by their numbers in the input files."""
        rows = self.connection.execute(
            """
            select
                reject_scans.file_path,
                reject_errors.line,
                arg_min(reject_errors.error_type::varchar, reject_errors.byte_position),
                arg_min(reject_errors.error_message, reject_errors.byte_position),
                arg_min(reject_errors.column_name, reject_errors.byte_position),
            from reject_errors
            inner join reject_scans using (scan_id, file_id)
            group by all
            order by all
            """
        ).fetchall()
        by_path = {str(file.plain_path): file for file in files}
        return [
            _Reject(
                file=by_path[path].name,
                row_number=(
                    by_path[path].repaired.original_row(line) if by_path[path].repaired else line
                ),
                reason=_csv_reason(error, message),
                column=column if error == "INVALID ENCODING" else None,
            )
            for path, line, error, message, column in rows
        ]

    def _read_jsonl(self, files: Sequence[InputFile]) -> Landed:
        objects = (
            f"read_ndjson_objects({_paths(files)}, ignore_errors = true, filename = '{_PATH}')"
        )
        # `[1, 2]` is JSON, but no record.
        shape = "case when starts_with(ltrim(json::varchar), '{') then json_keys(json) end"
        shapes = self.connection.execute(
            f"select {_PATH}, {shape} as keys from {objects} "
            "group by all order by count(*) desc, keys"
        ).fetchall()
        shapes_of: defaultdict[str, list[list[str] | None]] = defaultdict(list)
        for path, keys_found in shapes:
            shapes_of[path].append(keys_found)
        keys: dict[str, None] = {}
        faults: list[tuple[str, list[str] | None, str]] = []
        for file in files:
            path = str(file.plain_path)
            spelling: dict[str, str] = {}
            bad = [
                (path, found, fault)
                for found in shapes_of[path]
                if (fault := _fault(found, spelling))
            ]
            if len(bad) == len(shapes_of[path]):
                for _, found, fault in bad:
                    if found is not None:
                        raise FileRefusedError(fault)
                raise FileRefusedError(NO_RECORD)
            faults += bad
            keys |= dict.fromkeys(spelling.values())
        if len({key.lower() for key in keys}) < len(keys):
            raise FileRefusedError("files of several write a key in upper and in lower case")
        if not faults:
            types = ", ".join(f"{text_literal(key)}: 'varchar'" for key in keys)
            source = (
                f"read_json({_paths(files)}, format = 'newline_delimited', "
                f"columns = {{{types}}}, filename = '{_PATH}')"
            )
            part, row_count = self._copy(f"select * from {source}", files)
            return self._finish(part, row_count, files, [], 1)
        return self._read_good_records(files, objects, shape, list(keys), faults)

    def _read_good_records(
        self,
        files: Sequence[InputFile],
        objects: str,
        shape: str,
        keys: list[str],
        faults: list[tuple[str, list[str] | None, str]],
    ) -> Landed:
        """Land the good lines of files in which some are no JSON object or have faulty keys."""
        self.connection.execute(
            f"create or replace temp table faults ({_PATH} varchar, keys varchar[], fault varchar)"
        )
        self.connection.execute(
            "insert into faults select unnest($1), unnest($2::varchar[][]), unnest($3)",
            [list(column) for column in zip(*faults, strict=True)],
        )
        judged = f"""
            select lines.*, faults.fault
            from (
                select json, {_PATH}, {shape} as keys, row_number() over () as position
                from {objects}
            ) as lines
            left join faults
                on lines.{_PATH} = faults.{_PATH} and lines.keys is not distinct from faults.keys
        """
        names = {str(file.plain_path): file.name for file in files}
        rejects = [
            _Reject(file=names[path], row_number=number, reason=fault)
            for path, number, fault in self.connection.execute(
                f"""
                select
                    {_PATH},
                    position - min(position) over (partition by {_PATH}) + 1 as number,
                    fault,
                from ({judged})
                qualify fault is not null
                order by all
                """
            ).fetchall()
        ]
        types = text_literal(json.dumps(dict.fromkeys(keys, "VARCHAR")))
        part, row_count = self._copy(
            f"select unnest(json_transform(json, {types})), {_PATH} "
            f"from ({judged}) where fault is null order by position",
            files,
        )
        return self._finish(part, row_count, files, rejects, 1)

    def _read_parquet(self, files: Sequence[InputFile]) -> Landed:
        part, row_count = self._copy(
            f"select * from read_parquet({_paths(files)}, filename = '{_PATH}', "
            "hive_partitioning = false)",
            files,
        )
        return self._finish(part, row_count, files, [], 1)

    def _copy(self, rows: str, files: Sequence[InputFile]) -> tuple[Path, int]:
        """Write rows to a new part; `_file` is the path where there are several files."""
        part = self._new_part()
        file = text_literal(files[0].name) if len(files) == 1 else _PATH
        count = self.connection.execute(
            f"copy (select * exclude ({_PATH}), {file} as _file, "
            f"timestamp '{self.loaded_at}' as _loaded_at from ({rows})) "
            f"to {text_literal(str(part))} (format parquet)"
        ).fetchone()
        return part, count[0]

    def _finish(
        self,
        part: Path,
        row_count: int,
        files: Sequence[InputFile],
        rejects: list["_Reject"],
        first: int,
    ) -> Landed:
        """Count the rows of each file, and number them where their position does not."""
        counted = self._count(part, files, row_count)
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

    def _count(self, part: Path, files: Sequence[InputFile], row_count: int) -> Counter[str]:
        """Return the number of rows in a part that came from each file."""
        if len(files) == 1:
            return Counter({files[0].name: row_count})
        names = _names_in_part(files)
        rows = self.connection.execute(
            f"select _file, count(*) from read_parquet({text_literal(str(part))}) group by all"
        ).fetchall()
        return Counter({names[path]: count for path, count in rows})

    def _number(
        self, part: Path, files: Sequence[InputFile], rejects: list["_Reject"], first: int
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
        path = self.scratch / f"{_PART}{next(self._numbers)}.parquet"
        path.touch()
        return path


@dataclass
class _Reject:
    """A row that does not land; one without a reason is a blank line."""

    file: str
    row_number: int
    reason: str
    column: str | None = None


def _names_in_part(files: Sequence[InputFile]) -> dict[str, str]:
    """Return each file's name by what stands in column `_file` of a part, see Reader._copy."""
    if len(files) == 1:
        return {files[0].name: files[0].name}
    return {str(file.plain_path): file.name for file in files}


def _csv_header(file: InputFile, table: TableConfig) -> tuple[str, ...]:
    """Return the column names of a CSV file, trimmed; a nameless column is called column_<n>."""
    if table.header:
        names = table.header
    else:
        # Strange bytes below the header concern their own line only, so none may stop this.
        with file.plain_path.open(
            encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as text:
            lines = iter(lambda: text.readline(1 << 20), "")
            try:
                names = _first_record(lines, table)
            except csv.Error as error:
                raise FileRefusedError(f"the header line cannot be read ({error})") from None
        if any("\udc80" <= sign <= "\udcff" for name in names for sign in name):
            raise FileRefusedError(
                f"the header line is not {table.encoding}; give the table its `encoding:`, such "
                "as latin-1"
            )
    names = [name.strip() or f"column_{number}" for number, name in enumerate(names, start=1)]
    if not names:
        raise FileRefusedError("the file has no header line; export it again")
    _check_names(names)
    return tuple(names)


def _first_record(lines: Iterator[str], table: TableConfig) -> list[str]:
    if len(table.delimiter) > 1:
        return next(lines, "").rstrip("\r\n").split(table.delimiter)
    quoting = csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE
    reader = csv.reader(
        lines, delimiter=table.delimiter, quotechar=table.quote or None, quoting=quoting
    )
    return next(reader, [])


def _parquet_columns(file: InputFile) -> tuple[str, ...]:
    """Return the names and types of a Parquet file."""
    try:
        metadata = pq.read_metadata(file.plain_path)
    except (ArrowException, OSError) as error:
        raise FileRefusedError(
            f"the file is not a whole Parquet file ({str(error).splitlines()[0][:120]}); "
            "copy or export it again"
        ) from None
    if metadata.num_row_groups:
        group = metadata.row_group(0)
        codecs = {group.column(index).compression for index in range(group.num_columns)}
        if "BROTLI" in codecs:
            raise FileRefusedError(
                "the file is compressed with Brotli, whose decoder in DuckDB has an unfixed "
                "fault; write it with zstd or snappy"
            )
    schema = metadata.schema.to_arrow_schema()
    _check_names(schema.names)
    return tuple(f"{item.name} {item.type}" for item in schema)


def _check_names(names: Sequence[str]) -> None:
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
    reserved = [name for name in names if name.lower() in (*RESERVED_COLUMNS, _PATH)]
    if reserved:
        return f'the column name "{reserved[0]}" is kept for the lake; rename the column'
    if any("\0" in name for name in names):
        return "a column's name holds a zero byte: the file is no text; export it again"
    return "a column has an empty name; name it" if "" in names else ""


def _fault(keys: list[str] | None, spelling: dict[str, str]) -> str:
    """Say why a record of these keys cannot land, '' when it can and its keys are noted.

    Args:
        keys: None of a line that is no JSON object.
        spelling: How the records so far write each key, by its lower case.
    """
    if keys is None:
        return "the line is not a JSON object; it may be cut off. Write it again"
    fault = name_fault(keys)
    for key in keys:
        if not fault and spelling.get(key.lower(), key) != key:
            fault = (
                f'the key "{key}" is written "{spelling[key.lower()]}" in other records (upper and '
                "lower case are the same); write it one way"
            )
    if not fault:
        spelling.update((key.lower(), key) for key in keys)
    return fault


def _csv_reason(error: str, message: str) -> str:
    counts = re.findall(r"\d+", message)
    if error in ("MISSING COLUMNS", "TOO MANY COLUMNS") and len(counts) == 2:
        expected, found = counts
        remedy = (
            "a value that holds the delimiter must stand in quotes"
            if error == "TOO MANY COLUMNS"
            else "the line may be cut off"
        )
        return f"the line has {found} fields and the header {expected}; {remedy}"
    return {
        "UNQUOTED VALUE": OPEN_QUOTE,
        "INVALID ENCODING": (
            "the line holds bytes that are not in the table's encoding; "
            "give the table its `encoding:`, such as latin-1"
        ),
        "LINE SIZE OVER MAXIMUM": "the row is longer than 2 MB",
    }.get(error, "the line cannot be read")


def _is_our_fault(error: Exception, parts: Path) -> bool:
    """Whether it is this machine that failed (memory, disk), and not the file.

    An error that names one of our own parts is about writing it. Only its first line is looked
    at: below may stand the statement, with every path.
    """
    ours = (duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InternalException)
    return (
        isinstance(error, ours)
        or is_out_of_space(error)
        or str(parts) in str(error).partition("\n")[0]
    )


def _paths(files: Sequence[InputFile]) -> str:
    return "[" + ", ".join(text_literal(str(file.plain_path)) for file in files) + "]"
