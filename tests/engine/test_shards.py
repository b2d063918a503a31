"""`--shard I/N`: runs side by side on one folder, each with its own videos, that leave what one run would have left."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.lock import Busy, Shard, at_work, exclusive
from tests.engine.world import World

TEXTS = {letter: f"one {letter}" for letter in "abcdefghij"} | {"x": "words!bad", "y": "upper!error"}


@given(st.text(max_size=20), st.integers(1, 50))
def test_every_video_is_in_exactly_one_part(video_id: str, count: int) -> None:
    assert sum(Shard(number, count).holds(video_id) for number in range(1, count + 1)) == 1


def test_the_parts_are_the_same_on_every_machine() -> None:
    assert [i for i in range(20) if Shard.parse("2/3").holds(f"v{i}.mp4")] == [3, 8, 12, 16, 19]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/2", "a/b", "1/2/3", " 1/2", "1/9999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard: write NUMBER/COUNT"):
        Shard.parse(text)


def test_parts_side_by_side_leave_what_one_run_leaves(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = World(tmp_path_factory.mktemp("whole")).write(**TEXTS)
    whole.run()
    world.write(**TEXTS)
    parts = [World(world.root) for _ in range(3)]
    runs = [threading.Thread(target=part.run, kwargs={"shard": Shard(number, 3)})
            for number, part in enumerate(parts, 1)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert world.rows() == whole.rows()
    assert world.leftovers() == []
    assert max(world.begun().values()) == 1
    assert sum(part.outcome.count("done") for part in parts) == 3 * 10 + 1
    assert {name for part in parts for name in part.outcome.quarantined} == {"x.txt", "y.txt"}
    assert len(list((world.store.root / "runs").glob("*.jsonl"))) == 3


def test_a_part_sweeps_nothing_that_another_may_be_writing(finished: World) -> None:
    other = finished.store.root / "words" / ".z.txt.parquet.tmp-1-1"
    other.touch()
    finished.run(force=True, shard=Shard(1, 2))
    assert finished.leftovers() == [other.name]


def test_only_parts_of_one_count_are_at_work_at_a_time(tmp_path: Path) -> None:
    with at_work(tmp_path, Shard(1, 3)), at_work(tmp_path, Shard(2, 3)):
        for shard, holder in ((Shard(2, 3), "shard 2 of 3, process"), (Shard(1, 2), "of shards of 3"),
                              (None, "of some shards")):
            with pytest.raises(Busy, match=f"another run \\({holder}"), at_work(tmp_path, shard):
                pass
        with at_work(tmp_path, Shard(3, 3)):
            pass
    with exclusive(tmp_path), pytest.raises(Busy, match="another run \\(process"), at_work(tmp_path, Shard(1, 3)):
        pass
    with at_work(tmp_path, Shard(1, 2)), at_work(tmp_path, Shard(2, 2)):
        pass
