"""Questions to the artifacts: every view is there and typed, whatever has run; nothing can be written."""

from __future__ import annotations  # a name in an annotation keeps DuckDB loaded to the end: it would print so

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.contracts import DESCRIBE, EMBED, INGEST, QUARANTINE, SCORE, SELECT, STAGES, Contract, embedding_array
from pipeline.engine.files import Damaged
from pipeline.engine.lines import line
from pipeline.engine.store import Store
from pipeline.manifest import Manifest, read, write
from pipeline.sql import RESERVED, QueryError, query, views
from pipeline.sql import connect as connect_as_is
from tests.damage import flip, flip_column
from tests.manifests import write_manifest


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    result = query(con, sql)
    assert result is not None
    return list(result.rows)


def connect(root: Path, *given: Any) -> duckdb.DuckDBPyConnection:
    """To artifacts whose every shard is in the dataset."""
    write_manifest(root)
    return connect_as_is(root, *given)


def publish(store: Store, contract: Contract, video_id: str, *found: dict[str, Any]) -> None:
    table = pa.Table.from_pylist([{"video_id": video_id} | row for row in found], schema=contract.schema)
    store.publish(contract, video_id, table, fingerprint="f", basis={})


def ingest(store: Store, video_id: str, split: str = "train", *labels: str) -> None:
    publish(store, INGEST, video_id, {
        "path": video_id, "split": split, "labels": list(labels), "source_hash": "h", "size": 1, "duration_s": 2.0,
        "fps": 25.0, "n_frames": 50, "width": 4, "height": 3, "codec": "h264"})


def describe(store: Store, video_id: str, text: str, *flags: str, ended: str = "stop") -> None:
    publish(store, DESCRIBE, video_id, {
        "text": text, "model": "m", "revision": "r", "prompt_id": "neutral-v1", "finish_reason": ended,
        "prompt_tokens": 9, "output_tokens": 5, "latency_ms": 1.5, "flags": list(flags)})


def score(store: Store, video_id: str, vectors: list[list[float]]) -> None:
    count = len(vectors)
    table = pa.Table.from_arrays([
        pa.array([video_id] * count), pa.array(range(count), pa.int64()), pa.array([0] * count, pa.int8()),
        embedding_array(np.array(vectors)), *[pa.array([0.5] * count, pa.float32())] * 2,
    ], names=SCORE.schema.names)
    store.publish(SCORE, video_id, table, fingerprint="f", basis={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the artifacts of three videos, one of them in quarantine, with a log of one run."""
    store = Store(tmp_path_factory.mktemp("artifacts"))
    ingest(store, "fight/a.mp4", "train", "fighting", "arson")
    ingest(store, "normal/b [1].mp4", "test")
    score(store, "fight/a.mp4", [[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]])
    publish(store, SELECT, "fight/a.mp4", *({"rank": rank, "frame_idx": 16 * rank, "score": 1.0, "strategy": "kess"}
                                            for rank in range(2)))
    describe(store, "fight/a.mp4", "Two men fight and fight", "asked_twice")
    store.publish(EMBED, "fight/a.mp4", pa.Table.from_arrays(
        [pa.array(["fight/a.mp4"]), embedding_array(np.array([[0, 3, 4]])), pa.array([1], pa.int32())],
        names=EMBED.schema.names), fingerprint="f", basis={})
    for video_id in ("normal/b [1].mp4", "c.mp4"):
        store.publish(EMBED, video_id, EMBED.schema.empty_table(), fingerprint="f", basis={})
    store.quarantine("ingest", "c.mp4", fingerprint="f", kind="empty", reason="no bytes", remedy="copy it again")
    (store.root / "runs").mkdir()
    events = [{"at": 1.7e9, "event": "run_begun", "totals": {"ingest": 2}},
              {"at": 1.7e9 + 1, "event": "unit", "stage": "ingest", "video_id": "fight/a.mp4", "outcome": "done",
               "seconds": 0.25, "rows": 1, "reason": ""},
              {"at": 1.7e9 + 2, "event": "run_ended", "error": None}]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (store.root / "runs" / "20240101T000000-7.jsonl").write_text(lines + '{"at": 1.7e9, "eve')  # cut by a power loss
    with closing(connect(store.root, {"a fight": [0.0, 1.0, 0.0]}.__getitem__)) as con:
        yield con


@pytest.mark.parametrize("contract", [*STAGES.values(), QUARANTINE], ids=lambda contract: contract.artifact)
def test_a_stage_that_has_not_run_has_an_empty_typed_view(store: Store, contract: Contract) -> None:
    name = RESERVED.get(contract.artifact, contract.artifact)
    with closing(connect(store.root)) as con:
        assert rows(con, f"select * from {name}") == []
        columns = dict(row[:2] for row in rows(con, f"describe {name}"))
    assert list(columns) == contract.schema.names
    assert columns["video_id"] == "VARCHAR"
    assert columns.get("labels", "VARCHAR[]") == "VARCHAR[]"
    assert columns.get("embedding", "FLOAT[]") == "FLOAT[]"
    assert columns.get("frame_idx", "BIGINT") == "BIGINT"


def test_an_empty_view_has_the_types_of_a_filled_one(store: Store, filled: duckdb.DuckDBPyConnection) -> None:
    with closing(connect(store.root)) as con:
        for name in ("ingest", "score", "selected", "described", "embed", "quarantine", "runs", "description_quality"):
            assert rows(con, f"describe {name}") == rows(filled, f"describe {name}"), name


def test_a_description_that_was_cut_off_is_not_good_even_where_nobody_flagged_it(store: Store) -> None:
    describe(store, "a", "Two men push each", ended="abort")
    describe(store, "b", "Two men push each other.")
    with closing(connect(store.root)) as con:
        assert rows(con, "select video_id, good from description_quality order by 1") == [("a", False), ("b", True)]


def test_views_are_listed_with_columns_and_rows(filled: duckdb.DuckDBPyConnection) -> None:
    listed = {name: (columns, count) for name, columns, count in views(filled)}
    assert {name: count for name, (_, count) in listed.items()} == {
        "decode": 0, "described": 1, "description_quality": 1, "embed": 1, "ingest": 2, "quarantine": 1, "runs": 3,
        "score": 3, "selected": 2, "videos": 3}
    assert listed["selected"][0] == "video_id varchar, rank integer, frame_idx bigint, score float, strategy varchar"


@pytest.mark.parametrize(("sql", "answer"), [
    ("select labels, count(*) from ingest group by 1 order by 2, 1", [([], 1), (["fighting", "arson"], 1)]),
    ("select video_id from ingest where list_contains(labels, 'arson')", [("fight/a.mp4",)]),
    ("select frame_idx from selected where video_id = 'fight/a.mp4' order by rank", [(0,), (16,)]),
    ("select video_id from described where text ilike '%men%'", [("fight/a.mp4",)]),
    ("select video_id, kind, remedy from quarantine", [("c.mp4", "empty", "copy it again")]),
    ("select embedding from embed", [(pytest.approx([0, 0.6, 0.8], abs=1e-3),)]),
    ("select frame_idx from score order by list_cosine_similarity(embedding, clip_text('a fight')) desc limit 2",
     [(1,), (2,)]),
    ("select run, event, outcome, seconds, time from runs where stage = 'ingest'",
     [("20240101T000000-7", "unit", "done", 0.25, datetime(2023, 11, 14, 22, 13, 21))]),
    ("select distinct_words, flags, good from description_quality", [(0.8, ["asked_twice"], False)]),
    ("from ingest select count(*)", [(2,)]),
    ("with t as (select 1 as x) select x from t;", [(1,)]),
    ("values (1), (2)", [(1,), (2,)]),
])
def test_questions_and_answers(filled: duckdb.DuckDBPyConnection, sql: str, answer: list[Any]) -> None:
    assert rows(filled, sql) == answer


@pytest.mark.parametrize("sql", ["", "   ", ";", "-- a thought"])
def test_no_question_no_answer(filled: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert query(filled, sql) is None


@pytest.mark.parametrize("sql", [
    "copy (select 1) to '{}'", "explain analyze copy (select 1) to '{}'", "EXPLAIN (ANALYZE) COPY (select 1) TO '{}'",
    "/* explain */ explain analyze copy (select 1) to '{}'", "explain analyze /* */ copy (select 1) to '{}'",
    "create table t as select 1", "drop view ingest", "insert into ingest values (1)", "attach '{}'",
    "export database '{}'", "set threads = 1", "install httpfs", "explain analyze create table t as select 1",
    "select 1; drop view ingest", "select 1; select 2",
])
def test_nothing_but_one_question_is_let_through(filled: duckdb.DuckDBPyConnection, sql: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError):
        query(filled, sql.format(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
    assert rows(filled, "select count(*) from ingest") == [(2,)]


def test_plans_can_be_looked_at(filled: duckdb.DuckDBPyConnection) -> None:
    assert rows(filled, "explain select 1")
    assert rows(filled, "EXPLAIN ANALYZE select count(*) from ingest")


@pytest.mark.parametrize(("sql", "message"), [
    ("select * from described_", "views here: decode, described"),
    ("select * from select", "views here: decode, described"),
    ("select nope from ingest", "nope"),
    ("select error('halt')", "halt"),
    ("select clip_text('unknown words')", "unknown words"),
])
def test_errors_say_what_is_wrong(filled: duckdb.DuckDBPyConnection, sql: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        rows(filled, sql)


def test_a_text_encoder_that_fails_speaks_for_itself(store: Store) -> None:
    def encode(text: str) -> list[float]:
        raise ValueError("no CLIP model: name one")

    with closing(connect(store.root, encode)) as con, pytest.raises(QueryError) as error:
        rows(con, "select clip_text('a')")
    assert str(error.value) == "no CLIP model: name one"


def test_clip_text_of_one_text_is_computed_once(store: Store) -> None:
    asked: list[str] = []

    def encode(text: str) -> list[float]:
        asked.append(text)
        return [0.0, 1.0]

    score(store, "a.mp4", [[1, 0], [0, 1]] * 1500)
    with closing(connect(store.root, encode)) as con:
        near = "select count(*) from score where list_dot_product(embedding, clip_text('x')) > .5"
        assert rows(con, near) == [(1500,)]
        assert rows(con, "select clip_text(null)") == [(None,)]
    assert asked == ["x"]


@pytest.mark.parametrize("name", ["plain", "it's", "a [b] *?", "{a,b}", "x=1", "ünï 事", "%20"])
def test_artifacts_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    ingest(Store(tmp_path / name), "a.mp4")
    ingest(Store(tmp_path / "plai"), "b.mp4")
    ingest(Store(tmp_path / "a b"), "b.mp4")
    with closing(connect(tmp_path / name)) as con:
        assert rows(con, "select video_id from ingest") == [("a.mp4",)]


def test_names_of_videos_are_no_columns(store: Store) -> None:
    names = ["split=test/a.mp4", "split=other/it's [1] *.mp4", "back\\slash.mp4", ".hidden/x.mp4"]
    for name in names:
        ingest(store, name, "train")
    with closing(connect(store.root)) as con:
        assert sorted(rows(con, "select video_id, split from ingest")) == sorted((name, "train") for name in names)


def test_empty_shards_and_other_widths_beside_full_ones(store: Store) -> None:
    score(store, "b.mp4", [[1, 0, 0]])
    score(store, "c.mp4", [[1, 0]])
    store.publish(SCORE, "a.mp4", SCORE.schema.empty_table(), fingerprint="f", basis={})
    with closing(connect(store.root)) as con:
        assert rows(con, "select video_id, len(embedding) from score order by 1") == [("b.mp4", 3), ("c.mp4", 2)]


@pytest.mark.parametrize("name", ["a.mp4", "z.mp4"])
@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing"])
def test_a_torn_shard_is_named_with_the_remedy(store: Store, name: str, content: bytes) -> None:
    ingest(store, "m.mp4")
    ingest(store, name)
    write_manifest(store.root)
    store.path("ingest", name).write_bytes(content)
    with pytest.raises(Damaged, match=rf"{name}.parquet is damaged: .*pipeline run ingest --video {name} --force"):
        connect_as_is(store.root)


def test_a_flipped_bit_is_in_no_view(store: Store) -> None:
    ingest(store, "m.mp4")
    write_manifest(store.root)
    flip_column(store.path("ingest", "m.mp4"), "fps")
    with pytest.raises(Damaged, match=r"m\.mp4\.parquet is damaged: column fps is not what was written"):
        connect_as_is(store.root, None, "select avg(n_frames) from ingest")
    connect_as_is(store.root, None, "select * from score").close()  # another stage


def test_damaged_lines_of_run_logs_are_told(store: Store) -> None:
    (store.root / "runs").mkdir(parents=True)
    log = store.root / "runs" / "1.jsonl"
    log.write_text(line({"event": "unit", "seconds": 1.5}) + line({"event": "unit", "seconds": 2.5}))
    notes: list[str] = []
    connect_as_is(store.root, None, "from runs", notes.append).close()
    assert notes == []
    flip(log, log.read_bytes().index(b"2.5"))
    connect_as_is(store.root, None, "from runs", notes.append).close()
    assert len(notes) == 1
    assert f"1 line of {log} not as written" in notes[0]


def test_what_is_not_todays_is_in_no_view_and_a_note_says_so(store: Store) -> None:
    for name in ("stays.mp4", "gone.mp4", "changed.mp4"):
        ingest(store, name)
    entries = {entry.video_id: entry for entry in (write_manifest(store.root), read(store.root))[1].entries}
    changed = replace(entries["changed.mp4"], fingerprints={"ingest": "another"})
    write(store.root, Manifest((entries["stays.mp4"], changed)))
    notes: list[str] = []
    with closing(connect_as_is(store.root, None, "from ingest", notes.append)) as con:
        assert rows(con, "select video_id from ingest") == [("stays.mp4",)]
        assert rows(con, "select video_id from videos") == [("changed.mp4",), ("stays.mp4",)]
    assert len(notes) == 1
    assert "1 videos left out" in notes[0]
    assert "`dbvad pipeline run ingest`" in notes[0]


def test_counts_and_lengths_are_the_decoders_once_it_has_been_there(store: Store) -> None:
    for name in ("decoded.mp4", "not yet.mp4"):
        ingest(store, name)
    store.publish(STAGES["decode"], "decoded.mp4", STAGES["decode"].schema.empty_table(), fingerprint="f", basis={},
                  meta={"decoded_frames": 49, "duration_s": 1.96})
    with closing(connect(store.root, None, "from ingest")) as con:
        assert rows(con, "select video_id, n_frames, duration_s, fps from ingest order by 1") == [
            ("decoded.mp4", 49, 1.96, 25.0), ("not yet.mp4", 50, 2.0, 25.0)]


def test_shards_without_a_list_of_videos_are_not_guessed_at(store: Store) -> None:
    ingest(store, "m.mp4")
    with pytest.raises(QueryError, match=r"manifest\.parquet.*run `dbvad pipeline run`"):
        connect_as_is(store.root)
