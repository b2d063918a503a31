"""The log of a run: lines and TensorBoard say the same, and a run gone on with keeps what came before and no more."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.event_file_writer import AtomicCounter

from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from dbvad.training.runlog import RunLog
from pipeline.engine.lines import whole_lines
from tests.detector.planted import World, plant


def board(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: name -> (step, value)."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def lines(run: Path) -> list[dict[str, float | None]]:
    return list(whole_lines(run / "log.jsonl"))


def test_tensorboard_shows_what_the_log_says(tmp_path: Path) -> None:
    plant(tmp_path, World(train=16, test=0, dim=8, text_dim=6, snippets=(3, 20)))
    config = TrainConfig(epochs=16, batch=8, holdout=0.25, device="cpu", precision="fp32")
    train(config, tmp_path, tmp_path / "run")
    shown, told = board(tmp_path / "run"), lines(tmp_path / "run")
    assert {"loss", "bce", "db", "lr", "epoch_loss", "holdout_auc"} <= shown.keys()
    for name in ("loss", "db", "holdout_auc"):
        expected = [(line["step"], line[name]) for line in told if name in line]
        assert [step for step, _ in shown[name]] == [step for step, _ in expected]
        assert [value for _, value in shown[name]] == pytest.approx([value for _, value in expected], rel=1e-5)


def test_going_on_keeps_what_lies_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its files are numbered by process and read in the order of their names: 9 and 10 would change places.
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer._global_uid", AtomicCounter(0))
    with RunLog(tmp_path / "log.jsonl") as log:
        for step in (10, 20, 30):
            log.write(step, {"loss": step / 100, "holdout_auc": math.nan})
    with RunLog(tmp_path / "log.jsonl", keep=20) as log:
        log.write(30, {"loss": 0.5, "holdout_auc": 0.75})
    assert lines(tmp_path) == [{"step": 10, "loss": 0.1, "holdout_auc": None},
                               {"step": 20, "loss": 0.2, "holdout_auc": None},
                               {"step": 30, "loss": 0.5, "holdout_auc": 0.75}]
    assert board(tmp_path)["loss"] == [(10, pytest.approx(0.1)), (20, pytest.approx(0.2)), (30, 0.5)]
    assert board(tmp_path)["holdout_auc"] == [(30, 0.75)]
