"""What was seen of a stage's shards: which of them need not be opened again to know that they are up to date.

To open 600,000 footers takes a minute, to ask the file system for as many stamps a few seconds. So a plan notes each
shard whose footer it has read and found current, as a digest of

    name, fingerprint, inode, size, time of change (mtime), time of status change (ctime); in a bucket, the ETag

and a later plan that meets the same digest takes the shard for what it was. The notes are derived and say nothing that
a footer did not: one file a stage, sealed and replaced whole, so that after kill -9 there are the old ones or the new
ones. Where they are damaged or missing, or a stamp differs in anything, the footer is read. A foreign writer cannot
hide: no program can set ctime; to write in place, or to put mtime back, sets it to now, and another file in the same
place has another inode. Two writes within one tick of the file system's clock may look alike, so a shard is noted only
when its ctime lies SETTLED_NS behind that clock, which is read off a file made for it, whatever the clock of this
machine says. Artifacts that are copied elsewhere are read once more.

Two things no stamp shows: a clock set back so that a later write of the same size meets the very tick of the first, and
a disk that rots. Readers of a shard, who check what they read, and `dbvad artifacts verify` find those.
"""

import os
import tempfile
from contextlib import suppress
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from pipeline.engine.files import Damaged, read_sealed, write_sealed
from pipeline.engine.shard import file_name
from pipeline.engine.store import Store

FOLDER = ".seen"
DIGEST_BYTES = 16
SETTLED_NS = 3_000_000_000  # more than the tick of any file system in use (FAT: 2 s)


class Seen:
    """The shards of one stage that were seen to be current, before and in this plan."""

    def __init__(self, store: Store, stage: str) -> None:
        self.store, self.stage, self.file = store, stage, store.root / FOLDER / stage
        self.folder = f"{store.root}/{stage}"
        content = b""
        with suppress(OSError, Damaged):
            content = read_sealed(self.file, "It is made anew")
        self.before = {content[at:at + DIGEST_BYTES] for at in range(0, len(content), DIGEST_BYTES)}
        self.now: set[bytes] = set()

    def is_current(self, video_id: str, fingerprint: str) -> bool:
        """As `Store.is_current`, which is asked where this shard was not yet seen as it is."""
        name = file_name(video_id)
        look, _ = self._look(name, fingerprint)
        if look in self.before:
            self.now.add(look)
            return True
        if not self.store.is_current(self.stage, video_id, fingerprint):
            return False
        again, ctime_ns = self._look(name, fingerprint)
        if look and look == again and ctime_ns < self._clock_ns - SETTLED_NS:
            self.now.add(look)
        return True

    def save(self) -> None:
        """Keep what is new. A plan of a few videos adds to what is known, one of most of them replaces it."""
        most = 2 * len(self.now) >= len(self.before)
        if (most and self.now != self.before) or not self.now <= self.before:
            with suppress(OSError):  # who may only read the artifacts reads their footers
                write_sealed(self.file, b"".join(sorted(self.now if most else self.now | self.before)))

    def _look(self, name: str, fingerprint: str) -> tuple[bytes, int]:
        """Digest and ctime of a shard as it stands; b"" if there is none."""
        stamp, ctime_ns = self.store.place.stamp(f"{self.folder}/{name}.parquet")
        if not stamp:
            return b"", 0
        return blake2b(stamp + os.fsencode(fingerprint + name), digest_size=DIGEST_BYTES).digest(), ctime_ns

    @cached_property
    def _clock_ns(self) -> int:
        return clock_ns(self.file.parent)


def clock_ns(folder: Path) -> int:
    """Now, by the clock that stamps the files in a folder, which is made; 0, before all of them, where that cannot be.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_ctime_ns
    return 0
