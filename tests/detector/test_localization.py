"""mAP@IoU: a perfect oracle is perfect, the compatible figure shows its known ceiling, and matching is one to one."""

import numpy as np
import pytest

from dbvad.evaluation.localization import ClassScores, localization_map

FRAMES = 100


def video(segments, classes=14, frames=FRAMES, jitter=0):
    """Class scores that say exactly what is true; column 0 is normal."""
    scores = np.zeros((frames, classes))
    scores[:, 0] = 1
    for start, end, label in segments:
        scores[start + jitter:end + jitter, label] = 1
        scores[start + jitter:end + jitter, 0] = 0
    return ClassScores(scores, np.arange(frames + 1), segments)


def crime_set():
    """13 classes and normal: two videos a class, one with two events, and normal ones."""
    events = [[(10, 30, c)] for c in range(1, 14)] + [[(5, 15, c), (60, 90, c)] for c in range(1, 14)]
    return [video(segments) for segments in [*events, [], []]]


def test_oracle():
    found = localization_map(crime_set(), 14)
    assert found.mean == (1.0,) * 5
    assert found.classes[1:] == (1.0,) * 13
    assert np.isnan(found.classes[0])


def test_compatible_figure_keeps_the_dead_class():
    assert localization_map(crime_set(), 14).compat == pytest.approx([0.92857] * 5, abs=1e-5)


def test_overlap_decides():
    half = video([(20, 40, 1)], classes=2, jitter=8)  # 12 of 28 frames in common: IoU 0.43
    found = localization_map([half], 2, ious=(0.4, 0.45))
    assert found.mean == (1.0, 0.0)


def test_a_segment_is_found_once():
    scores = np.zeros((FRAMES, 2))
    scores[10:18, 1] = 1.0
    scores[22:30, 1] = 0.9  # two pieces of one event
    found = localization_map([ClassScores(scores, np.arange(FRAMES + 1), [(10, 30, 1)])], 2, ious=(0.3,))
    assert found.mean == (1.0,)  # the better piece first, the other one a false alarm behind it
    scores[10:18, 1], scores[60:68, 1] = 0.8, 1.0  # a false alarm ahead of both
    found = localization_map([ClassScores(scores, np.arange(FRAMES + 1), [(10, 30, 1)])], 2, ious=(0.3,))
    assert found.mean == (0.5,)


def test_right_time_in_the_wrong_video_or_class_is_wrong():
    silent = ClassScores(np.zeros((FRAMES, 3)), np.arange(FRAMES + 1), [(10, 30, 1)])
    assert localization_map([silent, video([(10, 30, 2)], classes=3)], 3).mean == (0.5,) * 5


def test_steps_of_many_frames():
    scores = np.array([[1.0, 0], [0, 1], [1, 0]])
    found = localization_map([ClassScores(scores, np.array([0, 16, 32, 45]), [(16, 32, 1)])], 2)
    assert found.mean == (1.0,) * 5


def test_no_truth_at_all_is_nan():
    assert np.isnan(localization_map([video([])], 14).mean).all()
