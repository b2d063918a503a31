"""Levers at test time: what they must leave alone, and what they must move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.data.dataset import DataError
from dbvad.evaluation.evaluate import evaluate
from dbvad.scoring.protocol import Protocol
from dbvad.scoring.rescoring import add_to_logits, name_likeness, smooth
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from tests.detector.planted import CLASSES, World, plant
from tests.tiny import tiny_clip

SCORES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60).map(np.array)


@given(SCORES, st.floats(0.3, 8))
def test_smoothing_stays_between_the_lowest_and_the_highest(scores, sigma):
    found = smooth(scores, sigma)
    assert found.shape == scores.shape
    assert scores.min() - 1e-12 <= found.min()
    assert found.max() <= scores.max() + 1e-12
    np.testing.assert_allclose(smooth(scores[::-1], sigma), found[::-1], atol=1e-12)  # the past weighs as the future


def test_smoothing_spreads_a_peak_as_wide_as_it_says():
    scores = np.zeros(101)
    scores[50] = 1
    found = smooth(scores, 4)
    assert found.sum() == pytest.approx(1)
    assert (found * (np.arange(101) - 50) ** 2).sum() == pytest.approx(4**2, rel=0.01)
    long = np.zeros(101)
    long[30:70] = 1
    assert smooth(long, 4)[50] > 0.999  # what lasts stays


def test_snippets_that_resemble_the_names_are_raised():
    names = np.eye(4)[:2]
    features = np.zeros((6, 2, 4), np.float16)
    features[:, :, 3] = 1
    features[2] = np.array([[3, 3, 0, 0], [2, 2, 0, 0]])  # both crops, whatever their length
    found = name_likeness(features, names)
    expected = np.array([0, 0, 0.5 * np.sqrt(2), 0, 0, 0])
    np.testing.assert_allclose(found, expected - expected.mean(), rtol=1e-3, atol=1e-3)
    scores = add_to_logits(np.full(6, 0.3), 10 * found)
    assert scores[2] > 0.9
    assert (np.delete(scores, 2) < 0.3).all()


def test_names_say_nothing_of_a_video_that_is_alike_throughout():
    features = np.tile(np.random.default_rng(0).standard_normal((1, 1, 4)), (9, 1, 1))
    np.testing.assert_allclose(name_likeness(features, np.eye(4)[:2]), 0, atol=1e-5)


@given(SCORES, st.floats(-5, 5))
def test_what_is_added_is_added_to_the_logits(scores, what):
    found = add_to_logits(scores, np.full(len(scores), what))
    np.testing.assert_allclose(np.log(found / (1 - found)), np.log(scores / (1 - scores)) + what, atol=1e-6)


def test_certain_scores_stay_finite():
    assert np.isfinite(add_to_logits(np.array([0.0, 1.0], np.float32), np.array([1.0, 1.0]))).all()


def test_levers_in_an_evaluation(tmp_path):
    events = plant(tmp_path, World(train=16, test=16, dim=8, text_dim=6, snippets=(10, 20), crops=2))
    np.savez(tmp_path / "names.npz", labels=["normal", *CLASSES],
             embeddings=np.random.default_rng(1).standard_normal((4, 8)))
    config = TrainConfig(epochs=2, lr=1e-3, batch=8, precision="fp32", device="cpu", dbm=False)
    train(config.model_copy(update={"label_embeddings": tmp_path / "names.npz"}), tmp_path, tmp_path / "run")

    def judge(run="run", **keys):
        found = evaluate(tmp_path / run, tmp_path, events, device="cpu", protocol=Protocol(repeats=0, **keys))
        return found["protocol"], found["metrics"]

    (_, plain), (said, smoothed) = judge(), judge(smooth=2.0)
    assert said["smooth"] == 2
    assert smoothed["macro_auc"] != plain["macro_auc"]
    said, named = judge(names=20.0)
    assert said["names"] == 20
    assert named["macro_auc"] != plain["macro_auc"]
    assert judge(names=20.0, crop=1)[1] != named

    train(config, tmp_path, tmp_path / "without")
    with pytest.raises(DataError, match=r"trained without label_embeddings; train with --set label_embeddings=FILE"):
        judge("without", names=1.0)
    np.savez(tmp_path / "narrow.npz", labels=["normal", *CLASSES], embeddings=np.eye(4))
    train(config.model_copy(update={"label_embeddings": tmp_path / "narrow.npz"}), tmp_path, tmp_path / "narrow")
    with pytest.raises(DataError, match="vectors of 4 numbers, the features 8"):
        judge("narrow", names=1.0)


def test_names_through_the_text_tower_of_the_features(tmp_path):
    events = plant(tmp_path, World(train=12, test=8, dim=32, snippets=(6, 12), source="open_clip"))
    config = TrainConfig(epochs=1, batch=8, precision="fp32", device="cpu", dbm=False,
                         text_model=str(tiny_clip(tmp_path / "clip")))
    train(config, tmp_path, tmp_path / "run")
    found = [evaluate(tmp_path / "run", tmp_path, events, device="cpu", protocol=Protocol(names=names, repeats=0))
             for names in (0.0, 20.0)]
    assert found[0]["metrics"]["macro_auc"] != found[1]["metrics"]["macro_auc"]
