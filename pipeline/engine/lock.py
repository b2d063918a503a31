"""One run at a time on artifacts, or several that share the videos out; on a bucket, which has no locks, by leases."""

import fcntl
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.place import WHOLE, place_of

LOCK = ".lock"


class Busy(Exception):
    """Another run holds the artifacts folder; the message names its process."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts of the videos, from 1; which video is in which depends on its id alone."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Of "3/8". Raises ValueError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"{text!r} is no shard: write NUMBER/COUNT with a number from 1 to the count, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """As part of a file's name."""
        return f"{self.number}-of-{self.count}"

    def holds(self, video_id: str) -> bool:
        """Whether a video is in this part."""
        digest = hashlib.sha256(video_id.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the folder's lock. The system frees it when the process ends, however it ends. Raises Busy, StorageError."""
    root.mkdir(parents=True, exist_ok=True)
    with _held(root, LOCK, fcntl.LOCK_EX, f"process {os.getpid()}"), place_of(root).reserved(WHOLE):
        yield


@contextmanager
def at_work(root: Path, shard: Shard | None) -> Iterator[None]:
    """Hold the folder, or one shard of it beside those that hold its other shards. Raises Busy, StorageError.

    Shards of another count would overlap with these, so that only shards of one count hold a folder at a time. The
    files of their locks stay: to delete one that another process just opened would make two locks of it.
    """
    if shard is None:
        with exclusive(root):
            yield
        return
    root.mkdir(parents=True, exist_ok=True)
    ours = f"{LOCK}-of-{shard.count}"
    with ExitStack() as stack:
        stack.enter_context(_held(root, LOCK, fcntl.LOCK_SH, "of some shards"))
        stack.enter_context(_held(root, ours, fcntl.LOCK_SH, f"of shards of {shard.count}"))
        for other in root.glob(f"{LOCK}-of-*"):
            if other.name != ours:
                with _held(root, other.name, fcntl.LOCK_EX):  # nobody has it; two that start at once both give way
                    pass
        stack.enter_context(_held(root, f"{LOCK}-{shard.name}", fcntl.LOCK_EX,
                                  f"shard {shard.number} of {shard.count}, process {os.getpid()} on {platform.node()}"))
        stack.enter_context(place_of(root).reserved(shard.name))
        yield


@contextmanager
def _held(root: Path, name: str, kind: int, holder: str = "") -> Iterator[None]:
    """One of the lock's files; `holder`: who others are told to wait for."""
    file = os.open(root / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(file, 200).decode(errors="replace").strip() or "unknown"
            raise Busy(f"another run ({other}) is at work on {place_of(root)}: wait for it, or stop it") from None
        if holder:
            os.truncate(file, 0)
            os.pwrite(file, holder.encode(), 0)
        yield
    finally:
        os.close(file)
