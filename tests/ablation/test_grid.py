"""`dbvad ablate` as a user runs it: what is done stays done, what fails costs itself, no test video chooses."""

import json
import os
import signal
import time

import pytest

import dbvad.ablation.cells
from dbvad.cli.ablate import ablate
from dbvad.training.loop import train as really_train
from tests.detector.planted import World, plant

WORLD = World(train=16, test=8, dim=8, text_dim=6, snippets=(3, 9))
QUICK = ["lr=1e-3", "batch=8", "precision=fp32", "device=cpu", "epochs=1", "bins=8"]
LADDER = """
variants:
  plain: {train: {dbm: false, tmm: none}}
  windows: {train: {dbm: false, tmm: none}, protocol: {scale: windows}}
  full: {published: {auc: 88.08}}
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablated")
    plant(root, WORLD)
    return root


@pytest.fixture
def ladder(tmp_path):
    (tmp_path / "mine.yaml").write_text(LADDER)
    return str(tmp_path / "mine.yaml")


@pytest.fixture
def trained(monkeypatch):
    """The trainings that are run, by folder."""
    folders = []

    def train(config, artifacts, out, **kw):
        folders.append((f"{out.parent.name}/{out.name}", kw["resume"]))
        return really_train(config, artifacts, out, **kw)

    monkeypatch.setattr(dbvad.ablation.cells, "train", train)
    return folders


def run(ladder, artifacts, out, **kw):
    kw = {"seeds": "0-1", "annotations": artifacts / "events.csv", "settings": QUICK} | kw
    return ablate(ladder, artifacts, out, **kw)


def test_a_grid_is_done_once(ladder, artifacts, tmp_path, trained, capsys):
    out = tmp_path / "out"
    assert run(ladder, artifacts, out, dry_run=True) == 0
    assert capsys.readouterr().out.count("not trained yet") == 6
    assert not out.exists() or not list(out.rglob("*.safetensors"))
    assert run(ladder, artifacts, out) == 0
    assert trained == [("plain/seed-0", False), ("full/seed-0", False), ("plain/seed-1", False), ("full/seed-1", False)]
    told = capsys.readouterr().out
    assert "AUC, published" in told
    assert "88.08" in told
    found = json.loads((out / "ladder.json").read_text())
    assert [(row["name"], row["seeds"]) for row in found["rows"]] == [("plain", [0, 1]), ("windows", [0, 1]),
                                                                     ("full", [0, 1])]
    assert found["rows"][1]["runs"]["0"]["protocol"]["scale"] == "windows"
    assert found["rows"][2]["runs"]["1"]["provenance"]["config"]["seed"] == 1
    assert "| full | 2 |" in (out / "ladder.md").read_text()
    trained.clear()
    assert run(ladder, artifacts, out, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == found["rows"]
    assert run(ladder, artifacts, out, seeds="0-2", style="latex") == 0
    assert [name for name, _ in trained] == ["plain/seed-2", "full/seed-2"]


def test_what_changed_is_done_again(ladder, artifacts, tmp_path, trained, capsys):
    run(ladder, artifacts, tmp_path / "out", seeds="0")
    trained.clear()
    run(ladder, artifacts, tmp_path / "out", seeds="0", ends="exclusive")  # judged anew, not trained anew
    assert trained == []
    capsys.readouterr()
    run(ladder, artifacts, tmp_path / "out", seeds="0", settings=[*QUICK, "lr=2e-3"], dry_run=True, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {(row["todo"], row["why"]) for row in rows} == {("train", "lr was 0.001, is now 0.002")}
    (artifacts / "copy.csv").write_text((artifacts / "events.csv").read_text() + "\n")
    run(ladder, artifacts, tmp_path / "out", seeds="0", ends="exclusive", annotations=artifacts / "copy.csv",
        dry_run=True, as_json=True)
    assert {row["why"].split(": ")[1] for row in json.loads(capsys.readouterr().out)} == {"the annotations changed"}


def test_an_interrupted_cell_is_gone_on_with(ladder, artifacts, tmp_path, trained, monkeypatch, capsys):
    from dbvad.training.run import Run

    count = Run.count

    def press(self, *arguments):
        count(self, *arguments)
        if self.step == 1 and self.config.dbm:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Run, "count", press)
    with pytest.raises(Exception, match="130"):
        run(ladder, artifacts, tmp_path / "out", seeds="0", settings=[*QUICK, "epochs=3"])
    monkeypatch.setattr(Run, "count", count)
    run(ladder, artifacts, tmp_path / "out", seeds="0", settings=[*QUICK, "epochs=3"], dry_run=True)
    assert "begun and interrupted" in capsys.readouterr().out
    trained.clear()
    assert run(ladder, artifacts, tmp_path / "out", seeds="0", settings=[*QUICK, "epochs=3"]) == 0
    assert trained == [("full/seed-0", True)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_fails_costs_itself(artifacts, tmp_path, capsys, jobs):
    (tmp_path / "mine.yaml").write_text("variants: {good: {}, nowhere: {artifacts: no-such-folder}}")
    assert run(str(tmp_path / "mine.yaml"), artifacts, tmp_path / "out", seeds="0", jobs=jobs) == 3
    told = capsys.readouterr().out
    assert "0, 1 failed" in told
    assert "failed: nowhere, seed 0: DataError: no artifacts in no-such-folder" in told
    assert "DataError" in (tmp_path / "out" / "nowhere" / "seed-0" / "error.txt").read_text()
    assert run(str(tmp_path / "mine.yaml"), artifacts, tmp_path / "out", seeds="0", dry_run=True) == 0
    assert "fails" in capsys.readouterr().out


def test_a_process_that_dies_costs_its_training(ladder, artifacts, tmp_path):
    from dbvad.ablation import grid as module
    from dbvad.ablation.cells import Truth, trainings
    from dbvad.ablation.ladder import read_ladder

    grid = trainings(read_ladder(ladder), [0], artifacts, tmp_path / "out",
                     train={"batch": 8, "epochs": 100_000, "device": "cpu", "bins": 8}, protocol={})[:1]
    outcomes = module.run_grid([*grid, *grid[:0]], tmp_path / "out", Truth(), device="cpu", jobs=2)
    import multiprocessing
    import threading

    def kill():
        while not (tmp_path / "out" / "plain" / "seed-0" / "config.yaml").exists():
            time.sleep(0.05)
        for child in multiprocessing.active_children():
            child.kill()

    threading.Thread(target=kill, daemon=True).start()
    (_, failed), = outcomes
    assert set(failed) == {"plain", "windows"}
    assert "its process died (exit code -9)" in failed["plain"]


def test_an_option_is_chosen_without_test_videos(ladder, artifacts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(dbvad.ablation.cells, "test_index", None)  # would be called to read them
    assert run(ladder, artifacts, tmp_path / "out", select="holdout", settings=[*QUICK, "holdout=0.25"]) == 0
    assert "chosen on held-out training videos: " in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert (found["judged"], found["annotations"]) == ("held-out training videos", None)
    assert [set(row["metrics"]) - {"recall_all", "recall_label", "chance_label"} for row in found["rows"]
            ] == [{"holdout_auc"}] * 3
    assert found["chosen"] in {"plain", "windows", "full"}


def test_poisoned_test_videos_choose_nothing_else(ladder, tmp_path):
    """Labels and features of test videos, and their annotations, leave the hold-out's figures as they are."""
    poison = {f"test/video {number:03d}.mp4": {"labels": ["meteor"], "mark": "poisoned"} for number in range(16, 24)}
    figures = []
    for name, changed in (("clean", {}), ("poisoned", poison)):
        plant(tmp_path / name, World(**vars(WORLD) | {"changed": changed}))
        run(ladder, tmp_path / name, tmp_path / name / "out", select="holdout", settings=[*QUICK, "holdout=0.25"])
        found = json.loads((tmp_path / name / "out" / "ladder.json").read_text())
        figures.append([found["chosen"], *(row["metrics"] for row in found["rows"])])
    assert figures[0] == figures[1]


