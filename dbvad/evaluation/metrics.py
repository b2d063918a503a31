"""Frame-level metrics of anomaly detection: AUC, AP (two definitions), Ano-AUC, macro AUC, false alarms, intervals.

All are fractions in 0..1. A metric that is not defined on its input (one class only, no abnormal video) is NaN.
Ties in the scores are handled exactly: equal scores form one step of the curve, as in scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class VideoScores:
    """Scores and truth of one video, one entry a frame. Raises ValueError unless their lengths agree."""

    video_id: str
    abnormal: bool
    scores: np.ndarray  # (frames,) float
    truth: np.ndarray  # (frames,) bool

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.truth):
            raise ValueError(f"{self.video_id}: {len(self.scores)} scores for {len(self.truth)} frames of truth")


class Ranking:
    """Samples sorted by score, highest first, so that other weights can be tried without sorting again."""

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        self.order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
        ranked = np.asarray(scores)[self.order]
        self.last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else self.order
        self.truth = np.asarray(truth, dtype=bool)[self.order]

    def counts(self, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Cumulated weight of true and of false samples at or above each distinct score: two arrays (scores,)."""
        weight = np.ones(len(self.truth)) if weight is None else np.asarray(weight, dtype=np.float64)[self.order]
        return np.cumsum(weight * self.truth)[self.last], np.cumsum(weight * ~self.truth)[self.last]


def auc(truth: np.ndarray, scores: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the ROC curve."""
    return _auc(*Ranking(truth, scores).counts(weight))


def average_precision(truth: np.ndarray, scores: np.ndarray, weight: np.ndarray | None = None) -> float:
    """AP as a step function, sum of (R_n - R_{n-1}) P_n: what VadCLIP and AnomalyCLIP report."""
    return _average_precision(*Ranking(truth, scores).counts(weight))


def average_precision_trapezoid(truth: np.ndarray, scores: np.ndarray, weight: np.ndarray | None = None) -> float:
    """AP as the trapezoid area under precision over recall, from (0, 1): what RTFM and UR-DMU report."""
    return _average_precision_trapezoid(*Ranking(truth, scores).counts(weight))


def _auc(true: np.ndarray, false: np.ndarray) -> float:
    if not len(true) or true[-1] == 0 or false[-1] == 0:
        return NAN
    return float(np.trapezoid(np.concatenate([[0], true]), np.concatenate([[0], false])) / (true[-1] * false[-1]))


def _average_precision(true: np.ndarray, false: np.ndarray) -> float:
    if not len(true) or true[-1] == 0:
        return NAN
    return float(np.sum(np.diff(true, prepend=0) * _precision(true, false)) / true[-1])


def _average_precision_trapezoid(true: np.ndarray, false: np.ndarray) -> float:
    if not len(true) or true[-1] == 0:
        return NAN
    precision = np.concatenate([[1], _precision(true, false)])
    return float(np.trapezoid(precision, np.concatenate([[0], true])) / true[-1])


def _precision(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    flagged = true + false  # zero only where a resampled weight is zero: no step there, so the value does not count
    return true / np.where(flagged == 0, 1, flagged)


def frame_metrics(videos: Sequence[VideoScores], *, threshold: float = 0.5) -> dict[str, float]:
    """All frame-level metrics over the videos' frames taken together.

    `auc`, `ap`, `ap_trapezoid`: every frame. `ano_auc`: frames of abnormal videos. `macro_auc`: mean of the AUCs inside
    each video that has frames of both kinds. `false_alarms`: share of normal videos' frames scored >= threshold.
    """
    rows = _Runs(videos)
    ranking = Ranking(rows.truth, rows.scores)
    counts = ranking.counts(rows.weight)
    quiet = ~rows.abnormal
    frames = rows.weight[quiet].sum()
    return {
        "auc": _auc(*counts),
        "ap": _average_precision(*counts),
        "ap_trapezoid": _average_precision_trapezoid(*counts),
        "ano_auc": _auc(*ranking.counts(rows.weight * rows.abnormal)),
        "macro_auc": _mean(macro_aucs(videos)),
        "false_alarms": float(rows.weight[quiet & (rows.scores >= threshold)].sum() / frames) if frames else NAN,
    }


def macro_aucs(videos: Sequence[VideoScores]) -> np.ndarray:
    """The AUC inside each video, NaN where a video's frames are all of one kind: (videos,)."""
    return np.array([auc(video.truth, video.scores) for video in videos])


def bootstrap(videos: Sequence[VideoScores], *, repeats: int = 1000, level: float = 0.95, seed: int = 0,
              ) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the metrics over videos drawn with replacement: frames of a video are not independent."""
    return {name: _interval(values, level) for name, values in _draws(videos, repeats, seed).items()}


def bootstrap_difference(videos: Sequence[VideoScores], others: Sequence[VideoScores], *, repeats: int = 1000,
                         level: float = 0.95, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Percentile intervals of how much two detectors' metrics differ on the same videos: each draw is of both."""
    ours, theirs = _draws(videos, repeats, seed), _draws(others, repeats, seed)
    return {name: _interval(ours[name] - theirs[name], level) for name in ours}


def _draws(videos: Sequence[VideoScores], repeats: int, seed: int) -> dict[str, np.ndarray]:
    """Metrics of each draw; which videos are drawn depends on their number and the seed alone."""
    rows = _Runs(videos)
    ranking = Ranking(rows.truth, rows.scores)
    macro = macro_aucs(videos)
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {"auc": [], "ap": [], "ap_trapezoid": [], "ano_auc": [], "macro_auc": []}
    for _ in range(repeats):
        drawn = np.bincount(rng.integers(len(videos), size=len(videos)), minlength=len(videos))
        weight = rows.weight * drawn[rows.video]
        counts = ranking.counts(weight)
        draws["auc"].append(_auc(*counts))
        draws["ap"].append(_average_precision(*counts))
        draws["ap_trapezoid"].append(_average_precision_trapezoid(*counts))
        draws["ano_auc"].append(_auc(*ranking.counts(weight * rows.abnormal)))
        draws["macro_auc"].append(_mean(np.repeat(macro, drawn)))
    return {name: np.array(values) for name, values in draws.items()}


class _Runs:
    """Frames of all videos, neighbours with one score and one truth merged into one weighted row."""

    def __init__(self, videos: Sequence[VideoScores]) -> None:
        starts = [_run_starts(video) for video in videos]
        empty = np.zeros(0)
        self.scores = np.concatenate([empty, *(v.scores[s] for v, s in zip(videos, starts, strict=True))])
        self.truth = np.concatenate([empty, *(v.truth[s] for v, s in zip(videos, starts, strict=True))]).astype(bool)
        self.weight = np.concatenate([empty, *(np.diff(s, append=len(v.truth))
                                               for v, s in zip(videos, starts, strict=True))])
        self.video = np.repeat(np.arange(len(videos)), [len(s) for s in starts])
        self.abnormal = np.array([v.abnormal for v in videos], dtype=bool)[self.video]


def _run_starts(video: VideoScores) -> np.ndarray:
    if not len(video.truth):
        return np.zeros(0, dtype=np.int64)
    changes = (np.diff(video.scores) != 0) | (np.diff(video.truth.astype(np.int8)) != 0)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else NAN


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = 50 * (1 - level)
    defined = values[~np.isnan(values)]
    if not len(defined):
        return NAN, NAN
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)
