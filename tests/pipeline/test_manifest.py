"""The list of the dataset's videos: kept whole, and the one answer to whether a shard is today's."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts import EMBED, INGEST, STAGES
from pipeline.engine.store import Store
from pipeline.manifest import (
    FILE,
    Copies,
    Entry,
    Manifest,
    NoManifest,
    copies,
    current,
    left_over,
    quarantine,
    read,
    set_aside,
    write,
)


def entry(video_id: str = "a.mp4", split: str = "train", content: str = "h", problem: str = "", **marks: str) -> Entry:
    return Entry(video_id, split, ("fight",), content, 3, problem, marks)


def publish(store: Store, video_id: str, mark: str, stage: str = "ingest", **basis: object) -> None:
    contract = {"ingest": INGEST, "embed": EMBED}[stage]
    store.publish(contract, video_id, contract.schema.empty_table(), fingerprint=mark, basis=dict(basis))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    entries = (entry("b.mp4", ingest="1", score="2"), entry("ü [1].mp4", "", "", "unlabelled: says nothing"))
    write(tmp_path, Manifest(entries, "pipeline", "../stages.yaml"))
    assert read(tmp_path) == Manifest(entries, "pipeline", "../stages.yaml")
    assert read(tmp_path).of("train") == [entries[0]]
    write(tmp_path, Manifest((), "import"))
    assert read(tmp_path) == Manifest((), "import")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and then nothing", "foreign"])
def test_one_that_is_not_there_or_not_ours_is_one_message(tmp_path: Path, content: bytes | str | None) -> None:
    if content == "foreign":
        pa.parquet.write_table(pa.table({"x": [1]}), tmp_path / FILE)
    elif isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(NoManifest, match="`dbvad pipeline run`"):
        read(tmp_path)


def test_a_shard_is_todays_if_it_was_made_under_the_planned_fingerprint(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "a.mp4", "planned")
    assert current(store, entry(ingest="planned"), "ingest")
    assert not current(store, entry(ingest="another"), "ingest")
    assert not current(store, entry(), "ingest")
    assert not current(store, entry(problem="unlabelled: x", ingest="planned"), "ingest")


def test_nothing_of_a_video_in_quarantine_is_todays_from_that_stage_on(tmp_path: Path) -> None:
    store, video = Store(tmp_path), entry(ingest="i", decode="d", embed="e")
    publish(store, "a.mp4", "i")
    publish(store, "a.mp4", "e", "embed")
    assert current(store, video, "embed")
    fault = {"kind": "truncated", "reason": "cut", "remedy": "copy it again"}
    store.quarantine("decode", "a.mp4", fingerprint="of another content", **fault)
    assert current(store, video, "embed")
    assert quarantine(store, [video]) == []
    store.quarantine("decode", "a.mp4", fingerprint="d", **fault)
    assert current(store, video, "ingest")
    assert not current(store, video, "embed")
    assert set_aside(store, video, "embed") == "truncated: cut"
    assert [row["stage"] for row in quarantine(store, [video])] == ["decode"]
    assert quarantine(store, [entry("other.mp4", decode="d")]) == []


def test_an_imported_text_holds_for_the_content_it_was_imported_for(tmp_path: Path) -> None:
    store, video = Store(tmp_path), entry(content="this", embed="planned")
    for facts, holds in (({"source": "this"}, True), ({"source": "that"}, False), ({}, True)):
        publish(store, "a.mp4", "imported", "embed", version="import-1", facts=facts)
        assert current(store, video, "embed") == holds
    publish(store, "a.mp4", "imported", version="import-1", facts={})
    assert not current(store, entry(ingest="planned"), "ingest")  # texts alone


def test_shards_of_other_videos_are_left_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for video_id in ("here.mp4", "gone.mp4"):
        publish(store, video_id, "f")
    store.quarantine("decode", "gone.mp4", fingerprint="f", kind="x", reason="x", remedy="x")
    assert left_over(store, ["here.mp4"]) == {"ingest": [store.path("ingest", "gone.mp4")],
                                              "quarantine": [store.quarantine_path("decode", "gone.mp4")]}
    assert set(STAGES) >= set(left_over(store, ["here.mp4", "gone.mp4"]))


ROWS = st.tuples(st.sampled_from("abcdef"), st.sampled_from(("train", "test", "")), st.sampled_from(["", "1", "2"]))


@given(st.lists(ROWS, unique_by=lambda row: row[0]))
def test_copies_are_the_videos_of_one_content(rows: list[tuple[str, str, str]]) -> None:
    found = copies((name, split, content, name == "a") for name, split, content in rows)
    contents = {name: content for name, _, content in rows}
    for group in found:
        assert group.event == ("a" in (*group.train, *group.test))
        assert len({contents[name] for name in (*group.train, *group.test)}) == 1
    named = sorted(name for group in found for name in (*group.train, *group.test))
    assert named == sorted(name for name, split, content in rows if content and split and sum(
        other == content and where != "" for _, where, other in rows) > 1)
    assert [group.leak for group in found] == sorted((group.leak for group in found), reverse=True)
    assert Copies(("a",), ("b",)).leak
    assert not Copies(("a", "b"), ()).leak
