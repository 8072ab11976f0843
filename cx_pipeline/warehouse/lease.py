"""Who may write: one run at a time holds the lease on a data folder.

A `flock` dies with its process, so a killed run never blocks the next one. DuckDB's own lock is
not enough: between two steps of a run nobody has the file open.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_SECONDS = 60
"""A run that was started while another one ends should not fail for a matter of seconds."""

_depth: dict[Path, int] = {}
"""How often this process holds each lease; a step inside a run takes the run's lease again."""


class LeaseHeldError(RuntimeError):
    """Another run is writing to the same data folder."""


@contextmanager
def lease(data_dir: Path, holder: str, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the write lease of a data folder while the block runs; blocks of one process nest.

    Args:
        data_dir: The data folder.
        holder: Words that name this run to whoever finds the lease taken.
        wait_seconds: How long to wait for another run to end.

    Raises:
        LeaseHeldError: Another process holds the lease after `wait_seconds`.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = (data_dir / "warehouse.lock").resolve()
    if _depth.get(path):
        _depth[path] += 1
        try:
            yield
        finally:
            _depth[path] -= 1
        return
    # Not inheritable: a child that outlives the run would keep the lease.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, wait_seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder} (process {os.getpid()})".encode(), 0)
        _depth[path] = 1
        try:
            yield
        finally:
            _depth[path] = 0
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                other = path.read_text() or "another run"
                raise LeaseHeldError(
                    f"{path.parent} is being written by {other}. Wait for it to end, "
                    "or stop that process."
                ) from None
            time.sleep(0.2)
