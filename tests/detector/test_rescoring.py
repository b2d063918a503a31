"""Levers at test time: what they must leave alone, and what they must move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.config import TrainConfig
from dbvad.data import DataError
from dbvad.evaluate import evaluate
from dbvad.protocol import Protocol
from dbvad.rescoring import name_likeness, rescore
from dbvad.train import train
from tests.detector.planted import CLASSES, World, plant
from tests.tiny import tiny_clip

SCORES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60).map(np.array)


def logit(scores):
    return np.log(scores / (1 - scores))


@given(SCORES)
def test_relative_scores_keep_the_order_and_the_distances_inside_a_video(scores):
    found = rescore(scores, relative=True)
    np.testing.assert_allclose(np.diff(logit(found)), np.diff(logit(scores)), atol=1e-5)


def test_relative_scores_rank_videos_by_their_bag_and_not_by_their_level():
    """An event in a video that looks suspicious throughout, and one of equal height in a quiet video."""
    calm, lively = np.full(32, 0.1), np.full(32, 0.4)
    calm[5:8] = lively[5:8] = 0.9
    found = [rescore(scores, relative=True) for scores in (calm, lively)]
    assert found[0][5:8].min() > found[1][5:8].max()  # it stands out more
    assert logit(found[0]).mean() == pytest.approx(logit(found[1]).mean())  # the level has gone: the bags are alike


@given(st.floats(0.001, 0.999), st.integers(1, 40))
def test_a_constant_score_stays(score, count):
    np.testing.assert_allclose(rescore(np.full(count, score), relative=True), score, rtol=1e-6)


def test_certain_scores_stay_finite():
    assert np.isfinite(rescore(np.array([0.0, 1.0, 0.5], np.float32), relative=True)).all()


def test_snippets_that_resemble_the_names_are_raised():
    names = np.eye(4)[:2]
    features = np.zeros((6, 2, 4), np.float16)
    features[:, :, 3] = 1
    features[2] = np.array([[3, 3, 0, 0], [2, 2, 0, 0]])  # both crops, whatever their length
    found = name_likeness(features, names, weight=10)
    expected = 10 * np.array([0, 0, 0.5 * np.sqrt(2), 0, 0, 0])
    np.testing.assert_allclose(found, expected - expected.mean(), rtol=1e-3, atol=1e-3)
    scores = rescore(np.full(6, 0.3), likeness=found)
    assert scores[2] > 0.9
    assert (np.delete(scores, 2) < 0.3).all()


def test_names_say_nothing_of_a_video_that_is_alike_throughout():
    features = np.tile(np.random.default_rng(0).standard_normal((1, 1, 4)), (9, 1, 1))
    np.testing.assert_allclose(name_likeness(features, np.eye(4)[:2], weight=20), 0, atol=1e-5)


def test_levers_in_an_evaluation(tmp_path):
    events = plant(tmp_path, World(train=16, test=16, dim=8, text_dim=6, snippets=(10, 20), crops=2))
    np.savez(tmp_path / "names.npz", labels=["normal", *CLASSES],
             embeddings=np.random.default_rng(1).standard_normal((4, 8)))
    config = TrainConfig(epochs=2, lr=1e-3, batch=8, precision="fp32", device="cpu", dbm=False)
    train(config.model_copy(update={"label_embeddings": tmp_path / "names.npz"}), tmp_path, tmp_path / "run")

    def judge(run="run", **keys):
        found = evaluate(tmp_path / run, tmp_path, events, device="cpu", protocol=Protocol(repeats=0, **keys))
        return found["protocol"], found["metrics"]

    (_, plain), (said, relative) = judge(), judge(relative=True)
    assert said["relative"] is True
    assert relative["macro_auc"] == pytest.approx(plain["macro_auc"])  # nothing moves inside a video
    assert relative["ano_auc"] != plain["ano_auc"]
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
