"""Which units a run carries out, in what order, and when it gives a whole stage up."""

import errno
from collections import Counter
from multiprocessing import parent_process
from typing import Any

import pytest

from pipeline.engine import runner
from pipeline.engine.isolate import Child
from tests.damage import flip_column
from tests.engine.toys import Toy
from tests.engine.world import World

LETTERS = "abcdefghijkl"


def test_the_second_run_starts_nothing(finished: World) -> None:
    finished.begun()
    logs = list((finished.store.root / "runs").iterdir())
    outcome = finished.run()
    assert finished.begun() == {}
    assert not outcome.counts
    assert list((finished.store.root / "runs").iterdir()) == logs


def test_only_stale_units_are_redone(finished: World) -> None:
    finished.begun()
    stages = finished.chain()
    stages[2].params = {"step": 8}
    finished.run(stages)
    assert finished.begun() == {("count", video): 1 for video in "abc"}
    assert finished.states(stages) == {}


def test_a_torn_shard_is_made_anew(finished: World) -> None:
    before = finished.rows()
    path = finished.store.path("upper", "b.txt")
    path.write_bytes(path.read_bytes()[:200])
    finished.begun()
    finished.run()
    assert finished.begun() == {("upper", "b"): 1}
    assert finished.rows() == before


def test_force_and_limit_redo_the_first_videos_of_the_stages_asked_for(finished: World) -> None:
    finished.begun()
    finished.run(only=["upper"], force=True, limit=2)
    assert finished.begun() == {("upper", "a"): 1, ("upper", "b"): 1}


def test_a_stage_is_blocked_where_the_one_above_was_not_asked_for(world: World) -> None:
    outcome = world.write(a="one").run(only=["upper"])
    assert world.begun() == {}
    assert outcome.counts == {("upper", "blocked"): 1}


def test_neighbours_overlap_and_stages_two_apart_do_not(world: World) -> None:
    outcome = world.write(a="one", b="words!until-upper words!slow").run()
    assert outcome.counts["count", "done"] == 2
    order = [(event, stage, video) for event, stage, video, _, _ in world.calls()]
    assert order.index(("ended", "upper", "a")) < order.index(("ended", "words", "b"))
    assert order.index(("begun", "count", "a")) > order.index(("ended", "words", "b"))


def test_workers_are_processes_and_concurrency_is_threads(world: World) -> None:
    world.write(**dict.fromkeys(LETTERS, "one"))
    stages = world.chain(seconds=0.1)[:2]
    stages[0].workers, stages[1].concurrency = 2, 4
    world.run(stages)
    running, most = 0, 0
    processes: dict[str, set[int]] = {}
    for event, stage, _, _, process in world.calls():
        processes.setdefault(stage, set()).add(process)
        if stage == "upper":
            running += 1 if event == "begun" else -1
            most = max(most, running)
    assert {stage: len(ids) for stage, ids in processes.items()} == {"words": 2, "upper": 1}
    assert 1 < most <= 4


def test_a_crash_among_videos_in_flight_costs_the_guilty_one_only(world: World) -> None:
    world.write(**dict.fromkeys(LETTERS, "one"), guilty="upper!abort")
    stages = world.chain()[:2]
    stages[1].concurrency, stages[1].seconds = 8, 0.1
    outcome = world.run(stages)
    assert outcome.counts == {("words", "done"): 13, ("upper", "done"): 12, ("upper", "quarantined"): 1}
    assert world.failure("upper", "guilty")["kind"] == "crash"
    begun = Counter({video: n for (stage, video), n in world.begun().items() if stage == "upper"})
    again = {video for video, n in begun.items() if n > 1}
    assert len(again) <= 8  # what was in flight, each alone
    assert "guilty" in again
    assert max((begun - Counter(guilty=1)).values()) == 2  # and the guilty one once more, with caution


def test_a_crash_that_no_video_causes_costs_none(world: World) -> None:
    world.write(**dict.fromkeys(LETTERS[:4], "one upper!once-killed"))
    stages = world.chain()[:2]
    stages[1].concurrency = 4
    assert world.run(stages).counts["upper", "done"] == 4


def test_a_hang_among_videos_in_flight_costs_the_hanging_one_only(world: World) -> None:
    world.write(**dict.fromkeys(LETTERS[:6], "one"), stuck="upper!native-hang")
    stages = world.chain()[:2]
    stages[1].concurrency, stages[1].timeout_s = 3, 1.5  # the hang keeps the others from saying that they are done
    outcome = world.run(stages)
    assert outcome.counts["upper", "done"] == 6
    assert world.failure("upper", "stuck")["kind"] == "timeout"


@pytest.mark.parametrize(("opening", "message"), [
    ("server-gone", "the server is gone: start it again"),
    ("error", "ValueError: a fault nobody foresaw"),
    ("abort", "the upper process ended (killed by SIGABRT) while starting; it printed:\nfree(): invalid pointer"),
    ("balloon", "raise upper.memory_mb in stages.yaml"),
])
def test_a_stage_that_cannot_start_stops_the_run_and_blames_no_video(world: World, opening: str, message: str) -> None:
    world.write(a="one", b="two")
    stages = world.chain()
    stages[1].opening, stages[1].memory_mb = opening, 300
    outcome = world.run(stages)
    assert message in outcome.stage_errors["upper"]
    assert f"upper cannot go on: {outcome.stage_errors['upper']}" in world.output
    assert outcome.count("quarantined") == 0
    assert {stage for stage, _ in world.states()} == {"upper", "count"}


def test_a_stage_that_breaks_on_the_way_loses_nothing(world: World) -> None:
    world.write(a="one", b="upper!once-server-gone", c="three")
    outcome = world.run()
    assert outcome.stage_errors == {"upper": "the server is gone: start it again"}
    assert world.run().count("quarantined") == 0
    assert world.states() == {}


class Upgraded(Toy):
    """Another version of what it works with lies on its children's machine, or came there after the plan was made."""

    def identity(self) -> dict[str, Any]:
        return {"library": {"toys": "1.0" if parent_process() is None else "1.1"}}


def test_a_child_with_other_versions_than_the_plan_makes_nothing(world: World) -> None:
    stages: list[Toy] = [Upgraded("words", calls=world.calls_file)]
    outcome = world.write(a="one").run(stages)
    assert outcome.stage_errors["words"].startswith(
        "the code or a library here is not what the run was planned with (library.toys '1.0' -> '1.1')")
    assert world.begun() == {}
    assert world.rows() == {}


def test_a_full_disk_stops_the_stage_and_quarantines_nothing(world: World) -> None:
    outcome = world.write(a="one upper!disk-full").run()
    assert outcome.stage_errors == {"upper": f"[Errno {errno.ENOSPC}] No space left on device"}
    assert outcome.count("quarantined") == 0


def test_a_quarantine_that_cannot_be_written_stops_the_stage(world: World) -> None:
    in_the_way = world.write(a="words!bad").store.root / "quarantine" / "words"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    outcome = world.run()
    assert "cannot write below" in outcome.stage_errors["words"]
    assert outcome.counts["words", "failed"] == 1


def test_keep_going_does_what_the_other_stages_can(world: World) -> None:
    world.write(a="one", b="upper!once-server-gone", c="three")
    stages = [*world.chain(), Toy("side", ("words",), calls=world.calls_file)]
    outcome = world.run(stages, keep_going=True)
    assert outcome.counts["upper", "done"] + outcome.counts["upper", "failed"] == 3
    assert outcome.counts["count", "blocked"] == outcome.counts["upper", "failed"] > 0
    assert outcome.counts["side", "done"] == 3


def test_the_same_unforeseen_fault_over_and_over_is_the_stages(world: World) -> None:
    names = [f"v{number:02}" for number in range(runner.ALIKE + 5)]
    world.write(**dict.fromkeys(names, "upper!error"))
    outcome = world.run()
    assert f"{runner.ALIKE} videos in a row failed, the last with error: ValueError" in outcome.stage_errors["upper"]
    assert outcome.counts["upper", "quarantined"] == runner.ALIKE


def test_bad_videos_in_any_number_do_not_stop_a_stage(world: World) -> None:
    names = [f"v{number:02}" for number in range(runner.ALIKE + 5)]
    outcome = world.write(**dict.fromkeys(names, "upper!bad")).run()
    assert not outcome.stage_errors
    assert outcome.counts["upper", "quarantined"] == len(names)


def test_a_stage_may_tell_of_a_slow_start(world: World) -> None:
    stages = world.write(a="one").chain()
    stages[0].opening = "note"
    world.run(stages)
    assert "words: the model loads slowly" in world.output


def test_a_child_that_loads_its_model_is_given_one_video_only(world: World) -> None:
    """It empties no pipe: more of them would hold the parent up."""
    plan = world.write(a="one", b="two").plan()
    child = Child(Toy("words", opening="slow", concurrency=9), world.store, world.root / "log")
    child.send(plan["words", "a.txt"])
    assert child.free == 0
    while not child.ready:
        assert child.hear().loss is None
    assert child.free == 8
    child.send(plan["words", "b.txt"])
    child.stop()
    child.process.join()
    loss = child.hear().loss
    assert loss is not None
    assert loss.reason == "the words process ended (exit code 0)"
    assert set(world.store.videos("words")) == {"a.txt", "b.txt"}


def test_a_damaged_shard_above_is_met_by_the_stage_that_reads_it_and_its_remedy_mends_it(world: World) -> None:
    world.write(**{"a[1]": "one two", "b": "three"}).run()
    path = world.store.path("words", "a[1].txt")
    flip_column(path, "word")
    chain = world.chain()
    chain[1].params = {"mark": "anew"}
    world.run(chain)
    row = world.store.quarantined("upper", "a[1].txt")
    assert row is not None
    assert row["kind"] == "damaged"
    assert str(path) in row["reason"]
    assert "dbvad pipeline run words upper --video 'a[1].txt' --force" in row["remedy"]
    assert world.states(chain) == {("upper", "a[1]"): f"quarantined: damaged: {row['reason']}",
                                   ("count", "a[1]"): f"blocked: upper has this video in quarantine (damaged: "
                                                      f"{row['reason']})"}
    world.run(chain, force=True, only=("words", "upper"))
    world.run(chain)
    assert world.states(chain) == {}
