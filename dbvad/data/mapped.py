"""Rows of a file that may be larger than memory, read as an array.

The operating system reads pages as they are touched and keeps them while it has room. What is left to say is what will
be wanted, so that a disk gets many places to read at a time, and what was done with: mapped pages count as memory of
the process, and without a word the whole file would come to.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class MappedRows:
    """`array` (R, D) float16, the content of a file. Nobody writes to it, though torch wants it writable."""

    def __init__(self, path: Path, dim: int) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.array = np.frombuffer(self._map, np.float16).reshape(-1, dim)

    @contextmanager
    def reading(self, starts: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
        """The array, for a block that reads some parts of it: first rows (N,) and numbers of rows (N,).

        They are asked for in the order in which they lie. At the end no page of the file belongs to the process; those
        that another thread reads at that moment come back as it touches them.
        """
        width = self.array.itemsize * self.array.shape[1]
        for place in np.argsort(starts):
            first = int(starts[place]) * width
            page = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, first + int(counts[place]) * width - page)
        yield self.array
        self._map.madvise(mmap.MADV_DONTNEED)
