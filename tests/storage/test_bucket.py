"""Artifacts in a bucket are what they are in a folder: the same tables, names, plans and repairs."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.engine.files import Damaged
from pipeline.engine.place import StorageError, local
from pipeline.engine.remote.bucket import Bucket
from pipeline.engine.remote.s3 import Objects
from pipeline.engine.seen import Seen
from pipeline.engine.stamps import Names
from pipeline.engine.store import MissingShard, Store
from tests.engine.toys import SCHEMA, chain
from tests.engine.world import World
from tests.storage.conftest import SECRET, TEXTS, Finished, Server, in_bucket, tables

CONTRACT = chain()[0].contract


def publish(store: Store, video_id: str, *words: str, fingerprint: str = "f" * 32) -> None:
    rows = [{"video_id": video_id, "position": place, "word": word} for place, word in enumerate(words)]
    store.publish(CONTRACT, video_id, pa.Table.from_pylist(rows, schema=SCHEMA), fingerprint=fingerprint, basis={})


def words(store: Store, video_id: str) -> list[str]:
    found: list[str] = store.read("words", video_id, ["word"])["word"].to_pylist()
    return found


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same bucket as another machine sees it: with a mirror of its own."""

    def see(url: str = "s3://art/toys", mirror: str = "elsewhere") -> Store:
        monkeypatch.setenv("DBVAD_MIRROR", str(tmp_path / mirror))
        return Store(local(url))

    return see


def test_a_run_into_a_bucket_gives_the_tables_of_a_local_one(s3: Server, finished: Finished, elsewhere: Any) -> None:
    there = seen(finished.there, elsewhere("s3://done/toys"))
    assert there.states() == finished.here.states() != {}
    # What a plan needs are the ends of shards; of a record in quarantine it reads the reason.
    assert [path.name for path in there.store.root.rglob("*.parquet")] == ["x.txt.parquet"]
    assert tables(there.store) == tables(finished.here.store)
    assert sorted(key for key in s3.names("done") if "/runs/" not in key) == sorted(
        f"toys/{path.relative_to(finished.here.store.root)}" for path in finished.here.store.root.rglob("*.parquet"))
    (log,) = (key for key in s3.names("done") if "/runs/" in key)
    assert b"run_ended" in s3.request("GET", f"done/{log}")


def test_a_plan_lists_each_folder_once_and_reads_each_end_once(s3: Server, finished: Finished, elsewhere: Any,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("list", "tail", "get", "head"):
        monkeypatch.setattr(Objects, name, noted(asked, name, getattr(Objects, name)))
    there = seen(finished.there, elsewhere("s3://done/toys"))
    there.states()
    listings = ["list count", "list quarantine", "list upper", "list words"]
    assert sorted(asked) == ["get quarantine/upper/x.txt.parquet", *listings, *(
        f"tail {stage}/{video}.txt.parquet" for stage, video in
        [("count", "a"), ("count", "b"), ("upper", "a"), ("upper", "b"), ("words", "a"), ("words", "b"), ("words", "x")]
    )]
    asked.clear()
    seen(there, there.store.anew()).states()
    assert sorted(asked) == listings  # the rest is remembered by ETag


def seen(world: World, store: Store) -> World:
    """The world as one store shows it."""
    world = copy(world)
    world.store = store
    return world


def noted(calls: list[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(self: Objects, key: str = "", *rest: Any, **more: Any) -> Any:
        calls.append(f"{name} {key}")
        return call(self, key, *rest, **more)

    return wrapped


@pytest.mark.parametrize("video_id", ["plain.mp4", "ein Überfall, 2.mp4", "a#b?c+d%41'e.mp4", "back\\slash.mp4",
                                      "new\nline.mp4", "x" * 300 + ".mp4", "deep/er/..mp4", "a=b/c.mp4"])
def test_any_name_comes_back(s3: Server, video_id: str, elsewhere: Any) -> None:
    publish(Store(local("s3://art/toys")), video_id, "one")
    other = elsewhere()
    assert other.videos("words") == [video_id]
    assert other.shards("words") == [other.path("words", video_id)]
    assert words(other, video_id) == ["one"]
    other.place.remove(other.path("words", video_id))
    assert s3.names() == []


def test_what_another_machine_changes_is_seen_by_the_next_look(s3: Server, elsewhere: Any) -> None:
    store, other = Store(local("s3://art/toys")), elsewhere()
    publish(store, "a.mp4", "one")
    assert words(other, "a.mp4") == ["one"]
    publish(store, "a.mp4", "two")
    assert words(other.anew(), "a.mp4") == ["two"]
    assert words(other.anew(live=True), "a.mp4") == ["two"]
    store.place.remove(store.path("words", "a.mp4"))
    assert other.path("words", "a.mp4").exists()
    with pytest.raises(MissingShard, match="in s3://art/toys: run"):
        words(other.anew(), "a.mp4")
    assert not other.path("words", "a.mp4").exists()
    with pytest.raises(MissingShard):
        words(other.anew(live=True), "a.mp4")


def known_and_current(store: Store, fingerprint: str) -> tuple[bool, bool]:
    """Whether a shard is known to be current by what was noted of it, and whether it is."""
    print_ = np.frombuffer(bytes.fromhex(fingerprint), np.uint8).reshape(1, -1)
    notes = Seen(store.anew(), "words", Names(["a.mp4"]), print_)
    known = bool(notes.as_seen(print_)[0])
    current = known or notes.is_current(0, "a.mp4")
    notes.save()
    return known, current


def test_a_plan_sees_what_another_machine_made_anew(s3: Server, elsewhere: Any) -> None:
    store, other = Store(local("s3://art/toys")), elsewhere()
    publish(store, "a.mp4", "one")
    for known in (False, True):  # by its footer, then by what was noted of it
        assert words(other, "a.mp4") == ["one"]
        assert known_and_current(other, "f" * 32) == (known, True)
    publish(store, "a.mp4", "one", fingerprint="0" * 32)
    assert known_and_current(other, "f" * 32) == (False, False)
    assert known_and_current(other, "0" * 32) == (False, True)


def test_what_is_no_shard_does_no_harm(s3: Server, elsewhere: Any) -> None:
    publish(Store(local("s3://art/toys")), "a.mp4", "one")
    for key, content in (("empty.mp4.parquet", b""), ("text.mp4.parquet", b"text"), ("folder/", b""), ("a.txt", b"x")):
        s3.request("PUT", f"art/toys/words/{key}", content)
    for live in (False, True):
        store = elsewhere().anew(live)
        assert store.videos("words") == ["a.mp4"]
        assert not store.is_current("words", "empty.mp4", "f" * 32)
        assert "not that of a Parquet file" in str(store.fault_of(store.path("words", "empty.mp4"), CONTRACT))


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_is_named(s3: Server) -> None:
    store = Store(local("s3://art/toys"))
    publish(store, "a.mp4", *"abcdefgh" * 100)
    path = store.path("words", "a.mp4")
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.anew().read("words", "a.mp4").num_rows == 800
    path.write_bytes(content)
    store.place.send(path)
    with pytest.raises(Damaged, match=r"s3://art/toys/words/a.mp4.parquet is damaged: .* dbvad pipeline run words"):
        store.anew().read("words", "a.mp4")


def test_the_mirror_keeps_to_its_bound(s3: Server, elsewhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(local("s3://art/toys"))
    for number in range(10):
        publish(store, f"{number}.mp4", *map(str, range(300)))
    size = store.place.size(store.path("words", "0.mp4"))
    monkeypatch.setenv("DBVAD_MIRROR_GB", str(3.5 * size / 1e9))
    other = elsewhere()
    for number in range(10):
        assert len(words(other, f"{number}.mp4")) == 300
    assert len(list(other.root.rglob("*.parquet"))) == 3
    assert len(words(other, "9.mp4")) == 300
    with pytest.raises(StorageError, match=r"are to be here at a time.*set DBVAD_MIRROR_GB"):
        other.place.fetch_all(other.shards("words"))


def test_a_copy_that_another_process_lets_go_meanwhile_is_fetched_again(s3: Server, monkeypatch: pytest.MonkeyPatch,
                                                                        ) -> None:
    store = Store(local("s3://art/toys"))
    store.quarantine("words", "a.mp4", fingerprint="f", kind="k", reason="r", remedy="m")
    fetch, fetched = Bucket.fetch, list[Path]()

    def fetch_in_vain(self: Bucket, path: Path) -> Path:
        found = fetch(self, path)
        if not fetched:
            found.unlink()
        fetched.append(path)
        return found

    monkeypatch.setattr(Bucket, "fetch", fetch_in_vain)
    assert store.quarantined("words", "a.mp4") is not None
    assert len(fetched) == 2


def test_a_torn_book_of_the_mirror_is_begun_anew(s3: Server, elsewhere: Any) -> None:
    store = Store(local("s3://art/toys"))
    publish(store, "a.mp4", "one")
    for path in store.root.glob(".mirror.sqlite*"):
        path.write_bytes(b"torn" * 1000)
    assert words(Store(store.root), "a.mp4") == ["one"]


def test_no_key_is_in_a_file_or_in_what_is_sent_to_a_process(s3: Server, finished: Finished) -> None:
    there = finished.there
    sent = [pickle.dumps(store) for store in (there.store, there.store.anew(live=True))]
    files = [path.read_bytes() for path in there.root.rglob("*") if path.is_file()]
    objects = [s3.request("GET", f"done/{key}") for key in s3.names("done")]
    assert len(files) > 20
    assert len(objects) == 9
    for content in (*sent, *files, *objects, there.output.encode()):
        assert SECRET.encode() not in content
        assert s3.address.removeprefix("http://").encode() not in content


def test_a_store_can_be_sent_to_a_machine_that_has_no_mirror(s3: Server) -> None:
    store = Store(local("s3://art/toys"))
    publish(store, "a.mp4", "one")
    sent = pickle.dumps(store.anew(live=True))
    shutil.rmtree(store.root)
    assert words(pickle.loads(sent), "a.mp4") == ["one"]


def test_a_mirror_is_of_one_server(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    root = local("s3://art/toys")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert local("s3://art/toys") != root
    with pytest.raises(StorageError, match="another server than AWS_ENDPOINT_URL names now"):
        Store(root).shards("words")


@pytest.mark.parametrize(("url", "said"), [
    ("s3://key:secret@art/toys", "no user, key or signature here"),
    ("s3://art/toys?X-Amz-Signature=secret", "no user, key or signature here"),
    ("gs://art/toys", "gs:// is no place for data here"),
    ("s3:///toys", "is no URL of a store"),
    ("s3://art/../toys", "is no URL of a store"),
])
def test_urls_that_are_refused(s3: Server, url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as told:
        local(url)
    assert "secret@" not in str(told.value)
    assert "=secret" not in str(told.value)


def test_an_address_with_a_secret_is_refused(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hidden@127.0.0.1:9000")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL is no plain address") as told:
        local("s3://art/toys")
    assert "hidden" not in str(told.value)


def test_local_artifacts_need_no_client(tmp_path: Path) -> None:
    World(tmp_path).write(**TEXTS)
    code = ("import sys; from pathlib import Path; from tests.engine.world import World\n"
            f"print(World(Path({str(tmp_path)!r})).run(only=['words']).count('done'))\n"
            "assert not {'obstore', 'sqlite3', 'pipeline.engine.remote.bucket'} & set(sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"3\n"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engine.place.find_spec", lambda name: None)
    with pytest.raises(StorageError, match=r"pip install 'dbvad\[s3\]'"):
        local("s3://art/toys")


def test_a_stage_reads_what_its_neighbour_published_meanwhile(s3: Server, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    world = in_bucket(tmp_path).write(a="one")
    stages = world.chain()[:2]
    world.run(stages)
    world.write(a="two")
    asked: list[str] = []
    monkeypatch.setattr(Objects, "delete", noted(asked, "delete", Objects.delete))
    assert world.run(stages).count("done") == 2
    assert world.store.anew().read("upper", "a.txt")["word"].to_pylist() == ["two'"]
    assert asked == ["delete .lock/whole"]  # nothing is released that is not in quarantine
