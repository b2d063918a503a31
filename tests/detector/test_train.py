"""Training learns what is there and nothing else, and can be stopped anywhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dbvad.training.loop
from dbvad.data.dataset import DataError
from dbvad.evaluation.evaluate import evaluate
from dbvad.training.checkpoint import CheckpointError, load_checkpoint, load_model
from dbvad.training.config import TrainConfig
from dbvad.training.interrupt import stop_on_signal
from dbvad.training.loop import Interrupted, learning_rate, train
from dbvad.training.run import Run, TrainError, run_config
from tests.damage import flip
from tests.detector.planted import World, plant
from tests.tiny import tiny_clip

FAST = TrainConfig(epochs=6, lr=1e-3, batch=8, precision="fp32", device="cpu")
SMALL = World(train=24, test=8, crops=2, dim=8, text_dim=6, snippets=(3, 20))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("artifacts")
    plant(root, SMALL)
    return root


def weights(run):
    return load_file(run / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


def test_planted_signal_is_found(tmp_path):
    events = plant(tmp_path, World())
    config = TrainConfig(epochs=80, lr=1e-3, batch=32, precision="fp32", device="cpu")
    train(config, tmp_path, tmp_path / "run")
    found = evaluate(tmp_path / "run", tmp_path, events, device="cpu")
    assert found["metrics"]["auc"] > 0.95
    assert found["metrics"]["ano_auc"] > 0.95
    assert found["metrics"]["video_auc"] > 0.95
    assert found["localization"]["average"] > 0.8  # its classes too, known from descriptions alone


def test_shuffled_labels_teach_nothing(tmp_path):
    """Many classes, for with three the chance that each leans one way would decide.

    Without whitened directions: beside them a network learns such labels by heart, and MIL, which lifts the most
    telling snippets of a bag and lowers all of the others', then leans to what is rare (0.57 over six seeds).
    """
    classes, found = tuple(f"class {number}" for number in range(24)), []
    for seed in range(2):
        root = tmp_path / str(seed)
        events = plant(root, World(train=96, test=120, seed=seed, labels="shuffled", classes=classes))
        train(TrainConfig(epochs=20, lr=1e-3, batch=32, precision="fp32", device="cpu", directions=0), root,
              root / "run")
        found.append(evaluate(root / "run", root, events, device="cpu")["metrics"]["auc"])
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.05)


def test_same_seed_same_weights_other_seed_others(artifacts, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(FAST.model_copy(update={"seed": seed}), artifacts, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("stop", [1, 7, 18])  # in mid-epoch, and where one ends: 6 steps an epoch
def test_resumed_weights_are_those_of_an_uninterrupted_run(artifacts, tmp_path, monkeypatch, stop):
    """Stopped as a power cut would: only what the last checkpoint holds is known."""
    config = FAST.model_copy(update={"holdout": 0.25, "select": "holdout", "dropout": 0.5})
    train(config, artifacts, tmp_path / "whole")
    monkeypatch.setattr(dbvad.training.loop, "SAVE_EVERY_S", 0.0)
    count, steps = Run.count, []

    def cut(self, *arguments):
        steps.append(1)
        if len(steps) == stop + 1:
            raise MemoryError("power cut")
        count(self, *arguments)

    monkeypatch.setattr(Run, "count", cut)
    with pytest.raises(MemoryError):
        train(config, artifacts, tmp_path / "cut")
    monkeypatch.undo()
    torch.manual_seed(99)
    train(run_config(tmp_path / "cut"), artifacts, tmp_path / "cut", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
            for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_every_flip_in_a_checkpoint_is_met_and_the_remedy_mends_it(artifacts, tmp_path):
    run = tmp_path / "run"
    train(FAST, artifacts, run)
    (run / "model.safetensors").unlink()
    whole = (run / "checkpoint.pt").read_bytes()
    places = [*range(0, len(whole), len(whole) // 60), *range(-24, 0)]  # the check sum itself, too
    for place in places:
        (run / "checkpoint.pt").write_bytes(whole)
        flip(run / "checkpoint.pt", place, 16)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged: .*Start anew: dbvad train --overwrite"):
            train(FAST, artifacts, run, resume=True)
    (run / "checkpoint.pt").write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="it is torn"):
        train(FAST, artifacts, run, resume=True)
    train(FAST, artifacts, run, overwrite=True)
    assert load_checkpoint(run / "checkpoint.pt")["step"] == 6 * 6


def test_ctrl_c_leaves_a_checkpoint(artifacts, tmp_path):
    config = FAST.model_copy(update={"epochs": 4000})

    def press():
        while not (tmp_path / "run" / "log.jsonl").exists() or not (tmp_path / "run" / "log.jsonl").stat().st_size:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(Interrupted, match="go on with: dbvad train --resume --out"):
        train(config, artifacts, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert run_config(tmp_path / "run") == config
    with pytest.raises(CheckpointError, match="its training has not ended: go on with"):
        load_model(tmp_path / "run")


def test_what_is_started_without_ctrl_c_stays_so_and_sigterm_still_stops_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signal() as stopped:
            signal.raise_signal(signal.SIGINT)
            assert not stopped.is_set()
            signal.raise_signal(signal.SIGTERM)
            assert stopped.is_set()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_poisoned_test_videos_change_nothing(tmp_path):
    """Labels, features and even a description of test videos are not read: the weights are identical."""
    poison = {f"test/video {number:03d}.mp4": {"labels": ["meteor"], "mark": "poisoned"} for number in range(24, 32)}
    plant(tmp_path / "clean", SMALL)
    plant(tmp_path / "poisoned", World(**vars(SMALL) | {"changed": poison}))
    for video in poison:
        described = tmp_path / "clean" / "embed" / "train" / "video 001.mp4.parquet"
        shutil.copyfile(described, tmp_path / "poisoned" / "embed" / f"{video}.parquet")
    config = FAST.model_copy(update={"holdout": 0.25, "select": "holdout"})
    results = [train(config, tmp_path / name, tmp_path / name / "run") for name in ("clean", "poisoned")]
    assert same(*(weights(tmp_path / name / "run") for name in ("clean", "poisoned")))
    assert results[0].data == results[1].data


@pytest.mark.parametrize("changes", [
    {"tmm": "none"}, {"tmm": "gcn", "sfp": "vadclip"}, {"tmm": "multi", "pool": "sigmoid"}, {"dbm": False},
    {"lambda_db": 0.0, "sfp": "off"}, {"descriptions": "shuffled", "schedule": "step"}, {"precision": "bf16"},
], ids=str)
def test_ablations_run(artifacts, tmp_path, changes):
    config = TrainConfig.model_validate(FAST.model_dump() | {"epochs": 1} | changes)
    result = train(config, artifacts, tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert (model.head is None) == (not config.dbm or config.lambda_db == 0)
    assert result.epochs == 1


def test_labels_through_the_text_tower_of_the_features(tmp_path):
    """Features of our own CLIP stage: SFP's prompt runs through that CLIP, or the error says how to do without."""
    plant(tmp_path, World(train=12, test=4, dim=8, text_dim=32, snippets=(3, 9), source="open_clip"))
    config = FAST.model_copy(update={"epochs": 2})
    with pytest.raises(DataError, match=r"text tower of planted cannot be used: no CLIP model.*--set labels=table"):
        train(config, tmp_path, tmp_path / "run")
    train(config.model_copy(update={"labels": "table"}), tmp_path, tmp_path / "table")
    config = config.model_copy(update={"text_model": str(tiny_clip(tmp_path / "clip"))})
    train(config, tmp_path, tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["network"]
    assert saved["label_texts.context"].shape[0] == 10
    assert not [key for key in saved if "transformer" in key]  # the frozen tower is not a part of the run


def test_table_of_label_embeddings(artifacts, tmp_path):
    rows = np.random.default_rng(0).standard_normal((4, 5))
    np.savez(tmp_path / "labels.npz", labels=["Normal", "Fire", "fighting", "THEFT"], embeddings=rows)
    config = FAST.model_copy(update={"epochs": 1, "label_embeddings": tmp_path / "labels.npz"})
    train(config, artifacts, tmp_path / "run")
    frozen = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["network"]["label_texts.frozen"]
    expected = rows[[0, 2, 1, 3]] / np.linalg.norm(rows[[0, 2, 1, 3]], axis=1, keepdims=True)  # classes sort by name
    np.testing.assert_allclose(frozen, expected, rtol=1e-5)
    np.savez(tmp_path / "labels.npz", labels=["Normal", "Fire"], embeddings=rows[:2])
    with pytest.raises(DataError, match="no row for Fighting, theft"):
        train(config, artifacts, tmp_path / "other")


def test_changed_data_are_refused_at_resume(tmp_path):
    plant(tmp_path, SMALL)
    train(FAST, tmp_path, tmp_path / "run")
    plant(tmp_path, World(**vars(SMALL) | {"changed": {"train/video 003.mp4": {"mark": "new features"}}}))
    with pytest.raises(TrainError, match=r"not those that .* was trained on so far"):
        train(FAST, tmp_path, tmp_path / "run", resume=True)


def test_another_configuration_is_refused_at_resume(artifacts, tmp_path):
    train(FAST, artifacts, tmp_path / "run")
    with pytest.raises(TrainError, match=r"epochs was 6, is now 7"):
        train(FAST.model_copy(update={"epochs": 7}), artifacts, tmp_path / "run", resume=True)


def test_an_old_run_is_not_overwritten_by_accident(artifacts, tmp_path):
    config = FAST.model_copy(update={"epochs": 1})
    train(config, artifacts, tmp_path / "run")
    with pytest.raises(TrainError, match="holds a run already"):
        train(config, artifacts, tmp_path / "run")
    train(config, artifacts, tmp_path / "run", overwrite=True)


def test_a_loss_that_explodes_is_refused_by_name(artifacts, tmp_path):
    config = FAST.model_copy(update={"lr": 1e30, "schedule": "constant"})
    with pytest.raises(TrainError, match=r"the loss was not finite at step 2; .*train/video \d+.mp4.*Lower lr"):
        train(config, artifacts, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_memory_is_not_held_for_every_length(artifacts, tmp_path):
    """A process that trains on its own, for oneDNN reads its setting once."""
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    program = f"""
import os, sys
from pathlib import Path
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
train(TrainConfig(epochs=1, batch=8, device="cpu"), Path(sys.argv[1]), Path(sys.argv[2]), quiet=True)
print(os.environ["{name}"])
"""
    plain = {key: value for key, value in os.environ.items() if key != name}
    for given, expected in ({}, "0"), ({name: "7"}, "7"):
        done = subprocess.run([sys.executable, "-c", program, str(artifacts), str(tmp_path / expected)], text=True,
                              capture_output=True, check=True, env=plain | given)
        assert done.stdout.split()[-1] == expected


def test_products_of_new_lengths_take_no_memory():
    """In glibc's count, where it counts; what torch prepares for a product in bfloat16 is a quarter of a megabyte."""
    program = """
import ctypes, sys
import torch
from dbvad.training.loop import forget_shapes

class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]

count = getattr(ctypes.CDLL(None), "mallinfo2", None)
if count is None:
    sys.exit(0)
count.restype = Counts
forget_shapes()
weight = torch.ones(64, 64, dtype=torch.bfloat16)

def used(lengths):
    for length in lengths:
        torch.ones(length, 64, dtype=torch.bfloat16) @ weight
    return count().uordblks

before = used(range(1000, 1030))
sys.exit(used(range(2000, 2060)) - before > 3 << 20)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_schedules():
    step = TrainConfig(schedule="step", lr=1.0, milestones=(4, 8), gamma=0.1)
    assert [learning_rate(step, epoch * 5, 5) for epoch in (0, 3, 4, 8)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = TrainConfig(schedule="cosine", lr=1.0, epochs=10)
    assert [learning_rate(cosine, at, 5) for at in (0, 25, 50)] == pytest.approx([1, 0.5, 0], abs=1e-9)
