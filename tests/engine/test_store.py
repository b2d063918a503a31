"""Shards: published whole or not at all, found again under any name, recognised when they are not ours."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contracts import DECODE, Contract, ContractError
from pipeline.engine.files import Damaged, atomic_file
from pipeline.engine.shard import Footer
from pipeline.engine.store import MissingShard, Store
from tests.damage import flip_column, flip_footer
from tests.engine.toys import SCHEMA

WORDS = Contract("words", SCHEMA, order=("position",))
parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=300).filter(
    lambda part: part not in (".", ".."))
video_ids = st.lists(parts, min_size=1, max_size=3).map("/".join)


def words(*texts: str, video_id: str = "a.mp4", start: int = 0) -> pa.Table:
    return pa.table({"video_id": [video_id] * len(texts), "position": range(start, start + len(texts)),
                     "word": list(texts)}, schema=SCHEMA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def publish(store: Store, rows: pa.Table | Iterator[pa.Table], fingerprint: str = "f1") -> int:
    return store.publish(WORDS, "a.mp4", rows, fingerprint=fingerprint, basis={"stage": "words"}, meta={"n": 1})


@given(st.lists(video_ids, min_size=2, max_size=2, unique=True))
def test_two_videos_never_share_a_path(ids: list[str]) -> None:
    store = Store("/artifacts")
    assert store.path("words", ids[0]) != store.path("words", ids[1])
    assert store.quarantine_path("words", ids[0]) != store.quarantine_path("words", ids[1])


@given(video_ids)
def test_no_part_of_a_path_is_too_long_for_a_file_system(video_id: str) -> None:
    path = Store("/artifacts").path("words", video_id)
    assert path.is_relative_to("/artifacts/words")
    assert all(len(os.fsencode(part)) <= 255 for part in (*path.parts, atomic_file(path).temporary.name))


@pytest.mark.parametrize("video_id", ["x" * 251 + ".mp4", "x" * 221 + ".mp4", "ü" * 125 + ".mp4", "事" * 83 + "/a.mp4",
                                      "with space/ünï [1]*?.mp4", "back\\slash\nnewline.mp4", "a.mp4/b.mp4"])
def test_every_name_that_a_file_can_have_can_be_published(store: Store, video_id: str) -> None:
    store.publish(WORDS, video_id, words("one", video_id=video_id), fingerprint="f1", basis={})
    store.quarantine("words", video_id, fingerprint="f1", kind="k", reason="r", remedy="m")
    assert store.videos("words") == [video_id]
    assert store.read("words", video_id, ["word"]).to_pylist() == [{"word": "one"}]
    assert (store.quarantined("words", video_id) or {})["video_id"] == video_id


@settings(max_examples=25)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=4), max_size=5))
def test_what_was_published_is_what_is_read_in_whatever_parts_it_came(chunks: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        starts = [sum(map(len, chunks[:at])) for at in range(len(chunks))]
        count = publish(store, (words(*chunk, start=start) for chunk, start in zip(chunks, starts, strict=True)))
        whole = words(*(word for chunk in chunks for word in chunk))
        assert count == whole.num_rows
        assert store.read("words", "a.mp4").equals(whole)
        assert store.fault_of(store.path("words", "a.mp4"), WORDS) is None


@given(st.integers(0, 23), st.integers(1, 9))
def test_batches_have_the_size_asked_for(count: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.publish(WORDS, "a.mp4", (words("w", start=at) for at in range(count)), fingerprint="f1", basis={})
        batches = list(store.batches("words", "a.mp4", size, ["position"]))
        assert [batch.num_rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert [row["position"] for batch in batches for row in batch.to_pylist()] == list(range(count))


def test_the_footer_says_how_a_shard_was_made(store: Store) -> None:
    publish(store, words("one"))
    footer = store.footer("words", "a.mp4")
    assert footer is not None
    assert footer == Footer("a.mp4", "f1", {"stage": "words"}, {"n": 1}, rows=1)
    assert store.is_current("words", "a.mp4", "f1")
    assert not store.is_current("words", "a.mp4", "f2")
    assert not store.is_current("words", "b.mp4", "f1")


def test_meta_may_be_filled_on_the_way(store: Store) -> None:
    meta: dict[str, int] = {}

    def rows() -> Iterator[pa.Table]:
        yield words("one")
        meta["rows"] = 1

    store.publish(WORDS, "a.mp4", rows(), fingerprint="f1", basis={}, meta=meta)
    assert (footer := store.footer("words", "a.mp4")) is not None
    assert footer.meta == {"rows": 1}


def test_a_basis_that_quotes_a_fingerprint_is_not_taken_for_it(store: Store) -> None:
    basis = {"prompt": '"fingerprint": "f2"', "upstream": {"decode": "f2"}}
    store.publish(WORDS, "a.mp4", words("one"), fingerprint="f1", basis=basis)
    assert not store.is_current("words", "a.mp4", "f2")


def test_an_empty_shard_is_a_shard(store: Store) -> None:
    assert publish(store, iter([])) == 0
    assert store.read("words", "a.mp4").schema.equals(SCHEMA)
    assert store.is_current("words", "a.mp4", "f1")


def test_a_stream_that_fails_leaves_the_shard_as_it_was(store: Store) -> None:
    def rows() -> Iterator[pa.Table]:
        yield words("new")
        raise RuntimeError("the decoder gave up")

    publish(store, words("old"))
    with pytest.raises(RuntimeError, match="gave up"):
        publish(store, rows(), "f2")
    assert store.read("words", "a.mp4")["word"].to_pylist() == ["old"]
    assert store.is_current("words", "a.mp4", "f1")
    assert [path.name for path in (store.root / "words").iterdir()] == ["a.mp4.parquet"]


def test_a_shard_that_cannot_be_put_in_its_place_leaves_nothing(store: Store) -> None:
    store.path("words", "a.mp4").mkdir(parents=True)
    with pytest.raises(OSError) as error:
        publish(store, words("one"))
    assert error.value.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)
    assert [path.name for path in (store.root / "words").iterdir()] == ["a.mp4.parquet"]


@pytest.mark.parametrize(("second", "message"), [
    (words("two", start=0), "row 1 .* follows"),
    (words("two", start=1).rename_columns(["video_id", "position", "text"]), "expected"),
    (words("two", start=1).set_column(1, "position", pa.array([1], pa.int32())), "words.position: type int32"),
    (words("two", start=1, video_id="b.mp4"), "a row of 'b.mp4' in the shard of 'a.mp4'"),
])
def test_the_second_part_of_a_stream_is_checked_too(store: Store, second: pa.Table, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        publish(store, iter([words("one"), second]))
    assert store.footer("words", "a.mp4") is None


def test_a_missing_shard_names_the_command_that_makes_it(store: Store) -> None:
    with pytest.raises(MissingShard, match=r"no words shard for 'a\.mp4' .*run `dbvad pipeline run words`"):
        store.read("words", "a.mp4")
    with pytest.raises(MissingShard):
        next(store.batches("words", "a.mp4", 1, ["word"]))
    assert store.shards("words") == store.videos("words") == []


def test_shards_are_found_in_folders_and_nothing_else_is(store: Store) -> None:
    for video_id in ("b/a.mp4", "a.mp4", "b.mp4"):
        store.publish(WORDS, video_id, words("one", video_id=video_id), fingerprint="f1", basis={})
    (store.root / "words" / ".a.mp4.parquet.tmp-1-1").touch()
    (store.root / "words" / "notes.txt").touch()
    pq.write_table(pa.table({"x": [1]}), store.root / "words" / "foreign.parquet")
    assert [str(path.relative_to(store.root / "words")) for path in store.shards("words")] == [
        "a.mp4.parquet", "b/a.mp4.parquet", "b.mp4.parquet", "foreign.parquet"]
    assert store.videos("words") == ["a.mp4", "b.mp4", "b/a.mp4"]


def test_faults_of_shards_are_found_by_reading_them_whole(store: Store) -> None:
    publish(store, words(*"abcdefgh" * 200))
    path = store.path("words", "a.mp4")
    assert store.fault_of(path, WORDS) is None
    assert "expected" in str(store.fault_of(path, DECODE))
    content = bytearray(path.read_bytes())
    content[40:80] = b"\xff" * 40
    path.write_bytes(content)
    assert store.is_current("words", "a.mp4", "f1")  # a quick look sees the footer only
    assert store.fault_of(path, WORDS)
    assert "No such file" in str(store.fault_of(store.path("words", "b.mp4"), WORDS))


def test_quarantine_counts_attempts_of_one_fingerprint(store: Store) -> None:
    for fingerprint, attempts in (("f1", 1), ("f1", 2), ("f2", 1)):
        store.quarantine("words", "a.mp4", fingerprint=fingerprint, kind="k", reason="r", remedy="m", traceback="t")
        assert store.quarantined("words", "a.mp4") == {
            "video_id": "a.mp4", "stage": "words", "fingerprint": fingerprint, "kind": "k", "reason": "r",
            "remedy": "m", "traceback": "t", "attempts": attempts}
    store.release("words", "a.mp4")
    store.release("words", "a.mp4")
    assert store.quarantined("words", "a.mp4") is None


@pytest.mark.parametrize("read", [
    lambda store: store.read("words", "a.mp4", ["word"]),
    lambda store: list(store.batches("words", "a.mp4", 1, ["word"])),
    lambda store: store.check(store.path("words", "a.mp4"))])
def test_a_flipped_bit_is_met_by_whoever_reads_it_and_making_the_shard_anew_mends_it(
        store: Store, read: Callable[[Store], object]) -> None:
    publish(store, words("one", "two"))
    flip_column(store.path("words", "a.mp4"), "word")
    with pytest.raises(Damaged, match=r"a\.mp4\.parquet is damaged: column word .* dbvad pipeline run words --video "
                                      r"a\.mp4 --force"):
        read(store)
    assert store.read("words", "a.mp4", ["position"]).num_rows == store.rows("words", "a.mp4") == 2
    assert not store.is_whole("words", "a.mp4", "f1")
    publish(store, words("one", "two"))
    assert store.is_whole("words", "a.mp4", "f1")
    read(store)


def test_a_flipped_bit_in_the_footer_leaves_no_shard_and_says_so_to_readers(store: Store) -> None:
    publish(store, words("one"))
    flip_footer(store.path("words", "a.mp4"))
    assert store.footer("words", "a.mp4") is None
    assert not store.is_current("words", "a.mp4", "f1")
    assert store.videos("words") == []
    for read in (store.read, store.rows):
        with pytest.raises(Damaged, match="its footer is not what was written"):
            read("words", "a.mp4")


def test_a_damaged_imported_shard_is_to_be_imported_again(store: Store) -> None:
    store.publish(WORDS, "a.mp4", words("one"), fingerprint="f1", basis={"version": "import-1"})
    flip_column(store.path("words", "a.mp4"), "word")
    with pytest.raises(Damaged, match="the same `dbvad import` as before"):
        store.read("words", "a.mp4")


def test_a_shard_that_is_replaced_while_it_is_read_is_read_as_it_was(store: Store) -> None:
    publish(store, words("one", "two", "three"))
    batches = store.batches("words", "a.mp4", 1, ["word"])
    assert next(batches)["word"].to_pylist() == ["one"]
    publish(store, words("another"), "f2")
    assert [row["word"] for batch in batches for row in batch.to_pylist()] == ["two", "three"]


def test_a_damaged_quarantine_record_says_what_tries_the_video_again_and_is_replaced(store: Store) -> None:
    store.quarantine("words", "a b.mp4", fingerprint="f1", kind="k", reason="r", remedy="m")
    flip_column(path := store.quarantine_path("words", "a b.mp4"), "reason")
    for read in (lambda: store.quarantined("words", "a b.mp4"), store.quarantine_rows, lambda: store.check(path)):
        with pytest.raises(Damaged, match=r"dbvad pipeline run words --video 'a b\.mp4'"):
            read()
    store.quarantine("words", "a b.mp4", fingerprint="f1", kind="k", reason="r", remedy="m")
    assert len(store.quarantine_rows()) == 1
