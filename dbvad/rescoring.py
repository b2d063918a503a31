"""Levers at test time (chosen here, not the paper's; off by default): a snippet is judged against its whole video.

Training tells whole videos apart, so what a whole video has in common, its place and its light, moves the scores of all
its snippets. `relative` lets the video count by its bag score alone and a snippet by how far it lies above its video's
mean: a'_t = bag(a) + a_t - mean(a). `names` adds what the class names say without any training, w (q_t - mean q), where
q_t is the cosine of the snippet's features with the mean vector of the anomalies' names.
"""

import numpy as np

TOP_SHARE = 16  # a video's score is the mean of its top T // 16 + 1 snippets, as in training
EPSILON = 1e-7  # keeps the logit of a score finite


def rescore(scores: np.ndarray, *, relative: bool = False, likeness: np.ndarray | None = None) -> np.ndarray:
    """Scores (T,) in 0..1 of one video to scores (T,); `likeness` (T,): what the names add to the logits."""
    clipped = np.clip(scores.astype(np.float64), EPSILON, 1 - EPSILON)
    logits = np.log(clipped / (1 - clipped))
    if relative:
        logits = logits + bag(logits) - logits.mean()
    if likeness is not None:
        logits = logits + likeness
    return 1 / (1 + np.exp(-logits))


def name_likeness(features: np.ndarray, anomalies: np.ndarray, weight: float) -> np.ndarray:
    """`weight` times the cosine with the mean of the names' unit vectors, less its mean over the video.

    features (T, crops, D), of which the crops are averaged; anomalies (C, D) -> (T,)
    """
    cosine = _unit(features.astype(np.float32)) @ _unit(anomalies).mean(axis=0)
    along = cosine.mean(axis=1)
    return weight * (along - along.mean())


def bag(scores: np.ndarray) -> float:
    """Mean of the top T // 16 + 1 of (T,)."""
    return float(np.sort(scores)[::-1][:len(scores) // TOP_SHARE + 1].mean())


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), EPSILON)
