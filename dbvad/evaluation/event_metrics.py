"""Metrics of events: precision, recall and F1 at an IoU, delay, false alarms an hour, recall at a rate of those.

Events found are matched with true ones one to one, as many as can be (optimal, not greedy), where their IoU in time is
high enough. A true event is *detected* if any event found overlaps it; one found that overlaps none is a *false alarm*.
There is no point adjustment: a moment's hit never counts for the whole event. What is not defined is NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbvad.scoring.events import Thresholds, longer, spans

NAN = float("nan")
IOUS = (0.1, 0.3, 0.5)
# On-thresholds that are tried, falling: even steps of the logit, so that they lie closer together near 1 (chosen here).
STEPS = tuple(float(step) for step in np.round(1 / (1 + np.exp(-np.linspace(12, -6, 181))), 6))


@dataclass(frozen=True)
class Recording:
    """`scores` (T,), `edges_s` (T + 1,): when their snippets begin and the last one ends; `truth` (N, 2): events."""

    edges_s: np.ndarray
    scores: np.ndarray
    truth: np.ndarray

    def find(self, thresholds: Thresholds) -> np.ndarray:
        """The events of the scores: (M, 2)."""
        if not len(self.scores) or self.scores.max() < thresholds.on:
            return np.zeros((0, 2))
        return spans(self.edges_s, self.scores, thresholds)

    @property
    def quiet_s(self) -> float:
        """Seconds in which no true event is."""
        busy, reached = 0.0, float("-inf")
        for start, end in sorted(self.truth.tolist()):
            busy += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return float(self.edges_s[-1] - self.edges_s[0]) - busy


def overlaps(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Seconds that spans (N, 2) and (M, 2) have in common: (N, M)."""
    return np.maximum(0, np.minimum(truth[:, None, 1], found[None, :, 1])
                      - np.maximum(truth[:, None, 0], found[None, :, 0]))


def meet(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Whether spans (N, 2) and (M, 2) have time in common: (N, M) bool. Those that only touch have none."""
    return np.asarray(longer(overlaps(truth, found), 0.0))


def reach(truth: np.ndarray, found: np.ndarray, iou: float) -> np.ndarray:
    """Whether spans (N, 2) and (M, 2) overlap by an IoU of at least `iou`: (N, M) bool."""
    common = overlaps(truth, found)
    union = np.ptp(truth, axis=1)[:, None] + np.ptp(found, axis=1)[None, :] - common
    return np.asarray(~longer(iou * union, common))


def matched(fits: np.ndarray) -> int:
    """How many pairs a one-to-one matching can have: (N, M) bool, whether two fit."""
    if not fits.any():
        return 0
    from scipy.sparse import csr_array  # here and below: detection starts a tenth of a second sooner without
    from scipy.sparse.csgraph import maximum_bipartite_matching

    return int((maximum_bipartite_matching(csr_array(fits), perm_type="column") >= 0).sum())


def shares(pairs: int, true: int, found: int) -> dict[str, float]:
    """Precision, recall and F1 of so many pairs."""
    return {"precision": pairs / found if found else NAN, "recall": pairs / true if true else NAN,
            "f1": 2 * pairs / (true + found) if true + found else NAN}


def garwood(count: int, time: float, confidence: float = 0.975) -> tuple[float, float]:
    """Bounds of the rate of a Poisson process that gave `count` events in `time`, exact; each holds with `confidence`.

    0.975 makes of both the interval of 95 %.
    """
    from scipy.special import chdtri

    low = float(chdtri(2 * count, confidence)) / 2 if count else 0.0
    return low / time, float(chdtri(2 * count + 2, 1 - confidence)) / 2 / time


def with_on(thresholds: Thresholds, on: float) -> Thresholds:
    """The same rule at another on-threshold; off keeps its share of it."""
    return thresholds.model_copy(update={"on": on, "off": on * thresholds.off / thresholds.on})


def lowest(fits: Callable[[float], bool]) -> float | None:
    """The lowest of STEPS that fits, as do all above it; None where not even the highest does."""
    best = None
    for step in STEPS:
        if not fits(step):
            break
        best = step
    return best


def event_metrics(recordings: Sequence[Recording], thresholds: Thresholds, per_hour: float = 1.0) -> dict[str, Any]:
    """All of it. `per_hour`: false alarms an hour, at most, at which recall is given; an hour is one without event.

    Delay is from the true start to the first moment inside the event that an event found covers, of those detected.
    """
    found = [recording.find(thresholds) for recording in recordings]
    true, total = sum(len(recording.truth) for recording in recordings), sum(map(len, found))
    hours = sum(recording.quiet_s for recording in recordings) / 3600
    delays, alarms = _delays_and_alarms(recordings, found)
    at_iou = [(iou, sum(matched(reach(recording.truth, spans_, iou))
                        for recording, spans_ in zip(recordings, found, strict=True))) for iou in IOUS]
    return {
        "thresholds": thresholds.rule, "true": true, "found": total,
        "iou": {f"{iou:g}": {"matched": pairs, **shares(pairs, true, total)} for iou, pairs in at_iou},
        "detected": len(delays), "delay_s": {"median": float(np.median(delays)) if delays else NAN,
                                             "mean": float(np.mean(delays)) if delays else NAN},
        "false_alarms": alarms, "quiet_hours": hours, "false_alarms_per_hour": alarms / hours if hours else NAN,
        "interval": garwood(alarms, hours) if hours else (NAN, NAN),
        "at_rate": {"per_hour": per_hour, **_at_rate(recordings, thresholds, per_hour * hours, true)}}


def _at_rate(recordings: Sequence[Recording], thresholds: Thresholds, most: float, true: int) -> dict[str, Any]:
    """Recall (of events detected) at the lowest on-threshold down to which there are at most so many false alarms."""
    tried: dict[float, tuple[int, int]] = {}

    def fits(on: float) -> bool:
        found = [recording.find(with_on(thresholds, on)) for recording in recordings]
        delays, alarms = _delays_and_alarms(recordings, found)
        tried[on] = len(delays), alarms
        return alarms <= most

    on = lowest(fits)
    if on is None:
        return {"on": None, "recall": NAN, "false_alarms": None}
    detected, alarms = tried[on]
    return {"on": on, "recall": detected / true if true else NAN, "false_alarms": alarms}


def _delays_and_alarms(recordings: Sequence[Recording], found: Sequence[np.ndarray]) -> tuple[list[float], int]:
    """The delay of each true event that is detected, and how many false alarms there are."""
    delays, alarms = [], 0
    for recording, spans_ in zip(recordings, found, strict=True):
        common = meet(recording.truth, spans_)
        alarms += int((~common.any(axis=0)).sum())
        late = np.maximum(0, spans_[None, :, 0] - recording.truth[:, None, 0])
        delays += [float(late[row, hits].min()) for row, hits in enumerate(common) if hits.any()]
    return delays, alarms
