"""What a run's log tells of its bound: on logs made up to have one, and on a real run."""

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.engine.lines import whole_lines
from pipeline.engine.profile import NoProfile, profile
from tests.engine.world import World

Line = dict[str, Any]


def log(*units: tuple[str, str, float, float, float], cores: int = 4, end: float, **slots: int) -> Iterator[Line]:
    """`units`: (stage, video, start, end, CPU seconds)."""
    names = list(slots)
    yield {"at": 100.0, "event": "run_begun", "cores": cores, "slots": slots,
           "inputs": {name: names[:place][-1:] for place, name in enumerate(names)}}
    for stage in names:
        yield {"at": 100.0, "event": "opened", "stage": stage, "seconds": 0.5, "cpu_s": 0.25}
    for stage, video, start, stop, cpu_s in sorted(units, key=lambda unit: unit[3]):
        yield {"at": 100.0 + stop, "event": "unit", "stage": stage, "video_id": video, "outcome": "done",
               "seconds": stop - start, "cpu_s": cpu_s}
    yield {"at": 100.0 + end, "event": "run_ended"}


def test_the_arithmetic_of_a_run_by_hand() -> None:
    found = profile(log(("decode", "a", 0, 10, 9), ("decode", "b", 0, 4, 4), ("score", "b", 6, 8, 1),
                        ("score", "a", 10, 16, 2), end=16, decode=2, score=1))
    decode, score = found.stages
    assert (found.seconds, found.cores) == (16, 4)
    assert (decode.units, decode.busy, decode.active, decode.least) == (2, 14, 10, 7)
    assert decode.idle == pytest.approx(0.3)
    assert (decode.waited, score.waited) == (0, 1), "b waited 2 s for its worker, a none"
    assert (decode.cpu, decode.opening, decode.longest) == (13.25, 0.5, ("a", 10))
    assert decode.tail == 0, "one of two is half"
    assert found.cpu_share == pytest.approx((13.25 + 3.25) / 64)
    assert list(found.bounds.items()) == [("score", 8), ("decode", 7), ("processors", 16.5 / 4)]


def test_a_stage_that_waits_wants_more_workers() -> None:
    units = [("score", f"{n}", 10 * n, 10 * n + 10, 0.5) for n in range(9)]
    assert profile(log(*units, end=90, score=1)).advice[0].startswith(
        "score is the bound, and waits more than it computes (0.1 cores a video: for a disk, a GPU or a server): raise "
        "score.workers")


def test_a_stage_that_computes_wants_the_cores_that_are_left() -> None:
    units = [("decode", f"{n}", 10 * n, 10 * n + 10, 10) for n in range(9)]
    assert profile(log(*units, end=90, decode=1)).advice == [
        "decode is the bound and leaves cores idle: set decode.workers to 3"]
    assert profile(log(*units, end=90, decode=1, cores=1)).advice[0].startswith(
        "the processors are the bound (100% busy)")


def test_workers_that_wait_for_the_stage_before_are_too_many() -> None:
    units = [("decode", f"{n}", 10 * n, 10 * n + 10, 1) for n in range(9)]
    units += [("score", f"{n}", 10 * n + 10, 10 * n + 12, 1) for n in range(9)]
    said = profile(log(*units, end=92, decode=1, score=3)).advice
    assert "score: its workers were idle 93% of the time, waiting for the stage before it: fewer would do" in said


def test_one_long_video_at_the_end_is_named() -> None:
    units = [("decode", f"{n}", 0, 10, 1) for n in range(3)] + [("decode", "long.mp4", 0, 60, 1)]
    assert ("decode: in its last 50 s most workers had nothing left to do; the longest video took 60 s (long.mp4)"
            in profile(log(*units, end=60, decode=4)).advice)


@pytest.mark.parametrize(("lines", "said"), [
    ([], "older version"), ([{"at": 1.0, "event": "run_begun", "totals": {}}], "older version"),
    (list(log(end=3, decode=1)), "no video was worked on"),
])
def test_a_log_that_says_too_little(lines: list[Line], said: str) -> None:
    with pytest.raises(NoProfile, match=said):
        profile(lines)


def test_a_real_run_notes_what_its_profile_needs(world: World) -> None:
    world.write(a="one", b="two", c="upper!bad")
    world.run(world.chain(seconds=0.2))
    (written,) = (world.store.root / "runs").glob("*.jsonl")
    found = profile(whole_lines(written))
    assert [(stage.name, stage.units, stage.slots) for stage in found.stages] == [
        ("words", 3, 1), ("upper", 3, 1), ("count", 2, 1)]
    for stage in found.stages:
        assert 0.2 * stage.units <= stage.busy <= stage.active <= found.seconds
        assert 0 < stage.cpu < found.seconds * 4
        assert stage.opening >= 0
        assert 0 <= stage.idle < 1
    assert found.cores >= 1
    assert next(iter(found.bounds.values())) <= found.seconds
