"""From the training videos to the memory of their descriptions and to the whitened directions: no gradient."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from dbvad.data.dataset import TrainingData
from dbvad.model.directions import Directions
from dbvad.model.memory import SHARPER, Alignment, DescriptionMemory, align, whiten
from dbvad.training.config import TrainConfig
from pipeline.lists.remarks import Remark

MOST = 4096  # descriptions in a memory; of more, so many are drawn
CALIBRATED_ON = 256  # videos
LOOSE = 1e3  # inverse of the ridge of a regression on one number
SHARES, FOLDS = (2.0, 0.5, 1.0, 4.0, 8.0), 5  # of the label beside the text; the first where videos are too few


class Remembered(NamedTuple):
    """The alignment, by which held-out videos are asked for their descriptions, and the memory, part of the model."""

    alignment: Alignment
    memory: DescriptionMemory


def remember(config: TrainConfig, data: TrainingData, videos: np.ndarray, means: Tensor) -> Remembered | Remark:
    """Of the described ones of `videos` (indices), each with the text that it is taught; or why there is no memory.

    `means`: of the videos, by `video_means`.
    """
    means, videos = means[data.described[videos]], videos[data.described[videos]]
    kinds = data.abnormal[videos]
    if not kinds.any() or kinds.all():
        return Remark("descriptions", f"no memory of descriptions: no {'normal' if kinds.any() else 'abnormal'} video "
                                      f"has one, and a snippet is compared with those of both kinds. Describe some, or "
                                      f"train without a memory: --set memory=0")
    texts, labels = torch.from_numpy(data.descriptions[videos]), torch.from_numpy(data.labels[videos])
    rng = np.random.default_rng([config.seed, 3])
    share, worth = judged(means, texts, labels, rng)
    alignment = align(whiten(means), texts, labels, share)
    drawn = torch.from_numpy(np.sort(rng.permutation(len(videos))[:MOST]))
    memory = DescriptionMemory.of(alignment, texts[drawn], labels[drawn], config.bins)
    shown = data.centre_crops(rng.permutation(videos)[:CALIBRATED_ON], config.batch)
    with torch.no_grad():
        usual = torch.cat([memory.find(batch.x, batch.mask)[batch.mask] for batch in shown]).mean()
    memory.calibrate(float(usual), SHARPER * worth, config.memory)
    return Remembered(alignment, memory)


def find_directions(config: TrainConfig, data: TrainingData, videos: np.ndarray, means: Tensor) -> Directions | None:
    """The directions beside the features of `videos` (indices), whose `means` are those of `video_means`."""
    if not config.directions:
        return None
    drawn = np.random.default_rng([config.seed, 4]).permutation(videos)[:CALIBRATED_ON]
    snippets = torch.cat([shown.x[shown.mask] for shown in data.centre_crops(drawn, config.batch)])
    return Directions.of(means, config.directions, snippets)


def judged(means: Tensor, texts: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[float, float]:
    """Of SHARES the one whose evidence tells best whether unseen videos are abnormal, and what a unit of it is worth.

    The worth is in log odds, by logistic regression, so that evidence which tells little weighs little. Where
    descriptions say more of an event than its label does, the label may weigh little; where they speak of all
    that a scene holds it has to weigh much. By the log loss over FOLDS parts, each judged by a memory of the others.
    """
    abnormal = labels[:, 0].numpy() == 0
    folds = min(FOLDS, int(abnormal.sum()), int((~abnormal).sum()))
    if folds < 2:
        return SHARES[0], 1.0
    part, every = np.empty(len(abnormal), int), torch.ones(len(abnormal), 1, dtype=torch.bool)
    for kind in (True, False):
        part[rng.permutation(np.flatnonzero(abnormal == kind))] = np.arange((abnormal == kind).sum()) % folds
    found = np.empty((len(SHARES), len(abnormal), 1))
    for fold in range(folds):
        seen, asked = part != fold, part == fold
        shown = whiten(means[seen])
        for row, share in enumerate(SHARES):
            memory = DescriptionMemory.of(align(shown, texts[seen], labels[seen], share), texts[seen], labels[seen], 1)
            found[row, asked] = memory(means[asked].unsqueeze(1), every[asked]).numpy()
    fits = [LogisticRegression(C=LOOSE).fit(told, abnormal) for told in found]
    best = int(np.argmin([log_loss(abnormal, fit.predict_proba(told)) for fit, told in zip(fits, found, strict=True)]))
    return SHARES[best], max(0.0, float(fits[best].coef_[0, 0]))


def video_means(data: TrainingData, videos: np.ndarray) -> Tensor:
    """Mean feature of each of `videos` over its snippets and crops: (N, D) float32."""
    return torch.from_numpy(np.stack([data.features.mean(video) for video in videos]))
