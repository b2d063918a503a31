"""Few large files in place of many shards, for SQL: what `dbvad artifacts compact` makes, and what of it is true.

`compact/<stage>/` holds the rows of a stage's shards one after another, in parts of some hundred megabytes, and an
index: a row a shard, with the stamp (place.py) that it had when it was copied, how it was made, and the part that has
its rows. The shards stay the truth. A copy is believed while its shard has that very stamp, so that of a shard that was
made anew, replaced, touched or removed nothing is told by its copy; the index says of no video whether it is in the
dataset. What stamps can show and what they cannot stands in engine/seen.py, whose rule holds here too: only shards that
have settled are copied. Parts and index are sealed. The index is replaced whole, after the parts that it names and
before those that it does not name any more are removed: after kill -9 there is the old one or the new one.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contracts import Contract
from pipeline.engine.files import Damaged
from pipeline.engine.sealed import Unsealed, seal, verify
from pipeline.engine.seen import SETTLED_NS, clock_ns
from pipeline.engine.shard import Footer, file_name, open_sealed, shard_writer
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Today, holds

FOLDER, INDEX = "compact", "index.parquet"
PART_BYTES = 512 << 20  # of rows, as they lie in memory
GROUP_BYTES = 32 << 20
TICK_S = 0.05  # more than that of a file system's clock
VERSION = 1
# `basis`: of a shard that was not made under the planned fingerprint, which is an imported one; else "". `part`: "" of
# a shard without rows, and where footers alone were copied.
SCHEMA = pa.schema([pa.field(name, pa.binary() if name == "stamp" else pa.string(), nullable=False)
                    for name in ("video_id", "stamp", "fingerprint", "basis", "meta", "part")])
ABOUT = b"dbvad"


class Row(NamedTuple):
    """Of the index."""

    video_id: str
    stamp: bytes
    fingerprint: str
    basis: str
    meta: str
    part: str


Loop = Callable[[Sequence[Entry], int], Iterable[Entry]]


@dataclass(frozen=True)
class Made:
    """What became of a stage's shards: how many stand in the index, how many of them were read now, and the parts.

    `damaged`: what is wrong with those that could not be read. `moving`: how many changed while they were read.
    """

    shards: int
    copied: int
    parts: tuple[Path, ...]
    damaged: tuple[Damaged, ...] = ()
    moving: int = 0


class Copies:
    """What was copied of a stage's shards; nothing where none ever was, or the index is not what was written."""

    def __init__(self, store: Store, stage: str) -> None:
        self.store, self.stage, self.folder = store, stage, store.root / FOLDER / stage
        self.shards = f"{store.root}/{stage}"
        self.parts: dict[str, int] = {}  # with their bytes in memory
        self.with_rows = False
        table = SCHEMA.empty_table()
        with (suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException),
              open_sealed(self.folder / INDEX) as file):
            about = json.loads(file.schema_arrow.metadata[ABOUT])
            if about["version"] == VERSION:
                table, self.parts, self.with_rows = file.read(), about["parts"], about["with_rows"]
        columns = (table[name].to_pylist() for name in SCHEMA.names)
        self.rows: dict[str, Row] = {row[0]: Row(*row) for row in zip(*columns, strict=True)}

    def of(self, entry: Entry) -> Row | None:
        """The copy of a video's shard, if the shard stands as it was copied, and is today's by its footer."""
        row = self.rows.get(entry.video_id)
        if row is None or self.store.place.stamp(f"{self.shards}/{file_name(row.video_id)}.parquet")[0] != row.stamp:
            return None
        if row.fingerprint == entry.fingerprints.get(self.stage):
            return row
        footer = Footer(row.video_id, row.fingerprint, json.loads(row.basis or "{}"), {})
        return row if holds(entry, self.stage, footer) else None

    def drop_damaged(self, columns: Collection[str]) -> list[Path]:
        """Forget the parts of which these columns are not what was written, and return them."""
        gone = []
        for part in self.parts:
            try:
                verify(self.folder / part, columns)
            except (OSError, Unsealed):
                gone.append(self.folder / part)
        names = {path.name for path in gone}
        self.parts = {part: size for part, size in self.parts.items() if part not in names}
        self.rows = {video_id: row for video_id, row in self.rows.items() if row.part not in names}
        return gone


def compact(store: Store, contract: Contract, entries: Sequence[Entry], rows: bool = True,
            loop: Loop = lambda entries, total: entries) -> Made:
    """Copy today's shards of a stage, while no run is at work. `rows`: or else their footers alone.

    A full part of which every copy is still true stays as it is; all other shards are read. `loop` goes through the
    videos, and may show how far it is. Raises WriteError.
    """
    stage, today = contract.artifact, Today(store)
    folder, old = store.root / FOLDER / stage, Copies(store, stage)
    old.drop_damaged(contract.schema.names)
    kept = _kept(old, entries, today) if old.with_rows == rows else {}
    index: list[Row] = []
    damaged: list[Damaged] = []
    moving, settled_ns = 0, _settle(store, stage, folder)
    with _Parts(store, folder) as parts:
        for entry in loop(entries, len(entries)):
            video_id, path = entry.video_id, f"{old.shards}/{file_name(entry.video_id)}.parquet"
            if video_id in kept:
                index.append(kept[video_id])
                continue
            stamp, changed_ns = store.place.stamp(path)
            try:
                footer = store.whole_footer(stage, video_id) if stamp else None
                if footer is None or not holds(entry, stage, footer) or today.set_aside(entry, stage):
                    continue
                table = store.read(stage, video_id) if rows else contract.schema.empty_table()
            except Damaged as error:
                damaged.append(error)
                continue
            if store.place.stamp(path)[0] != stamp or changed_ns >= settled_ns:
                moving += 1
                continue
            basis = "" if footer.fingerprint == entry.fingerprints.get(stage) else json.dumps(footer.basis)
            index.append(Row(video_id, stamp, footer.fingerprint, basis, json.dumps(footer.meta), parts.add(table)))
    used = {row.part for row in index}
    sizes = {part: size for part, size in (old.parts | parts.sizes).items() if part in used}
    _publish(store, folder, index, {"version": VERSION, "parts": sizes, "with_rows": rows})
    for left in folder.iterdir():  # also what a compaction left that was killed
        if left.name not in (INDEX, *sizes):
            left.unlink(missing_ok=True)
    return Made(len(index), len(index) - len(kept), tuple(folder / part for part in sizes), tuple(damaged), moving)


def beyond(store: Store, stage: str, ids: Collection[str]) -> list[Path]:
    """The files of a stage's copies, if rows of other videos than `ids` are among them."""
    copies = Copies(store, stage)
    return sorted(copies.folder.glob("*.parquet")) if not copies.rows.keys() <= set(ids) else []


def _kept(old: Copies, entries: Iterable[Entry], today: Today) -> dict[str, Row]:
    """The rows of the index that stay: those of full parts that hold nothing but what is true."""
    true = {entry.video_id for entry in entries if old.of(entry) and not today.set_aside(entry, old.stage)}
    mixed = {row.part for video_id, row in old.rows.items() if video_id not in true}
    stay = {part for part, size in old.parts.items() if size >= PART_BYTES} - mixed | {""}
    return {video_id: row for video_id, row in old.rows.items() if video_id in true and row.part in stay}


def _settle(store: Store, stage: str, folder: Path) -> int:
    """Wait until what was written just now can be told from what is written next; all before this ctime can be."""
    folder.mkdir(parents=True, exist_ok=True)
    youngest = max((store.place.stamp(str(path))[1] for path in store.shards(stage)), default=0)
    wait_ns = youngest + SETTLED_NS - clock_ns(folder)
    if wait_ns >= 0:
        time.sleep(min(wait_ns, SETTLED_NS) / 1e9 + TICK_S)
    return clock_ns(folder) - SETTLED_NS


def _publish(store: Store, folder: Path, index: list[Row], about: dict[str, Any]) -> None:
    schema = SCHEMA.with_metadata({ABOUT: json.dumps(about)})
    with store.place.replacing(folder / INDEX) as temporary:
        pq.write_table(pa.table([list(column) for column in zip(*index, strict=True)] or
                                [[] for _ in SCHEMA], schema=schema), temporary, compression="zstd")
        seal(temporary)


class _Parts:
    """Writes tables one after another into files that no index names yet."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.number = max((int(path.stem) for path in folder.glob("*.parquet") if path.stem.isdecimal()), default=0)
        self.sizes: dict[str, int] = {}  # of the parts begun: their bytes in memory
        self.name = ""  # of the one that is open
        self.waiting: list[pa.Table] = []
        self.waiting_bytes = 0
        self.open = ExitStack()

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self._end()
        self.open.__exit__(kind, error, trace)

    def add(self, table: pa.Table) -> str:
        """Write a shard's rows, and return the name of the part that will have them; "" if there are none."""
        if not table.num_rows:
            return ""
        if self.name and (self.sizes[self.name] >= PART_BYTES or table.schema != self.schema):
            self._end()
        if not self.name:
            self._begin(table.schema)
        self.waiting.append(table)
        self.waiting_bytes += table.nbytes
        self.sizes[self.name] += table.nbytes
        if self.waiting_bytes >= GROUP_BYTES:
            self._write()
        return self.name

    def _begin(self, schema: pa.Schema) -> None:
        self.number += 1
        self.name, self.schema = f"{self.number:06}.parquet", schema
        self.sizes[self.name] = 0
        self.temporary = self.open.enter_context(self.store.place.replacing(self.folder / self.name))
        self.writer = self.open.enter_context(shard_writer(self.temporary, schema))

    def _write(self) -> None:
        self.writer.write_table(pa.concat_tables(self.waiting))
        self.waiting, self.waiting_bytes = [], 0

    def _end(self) -> None:
        if self.name:
            if self.waiting:
                self._write()
            self.writer.close()
            seal(self.temporary)
            self.open.close()
            self.name = ""
