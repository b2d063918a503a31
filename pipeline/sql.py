"""SQL over the artifacts: a DuckDB connection with one view per artifact, plus videos, quarantine and runs. Read-only.

The views show today's dataset (`pipeline.manifest`): what is left over of other videos, or was made under another
fingerprint than the planned one, is in none of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.contracts import INGEST, QUARANTINE, STAGES, Contract
from pipeline.engine.lines import damaged
from pipeline.engine.store import Store
from pipeline.manifest import DETECT_AGAIN, Entry, NoManifest, current, quarantine, read, store_of
from pipeline.words import counted

RUN_COLUMNS = {"at": "DOUBLE", "event": "VARCHAR", "stage": "VARCHAR", "video_id": "VARCHAR", "outcome": "VARCHAR",
               "seconds": "DOUBLE", "rows": "BIGINT", "peak_mb": "BIGINT", "cpu_s": "DOUBLE", "reason": "VARCHAR",
               "text": "VARCHAR", "error": "VARCHAR"}
CHUNK = 1000  # rows fetched at a time
UNREADABLE = ("a shard is torn, or not one of this program: `dbvad artifacts verify` names all such; delete them, "
              "then `dbvad pipeline run` makes what is missing")
READS = {duckdb.StatementType.SELECT}
EXPLAIN = re.compile(r"^.*?\bexplain\b(\s+analyze\b|\s*\([^)]*\))*", re.IGNORECASE | re.DOTALL)
EXTRA_VIEWS = {
    "description_quality": """
           select video_id, prompt_id, finish_reason, output_tokens, length(text) as characters,
                  len(list_distinct(string_split(lower(text), ' '))) / len(string_split(text, ' ')) as distinct_words,
                  flags, len(flags) = 0 and finish_reason = 'stop' as good
           from described""",
}
PICTURES = "jpeg"  # gigabytes of them: checked only where they are read
WHOLE_ROWS = re.compile(r"^\s*(from|summarize)\b|\(\s*from\b|\bcolumns\b|\bselect\s+(\w+\.)?decode\b")
PATTERN = re.compile(r"([*?\[])")  # what DuckDB takes for a pattern in a path
RESERVED = {"select": "selected", "describe": "described"}  # words of SQL: as views they go by another name


class QueryError(ValueError):
    """A query cannot be answered; the message is DuckDB's, with the views that there are."""


def connect(artifacts: Path, encode_text: Callable[[str], Sequence[float]] | None = None, text: str | None = None,
            note: Callable[[str], None] = lambda line: None, more: Mapping[str, Contract] | None = None,
            ) -> duckdb.DuckDBPyConnection:
    """An in-memory connection whose views read today's shards below `artifacts`.

    A stage that has not run yet has an empty, typed view. `encode_text` (text -> unit vector) becomes the SQL function
    `clip_text(text)`, called only by queries that use it. `text`: the query to come, so that only the shards of the
    stages it speaks of are looked at, and checked: every column but the pictures, and those if it speaks of them, or of
    everything. `note` is told what the views leave out. `more`: views of other stages' shards, by name. Raises
    QueryError, and Damaged for a shard that is not what was written.
    """
    store = store_of(artifacts)
    entries = _entries(store)
    con = duckdb.connect()
    try:
        own = {RESERVED.get(stage, stage): contract for stage, contract in STAGES.items()}
        for name, contract in {**own, **(more or {}), "quarantine": QUARANTINE}.items():
            read_now = text is None or _speaks_of(text, name)
            _shard_view(con, store, name, contract, entries if read_now else (), note,
                        _read_columns(text, contract))
        _videos_view(con, entries)
        if speaks := text is None or "runs" in text.lower():
            store.place.fetch_all(path for path in store.place.files("runs") if path.suffix == ".jsonl")
        _runs_view(con, artifacts)
        if speaks:
            _check_runs(artifacts, note)
    except duckdb.Error as error:
        con.close()
        raise QueryError(f"{str(error).splitlines()[0]}\n{UNREADABLE}") from None
    for name, view in EXTRA_VIEWS.items():
        con.execute(f"create view {name} as {view}")
    if encode_text is not None:
        con.create_function("clip_text", lambda text: list(map(float, encode_text(text))),
                            ["VARCHAR"], "FLOAT[]")
    return con


@dataclass(frozen=True)
class Result:
    """Rows of a query, fetched as they are read."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def query(con: duckdb.DuckDBPyConnection, sql: str) -> Result | None:
    """Run one statement that reads; None if `sql` holds none. Raises QueryError."""
    try:
        statements = con.extract_statements(sql)
        if not statements:
            return None
        if len(statements) > 1:
            raise QueryError("one statement at a time")
        kind = statements[0].type
        if kind == duckdb.StatementType.EXPLAIN:
            # `explain analyze` carries out what it explains, be it a copy to a file.
            kind = next((inner.type for inner in con.extract_statements(EXPLAIN.sub("", sql, count=1))), kind)
        if kind not in READS:
            raise QueryError(f"only queries are allowed here (select, from, describe, summarize, explain), not "
                             f"{kind.name.lower()}: artifacts change through `dbvad pipeline run` alone")
        cursor = con.cursor().execute(sql)
        return Result([column[0] for column in cursor.description or ()], _rows(con, cursor))
    except duckdb.Error as error:
        raise QueryError(_explain(con, str(error))) from None


def _rows(con: duckdb.DuckDBPyConnection, cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    try:
        while chunk := cursor.fetchmany(CHUNK):
            yield from chunk
    except duckdb.Error as error:
        raise QueryError(_explain(con, str(error))) from None


def views(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    """Name, columns and rows of each view. Raises QueryError."""
    found = []
    for name in _names(con):
        columns = con.execute("select column_name, data_type from duckdb_columns() where table_name = ? "
                              "order by column_index", [name]).fetchall()
        counted = query(con, f"select count(*) from {name}")
        assert counted is not None
        ((rows,),) = counted.rows
        found.append((name, ", ".join(f"{column} {kind.lower()}" for column, kind in columns), rows))
    return found


def _names(con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.cursor().execute("select view_name from duckdb_views() where not internal order by 1").fetchall()
    return [name for (name,) in rows]


def _entries(store: Store) -> tuple[Entry, ...]:
    """The videos of the dataset. Raises QueryError where there are shards and nobody knows whose."""
    try:
        return read(store.root).entries
    except NoManifest as error:
        if any(store.shards(stage) for stage in STAGES):
            raise QueryError(str(error)) from None
        return ()


def _speaks_of(text: str, name: str) -> bool:
    """Whether a query may read a view, by itself or through another one."""
    behind = [view for view, sql in EXTRA_VIEWS.items() if name in sql]
    return any(word in text.lower() for word in (name, *behind))


def _read_columns(text: str | None, contract: Contract) -> list[str]:
    """The columns that a query may read, and that are checked: pictures only if it may speak of them."""
    words = (text or "").lower()
    everything = PICTURES in words or "*" in words.replace("count(*)", "") or WHOLE_ROWS.search(words)
    return [name for name in contract.schema.names if name != PICTURES or everything]


def _shard_view(con: duckdb.DuckDBPyConnection, store: Store, name: str, contract: Contract, entries: Iterable[Entry],
                note: Callable[[str], None], read: list[str]) -> None:
    columns = ", ".join(f'"{field.name}"::{_sql_type(field.type)} as "{field.name}"' for field in contract.schema)
    if contract is QUARANTINE:
        paths = [store.quarantine_path(row["stage"], row["video_id"]) for row in quarantine(store, entries)]
    else:
        paths = _todays(store, contract.artifact, entries, note)
    store.place.fetch_all(paths)
    for path in paths:
        store.check(path, read)
    source = _source(con, store, contract, paths)
    if contract is INGEST and paths:
        source = _as_decoded(con, store, entries, source)
    con.execute(f"create view {name} as select {columns} from {source}")


def _todays(store: Store, stage: str, entries: Iterable[Entry], note: Callable[[str], None]) -> list[Path]:
    """Today's shards of a stage. Raises Damaged; those made otherwise are counted in a note."""
    paths, stale = [], []
    for entry in entries:
        path = store.path(stage, entry.video_id)
        if current(store, entry, stage):
            paths.append(path)
        elif store.place.exists(path):
            stale.append(entry.video_id)
    if stale:
        command = "the same `dbvad detect`" if store.again == DETECT_AGAIN else f"`dbvad pipeline run {stage}`"
        note(f"{stage}: {len(stale)} videos left out, their shards were made of another content, label or setting "
             f"({', '.join(stale[:3])}{', ...' if len(stale) > 3 else ''}): {command} renews them")
    return paths


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
    shards = f"{_glob(store.root / contract.artifact)}/**/*.parquet"
    return (f"(from read_parquet('{shards}', hive_partitioning=false, filename=true) "
            f"where filename in (select path from {contract.artifact}_shards))")


def _as_decoded(con: duckdb.DuckDBPyConnection, store: Store, entries: Iterable[Entry], ingest: str) -> str:
    """Ingest's rows with the number of frames and the length that the decoder found, where it has been there."""
    footers = [store.footer("decode", entry.video_id) for entry in entries if current(store, entry, "decode")]
    found = [(footer.video_id, footer.meta["decoded_frames"], footer.meta["duration_s"])
             for footer in footers if footer]
    con.execute("create table decoded (video_id varchar, n_frames bigint, duration_s double)")
    if found:
        con.executemany("insert into decoded values (?, ?, ?)", found)
    return (f"(select ingest.* replace (coalesce(decoded.n_frames, ingest.n_frames) as n_frames, "
            f"coalesce(decoded.duration_s, ingest.duration_s) as duration_s) from {ingest} as ingest "
            "left join decoded using (video_id))")


def _videos_view(con: duckdb.DuckDBPyConnection, entries: Sequence[Entry]) -> None:
    con.execute("create table all_videos (video_id varchar, split varchar, labels varchar[], source_hash varchar, "
                "size bigint, problem varchar)")
    if entries:
        con.register("entries", pa.table({
            "video_id": [entry.video_id for entry in entries], "split": [entry.split for entry in entries],
            "labels": pa.array([list(entry.labels) for entry in entries], pa.list_(pa.string())),
            "source_hash": [entry.source_hash for entry in entries], "size": [entry.size for entry in entries],
            "problem": [entry.problem for entry in entries]}))
        con.execute("insert into all_videos from entries")
        con.unregister("entries")
    con.execute("create view videos as from all_videos")


def _runs_view(con: duckdb.DuckDBPyConnection, artifacts: Path) -> None:
    folder = artifacts / "runs"
    if next(folder.glob("*.jsonl"), None) is not None:
        columns = ", ".join(f"\"{name}\": '{kind}'" for name, kind in RUN_COLUMNS.items())
        source = (f"read_json('{_glob(folder)}/*.jsonl', format='newline_delimited', columns={{{columns}}}, "
                  "filename=true, ignore_errors=true)")
        run = "parse_filename(filename, true)"
    else:
        nothing = ", ".join(f'null::{kind} as "{name}"' for name, kind in RUN_COLUMNS.items())
        source = f"(select {nothing} where false)"
        run = "null::VARCHAR"
    fields = ", ".join(f'"{name}"' for name in RUN_COLUMNS if name != "at")
    # AT is a word of SQL. UTC, without a zone: DuckDB would want pytz for one.
    time = 'make_timestamp(("at" * 1e6)::bigint)'
    con.execute(f'create view runs as select {run} as run, {time} as "time", {fields} from {source} '
                "where event is not null")  # a line cut by a power loss


def _check_runs(artifacts: Path, note: Callable[[str], None]) -> None:
    for path in sorted((artifacts / "runs").glob("*.jsonl")):
        if count := damaged(path):
            note(f"runs: {counted(count, 'line')} of {path} not as written (cut off, damaged, or of an older version "
                 "of dbvad): what is shown of it may be wrong, or missing")


def _glob(folder: Path) -> str:
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


def _explain(con: duckdb.DuckDBPyConnection, message: str) -> str:
    first = message.splitlines()[0]
    if "Catalog Error: Table" in message or "syntax error" in message:
        return f"{first}\nviews here: {', '.join(_names(con))}"
    if ".parquet'" in first:
        return f"{first}\n{UNREADABLE}"
    return re.sub(r"^.*Python exception occurred while executing the UDF: \w+: ", "", message)
