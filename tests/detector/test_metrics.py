"""Each metric against a perfect oracle, a constant, a shuffled score, and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc as sklearn_area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from dbvad.evaluation.metrics import (
    VideoScores,
    auc,
    average_precision,
    average_precision_trapezoid,
    bootstrap,
    frame_metrics,
    macro_aucs,
)

EVENT_METRICS = ("auc", "ap", "ap_trapezoid", "ano_auc", "macro_auc")


@st.composite
def samples(draw):
    """Truth of both kinds, scores with many ties, weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2, 200))
    truth = rng.random(count) < draw(st.floats(0.05, 0.95))
    truth[:2] = True, False
    return truth, rng.integers(0, draw(st.integers(1, 50)), count) / 7, rng.integers(1, 5, count)


@given(samples())
def test_equal_to_scikit_learn(sample):
    truth, scores, weight = sample
    assert auc(truth, scores, weight) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weight))
    assert average_precision(truth, scores, weight) == pytest.approx(
        average_precision_score(truth, scores, sample_weight=weight))
    precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=weight)
    assert average_precision_trapezoid(truth, scores, weight) == pytest.approx(sklearn_area(recall, precision))


@given(samples())
def test_integer_weights_are_repetitions(sample):
    truth, scores, weight = sample
    truths, many = np.repeat(truth, weight), np.repeat(scores, weight)
    assert auc(truth, scores, weight) == pytest.approx(auc(truths, many))
    assert average_precision(truth, scores, weight) == pytest.approx(average_precision(truths, many))


@given(samples())
def test_auc_knows_only_order(sample):
    truth, scores, _ = sample
    assert auc(truth, np.exp(scores)) == pytest.approx(auc(truth, scores))
    assert auc(truth, -scores) == pytest.approx(1 - auc(truth, scores))


def videos(score, count=40, seed=0):
    """Half of the videos hold an event; `score` makes scores of a truth."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        truth = np.zeros(rng.integers(200, 400), dtype=bool)
        if number % 2:
            start = rng.integers(0, 150)
            truth[start:start + 40] = True
        made.append(VideoScores(f"v{number}", bool(number % 2), score(truth, rng), truth))
    return made


def test_oracle_is_perfect():
    found = frame_metrics(videos(lambda truth, _: truth.astype(float)))
    assert [found[name] for name in EVENT_METRICS] == [1.0] * 5
    assert found["false_alarms"] == 0


def test_constant_is_half():
    found = frame_metrics(videos(lambda truth, _: np.full(len(truth), 0.7)))
    assert (found["auc"], found["ano_auc"], found["macro_auc"]) == (0.5, 0.5, 0.5)
    assert found["ap"] == pytest.approx(np.mean(np.concatenate([v.truth for v in videos(lambda t, _: t)])))
    assert found["false_alarms"] == 1


def test_shuffled_is_about_half():
    found = frame_metrics(videos(lambda truth, rng: rng.random(len(truth)), count=200))
    for name in ("auc", "ano_auc", "macro_auc"):
        assert found[name] == pytest.approx(0.5, abs=0.03)
    assert found["false_alarms"] == pytest.approx(0.5, abs=0.03)


def test_knowing_the_video_is_not_knowing_the_moment():
    found = frame_metrics(videos(lambda truth, _: np.full(len(truth), float(truth.any()))))
    assert found["auc"] > 0.7
    assert (found["ano_auc"], found["macro_auc"]) == (0.5, 0.5)


def test_merged_frames_give_the_same_figures():
    made = videos(lambda truth, rng: np.round(truth + rng.random(len(truth)), 1))
    found = frame_metrics(made)
    truth, scores = (np.concatenate([getattr(v, name) for v in made]) for name in ("truth", "scores"))
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["ap"] == pytest.approx(average_precision_score(truth, scores))
    inside = [v for v in made if v.abnormal]
    assert found["ano_auc"] == pytest.approx(roc_auc_score(*(np.concatenate([getattr(v, name) for v in inside])
                                                             for name in ("truth", "scores"))))
    assert found["macro_auc"] == pytest.approx(np.mean([roc_auc_score(v.truth, v.scores) for v in inside]))


def test_undefined_is_nan_not_a_figure():
    quiet = [v for v in videos(lambda truth, _: truth.astype(float)) if not v.abnormal]
    found = frame_metrics(quiet)
    assert all(np.isnan(found[name]) for name in EVENT_METRICS)
    assert np.isnan(macro_aucs(quiet)).all()


def test_lengths_are_asserted_for_each_video():
    with pytest.raises(ValueError, match=r"a/b.mp4: 10 scores for 11 frames"):
        VideoScores("a/b.mp4", True, np.zeros(10), np.zeros(11, bool))


def test_bootstrap_is_seeded_and_surrounds_the_figure():
    made = videos(lambda truth, rng: truth * 0.3 + rng.random(len(truth)))
    intervals = bootstrap(made, repeats=200, seed=1)
    assert intervals == bootstrap(made, repeats=200, seed=1)
    found = frame_metrics(made)
    for name, (low, high) in intervals.items():
        assert low < found[name] < high
    wide = bootstrap(made[:10], repeats=200)["auc"]
    assert wide[1] - wide[0] > intervals["auc"][1] - intervals["auc"][0]
