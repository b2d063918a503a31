"""The describe stage on a faulty server: each video ends as described or in quarantine, none is asked for twice."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.engine.store import Store
from pipeline.instruments.vlm import Answer, Engine, Request
from pipeline.instruments.vlm.supervise import family
from pipeline.stages.describe import _ask
from tests.vlm.describe_world import describe, video
from tests.vlm.fakes import Fake, alive, token_in


def test_every_video_ends_as_described_or_in_quarantine(fake: Fake, tmp_path: Path) -> None:
    faults = {3: "kill", 7: "500", 9: "400*9", 11: "cut", 14: "worker", 16: "html"}
    sources = [video(f"v{i:02}.mp4", f"event {i:02} fault={faults[i]}" if i in faults else f"event {i:02}")
               for i in range(20)]
    sources += [video("normal.mp4"), video("test.mp4", "event", split="test")]
    outcome = describe(tmp_path / "artifacts", fake.options({"FAKE_LATENCY": "0.02"}), sources)
    store = Store(tmp_path / "artifacts")
    assert not outcome.stage_errors
    described = store.videos("describe")
    assert set(described) == {source.video_id for source in sources} - {"v09.mp4"}
    quarantined = store.quarantined("describe", "v09.mp4")
    assert quarantined is not None
    assert quarantined["kind"] == "rejected"
    assert "fault 400" in quarantined["reason"]
    for source in sources:
        rows = [] if source.video_id == "v09.mp4" else store.read("describe", source.video_id).to_pylist()
        if source.facts["split"] == "test":
            assert rows == []
        for row in rows:
            assert row["text"].startswith("2 images: What happens?")
            assert all(label in row["text"] for label in source.facts["labels"])
            assert row["flags"] == []
    assert fake.counts("starts")["start"] >= 2
    assert not list((tmp_path / "artifacts" / "servers").glob("*.json"))


def test_an_answer_that_did_not_finish_is_asked_for_again_and_flagged_if_it_stays_so(fake: Fake,
                                                                                     tmp_path: Path) -> None:
    ends = ["abort", "error*2", "null*2", "length*2", "eos_token", "EOS"]
    sources = [video(f"v{i}.mp4", f"event ends={reason}") for i, reason in enumerate(ends)]
    describe(tmp_path, fake.options(), sources)
    rows = [Store(tmp_path).read("describe", source.video_id).to_pylist()[0] for source in sources]
    assert [(row["finish_reason"], row["flags"]) for row in rows] == [
        ("stop", ["asked_twice"]), ("error", ["unfinished", "asked_twice"]), ("null", ["unfinished", "asked_twice"]),
        ("length", ["truncated", "asked_twice"]), ("stop", []), ("stop", [])]


LOOPING, REFUSING, CUT, WHOLE = "He runs runs runs.", "I'm sorry.", "Two men push each", "Two men push a third."


@pytest.mark.parametrize(("first", "second", "kept", "flags"), [
    ((CUT, "abort"), (WHOLE, "stop"), WHOLE, []),
    ((CUT, "abort"), (LOOPING, "stop"), LOOPING, ["repeated"]),
    ((CUT, "length"), (REFUSING, "stop"), CUT, ["truncated"]),
    ((CUT, "length"), ("", "stop"), CUT, ["truncated"]),
    (("", "stop"), (CUT, "abort"), CUT, ["unfinished"]),
    ((LOOPING, "stop"), (CUT, "abort"), LOOPING, ["repeated"]),
    ((LOOPING, "length"), (CUT, "abort"), CUT, ["unfinished"]),
    ((CUT, "abort"), (CUT + " other", "error"), CUT, ["unfinished"]),
])
def test_the_better_of_two_answers_is_kept(first: tuple[str, str], second: tuple[str, str], kept: str,
                                           flags: list[str]) -> None:
    answers = iter([first, second])
    engine = SimpleNamespace(describe=lambda _: Answer(*next(answers), 0, 0, 0.0))
    answer, found = _ask(cast(Engine, engine), Request((b"",), "What happens?"))
    assert (answer.text, found) == (kept, [*flags, "asked_twice"])


def test_after_a_kill_half_way_the_server_is_asked_for_the_missing_half_only(fake: Fake, tmp_path: Path) -> None:
    folder, count = tmp_path / "artifacts", 24
    command = [sys.executable, "-m", "tests.vlm.describe_world", str(folder),
               fake.options({"FAKE_LATENCY": "0.15"}).model_dump_json(), str(count)]
    first = subprocess.Popen(command, start_new_session=True)
    store = Store(folder)
    deadline = time.monotonic() + 120
    while len(store.shards("describe")) < count // 2 and time.monotonic() < deadline:
        assert first.poll() is None
        time.sleep(0.02)
    token = token_in(folder / "servers")
    assert family(token)
    first.kill()
    first.wait()
    assert not alive(token, within_s=60)
    done, asked = len(store.videos("describe")), fake.counts("seen").total()
    assert count // 2 <= done < count
    subprocess.run(command, check=True)
    assert len(store.videos("describe")) == count
    assert fake.counts("seen").total() - asked == count - done
