"""mAP@IoU: does a detector find each event, with its class, as one segment of time?

The rule that turns class scores into segments is the one behind published tables (as VadCLIP computes them): threshold
at max - 0.6 (max - min) of the class in the video, confidence = highest score inside + 0.7 times the mean of the top
sixteenth of the video. Two means over classes are given: `mean` over the classes that have a true segment, and
`compat` over all columns, where a class without true segments counts as 0, so that a perfect oracle on UCF-Crime's 13
classes and normal stays at 13/14 = 92.857 %; only that one compares with published tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
DEPTH = 0.6  # how far below the highest score of the video a segment may reach, as a share of its range
MIN_FRAMES = 2


@dataclass(frozen=True)
class ClassScores:
    """Class scores of one video by time steps, and its true segments (start frame, end frame exclusive, class)."""

    scores: np.ndarray  # (T, C), >= 0
    edges: np.ndarray  # (T + 1,) frame at which each step begins, and the end of the last one
    segments: Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class LocalizationMap:
    """`mean` and `compat` by IoU threshold, and the AP of each class (averaged over thresholds, NaN without truth)."""

    ious: tuple[float, ...]
    mean: tuple[float, ...]
    compat: tuple[float, ...]
    classes: tuple[float, ...]


def localization_map(videos: Sequence[ClassScores], classes: int, ious: Sequence[float] = IOUS) -> LocalizationMap:
    """mAP at each IoU threshold over `classes` columns of scores."""
    table = np.array([_class_aps(videos, column, ious) for column in range(classes)])  # (C, thresholds), NaN: no truth
    present = ~np.isnan(table).any(axis=1)
    mean = table[present].mean(axis=0) if present.any() else np.full(len(ious), np.nan)
    return LocalizationMap(tuple(ious), tuple(map(float, mean)), tuple(map(float, np.nan_to_num(table).mean(axis=0))),
                           tuple(map(float, table.mean(axis=1))))


def _class_aps(videos: Sequence[ClassScores], column: int, ious: Sequence[float]) -> list[float]:
    truth = [np.array([(start, end) for start, end, label in video.segments if label == column], dtype=np.int64
                      ).reshape(-1, 2) for video in videos]
    total = sum(map(len, truth))
    if total == 0:
        return [float("nan")] * len(ious)
    found = sorted((detection for index, video in enumerate(videos)
                    for detection in _detections(index, video.scores[:, column], video.edges)),
                   key=lambda detection: -detection[0])
    overlaps = [_iou(start, end, truth[index]) for _, index, start, end in found]
    return [_average_precision([index for _, index, _, _ in found], overlaps, truth, total, iou) for iou in ious]


def _detections(video: int, scores: np.ndarray, edges: np.ndarray) -> list[tuple[float, int, int, int]]:
    """(confidence, video, start, end) of the runs above the video's own threshold."""
    if not len(scores):
        return []
    top = np.sort(scores)[::-1][:max(1, len(scores) // 16)].mean()
    if not top > 0:
        return []
    above = np.concatenate([[0], scores > scores.max() - DEPTH * (scores.max() - scores.min()), [0]]).astype(np.int8)
    begins, ends = np.flatnonzero(np.diff(above) == 1), np.flatnonzero(np.diff(above) == -1)
    return [(float(scores[b:e].max() + 0.7 * top), video, int(edges[b]), int(edges[e]))
            for b, e in zip(begins, ends, strict=True) if edges[e] - edges[b] >= MIN_FRAMES]


def _iou(start: int, end: int, segments: np.ndarray) -> np.ndarray:
    inner = np.minimum(end, segments[:, 1]) - np.maximum(start, segments[:, 0])
    inner = np.maximum(inner, 0)
    return inner / (end - start + segments[:, 1] - segments[:, 0] - inner)


def _average_precision(owners: list[int], overlaps: list[np.ndarray], truth: list[np.ndarray], total: int,
                       iou: float) -> float:
    """AP of detections in order of confidence; each true segment is found at most once, by its best overlap left."""
    free = [np.ones(len(segments), dtype=bool) for segments in truth]
    hits = np.zeros(len(owners), dtype=bool)
    for rank, (owner, overlap) in enumerate(zip(owners, overlaps, strict=True)):
        candidates = np.where(free[owner], overlap, -1.0)
        if len(candidates) and candidates.max() >= iou:
            free[owner][candidates.argmax()] = False
            hits[rank] = True
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].sum() / total)
