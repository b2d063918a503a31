"""What a view of SQL reads: today's shards of a stage, or the few files that they were copied into (compact.py)."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.compact import Copies
from pipeline.contracts import INGEST, QUARANTINE, Contract
from pipeline.engine.store import Store
from pipeline.manifest import DETECT_AGAIN, Entry, Today, holds, quarantine
from pipeline.words import counted

PATTERN = re.compile(r"([*?\[])")  # what DuckDB takes for a pattern in a path
Note = Callable[[str], None]


def shard_view(con: duckdb.DuckDBPyConnection, store: Store, name: str, contract: Contract, entries: Sequence[Entry],
               note: Note, read: list[str]) -> None:
    """Make the view `name` of today's shards of a stage, whose columns in `read` are checked. Raises Damaged."""
    columns = ", ".join(f'"{field.name}"::{_sql_type(field.type)} as "{field.name}"' for field in contract.schema)
    copied = ""
    if contract is QUARANTINE:
        paths = [store.quarantine_path(row["stage"], row["video_id"]) for row in quarantine(store, entries)]
    elif entries:
        copied, paths = _todays(con, store, contract.artifact, entries, note, read)
    else:
        paths = []
    store.place.fetch_all(paths)
    for path in paths:
        store.check(path, read)
    source = _source(con, store, contract, paths) if paths or not copied else copied
    if paths and copied:
        source = f"(from {copied} union all by name from {source})"
    if contract is INGEST and (paths or copied):
        source = _as_decoded(con, store, entries, source)
    con.execute(f"create view {name} as select {columns} from {source}")


def _todays(con: duckdb.DuckDBPyConnection, store: Store, stage: str, entries: Sequence[Entry], note: Note,
            read: list[str]) -> tuple[str, list[Path]]:
    """Today's rows of a stage: what to select of its copies, "" if they have none, and the other shards.

    Those made otherwise are counted in a note. Raises Damaged.
    """
    copies, today = Copies(store, stage), Today(store)
    for part in copies.drop_damaged(read):
        note(f"{part} is not what was written: its shards are read in its place, and `dbvad artifacts compact` "
             "makes it anew")
    copied, paths, stale = set(), [], []
    for entry in entries:
        known = copies.of(entry) is not None and not today.set_aside(entry, stage)
        if known and copies.with_rows:
            copied.add(entry.video_id)
        elif known or today.current(entry, stage):
            paths.append(store.path(stage, entry.video_id))
        elif store.place.exists(store.path(stage, entry.video_id)):
            stale.append(entry.video_id)
    if stale:
        command = "the same `dbvad detect`" if store.again == DETECT_AGAIN else f"`dbvad pipeline run {stage}`"
        note(f"{stage}: {len(stale)} videos left out, their shards were made of another content, label or setting "
             f"({', '.join(stale[:3])}{', ...' if len(stale) > 3 else ''}): {command} renews them")
    if copies.with_rows and len(paths) > len(copied):
        note(f"{stage}: {counted(len(paths), 'shard')} read one by one, as they are not those that were compacted: "
             "`dbvad artifacts compact` makes that quick again")
    return _copied(con, copies, copied), paths


def _copied(con: duckdb.DuckDBPyConnection, copies: Copies, videos: set[str]) -> str:
    """What to select from, so that of the copies exactly those of these videos are read; "" if there are no rows."""
    parts = sorted({row.part for row in copies.rows.values() if row.part and row.video_id in videos})
    if not parts:
        return ""
    listed = ", ".join(f"'{glob(copies.folder / part)}'" for part in parts)
    others = [row.video_id for row in copies.rows.values() if row.part in parts and row.video_id not in videos]
    con.execute(f"create table {copies.stage}_not_copied as select unnest(?::varchar[]) as video_id", [others])
    but = f" where video_id not in (from {copies.stage}_not_copied)" if others else ""
    return f"(from read_parquet([{listed}], hive_partitioning=false){but})"


def _source(con: duckdb.DuckDBPyConnection, store: Store, contract: Contract, paths: Sequence[Path]) -> str:
    """What to select from, so that exactly these shards are read."""
    if not paths:
        nothing = ", ".join(f'null as "{field.name}"' for field in contract.schema)
        return f"(select {nothing} where false)"
    # Folders of videos may be called "split=test": they are no columns.
    if not any(PATTERN.search(str(path)) for path in paths):
        listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        return f"read_parquet([{listed}], hive_partitioning=false)"
    # DuckDB takes each path for a pattern, and to look up 5,000 patterns takes it 8 s: then it is to sift all shards.
    con.execute(f"create table {contract.artifact}_shards as select unnest(?) as path", [list(map(str, paths))])
    shards = f"{glob(store.root / contract.artifact)}/**/*.parquet"
    return (f"(select * exclude (filename) from read_parquet('{shards}', hive_partitioning=false, filename=true) "
            f"where filename in (select path from {contract.artifact}_shards))")


def _as_decoded(con: duckdb.DuckDBPyConnection, store: Store, entries: Sequence[Entry], ingest: str) -> str:
    """Ingest's rows with the number of frames and the length that the decoder found, where it has been there."""
    found = _provenance(store, "decode", entries)
    con.execute("create table decoded (video_id varchar, n_frames bigint, duration_s double)")
    if found:
        con.register("found", pa.table({
            "video_id": list(found), "n_frames": [meta["decoded_frames"] for meta in found.values()],
            "duration_s": [meta["duration_s"] for meta in found.values()]}))
        con.execute("insert into decoded from found")
        con.unregister("found")
    return (f"(select ingest.* replace (coalesce(decoded.n_frames, ingest.n_frames) as n_frames, "
            f"coalesce(decoded.duration_s, ingest.duration_s) as duration_s) from {ingest} as ingest "
            "left join decoded using (video_id))")


def _provenance(store: Store, stage: str, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """What the footers of today's shards of a stage say beside the basis, by video. Raises Damaged."""
    copies, today, found = Copies(store, stage), Today(store), {}
    for entry in entries:
        if today.set_aside(entry, stage):
            continue
        if copy := copies.of(entry):
            found[entry.video_id] = json.loads(copy.meta)
        elif (footer := store.whole_footer(stage, entry.video_id)) and holds(entry, stage, footer):
            found[entry.video_id] = footer.meta
    return found


def glob(folder: Path) -> str:
    """A folder's path in a DuckDB glob inside an SQL string."""
    return PATTERN.sub(r"[\1]", str(folder)).replace("'", "''")


def _sql_type(type_: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(type_):
        return "FLOAT[]"
    if pa.types.is_list(type_):
        return f"{_sql_type(type_.value_type)}[]"
    names = {pa.string(): "VARCHAR", pa.binary(): "BLOB", pa.int8(): "TINYINT", pa.int32(): "INTEGER",
             pa.int64(): "BIGINT", pa.float32(): "FLOAT", pa.float64(): "DOUBLE"}
    return names[type_]
