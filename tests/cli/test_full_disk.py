"""A full disk and a folder that one may not write: one message with the path and what to do, and nothing lost."""

from pathlib import Path

import pytest

from dbvad.cli import main
from dbvad.training.checkpoint import Model, save_model
from tests.damage import small_disk
from tests.detector.planted import World, plant

QUICK = ["--set", "batch=8", "--set", "device=cpu", "--set", "precision=fp32", "--epochs", "2"]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("disk")
    plant(root, World(train=16, test=6, dim=8, text_dim=6, snippets=(3, 20)))
    return root


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code, capsys.readouterr().err


def train(artifacts: Path, run: Path, *more: str) -> list[object]:
    return ["train", "--artifacts", artifacts, "--out", run, *QUICK, *more]


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp-" in path.name]


@pytest.mark.parametrize(("size", "name"), [(0, "features-"), (20, "features-"), (9000, "checkpoint.pt")])
def test_a_disk_that_fills_up_while_training(artifacts: Path, tmp_path: Path, size: int, name: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    root, run = tmp_path / "artifacts", tmp_path / "run"
    root.mkdir()
    for stage in ("ingest", "score", "embed", "manifest.parquet"):
        (root / stage).symlink_to(artifacts / stage)
    with small_disk(size):
        code, message = said(capsys, *train(root, run))
    assert (code, "Traceback" in message) == (1, False), message
    assert message.startswith("error: cannot write ")
    assert name in message
    assert "File too large. What was finished is kept: make room there" in message
    assert not leftovers(tmp_path)
    assert said(capsys, *train(root, run, "--overwrite"))[0] == 0


def test_a_disk_that_fills_up_after_a_checkpoint_says_how_to_go_on(artifacts: Path, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"

    def full(path: Path, model: Model) -> None:
        with small_disk(10):
            save_model(path, model)

    monkeypatch.setattr("dbvad.training.run.save_model", full)
    code, message = said(capsys, *train(artifacts, run))
    assert code == 1
    assert f"cannot write {run}/model.safetensors: File too large" in message
    assert f"go on from it with: dbvad train --resume --out {run}" in message
    monkeypatch.undo()
    assert said(capsys, "train", "--resume", "--artifacts", artifacts, "--out", run)[0] == 0
    assert (run / "model.safetensors").exists()


def test_a_disk_that_is_full_at_evaluation_and_report(artifacts: Path, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    run, page = tmp_path / "run", tmp_path / "report" / "index.html"
    assert said(capsys, *train(artifacts, run))[0] == 0
    with small_disk(100):
        code, message = said(capsys, "evaluate", run, "--artifacts", artifacts)
    assert (code, f"cannot write {run}/scores.parquet: File too large" in message) == (1, True), message
    assert said(capsys, "evaluate", run, "--artifacts", artifacts)[0] == 0
    for size in (0, 1000, 100_000):
        with small_disk(size):
            code, message = said(capsys, "report", run, "--artifacts", artifacts, "--out", page)
        assert (code, f"cannot write {page}: File too large" in message) == (1, True), message
        assert not page.exists()
    assert not leftovers(tmp_path)
    assert said(capsys, "report", run, "--artifacts", artifacts, "--out", page)[0] == 0


@pytest.mark.parametrize("place", ["a file/run", "/proc/nowhere/run"])
def test_a_run_folder_that_cannot_be_made(artifacts: Path, tmp_path: Path, place: str,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a file").touch()
    code, message = said(capsys, *train(artifacts, tmp_path / place))
    assert (code, "Traceback" in message) == (1, False), message
    assert str(tmp_path / place) in message
    assert "--out" in message
