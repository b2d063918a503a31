"""Copies of shards never change an answer: SQL with them says what SQL says of the shards alone."""

from __future__ import annotations  # a name in an annotation keeps DuckDB loaded to the end: it would print so

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import compact as module
from pipeline.compact import FOLDER, INDEX, SCHEMA, Made, beyond, compact
from pipeline.contracts import DECODE, DESCRIBE, EMBED, INGEST, STAGES, Contract, embedding_array
from pipeline.engine.files import Damaged
from pipeline.engine.sealed import verify
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Manifest, read, write
from pipeline.sql import QueryError, connect, query
from tests.damage import flip, flip_column

VIDEOS = ["a.mp4", "b [1]/c's.mp4", "b [1]/d.mp4", "e" * 300, "f.mp4"]
TICK_S = 0.02  # more than that of the file system's clock
KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline import compact
from tests.pipeline.test_compact import compacted
compact.SETTLED_NS, compact.PART_BYTES, left, replace = 0, 1, [int(sys.argv[2])], os.replace
def replaced(*paths):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = replaced
compacted(Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards settle in a moment."""
    monkeypatch.setattr(module, "SETTLED_NS", int(TICK_S / 2 * 1e9))


def table(contract: Contract, video_id: str, text: str, width: int = 4) -> pa.Table:
    told: dict[str, Any] = {
        "ingest": {"path": text, "split": "train", "labels": ["fight"], "source_hash": "h", "size": 1,
                   "duration_s": 2.0, "fps": 25.0, "n_frames": 50, "width": 4, "height": 3, "codec": "h264"},
        "decode": {"frame_idx": 0, "pts_s": 0.0, "times_s": [0.0, 0.1], "width": 4, "height": 3,
                   "jpeg": text.encode()},
        "describe": {"text": text, "model": "m", "revision": "r", "prompt_id": "p", "finish_reason": "stop",
                     "prompt_tokens": 9, "output_tokens": 5, "latency_ms": 1.5, "flags": []}}
    if contract is EMBED:
        return pa.Table.from_arrays([pa.array([video_id]), embedding_array(np.ones((1, width))),
                                     pa.array([len(text)], pa.int32())], names=EMBED.schema.names)
    return pa.Table.from_pylist([{"video_id": video_id} | told[contract.artifact]], schema=contract.schema)


def publish(store: Store, contract: Contract, video_id: str, text: str = "one", mark: str = "f", width: int = 4,
            **basis: object) -> None:
    store.publish(contract, video_id, table(contract, video_id, text, width), fingerprint=mark, basis=basis,
                  meta={"decoded_frames": 49, "duration_s": 1.96})


def filled(root: Path) -> Store:
    store = Store(root)
    for video_id in VIDEOS:
        for contract in (INGEST, DECODE, DESCRIBE):
            publish(store, contract, video_id)
        publish(store, EMBED, video_id, mark="f" if video_id != "f.mp4" else "imported",
                version="pipeline" if video_id != "f.mp4" else "import-1", width=4 if video_id != "a.mp4" else 3)
    store.publish(EMBED, VIDEOS[1], EMBED.schema.empty_table(), fingerprint="f", basis={})
    write(root, Manifest(tuple(Entry(video_id, "train", ("fight",), "h", 1, "", dict.fromkeys(STAGES, "f"))
                               for video_id in VIDEOS)))
    return store


def compacted(root: Path, stages: Sequence[str] = tuple(STAGES), pictures: bool = False) -> dict[str, Made]:
    time.sleep(TICK_S)
    entries = read(root).entries
    return {stage: compact(Store(root), STAGES[stage], entries, pictures or stage != "decode") for stage in stages}


def answers(root: Path, notes: list[str] | None = None) -> object:
    """All rows of the stages' views, in order; or what is said where an answer is refused."""
    found = {}
    try:
        with closing(connect(root, note=(notes if notes is not None else []).append)) as con:
            for name in ("ingest", "decode", "described", "embed"):
                result = query(con, f"select * from {name} order by all")
                assert result is not None
                found[name] = (result.columns, list(result.rows))
    except (Damaged, QueryError) as error:
        return f"{type(error)} {error}"
    return found


def alone(root: Path) -> object:
    """What the shards say without copies."""
    aside = root.with_name("aside")
    shutil.move(root / FOLDER, aside)
    found = answers(root)
    shutil.move(aside, root / FOLDER)
    return found


def parts(root: Path, stage: str) -> list[str]:
    return sorted(path.name for path in (root / FOLDER / stage).glob("*.parquet") if path.name != INDEX)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return filled(tmp_path / "artifacts").root


def test_what_is_copied_is_what_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(root)
    made = compacted(root, pictures=True)
    assert {stage: (one.shards, one.copied, len(one.parts)) for stage, one in made.items()} == {
        "ingest": (5, 5, 1), "decode": (5, 5, 1), "score": (0, 0, 0), "select": (0, 0, 0), "describe": (5, 5, 1),
        "embed": (5, 5, 2)}  # two widths
    opened: list[Path] = []
    monkeypatch.setattr(Store, "check", lambda self, path, columns: opened.append(path))
    notes: list[str] = []
    assert answers(root, notes) == before
    assert opened == notes == []


def test_index_and_parts_are_of_these_columns(root: Path) -> None:
    compacted(root)
    for stage in ("ingest", "describe", "embed"):
        for name in parts(root, stage):
            verify(root / FOLDER / stage / name)
            read_back = pq.read_table(root / FOLDER / stage / name)
            STAGES[stage].check(read_back.slice(0, 1))
            assert sorted(read_back["video_id"].to_pylist()) == read_back["video_id"].to_pylist()
        verify(root / FOLDER / stage / INDEX)
        index = pq.read_table(root / FOLDER / stage / INDEX)
        assert index.schema.equals(SCHEMA)
        assert {name: str(index.schema.field(name).type) for name in index.column_names} == {
            "video_id": "string", "stamp": "binary", "fingerprint": "string", "basis": "string", "meta": "string",
            "part": "string"}
        assert index["video_id"].to_pylist() == VIDEOS
        assert sum(bool(basis) for basis in index["basis"].to_pylist()) == (stage == "embed")


def test_of_pictures_the_footers_alone_are_copied_unless_they_are_asked_for(root: Path) -> None:
    before = answers(root)
    compacted(root)
    assert parts(root, "decode") == []
    assert answers(root) == before
    assert compacted(root, ["decode"], pictures=True)["decode"].copied == 5
    assert answers(root) == before
    assert parts(root, "decode") == ["000001.parquet"]


def in_place(path: Path) -> None:
    """Other rows, as long where that can be, and the time of the change put back."""
    before, store = path.stat(), Store(path.parents[1])
    aside = path.with_suffix(".aside")
    path.rename(aside)
    for number in range(20):  # the check sums in the seal have as many digits in some
        publish(store, DESCRIBE, "a.mp4", f"{number:03}")
        if path.stat().st_size == before.st_size:
            break
    aside.write_bytes(path.read_bytes())
    aside.rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino


def replaced(root: Path, **marks: str) -> None:
    """The last run planned other fingerprints."""
    entries = [Entry(entry.video_id, entry.split, entry.labels, entry.source_hash, entry.size, entry.problem,
                     {**entry.fingerprints, **marks}) for entry in read(root).entries]
    write(root, Manifest(tuple(entries)))


def fewer(root: Path) -> None:
    write(root, Manifest(read(root).entries[1:-1]))


CHANGES: dict[str, Callable[[Path], object]] = {
    "touched": lambda root: os.utime(root / "describe/a.mp4.parquet"),
    "made anew": lambda root: publish(Store(root), DESCRIBE, "a.mp4", "another text"),
    "overwritten in place": lambda root: in_place(root / "describe/a.mp4.parquet"),
    "removed": lambda root: (root / "describe/a.mp4.parquet").unlink(missing_ok=True),
    "no frames decoded": lambda root: (root / "decode/a.mp4.parquet").unlink(missing_ok=True),
    "all gone": lambda root: shutil.rmtree(root / "describe", ignore_errors=True),
    "damaged": lambda root: flip(root / "ingest/a.mp4.parquet", 9),
    "in quarantine": lambda root: Store(root).quarantine("decode", VIDEOS[1], fingerprint="f", kind="x", reason="x",
                                                         remedy="x"),
    "out of quarantine": lambda root: Store(root).release("decode", VIDEOS[1]),
    "out of the dataset": fewer,
    "planned otherwise": lambda root: replaced(root, describe="g"),
    "planned as before": lambda root: replaced(root, describe="f"),
    "shards moved": lambda root: shutil.move(shutil.copytree(root / "ingest", root / "aside"),
                                             shutil.rmtree(root / "ingest") or root / "ingest"),
    "index damaged": lambda root: flip(root / FOLDER / "describe" / INDEX, -30),
    "index gone": lambda root: (root / FOLDER / "describe" / INDEX).unlink(missing_ok=True),
    "part gone": lambda root: (root / FOLDER / "ingest" / parts(root, "ingest")[0]).unlink(),
    "part damaged": lambda root: flip_column(root / FOLDER / "describe" / parts(root, "describe")[0], "text"),
    "compacted": compacted,
    "compacted with pictures": lambda root: compacted(root, pictures=True),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("whole") / "artifacts").root


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=6))
def test_whatever_changes_the_answers_are_those_of_the_shards(
        whole: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[str]) -> None:
    root = Path(shutil.copytree(whole, tmp_path_factory.mktemp("changed") / "artifacts"))
    compacted(root)
    for change in changes:
        try:
            CHANGES[change](root)
        except (FileNotFoundError, IndexError):  # an earlier change took it away
            continue
        assert answers(root) == alone(root), change


def test_shards_that_are_not_those_that_were_copied_are_told(root: Path) -> None:
    compacted(root)
    copied = Path(shutil.copytree(root, root.with_name("copied")))
    notes: list[str] = []
    with closing(connect(copied, None, "from described", notes.append)):
        pass
    assert notes == ["describe: 5 shards read one by one, as they are not those that were compacted: "
                     "`dbvad artifacts compact` makes that quick again"]


def test_a_damaged_part_is_told_and_made_anew(root: Path) -> None:
    compacted(root)
    flip_column(root / FOLDER / "describe" / "000001.parquet", "text")
    notes: list[str] = []
    with closing(connect(root, None, "from described", notes.append)):
        pass
    assert "000001.parquet is not what was written" in notes[0]
    compacted(root)
    assert parts(root, "describe") == ["000002.parquet"]
    assert answers(root) == alone(root)


def test_full_parts_stay_while_all_in_them_is_true(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 1)
    assert len(compacted(root)["describe"].parts) == 5
    assert compacted(root)["describe"].copied == 0
    publish(Store(root), DESCRIBE, "a.mp4", "another text")
    made = compacted(root)["describe"]
    assert made.copied == 1
    assert parts(root, "describe") == [f"{number:06}.parquet" for number in (2, 3, 4, 5, 6)]
    assert answers(root) == alone(root)


def test_a_shard_that_was_written_just_now_is_waited_for_or_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module, "SETTLED_NS", 10**12)
    monkeypatch.setattr(module.time, "sleep", slept.append)
    made = compact(Store(root), DESCRIBE, read(root).entries)
    assert 900 < slept[0] < 1001
    assert (made.shards, made.moving) == (0, 5)
    assert answers(root) == alone(root)


def test_a_damaged_shard_is_left_and_told(root: Path) -> None:
    flip_column(root / "describe" / "a.mp4.parquet", "text")
    made = compacted(root)["describe"]
    assert made.shards == 4
    assert "column text is not what was written" in str(made.damaged[0])
    assert answers(root) == alone(root)


@pytest.mark.parametrize("moment", range(3))
def test_killed_at_any_moment_the_answers_are_those_of_the_shards(root: Path, moment: int) -> None:
    compacted(root)
    for contract in (INGEST, DESCRIBE):
        publish(Store(root), contract, "a.mp4", "another text")
    time.sleep(TICK_S)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), str(moment)], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    assert answers(root) == alone(root)
    made = compacted(root)
    assert parts(root, "ingest") == [path.name for path in made["ingest"].parts]
    assert list((root / FOLDER).rglob(".*")) == []
    assert answers(root) == alone(root)


def test_copies_of_videos_that_left_the_dataset_are_named(root: Path) -> None:
    compacted(root)
    assert beyond(Store(root), "describe", VIDEOS) == []
    assert [path.name for path in beyond(Store(root), "describe", VIDEOS[1:])] == ["000001.parquet", INDEX]
