"""Whitened directions beside the features: what they are, and that a model carries them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.data.dataset import read_training
from dbvad.model.detector import Detector
from dbvad.model.directions import Directions, principal
from dbvad.training.checkpoint import load_model
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from dbvad.training.remember import find_directions, video_means
from pipeline.engine.store import Store
from tests.detector.planted import World, plant

QUICK = {"epochs": 1, "batch": 8, "bins": 8, "precision": "fp32", "device": "cpu", "sfp": "off"}
SMALL = World(train=24, test=8, dim=8, text_dim=6, snippets=(3, 9))


@pytest.fixture
def data(tmp_path):
    plant(tmp_path, SMALL)
    return read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), shift=st.floats(-20, 20))
def test_principal_axes_are_white_and_the_strongest(seed, shift):
    """Uncorrelated, of equal variance but for the ridge, and nothing that all videos share changes them."""
    rng = np.random.default_rng(seed)
    rows = torch.tensor(rng.standard_normal((300, 6)) * [9, 7, 5, 0.1, 0.1, 0.1] + shift)
    mean, axes = principal(rows, 3)
    z = (rows.float() - mean) @ axes
    covariance = z.T @ z / len(z)
    torch.testing.assert_close(covariance, torch.diag(covariance.diagonal()), atol=2e-3, rtol=0)
    assert covariance.diagonal().min() > 0.8
    assert covariance.diagonal().max() <= 1
    assert axes[3:].abs().max() < 0.05 * axes[:3].abs().max()


def test_they_vary_as_the_features_do(data):
    means = video_means(data, np.arange(24))
    found = find_directions(TrainConfig(**QUICK, directions=3), data, np.arange(24), means)
    shown = next(data.centre_crops(np.arange(24), 24))
    snippets = shown.x[shown.mask]
    assert float(found(snippets).std()) == pytest.approx(float(snippets.std()), rel=1e-3)
    axes = principal(means, 3)[1]
    torch.testing.assert_close(torch.nn.functional.normalize(found.map.T), torch.nn.functional.normalize(axes.T))
    assert find_directions(TrainConfig(**QUICK, directions=0), data, np.arange(24), means) is None


def test_features_that_never_vary_have_none_to_show():
    found = Directions.of(torch.ones(5, 4), 2, torch.ones(9, 4))
    assert found(torch.ones(3, 4)).isfinite().all()


@pytest.mark.parametrize("asked", [1, 8, 500])
def test_there_are_no_more_than_the_features_have(data, asked):
    config = TrainConfig(**QUICK, directions=asked)
    assert find_directions(config, data, np.arange(24), video_means(data, np.arange(24))).width == min(asked, 8)


def test_the_network_reads_them_beside_the_features():
    """What only they show reaches the logit, padding never does."""
    torch.manual_seed(0)
    directions = Directions(4, 2)
    directions.map[0, 0] = 1
    detector = Detector(4, length=6, dropout=0, directions=directions).eval()
    assert detector.width == 6
    x, mask = torch.randn(1, 6, 4), torch.tensor([[True] * 4 + [False] * 2])
    before = detector(x, mask).logits
    x[0, 4:] = torch.nan
    torch.testing.assert_close(detector(x, mask).logits[:, :4], before[:, :4])
    directions.map[0, 0] = 5
    assert not torch.allclose(detector(x, mask).logits[:, :4], before[:, :4])


@pytest.mark.parametrize("keys", [{}, {"dbm": False}, {"memory": 0}, {"directions": 0}])
def test_a_model_carries_them(tmp_path, data, keys):
    train(TrainConfig(**QUICK | keys), tmp_path, tmp_path / "run", quiet=True)
    model = load_model(tmp_path / "run")
    shown = model.detector.directions
    assert (shown.width if shown else 0) == (0 if "directions" in keys else 8)
    assert (model.detector.memory is None) == bool({"dbm", "memory"} & {*keys})
    assert (model.head is None) == ("dbm" in keys)
