"""CSV files, every column as text; what is no row of the header's columns is a reject.

Reads:     prepared CSV files (files.py), as DuckDB does; where a line is in no row, their repaired
           copies (csv_repair.py)
Keeps out: how the rows become a part (parts.py)
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from cx_pipeline.sources.config import TableConfig
from cx_pipeline.sources.csv_repair import OPEN_QUOTE, line_count, repair
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.parts import (
    INPUT_PATH,
    Landed,
    PartWriter,
    Reject,
    check_names,
    path_list,
)
from cx_pipeline.warehouse.sql import text_literal


class CsvReader:
    """Reads the CSV files of one table; a file's columns are the names of its header."""

    def __init__(self, parts: PartWriter, table: TableConfig) -> None:
        self.parts = parts
        self.table = table

    def columns(self, file: InputFile) -> tuple[str, ...]:
        """Return the names of the header, trimmed; a nameless column is called column_<n>."""
        if self.table.header:
            names = self.table.header
        else:
            # Strange bytes below the header concern their own line only, so none may stop this.
            with file.plain_path.open(
                encoding="utf-8-sig", errors="surrogateescape", newline=""
            ) as text:
                lines = iter(lambda: text.readline(1 << 20), "")
                try:
                    names = _first_record(lines, self.table)
                except csv.Error as error:
                    raise FileRefusedError(f"the header line cannot be read ({error})") from None
            if any("\udc80" <= sign <= "\udcff" for name in names for sign in name):
                raise FileRefusedError(
                    f"the header line is not {self.table.encoding}; give the table its "
                    "`encoding:`, such as latin-1"
                )
        names = [name.strip() or f"column_{number}" for number, name in enumerate(names, start=1)]
        if not names:
            raise FileRefusedError("the file has no header line; export it again")
        check_names(names)
        return tuple(names)

    def sample(self, columns: tuple[str, ...], file: InputFile, row_count: int) -> str:
        """Return a select of the first rows that have the header's columns."""
        rows = self._rows(columns, [file])
        return f"select * exclude ({INPUT_PATH}) from {rows} limit {row_count}"

    def read(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        """Land files of one header."""
        part, row_count = self.parts.copy(f"select * from {self._rows(columns, files)}", files)
        rejects = self._rejects(files)
        first = 1 if self.table.header else 2
        read = self.parts.count(part, files, row_count) + Counter(reject.file for reject in rejects)
        if self._must_read_again(columns, files, read):
            part.unlink()
            return self.read(columns, files)
        for file in files:
            if file.repaired:
                rejects += [Reject(file.name, *line) for line in file.repaired.left_out]
        return self.parts.finish(part, row_count, files, rejects, first)

    def _rows(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> str:
        """Return CSV files as they stand in a from clause; DuckDB notes what it leaves out."""
        table = self.table
        types = ", ".join(f"{text_literal(name)}: 'varchar'" for name in columns)
        for rejects in ("reject_errors", "reject_scans"):
            self.parts.connection.execute(f"drop table if exists temp.{rejects}")
        return (
            f"read_csv({path_list(files)}, columns = {{{types}}}, auto_detect = false, "
            f"header = {'false' if table.header else 'true'}, "
            f"delim = {text_literal(table.delimiter)}, "
            f"quote = {text_literal(table.quote)}, escape = {text_literal(table.escape)}, "
            f"store_rejects = true, filename = '{INPUT_PATH}')"
        )

    def _must_read_again(
        self, columns: tuple[str, ...], files: Sequence[InputFile], read: Counter[str]
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
                self.repair(file, columns)
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

    def repair(self, file: InputFile, columns: tuple[str, ...]) -> bool:
        """Make a copy of a CSV file's whole rows; return whether that is anything new."""
        if file.repaired or not file.plain_path.exists():
            return False
        copy = self.parts.new_path("repaired-{}.csv")
        file.repaired = repair(file.plain_path, copy, self.table, len(columns))
        file.plain_path = copy
        return True

    def _rejects(self, files: Sequence[InputFile]) -> list[Reject]:
        """Return the rows that DuckDB could not read, by their numbers in the input files."""
        rows = self.parts.connection.execute(
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
            Reject(
                file=by_path[path].name,
                row_number=(
                    by_path[path].repaired.original_row(line) if by_path[path].repaired else line
                ),
                reason=_reason(error, message),
                column=column if error == "INVALID ENCODING" else None,
            )
            for path, line, error, message, column in rows
        ]


def _first_record(lines: Iterator[str], table: TableConfig) -> list[str]:
    if len(table.delimiter) > 1:
        return next(lines, "").rstrip("\r\n").split(table.delimiter)
    quoting = csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE
    reader = csv.reader(
        lines, delimiter=table.delimiter, quotechar=table.quote or None, quoting=quoting
    )
    return next(reader, [])


def _reason(error: str, message: str) -> str:
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
