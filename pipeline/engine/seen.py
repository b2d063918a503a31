"""What was seen of a stage's shards: which of them need not be opened again to know that they are up to date.

To open 600,000 footers takes a minute, to ask the file system for as many stamps a second or two. So a plan notes each
shard whose footer it has read and found current, a row a shard, in columns that are compared as a whole:

    name, what its fingerprint was made of, fingerprint, stamp (inode, size, mtime, ctime; in a bucket, of the ETag)

A later plan that meets the same stamp takes the shard for what it was; and where what a fingerprint is made of is the
same, it is not computed again. The notes are derived and say nothing that a footer did not: one file a stage, sealed
and replaced whole, so that after kill -9 there are the old ones or the new ones. Where they are damaged or missing, or
a stamp differs in anything, the footer is read. A foreign writer cannot hide: no program can set ctime; to write in
place, or to put mtime back, sets it to now, and another file in the same place has another inode. Two writes within one
tick of the file system's clock may look alike, so a shard is noted only when its ctime lies SETTLED_NS behind that
clock, which is read off a file made for it, whatever the clock of this machine says. Artifacts that are copied
elsewhere are read once more.

A folder's own stamp changes when a file in it comes, goes or is replaced, as our shards are, and not when one is
written to in place. So a quick plan, where it is asked for, looks at a folder that has settled and has the stamp it
had, and at none of the shards that were seen in it: what another program overwrote there it does not see, but for
videos that have work (plan.py). Readers do.

Two things no stamp shows: a clock set back so that a later write of the same size meets the very tick of the first, and
a disk that rots. Readers of a shard, who check what they read, and `dbvad artifacts verify` find those.
"""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.engine.files import atomic_file
from pipeline.engine.sealed import seal
from pipeline.engine.shard import open_sealed
from pipeline.engine.stamps import STAMP, Believed, Names
from pipeline.engine.store import Store

FOLDER = ".seen"
FOLDERS = b"folders"
PRINT_BYTES = 16
SETTLED_NS = 3_000_000_000  # more than the tick of any file system in use (FAT: 2 s)
Bytes = np.ndarray  # of shape (rows, width), uint8


class Seen:
    """The shards of one stage under `names` that were seen to be current, before and in this plan.

    `made_of`: what the fingerprint of each is made of, shape (names, M). `quick`: of a folder whose own stamp is the
    one that was noted, the shards are taken to be as they were noted.
    """

    def __init__(self, store: Store, stage: str, names: Names, made_of: Bytes, quick: bool = False) -> None:
        self.store, self.stage, self.file = store, stage, store.root / FOLDER / stage
        self.names, self.made_of, self.quick = names, made_of, quick
        columns = {"made_of": made_of.shape[1], "print": PRINT_BYTES, "stamp": STAMP.size}
        self.schema = pa.schema([("name", pa.string()), *((name, pa.binary(size)) for name, size in columns.items())])
        self.before, self.folders = self.schema.empty_table(), dict[str, str]()  # with the stamps of settled folders
        with suppress(OSError, ValueError, pa.ArrowException), open_sealed(self.file) as file:
            if file.schema_arrow.equals(self.schema):
                self.before = file.read().combine_chunks()
                self.folders = json.loads((file.schema_arrow.metadata or {}).get(FOLDERS, "{}"))
        known = self.before["name"].combine_chunks()
        if known.equals(names.array):
            self.at = np.arange(len(known))
        else:
            self.at = pc.index_in(names.array, known).fill_null(-1).to_numpy()  # the row of each name, -1 without
        self.known = self.at >= 0

    def prints(self) -> tuple[Bytes, np.ndarray]:
        """Fingerprints, and for which of the names they are known."""
        found = self._before("print")
        return found, self.known & _equal(self._before("made_of"), self.made_of)

    def as_seen(self, prints: Bytes) -> np.ndarray:
        """Which shards were seen to be current under these fingerprints, and stand as they did then."""
        self.now, self.clock_ns = prints, clock_ns(self.file.parent)  # before all that is looked at
        believed = Believed(self._before("stamp"), self.known, self.folders) if self.quick else None
        self.stamps, self.ctimes_ns, self.looked_at = self.store.place.stamps(self.stage, self.names, believed)
        self.seen = (self.known & _equal(self._before("print"), prints) & _equal(self._before("stamp"), self.stamps)
                     & self.stamps.any(axis=1))
        self.same = self.seen & _equal(self._before("made_of"), self.made_of)  # as the notes have it
        return self.seen

    def is_current(self, number: int, video_id: str) -> bool:
        """As `Store.is_current`, of one that was not seen as it stands; what is current is noted."""
        fingerprint = self.now[number].tobytes().hex()
        if not self.store.is_current(self.stage, video_id, fingerprint):
            return False
        again = self.store.place.stamps(self.stage, self.names.one(number)).each
        settled = self.ctimes_ns[number] < self.clock_ns - SETTLED_NS
        self.seen[number] = settled and self.stamps[number].any() and bool((again[0] == self.stamps[number]).all())
        return True

    def save(self) -> None:
        """Keep what is new. A plan of a few videos adds to what is known, one of most of them replaces it."""
        seen, most = int(self.seen.sum()), 2 * int(self.seen.sum()) >= len(self.before)
        folders = {below: stamp for below, stamp in self.looked_at.items()
                   if STAMP.unpack(bytes.fromhex(stamp))[3] < self.clock_ns - SETTLED_NS}
        if not most:  # not all in these folders was looked at
            folders = self.folders
        if (self.same == self.seen).all() and folders == self.folders and (seen == len(self.before) or not most):
            return
        rows = pa.table([self.names.array, *map(_column, (self.made_of, self.now, self.stamps))], schema=self.schema)
        rows = rows.filter(pa.array(self.seen))
        if not most:
            rest = np.ones(len(self.before), bool)
            rest[self.at[self.seen & self.known]] = False
            rows = pa.concat_tables([self.before.filter(pa.array(rest)), rows])
        rows = rows.replace_schema_metadata({FOLDERS: json.dumps(folders)})
        with suppress(OSError), atomic_file(self.file) as temporary:  # who may only read the artifacts reads footers
            pq.write_table(rows, temporary, compression="zstd", use_dictionary=False, write_statistics=False)
            seal(temporary)

    def _before(self, column: str) -> Bytes:
        """What was noted, a row a name; of names that are not known anything."""
        noted = _rows(self.before[column])
        return noted[self.at] if len(noted) else np.zeros((len(self.at), noted.shape[1]), np.uint8)


def clock_ns(folder: Path) -> int:
    """Now, by the clock that stamps the files in a folder, which is made; 0, before all of them, where that cannot be.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_ctime_ns
    return 0


def _equal(some: Bytes, others: Bytes) -> np.ndarray:
    """Which rows are equal."""
    return (some.view(np.uint64) == others.view(np.uint64)).all(axis=1)


def _rows(column: pa.ChunkedArray) -> Bytes:
    """A column of fixed width, without copying it."""
    array, width = column.combine_chunks(), column.type.byte_width
    return np.frombuffer(array.buffers()[1] or b"", np.uint8).reshape(-1, width)[array.offset:array.offset + len(array)]


def _column(rows: Bytes) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows),
                                                [None, pa.py_buffer(np.ascontiguousarray(rows))])
