"""A smaller drill than tools/bit_rot.py's, on planted artifacts: no flipped bit becomes another number."""

from pathlib import Path

import pytest

from pipeline.engine.lines import line
from pipeline.engine.store import Store
from tests.detector.planted import World, plant
from tests.manifests import write_manifest
from tools.bit_rot import Answer, ask, drill, judge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Artifacts with quarantine, cache and a run log, and an evaluated run."""
    root = tmp_path / "work"
    events = plant(root / "artifacts", World(train=10, test=4, dim=8, text_dim=6, snippets=(3, 9)))
    events.rename(tmp_path / "events.csv")
    store = Store(root / "artifacts")
    store.path("score", "train/video 001.mp4").unlink()
    store.quarantine("score", "train/video 001.mp4", fingerprint="f", kind="odd", reason="broken", remedy="mend it")
    write_manifest(store.root)
    (store.root / "runs").mkdir()
    (store.root / "runs" / "1.jsonl").write_text(line({"at": 1.5, "event": "unit", "seconds": 2.5}))
    quick = ("--set", "batch=4", "--set", "epochs=1", "--set", "device=cpu", "--set", "precision=fp32")
    assert ask("train", "--artifacts", store.root, "--out", root / "run", *quick).code == 0
    assert ask("evaluate", root / "run", "--artifacts", store.root, "--annotations", tmp_path / "events.csv").code == 0
    return root


def test_no_flipped_bit_becomes_another_number(root: Path) -> None:
    found = drill(root, None, root.parent / "events.csv", places=8, seed=3)
    assert [flip for flip in found if flip.outcome == "WRONG"] == []
    assert {flip.outcome for flip in found} >= {"said"}


@pytest.mark.parametrize(("answer", "outcome"), [
    (Answer(0, {"auc": 0.9}, "auc 0.9"), "harmless"), (Answer(0, {"auc": 0.8}, "auc 0.8"), "WRONG"),
    (Answer(1, "", "error: a is damaged"), "said"),
    (Answer(0, {"auc": 0.9}, "a is damaged. It is made anew"), "healed"),
    (Answer(1, "", "error: no"), "WRONG"), (Answer(2, "", "a traceback: a is damaged"), "WRONG"),
])
def test_the_drill_can_tell(answer: Answer, outcome: str) -> None:
    assert judge({"evaluate": Answer(0, {"auc": 0.9}, "auc 0.9")}, {"evaluate": answer})[0] == outcome
