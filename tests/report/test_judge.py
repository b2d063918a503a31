"""Figures from snippets equal those from frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.evaluation.groundtruth import Segment, frame_truth
from dbvad.evaluation.metrics import VideoScores, auc, frame_metrics
from dbvad.report.inputs import Scores, Video
from dbvad.report.judge import CURVE_POINTS, by_class, curves, judge, weights


@st.composite
def scored(draw: st.DrawFn) -> tuple[Scores, list[Segment]]:
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=12))
    edges = np.concatenate([[0], np.cumsum(lengths)])
    values = np.array(draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(lengths),
                                    max_size=len(lengths))), np.float32)
    bounds = st.integers(0, int(edges[-1]))
    segments = [Segment(*sorted(pair)) for pair in draw(st.lists(st.tuples(bounds, bounds), max_size=4))]
    return Scores(edges, values), segments


def per_frame(scores: Scores) -> np.ndarray:
    return np.repeat(scores.values, np.diff(scores.edges))


@settings(deadline=None)
@given(scored())
def test_a_videos_auc_is_that_of_its_frames_also_where_events_overlap(example):
    scores, segments = example
    truth = frame_truth(segments, int(scores.edges[-1]))
    inside, frames = weights(scores, segments)
    assert inside.sum() == truth.sum()
    assert frames.sum() == len(truth)
    assert judge("v", scores, segments).auc == pytest.approx(auc(truth, per_frame(scores)), nan_ok=True)


@settings(deadline=None)
@given(st.lists(scored(), min_size=1, max_size=4))
def test_the_roc_curve_encloses_the_auc_over_all_frames(examples):
    scores = {str(k): example[0] for k, example in enumerate(examples)}
    truth = {str(k): example[1] for k, example in enumerate(examples)}
    videos = [VideoScores(k, True, per_frame(s), frame_truth(truth[k], int(s.edges[-1]))) for k, s in scores.items()]
    drawn = curves(scores, truth)
    expected = frame_metrics(videos)["auc"]
    if drawn is None:
        assert np.isnan(expected)
    else:
        assert np.trapezoid(drawn.true_rate, drawn.false_rate) == pytest.approx(expected)
        assert drawn.precision[-1] == pytest.approx(drawn.prevalence)


def test_a_long_curve_is_thinned_without_losing_its_shape():
    rng = np.random.default_rng(0)
    scores = Scores(np.arange(3001), rng.random(3000).astype(np.float32))
    segments = [Segment(int(k), int(k) + 1) for k in np.flatnonzero(scores.values > rng.random(3000))]
    drawn = curves({"v": scores}, {"v": segments})
    assert drawn is not None
    assert len(drawn.recall) <= CURVE_POINTS + 1
    assert np.trapezoid(drawn.true_rate, drawn.false_rate) == pytest.approx(judge("v", scores, segments).auc, abs=1e-3)
    assert drawn.recall[-1] == 1


def test_videos_without_truth_are_not_judged():
    scores = {"v": Scores(np.array([0, 5, 10]), np.array([0.1, 0.7], np.float32))}
    assert curves(scores, {}) is None
    found = judge("v", scores["v"], None)
    assert np.isnan(found.auc)
    assert (found.peak, found.peak_frame) == (pytest.approx(0.7), 7)


def test_a_video_with_several_labels_counts_for_each_class():
    scores = Scores(np.array([0, 5, 10]), np.array([0.1, 0.7], np.float32))
    judged = {"a": judge("a", scores, [Segment(5, 10)]), "b": judge("b", scores, [])}
    rows = by_class([Video("a", "test", ("fire", "fight")), Video("b", "test", ()), Video("c", "test", ("fire",))],
                    judged)
    assert [(row.name, row.videos) for row in rows] == [("normal", 1), ("fight", 1), ("fire", 1)]
    assert [row.auc for row in rows[1:]] == [1, 1]
    assert np.isnan(rows[0].auc)
