"""Metrics of events: against sed_eval's golden cases, torchvision's IoU, a matching by trial, and known answers."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from dbvad.evaluation.event_metrics import (
    STEPS,
    Recording,
    event_metrics,
    garwood,
    lowest,
    matched,
    meet,
    overlaps,
    reach,
    shares,
)
from dbvad.scoring.events import Thresholds

GOLDEN = json.loads(Path(__file__).with_name("event_metrics_golden.json").read_text())
EXACT = Thresholds(on=0.5, off=0.5, min_length_s=0, merge_gap_s=0)


def spans_of(rows):
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


@st.composite
def some_spans(draw):
    rows = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=5))
    return spans_of([(start, start + length) for start, length in rows])


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_equal_to_sed_eval(case):
    pairs = true = found = 0
    for file in case["files"]:
        truth, ours = spans_of(file["truth"]), spans_of(file["found"])
        apart = np.abs(truth[:, None] - ours[None])  # onset and offset: (N, M, 2)
        late = np.maximum(GOLDEN["collar_s"], GOLDEN["of_length"] * np.ptp(truth, axis=1))[:, None]
        pairs += matched((apart[..., 0] <= GOLDEN["collar_s"]) & (apart[..., 1] <= late))
        true, found = true + len(truth), found + len(ours)
    assert pairs == case["matched"]
    for name, value in shares(pairs, true, found).items():
        assert (None if np.isnan(value) else value) == (case[name] if case[name] is None else pytest.approx(case[name]))


def test_golden_cases_say_by_what_they_were_made():
    assert GOLDEN["versions"]["sed_eval"]
    assert sum(case["matched"] for case in GOLDEN["cases"]) > 20


@given(some_spans(), some_spans(), st.sampled_from([0.1, 0.3, 0.5]))
def test_iou_is_torchvisions_of_boxes_of_height_one(truth, found, iou):
    boxes = [torch.tensor(np.column_stack([x[:, 0], 0 * x[:, 0], x[:, 1], 0 * x[:, 0] + 1])) for x in (truth, found)]
    theirs = box_iou(*boxes).numpy().reshape(len(truth), len(found))
    np.testing.assert_array_equal(reach(truth, found, iou), theirs >= iou - 1e-9)


@given(some_spans(), some_spans(), st.integers(1, 50), st.integers(0, 10**7))
def test_spans_that_meet_meet_wherever_they_lie_and_whatever_rounding_says(truth, found, rate, offset):
    """Whole frames are exact; seconds of the same spans are not."""
    shown = [(spans + offset) / rate for spans in (truth, found)]
    np.testing.assert_array_equal(meet(*shown), overlaps(truth, found) > 0)
    for iou in (0.1, 0.3, 0.5):
        np.testing.assert_array_equal(reach(*shown, iou), reach(truth, found, iou))


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**16 - 1))
def test_no_matching_has_more_pairs(rows, columns, bits):
    fits = np.array([bits >> place & 1 for place in range(rows * columns)], dtype=bool).reshape(rows, columns)
    pairs = list(zip(*np.nonzero(fits), strict=True))
    best = max((count for count in range(min(rows, columns) + 1) for some in combinations(pairs, count)
                if len({row for row, _ in some}) == len({column for _, column in some}) == count), default=0)
    assert matched(fits) == best


def recording(scores, truth):
    """A snippet a second."""
    return Recording(np.arange(len(scores) + 1.0), np.array(scores, dtype=np.float64), spans_of(truth))


def test_known_answer():
    scores = np.zeros(100)
    scores[12:20] = 0.9  # in a true event of 10 to 20: 2 s late
    scores[50:60] = 0.6  # false
    scores[70:71] = 0.7  # a tenth of a true event of 70 to 80
    found = event_metrics([recording(scores, [(10, 20), (30, 40), (70, 80)])], EXACT, per_hour=0)
    assert (found["true"], found["found"], found["detected"], found["false_alarms"]) == (3, 3, 2, 1)
    assert {iou: row["matched"] for iou, row in found["iou"].items()} == {"0.1": 2, "0.3": 1, "0.5": 1}
    assert found["iou"]["0.5"] == {"matched": 1, "precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3}
    assert found["delay_s"] == {"median": 1.0, "mean": 1.0}
    assert found["quiet_hours"] == pytest.approx(70 / 3600)
    assert found["false_alarms_per_hour"] == pytest.approx(3600 / 70)
    at = found["at_rate"]
    assert (at["recall"], at["false_alarms"]) == (2 / 3, 0)
    assert at["on"] == min(step for step in STEPS if step > 0.6)


def test_a_perfect_detector_and_one_that_is_silent():
    truth = [(10, 20), (30, 40)]
    scores = np.zeros(60)
    for start, end in truth:
        scores[start:end] = 1
    perfect = event_metrics([recording(scores, truth)], EXACT)
    assert all(row["f1"] == 1 for row in perfect["iou"].values())
    assert (perfect["delay_s"]["mean"], perfect["false_alarms"], perfect["at_rate"]["recall"]) == (0, 0, 1)
    silent = event_metrics([recording(np.zeros(60), truth)], EXACT)
    assert (silent["iou"]["0.1"]["recall"], silent["iou"]["0.1"]["f1"], silent["detected"]) == (0, 0, 0)
    assert np.isnan(silent["iou"]["0.1"]["precision"])
    assert np.isnan(silent["delay_s"]["median"])


def test_no_point_adjustment_a_hit_of_a_moment_is_no_match():
    scores = np.zeros(100)
    scores[50] = 1
    found = event_metrics([recording(scores, [(0, 100)])], EXACT)
    assert (found["detected"], found["delay_s"]["mean"]) == (1, 50)
    assert all(row["matched"] == 0 for row in found["iou"].values())


def test_quiet_time_counts_no_moment_of_events_twice():
    assert recording(np.zeros(100), [(10, 30), (20, 40), (25, 28), (60, 70)]).quiet_s == 60


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=60), st.integers(0, 3))
def test_recall_at_a_rate_is_of_a_threshold_that_keeps_it_as_do_all_above(scores, most):
    one = recording(scores, [(0, 5)])

    def alarms(step):
        spans = one.find(EXACT.model_copy(update={"on": step, "off": step}))
        return (overlaps(one.truth, spans) == 0).all(axis=0).sum()

    at = event_metrics([one], EXACT, per_hour=(most + 0.5) / one.quiet_s * 3600)["at_rate"]
    kept = [step for step in STEPS if at["on"] is not None and step >= at["on"]]
    assert all(alarms(step) <= most for step in kept)
    assert len(kept) == len(STEPS) or alarms(STEPS[len(kept)]) > most


def test_the_walk_ends_at_the_first_that_does_not_fit():
    assert lowest(lambda step: step > 0.9 or step < 0.2) == min(step for step in STEPS if step > 0.9)
    assert lowest(lambda step: False) is None
    assert lowest(lambda step: True) == STEPS[-1]


def test_bounds_of_a_rate_are_those_of_the_tables():
    """Garwood (1936), 95 %: 0 events (0, 3.689), 1 (0.0253, 5.572), 10 (4.795, 18.39)."""
    assert garwood(0, 1) == (0, pytest.approx(3.6889, abs=1e-4))
    assert garwood(1, 1) == (pytest.approx(0.025318, abs=1e-6), pytest.approx(5.5716, abs=1e-4))
    assert garwood(10, 2) == (pytest.approx(4.7954 / 2, abs=1e-4), pytest.approx(18.3904 / 2, abs=1e-4))
    assert garwood(0, 24, 0.95)[1] == pytest.approx(3.0 / 24, rel=0.002)
