"""Live scores are those of `--scale windows` on the recording cut at that moment, for any length and look-ahead."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.detection.live.windows import Windows
from dbvad.model.detector import Detector
from dbvad.scoring.scores import score_features

WIDTH = 8
NETS = {length: Detector(WIDTH, tmm="full", length=length).eval() for length in (1, 4, 5, 16)}


def archive(length: int, features: np.ndarray) -> np.ndarray:
    return score_features(NETS[length], features, scale="windows")


@pytest.fixture(scope="module", autouse=True)
def _same_weights() -> None:
    torch.manual_seed(3)


@settings(max_examples=30)
@given(length=st.sampled_from(sorted(NETS)), total=st.integers(1, 45), seed=st.integers(0, 9), share=st.floats(0, 1))
def test_every_score_is_the_archives_at_that_moment(length: int, total: int, seed: int, share: float) -> None:
    look_ahead = int(share * (length - 1))
    features = np.random.default_rng(seed).standard_normal((total, 2, WIDTH)).astype(np.float16)
    windows, said, finals = Windows(length, look_ahead), {}, {}
    for cut in range(1, total + 1):
        window = windows.add(features[cut - 1])
        due, final = windows.take(archive(length, window))
        if due:
            said[due[0]] = due[1]
            assert due[1] == pytest.approx(archive(length, features[:cut])[due[0]], abs=1e-5)
        assert not finals.keys() & dict(final).keys()
        finals |= dict(final)
        assert sorted(finals) == list(range(cut - length))
    whole = archive(length, features)
    rest, last = windows.end()
    assert sorted(said | dict(rest)) == list(range(total))
    assert not said.keys() & dict(rest).keys()
    finals |= dict(last)
    assert [finals[place] for place in range(total)] == pytest.approx(whole.tolist(), abs=1e-5)
    assert [value for _, value in rest] == pytest.approx(whole[total - len(rest):].tolist(), abs=1e-5)


def test_a_look_ahead_beyond_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        Windows(16, 16)
