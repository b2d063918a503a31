"""Levers at test time (chosen here, not the paper's; off by default), applied to the scores of a whole video.

`smooth`: events last longer than a snippet, so scores are averaged over neighbours, by a Gaussian. `names`: what
the names of the anomalies say without any training is added to the logit, w (q_t - mean q), where q_t is the cosine of
the snippet's features with the mean vector of the names.
"""

import numpy as np

EPSILON = 1e-7  # keeps the logit of a score finite
REACH = 4  # standard deviations on each side


def smooth(scores: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over snippets with a standard deviation of `sigma`, beyond the ends the outermost: (T,) -> (T,)."""
    reach = int(np.ceil(REACH * sigma))
    weights = np.exp(-np.arange(-reach, reach + 1) ** 2 / (2 * sigma**2))
    return np.convolve(np.pad(scores.astype(np.float64), reach, mode="edge"), weights / weights.sum(), mode="valid")


def name_likeness(features: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Cosine with the mean of the names' unit vectors, less its mean over the video.

    features (T, crops, D), of which the crops are averaged; names (C, D) -> (T,)
    """
    cosine = (_unit(features.astype(np.float32)) @ _unit(names).mean(axis=0)).mean(axis=1)
    return cosine - cosine.mean()


def add_to_logits(scores: np.ndarray, what: np.ndarray) -> np.ndarray:
    """sigmoid(logit(scores) + what): (T,), (T,) -> (T,)."""
    clipped = np.clip(scores.astype(np.float64), EPSILON, 1 - EPSILON)
    return 1 / (1 + (1 / clipped - 1) * np.exp(-what))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), EPSILON)
