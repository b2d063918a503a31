"""How much varies inside videos: the streamed sums equal the definition, and what is flat reads as flat."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.evaluation.variation import Share, variation
from dbvad.model.detector import Detector

WIDTH = 8


def share_of(videos):
    """Straight from the definition."""
    everything = np.concatenate(videos)
    inside = sum(((video - video.mean(axis=0)) ** 2).sum() for video in videos)
    return math.sqrt(inside / ((everything - everything.mean(axis=0)) ** 2).sum())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, 9), min_size=2, max_size=4))
@pytest.mark.parametrize("kind", ["none", "full", "progressive"])
def test_shares_are_their_definition(kind, seed, lengths):
    torch.manual_seed(seed)
    detector = Detector(WIDTH, tmm=kind, length=12).eval()
    videos = [torch.randn(length, WIDTH) for length in lengths]
    found = variation(detector, [video.numpy() for video in videos])
    branches = {"none": [], "full": ["convolutions", "gcn"], "progressive": ["convolutions"]}[kind]
    assert [*found] == ["features", *branches, "TMM", "logits"]
    with torch.no_grad():
        outputs = [detector(video.unsqueeze(0), torch.ones(1, len(video), dtype=torch.bool)) for video in videos]
    assert found["features"] == pytest.approx(share_of([video.numpy() for video in videos]), rel=1e-4)
    assert found["TMM"] == pytest.approx(share_of([one.features[0].numpy() for one in outputs]), rel=1e-3)
    assert found["logits"] == pytest.approx(share_of([one.logits[0, :, None].numpy() for one in outputs]), rel=1e-3)
    if kind == "progressive":
        assert found["convolutions"] == found["TMM"]


def test_what_is_flat_has_no_share_and_what_is_alike_has_none_at_all():
    flat, same = Share(), Share()
    for level in (0.0, 1.0):
        flat.add(torch.full((5, 2), level))
        same.add(torch.ones(5, 2))
    assert flat.value == 0
    assert math.isnan(same.value)


def test_a_long_video_is_seen_as_it_is_scored_and_nothing_stays_on_the_network():
    detector = Detector(WIDTH, length=4)
    variation(detector, [np.random.default_rng(0).normal(size=(11, WIDTH)).astype(np.float16)])
    assert not any(part._forward_hooks for part in detector.modules())
