"""What killed writers left is removed wherever it lies, also from folders that were found clean before."""

import time
from pathlib import Path

import pytest

from pipeline.engine import sweep as module
from pipeline.engine.seen import FOLDER
from pipeline.engine.sweep import NOTES, sweep
from tests.damage import flip

TICK_S = 0.02
PLACES = ["words", "words/b", "words/b/c", "quarantine/words"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards in folders of folders, found clean once."""
    monkeypatch.setattr(module, "SETTLED_NS", int(TICK_S / 2 * 1e9))
    for place in (*PLACES, "upper"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.parquet").touch()
    time.sleep(TICK_S)
    assert sweep(tmp_path, ["words", "upper"]) == 0
    return tmp_path


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that were listed."""
    found: list[str] = []
    below = module._listed
    monkeypatch.setattr(module, "_listed", lambda folder: found.append(folder.name) or below(folder))
    return found


def leave(root: Path, place: str) -> Path:
    path = root / place / ".a.parquet.tmp-1-1"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    time.sleep(TICK_S)
    return path


def test_folders_that_have_not_changed_are_not_listed_again(root: Path, listed: list[str]) -> None:
    assert sweep(root, ["words", "upper"]) == 0
    assert listed == []
    (root / "words" / "b" / "other.parquet").touch()
    time.sleep(TICK_S)
    assert sweep(root, ["words", "upper"]) == 0
    assert listed == ["b"]


@pytest.mark.parametrize("place", [*PLACES, "", "words/b/new", "new/folder"])
def test_whatever_was_left_is_removed(root: Path, place: str) -> None:
    path = leave(root, place)
    stages = ["words", "upper", "new"]
    assert sweep(root, stages) == 1
    assert not path.exists()
    assert sweep(root, stages) == 0
    leave(root, place)
    assert sweep(root, stages) == 1


def test_a_sweep_of_one_stage_leaves_the_others_and_forgets_none(root: Path, listed: list[str]) -> None:
    path = leave(root, "upper")
    assert sweep(root, ["words"]) == 0
    assert path.exists()
    listed.clear()
    assert sweep(root, ["words", "upper"]) == 1
    assert listed == ["upper"]


def test_a_folder_that_changed_just_now_is_listed_again(root: Path, listed: list[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "upper" / "b.parquet").touch()
    with monkeypatch.context() as patch:
        patch.setattr(module, "SETTLED_NS", 10**12)
        sweep(root, ["words", "upper"])
    listed.clear()
    sweep(root, ["words", "upper"])
    assert listed == ["upper"]


def test_damaged_notes_are_no_notes(root: Path, listed: list[str]) -> None:
    flip(root / FOLDER / NOTES, 20)
    leave(root, "words/b")
    assert sweep(root, ["words", "upper"]) == 1
    assert len(listed) == len(PLACES) + 2  # quarantine's own folder
