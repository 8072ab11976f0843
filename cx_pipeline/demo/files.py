"""Files of exports, one per day (or month, or store and day), in bounded memory.

One chunk of customers is kept in memory and written at the end; several chunks are spilled to a
scratch folder and merged file by file. A file of days that an earlier run had finished is left
alone, so that one more day only adds files.
Keeps out: what stands in the files.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cx_pipeline.demo.randomness import Integers

ROWS_AT_ONCE = 1_500_000
LINE = "line"


class GroupedFiles:
    """The files of one export: rows are added with the number of the file they belong to."""

    def __init__(
        self,
        scratch: Path | None,
        name: str,
        path_of: Callable[[int], Path],
        header: bytes = b"",
        finished_before: int = 0,
    ) -> None:
        """Prepare an export.

        Args:
            scratch: Where chunks are spilled; None keeps the only chunk in memory.
            name: Name of the export, unique in the scratch folder.
            path_of: Path of the file with a number.
            header: First bytes of each file of lines.
            finished_before: Files with a smaller number are complete when they exist.
        """
        self._scratch = scratch
        self._name = name
        self._path_of = path_of
        self._header = header
        self._finished_before = finished_before
        self._kept: pa.Table | None = None
        self._chunks = 0
        self._counts: dict[int, int] = {}
        self.row_count = 0

    def add_lines(self, group: Integers, order: Integers, lines: pa.Array) -> None:
        """Add lines of text, each with its line end."""
        self.add(group, order, pa.table({LINE: lines}))

    def add(self, group: Integers, order: Integers, table: pa.Table) -> None:
        """Add one chunk's rows; within a file they stand in `order`."""
        position = np.lexsort((order, group))
        groups, counts = np.unique(group, return_counts=True)
        for number, count in zip(groups.tolist(), counts.tolist(), strict=True):
            self._counts[number] = self._counts.get(number, 0) + count
        self.row_count += len(group)
        sorted_table = table.take(pa.array(position))
        sorted_table = sorted_table.append_column("_group", pa.array(group[position]))
        if self._scratch is None:
            if self._kept is not None:
                message = f"{self._name}: a second chunk needs a scratch folder"
                raise ValueError(message)
            self._kept = sorted_table
            return
        sorted_table = sorted_table.append_column("_order", pa.array(order[position]))
        row = np.arange(len(group)) + (self._chunks << 32)
        sorted_table = sorted_table.append_column("_row", pa.array(row))
        self._chunks += 1
        folder = self._scratch / self._name
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(sorted_table, folder / f"{self._chunks:05d}.parquet", row_group_size=100_000)

    def finish(self) -> None:
        """Write every file that is not there yet."""
        groups = [
            number
            for number in sorted(self._counts)
            if number >= self._finished_before or not self._path_of(number).exists()
        ]
        for folder in {self._path_of(number).parent for number in groups}:
            folder.mkdir(parents=True, exist_ok=True)
        if self._scratch is None:
            if self._kept is not None:
                self._write(self._kept, set(groups))
                self._kept = None
            return
        window: list[int] = []
        rows = 0
        for number in groups:
            if window and rows + self._counts[number] > ROWS_AT_ONCE:
                self._write_window(window)
                window, rows = [], 0
            window.append(number)
            rows += self._counts[number]
        if window:
            self._write_window(window)

    def _write_window(self, groups: list[int]) -> None:
        files = str(self._scratch / self._name / "*.parquet")  # type: ignore[operator]
        with duckdb.connect() as connection:
            table = connection.execute(
                "select * exclude (_order, _row) from read_parquet($1) "
                "where _group between $2 and $3 order by _group, _order, _row",
                [files, groups[0], groups[-1]],
            ).to_arrow_table()
        self._write(table, set(groups))

    def _write(self, table: pa.Table, wanted: set[int]) -> None:
        group = table["_group"].to_numpy()
        table = table.drop_columns(["_group"])
        starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else []
        ends = np.append(starts[1:], len(group)) if len(group) else []
        lines = None
        if table.column_names == [LINE]:
            lines = table[LINE].cast(pa.large_binary()).combine_chunks()
            if isinstance(lines, pa.ChunkedArray):
                lines = lines.chunk(0) if lines.num_chunks else None
        else:
            table = table.combine_chunks()
        for start, end in zip(starts, ends, strict=True):
            number = int(group[start])
            if number not in wanted:
                continue
            path = self._path_of(number)
            if lines is not None:
                _write_lines(path, self._header, lines.slice(start, end - start))
            else:
                write_parquet(table.slice(start, end - start), path)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a Parquet file; small files go without dictionaries, which cost them more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = table.num_rows < 500
    pq.write_table(
        table,
        path,
        compression="none" if small else "snappy",
        use_dictionary=not small,
        write_statistics=False,
        store_schema=False,
    )


def _write_lines(path: Path, header: bytes, lines: pa.Array) -> None:
    """Write the lines' own bytes, which lie one after the other in Arrow's buffer."""
    _, offsets, data = lines.buffers()
    positions = np.frombuffer(offsets, dtype=np.int64)
    first, last = positions[lines.offset], positions[lines.offset + len(lines)]
    with path.open("wb") as file:
        file.write(header)
        file.write(memoryview(data)[first:last])
