"""The memory of descriptions: what a snippet resembles, among all that the training videos' descriptions tell of.

DBM's contrast shapes projections that detection throws away, so what a description says beyond its video's label never
reaches a score. Here it does (chosen here, after the paper): videos and descriptions are brought into one space by
canonical correlation, in closed form; each snippet is looked up among the training descriptions in that space, and is
the more abnormal, the more it resembles those of abnormal videos rather than those of normal ones. There is no text at
test time: the descriptions are those of training, as vectors in the model.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbvad.model.gcn import distance_sums

WIDTH = 32  # of the common space
RIDGE = 0.1  # of each side's covariance, in shares of its mean variance
NEIGHBOURS = 4.0  # standard deviation of the mean over neighbours, in snippets
SHARPER = 2.0  # a snippet's evidence in shares of what the same likeness of a whole video's mean is worth
TEMPERATURE = 0.1  # of the likeness between a snippet and a description


class Alignment(NamedTuple):
    """Linear maps of videos (D) and descriptions (D') into one space of K <= WIDTH canonical directions."""

    video_mean: Tensor  # (D,)
    video_map: Tensor  # (D, K)
    text_mean: Tensor  # (D',)
    text_map: Tensor  # (D', K)
    label_mean: Tensor  # (C,)
    label_map: Tensor  # (C, K)

    def video(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., K), not of unit length: means over time may still be taken."""
        return (x - self.video_mean) @ self.video_map

    def text(self, texts: Tensor, labels: Tensor | None = None) -> Tensor:
        """(..., D') and (..., C) -> unit (..., K); without labels what the texts alone say."""
        found = (texts - self.text_mean) @ self.text_map
        if labels is not None:
            found = found + (labels - self.label_mean) @ self.label_map
        return F.normalize(found, dim=-1)


class Whitened(NamedTuple):
    """Vectors (N, D) less their `mean` (D,), and their `whitening` (D, D): what takes longest in an alignment."""

    rows: Tensor
    mean: Tensor
    whitening: Tensor


def whiten(vectors: Tensor) -> Whitened:
    """(N, D), by the inverse square root of their covariance with its ridge."""
    rows, mean, values, axes = spectrum(vectors)
    return Whitened(rows, mean, axes / values.sqrt() @ axes.T)


def spectrum(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N, D) float64 less their mean (D,), and their covariance's variances (D,), ridge added, with its axes (D, D).

    In rising order.
    """
    mean = vectors.double().mean(dim=0)
    rows = vectors.double() - mean
    values, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
    return rows, mean, values.clamp_min(0) + RIDGE * values.mean().clamp_min(torch.finfo(values.dtype).eps), axes


def align(videos: Whitened, texts: Tensor, labels: Tensor, share: float) -> Alignment:
    """Canonical correlation with ridge of N videos (N, D) with their descriptions (N, D') and labels (N, C).

    Both sides are centred, for all embeddings of an encoder share a large mean. The label stands beside the text, its
    root mean square length `share` times the text's, so that what tells classes apart is among the directions. Each
    direction is scaled by the root of its correlation: what the pictures do not show weighs little.
    """
    text_scale, label_scale = 1 / _size(texts), share / _size(labels)
    told = whiten(torch.cat([texts.double() * text_scale, labels.double() * label_scale], dim=1))
    covariance = videos.rows.T @ told.rows / len(told.rows)
    left, correlations, right = torch.linalg.svd(videos.whitening @ covariance @ told.whitening, full_matrices=False)
    scale, width = correlations[:WIDTH].sqrt(), texts.shape[1]
    told_map = told.whitening @ right[:WIDTH].T * scale
    maps = (videos.mean, videos.whitening @ left[:, :WIDTH] * scale,
            told.mean[:width] / text_scale, told_map[:width] * text_scale,
            told.mean[width:] / label_scale, told_map[width:] * label_scale)
    return Alignment(*(part.float() for part in maps))


class DescriptionMemory(nn.Module):
    """Snippets (B, T, D) with a mask (B, T) -> evidence (B, T), to be added to the logits.

    With z_t the snippet in the common space, a mean over its neighbours in time, the evidence is
    bound * tanh((e_t - mean) * scale), e_t = lse_{d of abnormal videos} cos(z_t, d) / t - lse_{d of normal videos}
    cos(z_t, d) / t. It is bounded, so that one that resembles a text very much cannot outvote the network.
    """

    video_mean: Tensor
    video_map: Tensor
    events: Tensor
    ordinary: Tensor
    mean: Tensor
    scale: Tensor
    bound: Tensor
    near: Tensor

    def __init__(self, width: int, directions: int, events: int, ordinary: int, length: int) -> None:
        """`events`, `ordinary`: how many descriptions of abnormal and of normal videos; `length`: longest sequence."""
        super().__init__()
        for name, shape in (("video_mean", (width,)), ("video_map", (width, directions)),
                            ("events", (events, directions)), ("ordinary", (ordinary, directions)), ("mean", ())):
            self.register_buffer(name, torch.zeros(shape))
        for name in ("scale", "bound"):
            self.register_buffer(name, torch.ones(()))
        self.register_buffer("near", neighbours(length), persistent=False)

    @classmethod
    def of(cls, alignment: Alignment, texts: Tensor, labels: Tensor, length: int) -> "DescriptionMemory":
        """Of descriptions (N, D') and their videos' labels (N, C), normal first; not scaled yet."""
        stored, normal = alignment.text(texts, labels), labels[:, 0] > 0
        width, directions = alignment.video_map.shape
        memory = cls(width, directions, int((~normal).sum()), int(normal.sum()), length)
        memory.load_state_dict({"video_mean": alignment.video_mean, "video_map": alignment.video_map,
                                "events": stored[~normal], "ordinary": stored[normal]}, strict=False)
        return memory

    @classmethod
    def restored(cls, state: dict[str, Tensor], length: int) -> "DescriptionMemory":
        """As saved by `state_dict`."""
        width, directions = state["video_map"].shape
        memory = cls(width, directions, len(state["events"]), len(state["ordinary"]), length)
        memory.load_state_dict(state)
        return memory

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.bound * ((self.find(x, mask) - self.mean) * self.scale).tanh()

    def calibrate(self, usual: float, worth: float, bound: float) -> None:
        """Let e_t at `usual` be no evidence, a unit above it worth about `worth`, and none more than `bound`."""
        self.mean.fill_(usual)
        self.scale.fill_(worth / bound)
        self.bound.fill_(bound)

    def find(self, x: Tensor, mask: Tensor) -> Tensor:
        """e_t (B, T), before it is calibrated."""
        z = ((x.float() - self.video_mean) @ self.video_map).masked_fill(~mask.unsqueeze(-1), 0)
        weights = self.near[:x.shape[1], :x.shape[1]]
        z = F.normalize(weights @ z / distance_sums(weights, mask).unsqueeze(-1), dim=-1) / TEMPERATURE
        return (z @ self.events.T).logsumexp(dim=-1) - (z @ self.ordinary.T).logsumexp(dim=-1)


def neighbours(length: int) -> Tensor:
    """Weights of snippets for each other, a Gaussian of their distance: (length, length)."""
    place = torch.arange(length, dtype=torch.float32)
    return torch.exp(-((place.unsqueeze(0) - place.unsqueeze(1)) / NEIGHBOURS).square() / 2)


def _size(vectors: Tensor) -> float:
    """Root mean square distance of vectors (N, D) from their mean; 1 where they are all equal."""
    return math.sqrt(float(vectors.double().var(dim=0, correction=0).sum())) or 1.0
