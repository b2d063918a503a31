"""Every fault a video can cause, all in one run: each costs its own video and nothing else."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.engine.toys import Toy
from tests.engine.world import World

GOOD = ("good 1", "good 2")
# name of the fault, which is that of its video -> kind and reason in quarantine
FAULTS = {
    "bad": ("blank", "no word in it"),
    "error": ("error", "ValueError: a fault nobody foresaw"),
    "exit": ("error", "SystemExit: 5"),
    "odd-name": ("error", r"ValueError: a\\udcffb is no name"),
    "panic": ("error", "LibraryPanic: index out of bounds"),
    "unordered": ("contract", r"upper: rows must rise by \('position',\), but row 1 .*"),
    "abort": ("crash", r"the upper process ended \(killed by SIGABRT\)"),
    "killed": ("crash", r"the upper process ended \(killed by SIGKILL\)"),
    "hang": ("timeout", "no end after 5 s"),
    "native-hang": ("timeout", "no end after 5 s"),
    "stopped": ("timeout", "no end after 5 s"),
    "balloon": ("memory", r"\d+ MB of memory, the bound is 300 MB"),
}


def stages(world: World) -> list[Toy]:
    chain = world.chain()
    chain[1].workers, chain[1].timeout_s, chain[1].memory_mb = 3, 5.0, 300
    return chain


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("ill"))
    world.write(**dict.fromkeys(GOOD, "all is well"), **{fault: f"one upper!{fault} two" for fault in FAULTS},
                early="words!bad")
    world.run(stages(world))
    return world


@pytest.fixture
def ill(ward: World, tmp_path: Path) -> World:
    """The folder after that run; a copy, as tests change it."""
    shutil.copytree(ward.root, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("calls"))
    return World(tmp_path, output=ward.output)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_puts_its_video_into_quarantine(ward: World, fault: str) -> None:
    kind, reason = FAULTS[fault]
    row = ward.failure("upper", fault)
    assert row["kind"] == kind
    assert re.fullmatch(reason, row["reason"], re.DOTALL), row["reason"]
    assert row["remedy"]
    assert row["attempts"] == 1
    assert row["fingerprint"] == ward.plan(stages(ward))["upper", f"{fault}.txt"].fingerprint


def test_a_video_that_its_process_died_of_is_tried_once_more_with_caution(tmp_path: Path) -> None:
    world = World(tmp_path).write(good="one", careless="one upper!careless two", killed="upper!killed")
    outcome = world.run(stages(world))
    assert {video: n for (stage, video), n in world.begun().items() if stage == "upper"} == {
        "good": 1, "careless": 2, "killed": 2}
    assert outcome.counts["upper", "quarantined"] == 1
    metas = {video: world.store.footer("upper", f"{video}.txt").meta["cautious"] for video in ("good", "careless")}
    assert metas == {"good": False, "careless": True}
    assert "careless.txt: the upper process ended (killed by SIGKILL); it is tried once more" in world.output
    fingerprint = world.plan(stages(world))["upper", "careless.txt"].fingerprint
    assert world.store.is_current("upper", "careless.txt", fingerprint)


def test_good_videos_go_through(ward: World) -> None:
    for video in GOOD:
        assert ward.store.read("count", f"{video}.txt")["word"].to_pylist() == ["all'", "is'", "well'"]
        assert not ward.failure("upper", video)


def test_units_are_counted_by_how_they_ended(ward: World) -> None:
    assert not ward.outcome.stage_errors
    assert ward.outcome.counts == {("words", "done"): len(FAULTS) + 2, ("words", "quarantined"): 1,
                                   ("upper", "done"): 2, ("upper", "quarantined"): len(FAULTS), ("upper", "blocked"): 1,
                                   ("count", "done"): 2, ("count", "blocked"): len(FAULTS) + 1}


def test_what_depends_on_a_bad_video_is_blocked(ward: World) -> None:
    states = ward.states(stages(ward))
    assert states["count", "bad"] == "blocked: upper has this video in quarantine (blank: no word in it)"
    assert states["count", "early"] == "blocked: words has this video in quarantine (blank: no word in it)"


def test_the_traceback_tells_where_python_failed_and_what_a_crashed_process_printed(ward: World) -> None:
    assert "misbehave" in ward.failure("upper", "error")["traceback"]
    assert "free(): invalid pointer" in ward.failure("upper", "abort")["traceback"]


def test_no_temporary_file_is_left(ward: World) -> None:
    assert ward.leftovers() == []


def test_the_user_sees_each_fault_with_its_remedy(ward: World) -> None:
    assert "quarantined upper bad.txt: blank: no word in it\n            write a word into it\n" in ward.output
    assert "upper: 15/15, 12 quarantined, 0:" in ward.output
    assert "raise upper.timeout_s in stages.yaml" in ward.output
    assert "raise upper.memory_mb in stages.yaml" in ward.output


def test_the_log_has_one_line_for_each_unit(ward: World) -> None:
    (log,) = (ward.store.root / "runs").glob("*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["run_begun", "run_ended"]
    assert events[0]["totals"] == {"words": 15, "upper": 15, "count": 15}
    assert events[-1]["error"] is None
    units = [event for event in events if event["event"] == "unit"]
    assert len(units) == len({(unit["stage"], unit["video_id"]) for unit in units}) == 45
    done = next(unit for unit in units if (unit["stage"], unit["video_id"]) == ("upper", "good 1.txt"))
    assert (done["outcome"], done["rows"], done["reason"]) == ("done", 3, "")
    blocked = next(unit for unit in units if (unit["stage"], unit["video_id"]) == ("count", "bad.txt"))
    assert (blocked["outcome"], blocked["reason"]) == ("blocked", "upper quarantined: blank: no word in it")
    far = next(unit for unit in units if (unit["stage"], unit["video_id"]) == ("count", "early.txt"))
    assert (far["outcome"], far["reason"]) == ("blocked", "words quarantined: blank: no word in it")


def test_the_next_run_leaves_quarantined_videos_alone(ill: World) -> None:
    outcome = ill.run(stages(ill))
    assert ill.begun() == {}
    assert (len(outcome.quarantined), outcome.count("quarantined")) == (len(FAULTS) + 1, 0)


def test_retry_failed_tries_again_and_counts_the_attempts(ill: World) -> None:
    for fault in set(FAULTS) - {"bad", "killed"}:
        os.unlink(ill.videos / f"{fault}.txt")
    outcome = ill.run(stages(ill), retry_failed=True)
    assert ill.begun() == {("words", "early"): 1, ("upper", "bad"): 1, ("upper", "killed"): 2}
    assert [ill.failure(stage, video)["attempts"] for stage, video in
            (("words", "early"), ("upper", "bad"), ("upper", "killed"))] == [2, 2, 2]
    assert outcome.quarantined == {"early.txt", "bad.txt", "killed.txt"}
    assert outcome.count("quarantined") == 3


def test_a_mended_video_leaves_quarantine(ill: World) -> None:
    ill.write(bad="now it is well")
    ill.run(stages(ill))
    assert ill.begun() == {("words", "bad"): 1, ("upper", "bad"): 1, ("count", "bad"): 1}
    assert not ill.failure("upper", "bad")
    assert ("count", "bad") not in ill.states(stages(ill))


def test_a_video_published_by_an_interrupted_run_leaves_quarantine_at_the_next(ill: World) -> None:
    unit = ill.plan(stages(ill))["upper", "bad.txt"]
    ill.store.publish(stages(ill)[1].contract, "bad.txt", [], fingerprint=unit.fingerprint, basis=unit.basis)
    ill.run(stages(ill))
    assert not ill.failure("upper", "bad")
    assert ill.failure("upper", "error")


def test_a_video_that_two_stages_refuse_is_one_video_in_quarantine(world: World) -> None:
    roots = [Toy("words"), Toy("upper")]
    outcome = world.write(ill="words!bad upper!bad").run(roots)
    assert (outcome.quarantined, outcome.count("quarantined")) == ({"ill.txt"}, 2)
    assert world.run(roots).quarantined == {"ill.txt"}
