"""A CSV file whose lines are not its rows, made into one that holds its whole rows and no others.

Reads:     a plain CSV file
Writes:    a copy of one row per record, each ended by a line feed
Keeps out: what the rows hold (readers.py)

DuckDB takes an open quote as far as the next quote, or to where its next thread begins: of 10,000
rows with one stray quote, 3,900 were in no book. Here only the line with the open quote is lost.
"""

import mmap
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from cx_pipeline.sources.config import TableConfig

_LINE_END = rb"(?:\r\n?|\n)"

_TELLING_DELIMITERS = 4
"""Whether lines between two quotes are rows or text: rows when each has the delimiters of a row,
and they are this many together. An address has one or two, in lines of differing number."""

OPEN_QUOTE = "a quote is not closed where the value ends"


@dataclass
class Repaired:
    """What a repair found: the rows of the copy, its header line among them, and what it lacks.

    `left_out` gives each line's row number in the original and the reason, '' for a blank line.
    """

    row_count: int = 0
    left_out: list[tuple[int, str]] = field(default_factory=list)

    def original_row(self, row: int) -> int:
        """Return the number in the original of a row of the copy."""
        # Left-out line i (from 0) on row n has n - i rows of the copy up to the one behind it.
        places = range(len(self.left_out))
        return row + bisect_right(places, row, key=lambda place: self.left_out[place][0] - place)


def line_count(path: Path) -> int:
    """Return how many lines a file has, blank ones at its end aside."""
    feeds = returns = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            feeds += block.count(b"\n")
            returns += 0 if feeds else block.count(b"\r")
        file.seek(max(file.tell() - (1 << 16), 0))
        tail = file.read()
    sign = b"\n" if feeds else b"\r"
    return 1 + (feeds or returns) - tail[len(tail.rstrip(b"\r\n")) :].count(sign)


def repair(source: Path, copy: Path, table: TableConfig, width: int) -> Repaired:
    """Copy the whole rows of a CSV file of so many columns; blank and broken lines stay out."""
    syntax = _Syntax(table, width)
    found = Repaired()
    row = 1
    with (
        source.open("rb") as file,
        copy.open("wb") as out,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        position = 3 if data[:3] == b"\xef\xbb\xbf" else 0
        while position < len(data):
            if match := syntax.rows.match(data, position):
                text = match[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                text = text if text.endswith(b"\n") else text + b"\n"
                out.write(text)
                row += text.count(b"\n")
                position = match.end()
                continue
            if match := syntax.blank.match(data, position):
                found.left_out.append((row, ""))
                row += 1
                position = match.end()
                continue
            whole = syntax.row.match(data, position)
            match = whole or syntax.broken.match(data, position)
            lines = re.split(_LINE_END, match[0])
            lines = lines if lines[-1] else lines[:-1]
            if syntax.are_rows(lines, is_sound=bool(whole) and syntax.is_complete(match[0])):
                # Only the first line is at fault; what follows is read as what it is.
                match, lines = syntax.line.match(data, position), lines[:1]
            elif whole:
                out.write(match[0].rstrip(b"\r\n") + b"\n")
                row += 1
                position = match.end()
                continue
            found.left_out.append((row, OPEN_QUOTE))
            found.left_out += [
                (number, f"the line is caught between quotes: in row {row} {OPEN_QUOTE}")
                for number in range(row + 1, row + len(lines))
            ]
            row += len(lines)
            position = match.end()
    found.row_count = row - 1 - len(found.left_out)
    return found


class _Syntax:
    """The patterns of one table's CSV."""

    def __init__(self, table: TableConfig, width: int) -> None:
        self.width = width
        self.delimiter = table.delimiter.encode()
        delimiter = re.escape(self.delimiter)
        end = _LINE_END + rb"|\Z"
        value_end = rb"(?=" + delimiter + b"|" + end + b")"
        value = rb"(?:(?!" + delimiter + rb")[^\r\n])*"
        if len(self.delimiter) == 1:
            value = rb"[^\r\n" + delimiter + rb"]*"
        in_one_line = in_lines = value
        opening = rb"(?!)"
        inner = b""
        if table.quote:
            quote, escape = re.escape(table.quote.encode()), re.escape(table.escape.encode())
            escaped, inner = escape + b".", rb"[^" + quote + escape + b"]*"
            if table.escape in ("", table.quote):
                escaped, inner = quote * 2, rb"[^" + quote + b"]*"
            # DuckDB takes blanks around a quoted value for nothing.
            blanks = b"" if self.delimiter.startswith(b" ") else b" *"
            opening = blanks + quote
            closing = quote + blanks + value_end
            unquoted = b"|(?!" + opening + b")" + value
            inner_lines = inner + b"(?:" + escaped + inner + b")*"
            inner_line = inner_lines.replace(b"[^", rb"[^\r\n")
            in_one_line = b"(?:" + opening + inner_line + closing + unquoted + b")"
            in_lines = b"(?:" + opening + inner_lines + closing + unquoted + b")"
            inner = inner_lines + b"(?:" + quote + rb"[^\r\n]*)?"
            self.quoted = re.compile(opening + inner_lines + closing, re.DOTALL)
        else:
            self.quoted = re.compile(opening)
        # A blank line of a table of one column is an empty value.
        is_row = rb"(?=[^\r\n])" if width > 1 else rb"(?!\Z)"

        def joined(values: bytes) -> bytes:
            return is_row + values + b"(?:" + delimiter + values + b")*(?:" + end + b")"

        # A bound on the rows of one match, for each costs some memory until it ends.
        self.rows = re.compile(b"(?:" + joined(in_one_line) + b"){1,1000}", re.DOTALL)
        self.row = re.compile(joined(in_lines), re.DOTALL)
        self.blank = re.compile(_LINE_END)
        self.line = re.compile(rb"[^\r\n]*(?:" + end + b")")
        self.broken = re.compile(
            b"(?:" + in_lines + delimiter + b")*" + opening + inner + b"(?:" + end + b")"
            rb"|[^\r\n]*(?:" + end + b")",
            re.DOTALL,
        )

    def are_rows(self, lines: list[bytes], *, is_sound: bool) -> bool:
        """Whether the lines that a quoted value spans are rows that its quote has swallowed."""
        if (len(lines) - 2) * (self.width - 1) < _TELLING_DELIMITERS:
            return False
        if is_sound:
            # Of a row that can be read as it stands, nothing may speak against it.
            return all(map(self.is_complete, lines))
        return sum(map(self.is_complete, lines[1:])) > len(lines) / 2

    def is_complete(self, row: bytes) -> bool:
        """Whether a row has all columns."""
        return self.quoted.sub(b"", row).count(self.delimiter) == self.width - 1
