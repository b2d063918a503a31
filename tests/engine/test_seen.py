"""What was seen of shards never changes an answer: a plan with notes says what one that reads every footer says."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.engine import seen, stamps
from pipeline.engine.plan import Plan, make_plan
from pipeline.engine.seen import FOLDER
from pipeline.engine.stage import Source
from pipeline.engine.store import Store
from tests.damage import flip
from tests.engine.toys import SCHEMA, Toy, chain

VIDEOS = ["a", "b/c", "b/d", "e" * 300]
TICK_S = 0.02  # more than that of the file system's clock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards settle in a moment."""
    monkeypatch.setattr(seen, "SETTLED_NS", int(TICK_S / 2 * 1e9))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which shards were opened."""
    found: list[tuple[str, str]] = []
    is_current = Store.is_current

    def noted(store: Store, stage: str, video_id: str, fingerprint: str) -> bool:
        found.append((stage, video_id))
        return is_current(store, stage, video_id, fingerprint)

    monkeypatch.setattr(Store, "is_current", noted)
    return found


def plan(store: Store, stages: list[Toy] | None = None, videos: list[str] = VIDEOS, quick: bool = False) -> Plan:
    time.sleep(TICK_S)
    sources = [Source(video_id, Path(video_id), video_id, facts={"label": "none"}) for video_id in videos]
    return make_plan(stages or chain(), sources, store, quick)


def standing(found: Plan) -> list[tuple[str, str, str, str]]:
    return [(*key, unit.fingerprint, f"{unit.state}: {unit.reason}") for key, unit in found.items()]


def unseen(store: Store, stages: list[Toy] | None = None) -> list[tuple[str, str, str, str]]:
    """What a plan says that reads every footer."""
    with suppress(FileNotFoundError):
        (store.root / FOLDER).rename(store.root / "aside")
    found = standing(plan(store, stages))
    shutil.rmtree(store.root / FOLDER, ignore_errors=True)
    with suppress(FileNotFoundError):
        (store.root / "aside").rename(store.root / FOLDER)
    return found


def filled(root: Path) -> Store:
    """Every shard there, and beside each a whole one of another fingerprint that is as long."""
    store, others = Store(root / "artifacts"), Store(root / "others")
    for unit in plan(store).values():
        contract = next(stage.contract for stage in chain() if stage.name == unit.stage)
        for side, print_ in ((store, unit.fingerprint), (others, unit.fingerprint[::-1])):
            side.publish(contract, unit.video_id, SCHEMA.empty_table(), fingerprint=print_, basis=unit.basis)
        one, another = (side.path(unit.stage, unit.video_id) for side in (store, others))
        assert one.stat().st_size == another.stat().st_size
    return store


def other(path: Path) -> Path:
    return Path(str(path).replace("artifacts", "others"))


def in_place(path: Path) -> None:
    """Another shard's bytes, and the time of the change put back: what a careless tool may do."""
    before = path.stat()
    path.write_bytes(other(path).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swapped(path: Path) -> None:
    """Another shard in its place, as old; the two change places when it is done twice."""
    before, aside = path.stat(), path.with_suffix(".aside")
    path.rename(aside)
    other(path).rename(path)
    aside.rename(other(path))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


EDITS: dict[str, Callable[[Path], object]] = {
    "touched": os.utime,
    "made old": lambda path: os.utime(path, (1, 1)),
    "removed": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a bit flipped": lambda path: flip(path, -40),
    "overwritten": in_place,
    "swapped": swapped,
    "copied": lambda path: os.replace(shutil.copy2(path, path.with_suffix(".copy")), path),
    "made anew": lambda path: (path.write_bytes(other(path).read_bytes()), in_place(path)),
}
IN_PLACE = {"cut", "a bit flipped", "overwritten", "made anew"}


def edits(names: set[str]) -> st.SearchStrategy[list[tuple[str, int, bool]]]:
    return st.lists(st.tuples(st.sampled_from(sorted(names)), st.integers(0, 11), st.booleans()), max_size=8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("whole")).root.parent


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits({*EDITS}))
def test_random_edits_are_planned_as_if_nothing_had_been_noted(
        whole: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, bool]]) -> None:
    store = Store(shutil.copytree(whole, tmp_path_factory.mktemp("seen") / "copy") / "artifacts")
    assert standing(plan(store)) == unseen(store)
    paths = [store.path(stage.name, video_id) for stage in chain() for video_id in VIDEOS]
    for edit, number, look in changes:
        with suppress(FileNotFoundError):
            EDITS[edit](paths[number])
        if look:
            assert standing(plan(store)) == unseen(store)
    assert standing(plan(store)) == standing(plan(store)) == unseen(store)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits(EDITS.keys() - IN_PLACE), st.lists(st.booleans(), min_size=9, max_size=9))
def test_a_quick_plan_misses_nothing_but_what_is_written_in_place(
        whole: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, bool]],
        alone: list[bool]) -> None:
    store = Store(shutil.copytree(whole, tmp_path_factory.mktemp("quick") / "copy") / "artifacts")
    plan(store)
    paths = [store.path(stage.name, video_id) for stage in chain() for video_id in VIDEOS]
    for (edit, number, look), one in zip(changes, alone, strict=False):
        with suppress(FileNotFoundError):
            EDITS[edit](paths[number])
        if one:
            plan(store, videos=["b/c"])
        if look:
            assert standing(plan(store, quick=True)) == unseen(store)
    assert standing(plan(store, quick=True)) == standing(plan(store)) == unseen(store)


@pytest.mark.parametrize("edit", sorted(IN_PLACE - {"made anew"}))
def test_what_is_written_in_place_is_seen_by_the_next_plan_that_is_not_quick(tmp_path: Path, edit: str) -> None:
    store = filled(tmp_path)
    done = standing(plan(store))
    EDITS[edit](store.path("upper", "b/c"))
    assert standing(plan(store, quick=True)) == done
    assert standing(plan(store)) == unseen(store) != done
    assert standing(plan(store, quick=True)) == unseen(store)


@pytest.mark.parametrize("edit", sorted(IN_PLACE - {"made anew"}))
def test_what_a_stage_is_to_read_is_looked_at_by_a_quick_plan_too(tmp_path: Path, edit: str) -> None:
    store = filled(tmp_path)
    plan(store)
    EDITS[edit](store.path("words", "b/c"))
    store.path("upper", "b/c").unlink()
    assert standing(plan(store, quick=True)) == unseen(store)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards whose stamps were asked for."""
    found: list[str] = []
    stamps_in = stamps._stamps_in
    monkeypatch.setattr(stamps, "_stamps_in", lambda folder, names: found.extend(names) or stamps_in(folder, names))
    return found


def test_a_quick_plan_looks_at_what_is_new_alone(tmp_path: Path, looked_at: list[str]) -> None:
    store = filled(tmp_path)
    plan(store)
    looked_at.clear()
    plan(store, quick=True)
    assert looked_at == []
    plan(store, videos=[*VIDEOS, "b/new"], quick=True)
    assert looked_at == ["new"] * len(chain())
    os.replace(shutil.copy2(store.path("upper", "b/c"), tmp_path / "copy"), store.path("upper", "b/c"))
    looked_at.clear()
    plan(store, quick=True)
    assert looked_at[:2] == ["c", "d"]


def test_a_folder_that_changed_just_now_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        looked_at: list[str]) -> None:
    store = filled(tmp_path)
    time.sleep(0.5)
    monkeypatch.setattr(seen, "SETTLED_NS", int(0.4e9))
    (store.root / "upper" / "b" / "other").write_text("")  # the shards beside it have settled
    plan(store)
    looked_at.clear()
    plan(store, quick=True)
    assert looked_at == ["c", "d"]


def test_what_was_seen_is_not_opened_again(tmp_path: Path, reads: list[tuple[str, str]]) -> None:
    store = filled(tmp_path)
    plan(store)
    assert len(reads) > 12
    reads.clear()
    plan(store)
    assert reads == []
    os.utime(store.path("upper", "b/c"))
    plan(store)
    assert reads == [("upper", "b/c")]


def test_a_shard_that_was_written_just_now_is_not_noted(tmp_path: Path, reads: list[tuple[str, str]],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    monkeypatch.setattr(seen, "SETTLED_NS", 10**12)
    plan(store)
    reads.clear()
    plan(store)
    assert len(reads) == 12


def test_another_parameter_is_not_taken_for_what_was_seen(tmp_path: Path) -> None:
    store = filled(tmp_path)
    plan(store)
    stages = chain()
    stages[1].params = {"mark": "?"}
    found = standing(plan(store, stages))
    assert found == unseen(store, stages)
    assert sum("stale" in row[3] for row in found) == 8


@pytest.mark.parametrize("damage", [lambda path: flip(path, 3), lambda path: os.truncate(path, 21), Path.unlink,
                                    lambda path: (path.unlink(), path.mkdir())])
def test_damaged_notes_are_no_notes(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = filled(tmp_path)
    before = standing(plan(store))
    damage(store.root / FOLDER / "upper")
    assert standing(plan(store)) == standing(plan(store)) == before


def test_a_plan_of_one_video_forgets_no_other(tmp_path: Path, reads: list[tuple[str, str]]) -> None:
    store = filled(tmp_path)
    plan(store)
    os.utime(store.path("upper", "a"))
    plan(store, videos=["a"])
    reads.clear()
    plan(store)
    assert reads == []


def test_moved_artifacts_are_read_once_and_seen_from_then_on(tmp_path: Path, reads: list[tuple[str, str]]) -> None:
    shutil.copytree(filled(tmp_path / "here").root, tmp_path / "there")
    for expected in (12, 0):
        reads.clear()
        plan(Store(tmp_path / "there"))
        assert len(reads) == expected
