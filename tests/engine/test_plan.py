"""What is done, what is not, and for what reason. No process is started here but by the shared run."""

import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.plan import changes, make_plan
from pipeline.engine.todo import Options, limited, todo
from tests.damage import flip
from tests.engine.toys import Toy
from tests.engine.world import World

ALL = ("words", "upper", "count")
NO_END = "the shard cannot be used: its end is not that of a Parquet file: it is torn, damaged, or another file"
UNSEALED = ("the shard cannot be used: its footer is damaged, or it was made by a version of dbvad that did not seal "
            "its files")


def changed(world: World, stage: str, **change: object) -> list[Toy]:
    """The chain with attributes of one stage changed."""
    stages = world.chain()
    for name, value in change.items():
        setattr(next(toy for toy in stages if toy.name == stage), name, value)
    return stages


def jobs(world: World, only: tuple[str, ...] = ALL, stages: list[Toy] | None = None, **options: bool,
         ) -> tuple[list[str], list[str]]:
    """"stage video" of what a run would do, and "stage video: obstacle" of what it would but cannot."""
    units, blocked = todo(world.plan(stages), Options(only, **options))
    return ([f"{unit.stage} {unit.video_id}" for unit in units],
            [f"{unit.stage} {unit.video_id}: {reason}" for unit, reason in blocked])


def test_without_artifacts_everything_is_missing(world: World) -> None:
    world.write(a="one")
    assert world.states() == {(stage, "a"): "missing: no shard yet" for stage in ALL}


def test_after_a_run_everything_is_done(finished: World) -> None:
    assert finished.states() == {}
    assert {unit.reason for unit in finished.plan().values()} == {"up to date"}


def test_a_changed_parameter_is_named_and_makes_what_is_below_stale(finished: World) -> None:
    stages = changed(finished, "upper", params={"mark": "?"})
    assert finished.states(stages) == {
        ("upper", video): """stale: mark "'" -> '?'""" for video in "abc"} | {
        ("count", video): "stale: upper changed" for video in "abc"}


def test_the_last_stage_changes_alone(finished: World) -> None:
    stages = changed(finished, "count", params={"step": 8})
    assert finished.states(stages) == {("count", video): "stale: step 16 -> 8" for video in "abc"}


@pytest.mark.parametrize(("change", "reason"), [
    ({"version": 2}, "stale: count version 1 -> 2"),
    ({"params": {}}, "stale: step 16 -> None"),
    ({"params": {"step": 16, "model": {"name": "x"}}}, "stale: model None -> {'name': 'x'}"),
])
def test_reasons_of_one_stage(finished: World, change: dict[str, object], reason: str) -> None:
    assert finished.states(changed(finished, "count", **change))["count", "a"] == reason


def test_changed_content_makes_all_stages_of_that_video_stale(finished: World) -> None:
    finished.write(b="something else")
    assert finished.states() == {("words", "b"): "stale: the video's content changed",
                                 ("upper", "b"): "stale: the video's content changed",
                                 ("count", "b"): "stale: upper changed"}


def test_a_changed_label_redoes_only_the_stage_that_reads_it(finished: World) -> None:
    finished.labels = {"a": "fight"}
    assert finished.states() == {("count", "a"): "stale: label 'none' -> 'fight'"}


def test_a_touched_file_is_the_same_file(finished: World) -> None:
    os.utime(finished.videos / "a.txt", (time.time() + 99, time.time() + 99))
    assert finished.states() == {}


def test_a_moved_folder_is_the_same_dataset(finished: World) -> None:
    finished.videos = finished.videos.rename(finished.root / "elsewhere")
    assert finished.states() == {}


@pytest.mark.parametrize("change", [{"workers": 7}, {"concurrency": 9}, {"timeout_s": 1.0}, {"memory_mb": 1}])
def test_how_a_stage_runs_is_not_part_of_the_fingerprint(finished: World, change: dict[str, object]) -> None:
    assert finished.states(changed(finished, "upper", **change)) == {}


def test_a_new_video_is_missing_and_a_vanished_one_is_not_asked_for(finished: World) -> None:
    finished.write(d="new")
    (finished.videos / "a.txt").unlink()
    assert {video for _, video in finished.states()} == {"d"}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a shard at all" * 9, b"\xff\xff\xff\x7fPAR1"])
def test_a_file_that_is_no_shard_counts_as_not_done(finished: World, content: bytes) -> None:
    finished.store.path("upper", "a.txt").write_bytes(content)
    reason = "the shard cannot be used: its footer is damaged" if len(content) == 8 else NO_END
    assert finished.states() == {("upper", "a"): f"missing: {reason}"}


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_torn_shard_counts_as_not_done(finished: World, kept: float) -> None:
    path = finished.store.path("upper", "a.txt")
    os.truncate(path, int(path.stat().st_size * kept))
    assert finished.states() == {("upper", "a"): f"missing: {NO_END}"}


def test_foreign_parquet_counts_as_not_done(finished: World) -> None:
    pq.write_table(pa.table({"x": [1]}), finished.store.path("upper", "a.txt"))
    assert finished.states() == {("upper", "a"): f"missing: {UNSEALED}"}


def test_a_shard_of_a_version_that_sealed_nothing_counts_as_not_done(finished: World) -> None:
    path = finished.store.path("upper", "a.txt")
    with pq.ParquetFile(path) as old:
        table, footer = old.read(), old.metadata.metadata
    pq.write_table(table.replace_schema_metadata(footer), path)
    assert b"dbvad" in pq.read_metadata(path).metadata
    assert finished.states() == {("upper", "a"): f"missing: {UNSEALED}"}


@pytest.mark.parametrize("part", ["seal", "footer", "length"])
def test_a_flipped_bit_in_a_footer_is_seen_by_the_plan_and_mended_by_the_run(finished: World, part: str) -> None:
    path = finished.store.path("upper", "a.txt")
    content, before = path.read_bytes(), finished.store.read("upper", "a.txt")
    flip(path, {"seal": content.index(b'[["'), "footer": content.index(b'"fingerprint"'), "length": -8}[part])
    assert finished.states()["upper", "a"].startswith("missing: the shard cannot be used: its footer")
    finished.run()
    assert finished.states() == {}
    assert finished.store.read("upper", "a.txt").equals(before)


def test_a_folder_in_the_place_of_a_shard_counts_as_not_done(finished: World) -> None:
    path = finished.store.path("upper", "a.txt")
    path.unlink()
    path.mkdir()
    assert finished.states() == {("upper", "a"): "missing: the shard cannot be used: Is a directory"}


def test_a_shard_made_under_another_fingerprint_is_stale_even_with_the_same_basis(finished: World) -> None:
    source = finished.plan()["upper", "a.txt"]
    finished.store.publish(finished.chain()[1].contract, "a.txt", finished.store.read("upper", "a.txt"),
                           fingerprint="0" * 32, basis=source.basis)
    assert finished.states() == {("upper", "a"): "stale: made under another fingerprint"}


def test_quarantine_counts_for_its_fingerprint_only(finished: World) -> None:
    unit = finished.plan()["upper", "a.txt"]
    finished.store.path("upper", "a.txt").unlink()
    finished.store.quarantine("upper", "a.txt", fingerprint=unit.fingerprint, kind="empty", reason="no word", remedy="")
    assert finished.states() == {
        ("upper", "a"): "quarantined: empty: no word",
        ("count", "a"): "blocked: upper has this video in quarantine (empty: no word)"}
    finished.write(a="mended")
    assert finished.states()["upper", "a"] == "missing: no shard yet"


def test_a_broken_quarantine_row_is_no_quarantine(finished: World) -> None:
    finished.store.path("upper", "a.txt").unlink()
    path = finished.store.quarantine_path("upper", "a.txt")
    path.parent.mkdir(parents=True)
    for write in (lambda: path.write_bytes(b"torn"), lambda: pq.write_table(pa.table({"x": [1]}), path)):
        write()
        assert finished.states() == {
            ("upper", "a"): "missing: no shard yet; its record in quarantine is damaged, so it is tried again"}


def test_a_missing_shard_above_does_not_redo_what_is_below(finished: World) -> None:
    finished.store.path("words", "a.txt").unlink()
    assert jobs(finished) == (["words a.txt"], [])


def test_todo_takes_the_stages_asked_for_and_says_what_stands_in_their_way(world: World) -> None:
    world.write(a="one")
    assert jobs(world, ("words", "upper")) == (["words a.txt", "upper a.txt"], [])
    reason = "words is missing (no shard yet) and was not asked for: run `dbvad pipeline run words` first"
    assert jobs(world, ("upper",)) == ([], [f"upper a.txt: {reason}"])
    assert jobs(world, ("upper", "count")) == ([], [f"upper a.txt: {reason}", f"count a.txt: {reason}"])


def test_force_redoes_what_is_done(finished: World) -> None:
    assert jobs(finished) == ([], [])
    assert jobs(finished, ("upper",), force=True) == (["upper a.txt", "upper b.txt", "upper c.txt"], [])


def test_retry_failed_takes_quarantined_videos_and_what_they_blocked(finished: World) -> None:
    for stage in ("upper", "count"):
        finished.store.path(stage, "a.txt").unlink()
    unit = finished.plan()["upper", "a.txt"]
    finished.store.quarantine("upper", "a.txt", fingerprint=unit.fingerprint, kind="empty", reason="no word", remedy="")
    assert jobs(finished) == ([], ["count a.txt: upper is quarantined: empty: no word"])
    assert jobs(finished, retry_failed=True) == (["upper a.txt", "count a.txt"], [])
    assert jobs(finished, force=True)[0].count("upper a.txt") == 1


def test_limit_takes_the_first_videos_that_have_work(finished: World) -> None:
    for video in "bc":
        finished.store.path("count", f"{video}.txt").unlink()
    units, _ = todo(finished.plan(), Options(ALL))
    assert [unit.video_id for unit in limited(units, 1)] == ["b.txt"]
    assert [unit.video_id for unit in limited(units, None)] == ["b.txt", "c.txt"]


def test_long_values_are_shortened_but_a_change_is_still_told() -> None:
    old, new = {"params": {"prompt": "x" * 99 + "a", "n": 1}}, {"params": {"prompt": "x" * 99 + "b", "n": 2}}
    assert changes(old, new) == ["n 1 -> 2", "prompt changed"]


def test_the_same_content_twice_is_two_videos(world: World) -> None:
    world.write(a="same", b="same")
    plan = make_plan(world.chain(), world.sources(), world.store)
    assert plan["words", "a.txt"].fingerprint == plan["words", "b.txt"].fingerprint
    assert len(plan) == 6
