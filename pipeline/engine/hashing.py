"""Content hashes of files, remembered by size and time of change, so that an unchanged file is read once."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.engine.files import Damaged, read_record, write_record

CHUNK = 4 << 20
UNKNOWN: list[int | str] = [-1, -1, ""]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 32 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:32]


class HashCache:
    """Hashes by key (a video id: the folder may move), valid while size and mtime stay; stored as one JSON file.

    It saves reading, never decides what is done: a file that was touched is read again and hashes as before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[int | str]] = {}
        with suppress(OSError, Damaged):  # then all is read once more
            self.known = read_record(path, "Nothing needs doing")["files"]
        self.changed = False

    def fresh(self, key: str, stat: os.stat_result) -> str | None:
        """The hash under `key` if it can be told without reading the file."""
        size, changed, found = self.known.get(key, UNKNOWN)
        return str(found) if size == stat.st_size and changed == stat.st_mtime_ns else None

    def hash(self, key: str, path: Path, read: Callable[[Path], str] = hash_file) -> str:
        """The hash of the file at `path`. Raises OSError."""
        stat = path.stat()
        found = self.fresh(key, stat)
        if found is None:
            found = read(path)
            self.known[key] = [stat.st_size, stat.st_mtime_ns, found]
            self.changed = True
        return found

    def save(self) -> None:
        """Write the cache whole or not at all; nothing if nothing changed."""
        if self.changed:
            # A run that starts at this moment may sweep the temporary file away: then it is read once more, no harm.
            with suppress(FileNotFoundError):
                write_record(self.path, {"files": self.known}, indent=None)
            self.changed = False
