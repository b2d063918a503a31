"""SQL over the artifacts: a DuckDB connection with one view per artifact, plus videos, quarantine and runs. Read-only.

The views show today's dataset (`pipeline.manifest`): what is left over of other videos, or was made under another
fingerprint than the planned one, is in none of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.contracts import QUARANTINE, STAGES, Contract
from pipeline.engine.lines import damaged
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Manifest, NoManifest, read, store_of
from pipeline.views import glob, shard_view
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
    manifest = _manifest(artifacts)
    entries, store = manifest.entries, store_of(artifacts, manifest)
    con = duckdb.connect()
    try:
        own = {RESERVED.get(stage, stage): contract for stage, contract in STAGES.items()}
        for name, contract in {**own, **(more or {}), "quarantine": QUARANTINE}.items():
            read_now = text is None or speaks_of(text, name)
            shard_view(con, store, name, contract, entries if read_now else (), note, _read_columns(text, contract))
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


def _manifest(artifacts: Path) -> Manifest:
    """The list of videos. Raises QueryError where there are shards and nobody knows whose."""
    try:
        return read(artifacts)
    except NoManifest as error:
        store = Store(artifacts)
        if any(store.shards(stage) for stage in STAGES):
            raise QueryError(str(error)) from None
        return Manifest(())


def speaks_of(text: str, name: str) -> bool:
    """Whether a query may read a view, by itself or through another one."""
    behind = [view for view, sql in EXTRA_VIEWS.items() if name in sql]
    return any(word in text.lower() for word in (name, *behind))


def _read_columns(text: str | None, contract: Contract) -> list[str]:
    """The columns that a query may read, and that are checked: pictures only if it may speak of them."""
    words = (text or "").lower()
    everything = PICTURES in words or "*" in words.replace("count(*)", "") or WHOLE_ROWS.search(words)
    return [name for name in contract.schema.names if name != PICTURES or everything]


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
        source = (f"read_json('{glob(folder)}/*.jsonl', format='newline_delimited', columns={{{columns}}}, "
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


def _explain(con: duckdb.DuckDBPyConnection, message: str) -> str:
    first = message.splitlines()[0]
    if "Catalog Error: Table" in message or "syntax error" in message:
        return f"{first}\nviews here: {', '.join(_names(con))}"
    if ".parquet'" in first:
        return f"{first}\n{UNREADABLE}"
    return re.sub(r"^.*Python exception occurred while executing the UDF: \w+: ", "", message)
