"""How well scores fit the truth: ROC and PR curves over all frames, AUC inside each video, a table by class.

Snippets are not spread to frames: each stands for its true and its false frames as two weighted samples, so that
memory follows the number of snippets. The figures are those of dbvad/metrics.py over frames.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dbvad.evaluation.groundtruth import Segment
from dbvad.evaluation.metrics import NAN, Ranking, auc
from dbvad.report.inputs import Scores, Video

CURVE_POINTS = 300


@dataclass(frozen=True)
class Judged:
    """One scored video: `auc`, NaN unless it has frames of both kinds; `peak`, its highest score, at `peak_frame`."""

    video_id: str
    auc: float
    peak: float
    peak_frame: int


@dataclass(frozen=True)
class Curves:
    """Points of both curves from the highest threshold down, and the share of true frames (a constant's precision)."""

    false_rate: np.ndarray
    true_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    prevalence: float


@dataclass(frozen=True)
class ClassRow:
    """Scored videos of one class: how many, mean AUC inside them (NaN if undefined), mean of their highest scores."""

    name: str
    videos: int
    auc: float
    peak: float


def weights(scores: Scores, segments: Iterable[Segment]) -> tuple[np.ndarray, np.ndarray]:
    """True and all frames of each snippet: two arrays (T,)."""
    inside = np.zeros(len(scores.values), dtype=np.int64)
    reached = 0
    for segment in sorted(segments, key=lambda segment: segment.start):
        start = max(segment.start, reached)  # overlapping events count a frame once
        if segment.end > start:
            inside += np.maximum(0, np.minimum(scores.edges[1:], segment.end) - np.maximum(scores.edges[:-1], start))
            reached = segment.end
    return inside, np.diff(scores.edges)


def judge(video_id: str, scores: Scores, segments: Sequence[Segment] | None) -> Judged:
    """`segments` None: the truth is not known."""
    best = int(scores.values.argmax())
    middle = int(scores.edges[best] + scores.edges[best + 1]) // 2
    value = NAN
    if segments is not None:
        inside, frames = weights(scores, segments)
        value = auc(*_samples(scores.values, inside, frames))
    return Judged(video_id, value, float(scores.values[best]), middle)


def curves(scores: Mapping[str, Scores], truth: Mapping[str, Sequence[Segment]]) -> Curves | None:
    """Over the videos whose truth is known; None if their frames are all of one kind."""
    known = [video_id for video_id in scores if video_id in truth]
    if not known:
        return None
    parts = [weights(scores[video_id], truth[video_id]) for video_id in known]
    inside, frames = (np.concatenate(column) for column in zip(*parts, strict=True))
    kind, value, weight = _samples(np.concatenate([scores[video_id].values for video_id in known]), inside, frames)
    true, false = Ranking(kind, value).counts(weight)
    if not true[-1] or not false[-1]:
        return None
    shown = _thin(true / true[-1], false / false[-1])
    true, false = true[shown], false[shown]
    rate = true / inside.sum()
    return Curves(np.concatenate([[0], false / (frames - inside).sum()]), np.concatenate([[0], rate]), rate,
                  true / (true + false), float(inside.sum() / frames.sum()))


def by_class(videos: Iterable[Video], judged: Mapping[str, Judged]) -> list[ClassRow]:
    """Normal first, then the classes by name; a video with several labels counts for each."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for video in videos:
        if video.video_id in judged and video.labels is not None:
            for name in video.labels or ("normal",):
                groups[name].append(judged[video.video_id])
    rows = [ClassRow(name, len(group), _mean([j.auc for j in group]), _mean([j.peak for j in group]))
            for name, group in groups.items()]
    return sorted(rows, key=lambda row: (row.name != "normal", row.name))


def _samples(values: np.ndarray, inside: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, score and weight of two samples a snippet, those without frames left out."""
    kind = np.repeat([True, False], len(values))
    weight = np.concatenate([inside, frames - inside])
    there = weight > 0
    return kind[there], np.tile(values, 2)[there], weight[there]


def _thin(*rates: np.ndarray) -> np.ndarray:
    """Indices of at most CURVE_POINTS points, evenly spread along the curve, first and last among them."""
    along = np.sum(rates, axis=0)
    if len(along) <= CURVE_POINTS:
        return np.arange(len(along))
    wanted = np.linspace(along[0], along[-1], CURVE_POINTS)
    return np.unique(np.append(np.searchsorted(along, wanted).clip(0, len(along) - 1), len(along) - 1))


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else NAN
