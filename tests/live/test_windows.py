"""Live scores are those of `--scale windows` on the recording cut at that moment, for any length and look-ahead."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.model.detector import Detector
from dbvad.scoring.protocol import Protocol
from dbvad.scoring.scores import TorchNetwork, score_by, score_features
from dbvad.scoring.windows import Windows

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
        due, final = windows.take(archive(length, window)[:, None])
        if due:
            said[due[0]] = float(due[1][0])
            assert said[due[0]] == pytest.approx(archive(length, features[:cut])[due[0]], abs=1e-5)
        assert not finals.keys() & dict(final).keys()
        finals |= {place: float(row[0]) for place, row in final}
        assert sorted(finals) == list(range(cut - length))
    whole = archive(length, features)
    rest, last = ([(place, float(row[0])) for place, row in rows] for rows in windows.end())
    assert sorted(said | dict(rest)) == list(range(total))
    assert not said.keys() & dict(rest).keys()
    finals |= dict(last)
    assert [finals[place] for place in range(total)] == pytest.approx(whole.tolist(), abs=1e-5)
    assert [value for _, value in rest] == pytest.approx(whole[total - len(rest):].tolist(), abs=1e-5)
    live = score_by(TorchNetwork(NETS[length]), features, Protocol(scale="windows", look_ahead=look_ahead))
    said |= dict(rest)
    assert live[:, 0].tolist() == pytest.approx([said[place] for place in range(total)], abs=1e-5)


@pytest.mark.parametrize("other", [{"scale": "bins"}, {"smooth": 1}, {"names": 1}])
def test_what_needs_the_whole_recording_is_not_live(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need the whole recording"):
        Protocol(**{"scale": "windows", "look_ahead": 0} | other)


def test_a_look_ahead_beyond_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        Windows(16, 16)
