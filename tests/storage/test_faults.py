"""Wrong keys, missing buckets, slow and broken networks, kills: one clear message each, and nothing half done."""

import os
import random
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.engine.lock import Busy, Shard, exclusive
from pipeline.engine.place import WHOLE, StorageError, Url, local
from pipeline.engine.remote import lease
from pipeline.engine.remote.s3 import NoConditions, Objects
from pipeline.engine.store import Store
from tests.e2e.conftest import call
from tests.engine.test_interruptions import no_member, wait_for
from tests.engine.toys import SCHEMA
from tests.storage.conftest import SECRET, TEXTS, Finished, Server, in_bucket, tables
from tests.storage.proxy import proxy
from tests.storage.test_bucket import CONTRACT, publish, words


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert call(*arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert SECRET not in line
    return line


def test_a_missing_bucket_is_named(s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "artifacts", "ls", "--artifacts", "s3://nobody/toys")
    assert line.startswith(f"error: there is no bucket 'nobody' at {s3.address}: make it there, or correct the URL")
    store = Store(local("s3://nobody/toys"))
    for use in (lambda: publish(store, "a.mp4", "one"), lambda: words(store.anew(live=True), "a.mp4"),
                lambda: exclusive(store.root).__enter__()):
        with pytest.raises(StorageError, match="there is no bucket 'nobody'"):
            use()


def test_wrong_keys_are_told_and_not_shown(s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    s3.request("POST", "moto-api/reset-auth", b"0")  # from now on it looks at signatures
    try:
        line = said(capsys, "artifacts", "ls", "--artifacts", "s3://art/toys")
    finally:
        s3.request("POST", "moto-api/reset-auth", b"inf")
    assert "the store at http://127.0.0.1:" in line
    assert "refuses this (" in line
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line


def test_nobody_there(s3: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    line = said(capsys, "sql", "--artifacts", "s3://art/toys", "select 1")
    assert "no answer from http://127.0.0.1:9 (" in line
    assert "tried" in line
    assert "check the network and AWS_ENDPOINT_URL" in line


@pytest.mark.parametrize("mode", ["stall", "cut"])
def test_a_network_that_breaks_is_waited_for_and_then_told(s3: Server, monkeypatch: pytest.MonkeyPatch, mode: str,
                                                           ) -> None:
    monkeypatch.setenv("DBVAD_S3_PATIENCE", "2")
    publish(Store(local("s3://art/toys")), "a.mp4", *map(str, range(20_000)))
    with proxy(s3.address) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        store = Store(local("s3://art/toys"))
        assert store.videos("words") == ["a.mp4"]
        between.mode = mode
        began = time.monotonic()
        with pytest.raises(StorageError, match="no answer from http://127"):
            words(store, "a.mp4")
        with pytest.raises(StorageError, match="no answer from http://127"):
            publish(store, "b.mp4", "one")
        assert time.monotonic() - began < 20
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.address)
    assert Store(local("s3://art/toys")).videos("words") == ["a.mp4"]


def test_a_slow_network_is_no_fault(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(Store(local("s3://art/toys")), "a.mp4", *map(str, range(20_000)))
    with proxy(s3.address) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        store = Store(local("s3://art/toys"))
        between.mode = "slow"  # a read takes longer than the patience, and bytes come all the time
        assert len(words(store, "a.mp4")) == 20_000


def test_a_store_that_goes_away_stops_the_stage_and_blames_no_video(s3: Server, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBVAD_S3_PATIENCE", "1")
    with proxy(s3.address) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        world = in_bucket(tmp_path).write(a="one", b="two")
        stage = world.chain(seconds=1.0)[0]

        def cut() -> None:
            wait_for(lambda: bool(world.calls()))
            between.mode = "cut"

        (breaking := threading.Thread(target=cut)).start()
        outcome = world.run([stage])
        breaking.join()
    assert "no answer from" in outcome.stage_errors["words"]
    assert outcome.quarantined == set()
    assert [key for key in s3.names() if not key.startswith("toys/.lock/")] == []


def test_a_kill_in_mid_upload_leaves_nothing(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(s3.address) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        between.mode, between.rate = "slow", 2_000_000
        code = ("import os, sys; import pyarrow as pa; from pipeline.engine.store import Store\n"
                "from pipeline.engine.place import local; from tests.storage.test_faults import heavy\n"
                "heavy(Store(local('s3://art/toys')))")
        upload = subprocess.Popen([sys.executable, "-c", code])
        wait_for(lambda: between.sent > 1_000_000)
        upload.kill()
        assert upload.wait() < 0
        assert between.sent < 8_000_000
    assert s3.names() == []
    assert "<Upload>" not in s3.request("GET", "art?uploads").decode()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.address)
    heavy(store := Store(local("s3://art/toys")))
    assert s3.names() == ["toys/words/heavy.mp4.parquet"]
    assert s3.request("GET", "art/toys/words/heavy.mp4.parquet") == store.path("words", "heavy.mp4").read_bytes()


def heavy(store: Store) -> None:
    """A shard of 8 MB, more than the client would send in one piece by itself."""
    words = [os.urandom(4000).hex() for _ in range(2000)]
    table = pa.table([["heavy.mp4"] * 2000, range(2000), words], schema=SCHEMA)
    store.publish(CONTRACT, "heavy.mp4", table, fingerprint="f" * 32, basis={})


def test_killed_at_any_moment_a_run_goes_on_where_it_was(s3: Server, finished: Finished, tmp_path: Path) -> None:
    world = in_bucket(tmp_path).write(**TEXTS)
    moments, kills = random.Random(2), 0
    while kills < 2:
        run = subprocess.Popen([sys.executable, "-m", "tests.storage.toy_run", str(tmp_path), "s3://art/toys", "0.3"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        wait_for(lambda count=kills: len(world.calls()) > 2 * count)
        time.sleep(moments.uniform(0, 0.5))
        run.kill()
        _, errors = run.communicate()
        # The lease of a process that is dead on this machine is free at once. (A child may miss its parent.)
        assert not re.search("taken|another run|conditional", errors), errors
        wait_for(partial(no_member, run.pid), seconds=20)
        kills += 1
    assert "<Upload>" not in s3.request("GET", "art?uploads").decode()
    world.run()
    assert tables(world.store) == tables(finished.here.store)
    assert ".lock" not in " ".join(s3.names())
    assert world.leftovers() == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    monkeypatch.setattr(lease, "STILL_S", 1.0)


def objects() -> Objects:
    return Objects(Url.parse("s3://art/toys"))


def test_only_one_run_at_a_time_on_a_bucket(s3: Server, quick: None, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with exclusive(local("s3://art/toys")):
        monkeypatch.setenv("DBVAD_MIRROR", str(tmp_path / "another machine"))
        with pytest.raises(Busy, match=f"another run \\(process {os.getpid()} on .*\\) is at work on s3://art/toys"):
            exclusive(local("s3://art/toys")).__enter__()
    assert s3.names() == []
    with exclusive(local("s3://art/toys")):
        pass
    assert "watching for 1 s whether that still lives" in capsys.readouterr().err


def test_a_lease_that_stands_still_is_taken_over_and_its_holder_ends(s3: Server, quick: None,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    with lease.lease(objects()):
        s3.request("PUT", "art/toys/.lock/whole", b'{"machine": "other", "process": 7, "run": "x"}')
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)
    assert "taken over by process 7 on other" in capsys.readouterr().err
    assert s3.names() == ["toys/.lock/whole"]
    with lease.lease(objects()):  # that one is never renewed
        assert b'"other"' not in s3.request("GET", "art/toys/.lock/whole")
    assert s3.names() == []


def test_a_store_without_conditions_is_told(s3: Server, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    def put(*arguments: object) -> None:
        raise NoConditions

    monkeypatch.setattr(Objects, "put", put)
    with lease.lease(objects()):
        pass
    assert "knows no conditional PUT" in capsys.readouterr().err


def test_shards_of_one_count_run_side_by_side_and_others_give_way(s3: Server, quick: None) -> None:
    parts = [Shard(1, 3), Shard(2, 3), Shard(1, 4), None]
    outcomes = []
    with lease.lease(objects(), "3-of-3"):
        for part in parts:
            try:
                with lease.lease(objects(), part.name if part else WHOLE):
                    outcomes.append("held")
            except Busy as error:
                outcomes.append(f"another run (process {os.getpid()} on" in str(error))
    assert outcomes == ["held", "held", True, True]
    assert s3.names() == []


@pytest.mark.parametrize("arguments", [
    ["train", "--out", "s3://art/run"], ["train", "--out=s3://art/run"], ["report", "s3://art/run"],
    ["detect", "s3://art/a.mp4"], ["evaluate", "run", "-a", "s3://art/a", "--annotations", "s3://art/events.csv"]])
def test_a_url_where_a_path_is_wanted_makes_no_folder_of_it(arguments: list[str], tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 1
    assert "a URL of a store goes to --artifacts" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["detect", "a.mp4"], ["calibrate", "a.mp4"], ["events", "true", "x"]])
def test_commands_that_keep_more_than_shards_want_a_folder(arguments: list[str], capsys: pytest.CaptureFixture[str],
                                                           ) -> None:
    assert call(*arguments, "--artifacts", "s3://art/toys") == 1
    assert "name a local folder" in " ".join(capsys.readouterr().err.replace("│", " ").split())
