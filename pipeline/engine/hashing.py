"""Content hashes of files, remembered by size and time of change, so that an unchanged file is read once."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipeline.engine.files import Damaged, read_record, write_record

CHUNK = 4 << 20
Stamp = tuple[int, int | str]  # bytes, and what changes with the content: time of change, ETag
UNKNOWN: list[int | str] = [-1, -1, ""]


def hash_parts(parts: Iterable[bytes]) -> str:
    """SHA-256 of bytes that come part by part, as 32 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]


def hash_file(path: Path) -> str:
    """As `hash_parts`, of a file's bytes. Raises OSError."""
    with open(path, "rb") as file:
        return hash_parts(iter(partial(file.read, CHUNK), b""))


def stamp_of(path: Path) -> Stamp:
    """Size and time of change. Raises OSError."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


class HashCache:
    """Hashes by key (a video id: the folder may move), valid while the stamp stays; stored as one JSON file.

    It saves reading, never decides what is done: a file that was touched is read again and hashes as before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[int | str]] = {}
        with suppress(OSError, Damaged):  # then all is read once more
            self.known = read_record(path, "Nothing needs doing")["files"]
        self.changed = False

    def fresh(self, key: str, stamp: Stamp) -> str | None:
        """The hash under `key` if it can be told without reading the file."""
        size, changed, found = self.known.get(key, UNKNOWN)
        return str(found) if size == stamp[0] and changed == stamp[1] else None

    def hash(self, key: str, path: Path, read: Callable[[Path], str] = hash_file) -> str:
        """The hash of the file at `path`. Raises OSError."""
        return self.remembered(key, stamp_of(path), lambda: read(path))

    def remembered(self, key: str, stamp: Stamp, read: Callable[[], str]) -> str:
        """The hash of what has this stamp; `read` tells it where it is not known."""
        found = self.fresh(key, stamp)
        if found is None:
            found = read()
            self.known[key] = [*stamp, found]
            self.changed = True
        return found

    def save(self) -> None:
        """Write the cache whole or not at all; nothing if nothing changed."""
        if self.changed:
            # A run that starts at this moment may sweep the temporary file away: then it is read once more, no harm.
            with suppress(FileNotFoundError):
                write_record(self.path, {"files": self.known}, indent=None)
            self.changed = False
