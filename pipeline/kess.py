"""KESS, the key event selection strategy, and the two strategies it is compared with.

Stated by the paper: key frames are chosen by semantic relevance (CLIP's alignment of frame and text) and temporal
evolution, balancing relevance against coverage of time; compared with `Average` (here `uniform`) and `TopM`.
Chosen here: the formulas below, the recursion after Adaptive Keyframe Sampling (CVPR 2025).
"""

from typing import Literal

import numpy as np

Strategy = Literal["kess", "uniform", "topm"]


def novelty(embeddings: np.ndarray, window: int = 4) -> np.ndarray:
    """How much each frame differs from its temporal neighbourhood, in [0, 2]. Chosen here.

    `embeddings` (T, D), unit norm. 1 - cos(frame, mean of up to `window` frames on each side); a lone frame has 0.
    """
    count = len(embeddings)
    if count < 2:
        return np.zeros(count, np.float32)
    sums = np.concatenate([np.zeros((1, embeddings.shape[1])), np.cumsum(embeddings, axis=0, dtype=np.float64)])
    at = np.arange(count)
    low, high = np.maximum(at - window, 0), np.minimum(at + window + 1, count)
    around = sums[high] - sums[low] - embeddings
    length = np.linalg.norm(around, axis=1)
    cosine = np.einsum("td,td->t", around, embeddings) / np.where(length == 0, 1, length)
    return np.where(length == 0, 0, 1 - cosine).clip(0, 2).astype(np.float32)


def rescale(values: np.ndarray) -> np.ndarray:
    """Min-max to [0, 1]; all zeros where every value is equal."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def event_score(relevance: np.ndarray, evolution: np.ndarray) -> np.ndarray:
    """(r_t + e_t) / 2, both rescaled over the video: (T,) in [0, 1]."""
    return (rescale(relevance) + rescale(evolution)) / 2


def select(score: np.ndarray, times: np.ndarray, count: int, strategy: Strategy, *, min_gap_s: float = 0.5,
           stand_out: float = 0.3) -> np.ndarray:
    """Indices of at most `count` key frames, best first, no two closer than `min_gap_s` (uniform: evenly spread).

    `score` (T,) and `times` (T,) in seconds, rising. Ties go to the earlier frame.
    """
    if strategy == "uniform":
        chosen = uniform(len(score), count)
    elif strategy == "topm":
        chosen = _top(score, times, range(len(score)), count, min_gap_s, [])
    else:
        chosen = _split(score, times, 0, len(score), count, min_gap_s, stand_out)
        chosen += _top(score, times, range(len(score)), count - len(chosen), min_gap_s, chosen)
    return np.array(sorted(chosen, key=lambda i: (-score[i], i)), dtype=np.int64)


def uniform(length: int, count: int) -> list[int]:
    """The middles of `count` equal parts of the video; every frame once where there are fewer."""
    return sorted({int((i + 0.5) * length / count) for i in range(count)}) if length else []


def _split(score: np.ndarray, times: np.ndarray, start: int, end: int, count: int, gap: float, stand_out: float,
           ) -> list[int]:
    """Take the top of a segment that stands out from its mean, else halve it and share the budget."""
    segment = score[start:end]
    if count <= 0 or not len(segment):
        return []
    best = np.sort(segment)[-count:]
    if count == 1 or len(segment) <= count or best.mean() - segment.mean() >= stand_out:
        return _top(score, times, range(start, end), count, gap, [])
    middle = (start + end) // 2
    # An odd frame goes to the half with the higher peak.
    left = count // 2 + (count % 2 and score[start:middle].max() >= score[middle:end].max())
    chosen = _split(score, times, start, middle, int(left), gap, stand_out)
    # The halves meet: what the left took keeps its distance from the right.
    right = _split(score, times, middle, end, count - int(left), gap, stand_out)
    return chosen + [i for i in right if all(abs(times[i] - times[j]) >= gap for j in chosen)]


def _top(score: np.ndarray, times: np.ndarray, among: range, count: int, gap: float, taken: list[int]) -> list[int]:
    """The best `count` of `among`, each at least `gap` seconds from one another and from `taken`."""
    chosen: list[int] = []
    for i in sorted(among, key=lambda i: (-score[i], i)):
        if len(chosen) >= count:
            break
        if all(i != j and abs(times[i] - times[j]) >= gap for j in [*taken, *chosen]):
            chosen.append(i)
    return chosen
