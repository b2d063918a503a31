"""How the shards of many videos stand, by the file system's word: what changes whenever a file does, in columns."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

STAMP = struct.Struct("<QQqq")  # inode, size, time of change (mtime), time of status change (ctime)


class Names:
    """Names of shards below a stage's folder, without suffix, in an order that keeps those of a folder together."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def one(self, number: int) -> "Names":
        return Names([self.texts[number]])

    @cached_property
    def array(self) -> pa.StringArray:
        return pa.array(self.texts, pa.string())

    @cached_property
    def runs(self) -> list[tuple[int, int, str]]:
        """Those that lie in one folder: from, to, and the folder below the stage's, "" or with a slash at its end."""
        found: list[tuple[int, int, str]] = []
        begin, below = 0, ""
        for number, name in enumerate(self.texts):
            if not name.startswith(below) or "/" in name[len(below):]:
                found.append((begin, number, below))
                begin, below = number, name[:name.rfind("/") + 1]
        return [run for run in (*found, (begin, len(self.texts), below)) if run[0] < run[1]]


class Stamps(NamedTuple):
    """How shards stand. `each`: shape (names, STAMP.size), uint8, zeros where there is no file. `ctimes_ns`: when they
    were changed, 0 where a stamp has no time. `folders`: stamps of the folders they lie in, in hex.
    """

    each: np.ndarray
    ctimes_ns: np.ndarray
    folders: dict[str, str]


class Believed(NamedTuple):
    """Stamps of an earlier look: those of `known` names hold while the folder they lie in has the stamp it had."""

    stamps: np.ndarray
    known: np.ndarray
    folders: dict[str, str]


def stamps_below(folder: str, names: Names, believed: Believed | None = None) -> Stamps:
    """Of the shards of many names below a folder. Each folder in it is looked at before what it holds."""
    each = np.zeros((len(names), STAMP.size), np.uint8)
    folders: dict[str, str] = {}
    for start, stop, below in names.runs:
        with suppress(OSError), _opened(f"{folder}/{below}") as place:
            folders[below] = folder_stamp(os.fstat(place))
            wanted = np.arange(start, stop)
            if believed and believed.folders.get(below) == folders[below]:
                each[start:stop] = believed.stamps[start:stop]
                wanted = wanted[~believed.known[start:stop]]
            each[wanted] = _stamps_in(place, [names.texts[number][len(below):] for number in wanted])
    return Stamps(each, each.view(np.int64)[:, 3], folders)


def folder_stamp(seen: os.stat_result) -> str:
    """Of a folder, in hex."""
    return STAMP.pack(seen.st_ino, 0, seen.st_mtime_ns, seen.st_ctime_ns).hex()


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield place
    finally:
        os.close(place)


def _stamps_in(place: int, names: list[str]) -> np.ndarray:
    """Of shards in an open folder, shape (names, STAMP.size)."""
    found, pack, stat, nothing = bytearray(), STAMP.pack, os.stat, bytes(STAMP.size)
    for name in names:
        try:
            seen = stat(f"{name}.parquet", dir_fd=place)
        except OSError:
            found += nothing
        else:
            found += pack(seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return np.frombuffer(found, np.uint8).reshape(-1, STAMP.size)
