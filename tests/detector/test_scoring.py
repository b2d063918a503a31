"""A whole video to scores: test-time scales, crops, frames."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dbvad.data.features import bin_means
from dbvad.model.detector import ClassHead, Detector
from dbvad.scoring.scores import TorchNetwork, score_classes, score_features, snippet_edges, spread

WIDTH, LENGTH = 8, 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Detector(WIDTH, length=LENGTH).eval()


def features(count, crops=1, seed=0):
    return np.random.default_rng(seed).standard_normal((count, crops, WIDTH)).astype(np.float16)


def alone(model, x):
    """(T, D), T <= LENGTH -> (T,), straight through the network."""
    with torch.no_grad():
        logits = model(torch.tensor(x).float()[None], torch.ones(1, len(x), dtype=torch.bool)).logits
    return logits[0].sigmoid().numpy()


@pytest.mark.parametrize("scale", ["bins", "windows", "both"])
@pytest.mark.parametrize("count", [1, 5, LENGTH])
def test_a_short_video_is_one_sequence_at_any_scale(model, scale, count):
    x = features(count)
    np.testing.assert_allclose(score_features(model, x, scale=scale), alone(model, x[:, 0]), rtol=1e-5)


def test_bins_are_what_training_sees(model):
    x = features(50)
    edges = np.arange(LENGTH + 1) * 50 // LENGTH
    expected = np.repeat(alone(model, bin_means(x[:, 0], LENGTH)), np.diff(edges))
    np.testing.assert_allclose(score_features(model, x, scale="bins"), expected, rtol=1e-5)


def test_windows_overlap_and_end_at_the_end(model):
    x = features(27)
    sums, counts = np.zeros(27), np.zeros(27)
    for start in (0, 8, 11):  # the last one anchored: no padded tail
        sums[start:start + LENGTH] += alone(model, x[start:start + LENGTH, 0])
        counts[start:start + LENGTH] += 1
    np.testing.assert_allclose(score_features(model, x, scale="windows"), sums / counts, rtol=1e-5)


def test_both_is_the_mean(model):
    x = features(41)
    expected = (score_features(model, x, scale="bins") + score_features(model, x, scale="windows")) / 2
    np.testing.assert_allclose(score_features(model, x, scale="both"), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", ["bins", "windows"])
def test_crops_are_averaged_or_one_is_named(model, scale):
    x = features(40, crops=3)
    each = [score_features(model, x[:, [crop]], scale=scale) for crop in range(3)]
    np.testing.assert_allclose(score_features(model, x, scale=scale), np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(score_features(model, x, scale=scale, crop=2), each[2], rtol=1e-5)


def test_classes_stand_beside_the_score(model):
    head = ClassHead(WIDTH, 3)
    head.prototypes.copy_(torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0)))
    columns = score_classes(TorchNetwork(model, head), features(30))
    np.testing.assert_allclose(columns[:, 0], score_features(model, features(30)), rtol=1e-5)
    np.testing.assert_allclose(columns[:, 1:].sum(axis=1), 1, rtol=1e-5)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(0, 5), st.integers(1, 30))
def test_every_frame_has_the_score_of_its_snippet(gaps, first, tail):
    starts = first + np.cumsum([0, *gaps[:-1]])
    frames = int(starts[-1]) + tail
    found = spread(np.arange(len(starts)), starts, frames)
    assert len(found) == frames
    for frame in range(frames):
        assert found[frame] == max(0, np.searchsorted(starts, frame, side="right") - 1)


def test_a_snippet_behind_the_end_is_refused():
    with pytest.raises(ValueError, match="snippet at frame 32 in a video of 32 frames"):
        snippet_edges(np.array([0, 16, 32]), 32)
