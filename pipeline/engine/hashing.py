"""Content hashes of files, remembered by size and time of change, so that an unchanged file is read once."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.engine.files import atomic_file
from pipeline.engine.sealed import seal
from pipeline.engine.shard import open_sealed

CHUNK = 4 << 20
Stamp = tuple[int, int | str]  # bytes, and what changes with the content: time of change, ETag
SCHEMA = pa.schema([("key", pa.binary()), ("size", pa.int64()), ("changed", pa.string()), ("hash", pa.string())])


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
    """Hashes by key (a video id: the folder may move), valid while the stamp stays; one sealed Parquet file.

    It saves reading, never decides what is done: a file that was touched is read again and hashes as before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = SCHEMA.empty_table()
        with suppress(OSError, ValueError, pa.ArrowException), open_sealed(path) as file:  # else all is read once more
            if file.schema_arrow.equals(SCHEMA):
                self.table = file.read().combine_chunks()
        self.new: dict[bytes, tuple[int, str, str]] = {}

    @cached_property
    def rows(self) -> dict[bytes, int]:
        """Where a key stands in the table."""
        return {key: row for row, key in enumerate(self.table["key"].to_pylist())}

    def fresh(self, key: str, stamp: Stamp) -> str | None:
        """The hash under `key` if it can be told without reading the file."""
        found = self.new.get(_raw(key))
        if found is None and (row := self.rows.get(_raw(key))) is not None:
            found = tuple(self.table[name][row].as_py() for name in SCHEMA.names[1:])
        return found[2] if found and found[:2] == (stamp[0], str(stamp[1])) else None

    def fresh_all(self, keys: Sequence[str], stamps: Iterable[Stamp]) -> list[str | None]:
        """As `fresh`, of many; for whom nothing was remembered since this was opened."""
        sizes, changed = zip(*stamps, strict=True) if keys else ((), ())
        try:
            raw = pa.array(keys, pa.string()).cast(pa.binary())
        except UnicodeEncodeError:
            raw = pa.array(map(_raw, keys), pa.binary())
        known = self.table["key"].combine_chunks()
        at = pc.index_in(raw, known) if not raw.equals(known) else pa.array(range(len(known)), pa.int32())
        noted = self.table.take(at)
        same = pc.and_(pc.equal(noted["size"], pa.array(sizes, pa.int64())),
                       pc.equal(noted["changed"], pa.array(map(str, changed), pa.string())))
        return list(pc.if_else(same, noted["hash"], None).to_pylist())

    def hash(self, key: str, path: Path, read: Callable[[Path], str] = hash_file) -> str:
        """The hash of the file at `path`. Raises OSError."""
        return self.remembered(key, stamp_of(path), lambda: read(path))

    def remembered(self, key: str, stamp: Stamp, read: Callable[[], str]) -> str:
        """The hash of what has this stamp; `read` tells it where it is not known."""
        found = self.fresh(key, stamp)
        if found is None:
            found = read()
            self.new[_raw(key)] = stamp[0], str(stamp[1]), found
        return found

    def save(self) -> None:
        """Write the cache whole or not at all; nothing if nothing changed."""
        if not self.new:
            return
        new = pa.table([list(column) for column in zip(*((key, *told) for key, told in self.new.items()), strict=True)],
                       schema=SCHEMA)
        old = pc.is_in(self.table["key"], new["key"].combine_chunks())
        self.table, self.new = pa.concat_tables([self.table.filter(pc.invert(old)), new]).sort_by("key"), {}
        self.__dict__.pop("rows", None)
        # A run that starts at this moment may sweep the temporary file away: then it is read once more, no harm.
        with suppress(FileNotFoundError), atomic_file(self.path) as temporary:
            pq.write_table(self.table, temporary, compression="zstd", use_dictionary=False, write_statistics=False)
            seal(temporary)


def _raw(key: str) -> bytes:
    return key.encode(errors="surrogateescape")
