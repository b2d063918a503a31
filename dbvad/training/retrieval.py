"""Is a video's own description found from the video? If not, DBM has taught nothing that the description says.

Asked of held-out training videos, by the alignment of the memory of descriptions, or without one over cos(z_v, z_d) as
DBM compares them; among all of their descriptions and among those of videos with the same labels. With SFP the label is
in DBM's vector of the video and finds the class by itself, so what the text says beyond it shows in the second figure
alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv


@dataclass(frozen=True)
class Found:
    """Over `videos`: recall among the first 1 and 5, median rank (1 is best), and what guessing would give.

    `low`: lower end of the exact binomial 95 % interval of recall_1; `above_chance`: it is above chance_1. Equal
    likenesses share their ranks, so texts that do not differ are found by chance and no better.
    """

    videos: int
    recall_1: float
    recall_5: float
    median_rank: float
    chance_1: float
    chance_5: float
    chance_rank: float
    low: float
    above_chance: bool


def retrieval(likeness: np.ndarray, labels: np.ndarray) -> dict[str, Any] | None:
    """`among_all` and `among_label` of likeness (V, V), videos x texts, own ones on the diagonal; labels (V, C).

    A video that is alone with its labels has nothing to be mistaken for, and is left out of `among_label`. Each is None
    where less than two videos are left.
    """
    alike = (labels[:, None] == labels[None]).all(axis=-1)
    found = {name: _found(likeness, among) for name, among in
             (("among_all", np.ones_like(alike)), ("among_label", alike))}
    return found if any(found.values()) else None


def verdict(found: Mapping[str, Any] | None) -> bool | None:
    """Whether the text is found: among the same labels where there are several videos of one; None: not asked."""
    told = (found or {}).get("among_label") or (found or {}).get("among_all")
    return None if told is None else told["above_chance"]


def _found(likeness: np.ndarray, among: np.ndarray) -> dict[str, Any] | None:
    rivals = among.sum(axis=1)
    asked = rivals > 1
    if asked.sum() < 2:
        return None
    own = np.diagonal(likeness)[:, None]
    better = ((likeness > own) & among).sum(axis=1)[asked]
    tied = ((likeness == own) & among).sum(axis=1)[asked]  # with itself
    rivals, videos = rivals[asked], int(asked.sum())
    recall_1, recall_5 = (float(np.clip((top - better) / tied, 0, 1).mean()) for top in (1, 5))
    chance_1, chance_5 = (float(np.minimum(top / rivals, 1).mean()) for top in (1, 5))
    low = lowest(recall_1 * videos, videos)
    return asdict(Found(videos, recall_1, recall_5, float(np.median(better + (1 + tied) / 2)), chance_1, chance_5,
                        float(np.median((1 + rivals) / 2)), low, low > chance_1))


def lowest(hits: float, of: int) -> float:
    """Lower end of the exact (Clopper-Pearson) two-sided 95 % interval of a share."""
    return float(betaincinv(hits, of - hits + 1, 0.025)) if hits > 0 else 0.0
