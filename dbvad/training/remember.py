"""From the training videos to the memory of their descriptions: no gradient, one look at the features."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dbvad.data.dataset import TrainingData
from dbvad.model.memory import Alignment, DescriptionMemory, align
from dbvad.training.config import TrainConfig
from pipeline.lists.remarks import Remark

MOST = 4096  # descriptions in a memory; of more, so many are drawn
CALIBRATED_ON = 256  # videos


class Remembered(NamedTuple):
    """The alignment, by which held-out videos are asked for their descriptions, and the memory, part of the model."""

    alignment: Alignment
    memory: DescriptionMemory


def remember(config: TrainConfig, data: TrainingData, videos: np.ndarray) -> Remembered | Remark:
    """Of the described ones of `videos` (indices), each with the text that it is taught; or why there is no memory."""
    videos = videos[data.described[videos]]
    kinds = data.abnormal[videos]
    if not kinds.any() or kinds.all():
        return Remark("descriptions", f"no memory of descriptions: no {'normal' if kinds.any() else 'abnormal'} video "
                                      f"has one, and a snippet is compared with those of both kinds. Describe some, or "
                                      f"train without a memory: --set memory=0")
    texts, labels = torch.from_numpy(data.descriptions[videos]), torch.from_numpy(data.labels[videos])
    alignment = align(video_means(data, videos), texts, labels)
    rng = np.random.default_rng([config.seed, 3])
    drawn = torch.from_numpy(np.sort(rng.permutation(len(videos))[:MOST]))
    memory = DescriptionMemory.of(alignment, texts[drawn], labels[drawn], config.bins)
    memory.calibrate(_evidence(memory, data, rng.permutation(videos)[:CALIBRATED_ON], config.batch), config.memory)
    return Remembered(alignment, memory)


def video_means(data: TrainingData, videos: np.ndarray) -> Tensor:
    """Mean feature of each of `videos` over its snippets and crops: (N, D) float32."""
    return torch.from_numpy(np.stack([data.features.mean(video) for video in videos]))


@torch.no_grad()
def _evidence(memory: DescriptionMemory, data: TrainingData, videos: np.ndarray, batch: int) -> Tensor:
    """Of all snippets of `videos`, centre crop: (N,)."""
    found = []
    for some in np.array_split(videos, -(-len(videos) // batch)):
        shown = data.batch(some, np.zeros_like(some))
        found.append(memory(shown.x, shown.mask)[shown.mask])
    return torch.cat(found)
