"""What an event may be: words ranked by likeness. They suggest, and never trigger: the trained score alone decides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.instruments.clip import Clip


@dataclass(frozen=True)
class Vocabulary:
    """`names`: the words that events are likened to, the model's own classes or the user's.

    `vectors`: the user's words by CLIP's text tower (W, D), unit length; None for the model's classes.
    """

    names: tuple[str, ...] = ()
    vectors: np.ndarray | None = None

    def in_features(self, features: np.ndarray) -> np.ndarray:
        """How snippets resemble the user's words, by their features: (..., crops, D) -> cosines (..., W)."""
        assert self.vectors is not None
        means = features.astype(np.float32).mean(axis=-2)
        return np.asarray(means / np.linalg.norm(means, axis=-1, keepdims=True) @ self.vectors.T)

    @staticmethod
    def in_shares(shares: np.ndarray) -> np.ndarray:
        """What the model takes snippets for, were they abnormal: shares (..., 1 + C), normal first -> (..., C)."""
        anomalies = shares[..., 1:]
        return np.asarray(anomalies / np.maximum(anomalies.sum(axis=-1, keepdims=True), 1e-12))


def words_of(clip: Clip, words: Sequence[str], templates: Sequence[str]) -> Vocabulary:
    """A user's words as CLIP sees them, each the mean over the templates. Raises ClipError."""
    vectors = np.stack([clip.encode_texts([template.format(word) for template in templates]).mean(axis=0)
                        for word in words])
    return Vocabulary(tuple(words), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
