"""Columns of text made from columns of numbers: digits, UUIDs, timestamps, joined lines.

Every function fills one matrix of bytes or asks Arrow, so that a million cells cost tenths of
a second.
Keeps out: what the text means.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cx_pipeline.demo.randomness import Integers

DAY_SECONDS = 86_400
_FIRST_DAY, _LAST_DAY = -25_567, 47_482
"""1 January 1900 and 1 January 2100, in days since 1970."""

_TIMES = np.frombuffer(
    "".join(
        f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        for second in range(DAY_SECONDS)
    ).encode(),
    dtype=np.uint8,
).reshape(DAY_SECONDS, 8)


def text_column(cells: NDArray[np.uint8]) -> pa.Array:
    """Return a text column from a matrix of one row of bytes per cell."""
    rows, width = cells.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.Array.from_buffers(
        pa.utf8(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(cells))]
    )


def digits(values: Integers, width: int, prefix: str = "") -> pa.Array:
    """Return `prefix` and the value in `width` digits, padded with zeros."""
    cells = np.empty((len(values), len(prefix) + width), dtype=np.uint8)
    cells[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    rest = values.copy()
    for position in range(len(prefix) + width - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, 10)
        cells[:, position] = digit + ord("0")
    return text_column(cells)


def hexadecimal(bits: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return a matrix of 16 hexadecimal characters per value."""
    text = bits.astype(">u8").tobytes().hex().encode()
    return np.frombuffer(text, dtype=np.uint8).reshape(len(bits), 16)


def uuids(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> pa.Array:
    """Return UUIDs of version 4 made of two times 64 bits."""
    left, right = hexadecimal(high), hexadecimal(low)
    cells = np.full((len(high), 36), ord("-"), dtype=np.uint8)
    cells[:, 0:8], cells[:, 9:13], cells[:, 14:18] = left[:, 0:8], left[:, 8:12], left[:, 12:16]
    cells[:, 19:23], cells[:, 24:36] = right[:, 0:4], right[:, 4:16]
    cells[:, 14], cells[:, 19] = ord("4"), ord("a")
    return text_column(cells)


@lru_cache(maxsize=8)
def _days(layout: str) -> NDArray[np.uint8]:
    """Return the text of every day from 1900 to 2099, in ten characters."""
    days = np.arange(_FIRST_DAY, _LAST_DAY).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    parts = {
        "%Y": (months.astype("datetime64[Y]").astype(np.int64) + 1970, 4),
        "%m": (months.astype(np.int64) % 12 + 1, 2),
        "%d": ((days - months).astype(np.int64) + 1, 2),
    }
    columns: list[NDArray[np.uint8]] = []
    place = 0
    while place < len(layout):
        part = parts.get(layout[place : place + 2])
        if part is None:
            columns.append(np.full((len(days), 1), ord(layout[place]), dtype=np.uint8))
            place += 1
            continue
        values, width = part
        powers = 10 ** np.arange(width - 1, -1, -1)
        columns.append((values[:, None] // powers % 10 + ord("0")).astype(np.uint8))
        place += 2
    return np.concatenate(columns, axis=1)


def day_text(seconds: Integers, layout: str = "%Y-%m-%d") -> NDArray[np.uint8]:
    """Return a matrix with the day of each epoch second, in ten characters."""
    return _days(layout)[seconds // DAY_SECONDS - _FIRST_DAY]


def time_text(seconds: Integers) -> NDArray[np.uint8]:
    """Return a matrix with the time of day of each epoch second as HH:MM:SS."""
    return _TIMES[seconds % DAY_SECONDS]


def timestamps(
    seconds: Integers,
    layout: str = "%Y-%m-%d",
    between: str = " ",
    after: str = "",
    with_seconds: bool = True,
) -> pa.Array:
    """Return the epoch seconds as text: day, `between`, time of day, `after`."""
    clock = 8 if with_seconds else 5
    cells = np.empty((len(seconds), 10 + len(between) + clock + len(after)), dtype=np.uint8)
    cells[:, :10] = day_text(seconds, layout)
    start = 10 + len(between)
    cells[:, 10:start] = np.frombuffer(between.encode(), dtype=np.uint8)
    cells[:, start : start + clock] = time_text(seconds)[:, :clock]
    cells[:, start + clock :] = np.frombuffer(after.encode(), dtype=np.uint8)
    return text_column(cells)


def dates(seconds: Integers, layout: str = "%Y-%m-%d") -> pa.Array:
    """Return the days of the epoch seconds as text."""
    return text_column(day_text(seconds, layout))


def timestamp_column(seconds: Integers) -> pa.Array:
    """Return a timestamp column without a time zone."""
    return pa.array((seconds * 1_000).astype("datetime64[ms]"))


def look_up(values: Sequence[Any] | pa.Array, positions: Integers) -> pa.Array:
    """Return `values[position]` per position; a negative position gives an empty cell."""
    table = values if isinstance(values, pa.Array) else pa.array(values)
    if len(positions) and positions.min() < 0:
        return table.take(pa.array(positions, mask=positions < 0))
    return table.take(pa.array(positions))


def join_text(*parts: pa.Array | str) -> pa.Array:
    """Return the parts of each row joined; a row with an empty part is empty."""
    return pc.binary_join_element_wise(
        *[pa.scalar(part) if isinstance(part, str) else part for part in parts], ""
    )


def decimals(cents: Integers, mark: str = ".") -> pa.Array:
    """Return amounts in hundredths as text with two decimals."""
    sign = np.where(cents < 0, "-", "")
    whole, rest = np.divmod(np.abs(cents), 100)
    return join_text(
        pa.array(sign.tolist()) if (cents < 0).any() else "",
        pa.array(whole).cast(pa.utf8()),
        mark,
        digits(rest, 2),
    )
