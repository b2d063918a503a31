"""How pictures are spread over threads, in order."""

import ctypes
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TypeVar

T = TypeVar("T")

_STARTING = Lock()
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 64 << 20  # bytes: more than lies between two layers, and what a thread's share of the heap can hold


def single_threaded() -> tuple[int, ThreadPoolExecutor]:
    """As many threads as torch has for the caller, in each of which torch works alone; and their number."""
    import torch

    def alone() -> None:
        torch.get_num_threads()  # a thread takes over the process's number when it first asks, whatever it was set to
        torch.set_num_threads(1)

    keep_freed_memory()
    with _STARTING:  # what a thread sets for itself is the process's number until that is set back
        count = torch.get_num_threads()
        pool = ThreadPoolExecutor(count, initializer=alone)
        all_there = Barrier(count)
        for _ in pool.map(lambda _: all_there.wait(), range(count)):
            pass
        torch.set_num_threads(count)
    return count, pool


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next layer: fetched anew from the kernel it cost 12 % of the time."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def parts_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`size` items at a time; the last may be fewer."""
    return (items[start:start + size] for start in range(0, len(items), size))


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The items, each handed out when `count` more have been drawn."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting
