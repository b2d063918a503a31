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
LABELS = 2.0  # length of a label beside that of a description, root mean squares
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


def align(videos: Tensor, texts: Tensor, labels: Tensor) -> Alignment:
    """Canonical correlation with ridge of N videos (N, D) with their descriptions (N, D') and labels (N, C).

    Both sides are centred, for all embeddings of an encoder share a large mean. The label stands beside the text, so
    that what tells classes apart is among the directions. Each direction is scaled by the root of its correlation: what
    the pictures do not show weighs little.
    """
    x, y, z = (part.double() - part.double().mean(dim=0) for part in (videos, texts, labels))
    text_scale, label_scale = 1 / _size(y), LABELS / _size(z)
    both = torch.cat([y * text_scale, z * label_scale], dim=1)
    white_x, white_y = _whitening(x), _whitening(both)
    left, correlations, right = torch.linalg.svd(white_x @ (x.T @ both / len(x)) @ white_y, full_matrices=False)
    scale = correlations[:WIDTH].sqrt()
    told = white_y @ right[:WIDTH].T * scale
    maps = (videos.double().mean(dim=0), white_x @ left[:, :WIDTH] * scale,
            texts.double().mean(dim=0), told[:y.shape[1]] * text_scale,
            labels.double().mean(dim=0), told[y.shape[1]:] * label_scale)
    return Alignment(*(part.float() for part in maps))


class DescriptionMemory(nn.Module):
    """Snippets (B, T, D) with a mask (B, T) -> evidence (B, T), to be added to the logits.

    With z_t the snippet in the common space, a mean over its neighbours in time, the evidence is (e_t - mean) * scale,
    e_t = lse_{d of abnormal videos} cos(z_t, d) / t - lse_{d of normal videos} cos(z_t, d) / t.
    """

    video_mean: Tensor
    video_map: Tensor
    events: Tensor
    ordinary: Tensor
    mean: Tensor
    scale: Tensor
    near: Tensor

    def __init__(self, width: int, directions: int, events: int, ordinary: int, length: int) -> None:
        """`events`, `ordinary`: how many descriptions of abnormal and of normal videos; `length`: longest sequence."""
        super().__init__()
        for name, shape in (("video_mean", (width,)), ("video_map", (width, directions)),
                            ("events", (events, directions)), ("ordinary", (ordinary, directions)), ("mean", ())):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("scale", torch.ones(()))
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
            x = x.float().masked_fill(~mask.unsqueeze(-1), 0)
            z = ((x - self.video_mean) @ self.video_map).masked_fill(~mask.unsqueeze(-1), 0)
            weights = self.near[:x.shape[1], :x.shape[1]]
            z = F.normalize(weights @ z / distance_sums(weights, mask).unsqueeze(-1), dim=-1) / TEMPERATURE
            likeness = (z @ self.events.T).logsumexp(dim=-1) - (z @ self.ordinary.T).logsumexp(dim=-1)
            return (likeness - self.mean) * self.scale

    def calibrate(self, evidence: Tensor, weight: float) -> None:
        """Let `evidence` (N,), as found with this memory so far, have mean 0 and standard deviation `weight`."""
        spread = evidence.double().std(correction=0)
        self.mean += evidence.mean() / self.scale
        self.scale *= float(weight / spread) if spread > 0 else 0.0


def neighbours(length: int) -> Tensor:
    """Weights of snippets for each other, a Gaussian of their distance: (length, length)."""
    place = torch.arange(length, dtype=torch.float32)
    return torch.exp(-((place.unsqueeze(0) - place.unsqueeze(1)) / NEIGHBOURS).square() / 2)


def _size(rows: Tensor) -> float:
    """Root mean square length of rows (N, D); 1 where all are zero."""
    return math.sqrt(float(rows.square().sum(dim=1).mean())) or 1.0


def _whitening(rows: Tensor) -> Tensor:
    """Inverse square root of the covariance of centred rows (N, D) with its ridge: (D, D)."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    values = values.clamp_min(0) + RIDGE * values.mean().clamp_min(torch.finfo(values.dtype).eps)
    return vectors / values.sqrt() @ vectors.T
