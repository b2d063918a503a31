"""One run at a time on an artifacts folder; on a bucket, which knows no locks, by a lease beside it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.engine.place import place_of


class Busy(Exception):
    """Another run holds the artifacts folder; the message names its process."""


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the folder's lock. The system frees it when the process ends, however it ends. Raises Busy, StorageError."""
    place = place_of(root)
    root.mkdir(parents=True, exist_ok=True)
    file = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 20).decode(errors="replace").strip()
            raise Busy(f"another run (process {holder or 'unknown'}) is at work on {place}: wait for it, or stop it"
                       ) from None
        os.truncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        with place.reserved():
            yield
    finally:
        os.close(file)
