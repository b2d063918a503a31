"""The detector, all there is at test time: features -> TMM -> classifier -> one score a snippet (stated).

Beside the features may stand whitened directions of them, beside the classifier a memory of the training descriptions
(both chosen here, see directions.py and memory.py).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbvad.model.directions import Directions
from dbvad.model.layers import FeedForward
from dbvad.model.memory import DescriptionMemory
from dbvad.model.packing import Packing
from dbvad.model.tmm import TMM, Kind


class Detected(NamedTuple):
    """`logits` a_t (B, T), whose sigmoid is the abnormal confidence, and `features` h_t (B, T, D) behind them."""

    logits: Tensor
    features: Tensor


class Detector(nn.Module):
    """CLIP features (B, T, D) with a mask (B, T) -> logits and features. Values in padded places mean nothing.

    `width`: D and, where there are any, the number of directions: what TMM reads and h_t has.

    The memory's evidence is added in eval mode alone: it knows the training videos, so the network would leave to it
    what it has to learn itself.
    """

    def __init__(self, width: int, *, tmm: Kind = "full", length: int = 256, dropout: float = 0.1,
                 directions: Directions | None = None, memory: DescriptionMemory | None = None) -> None:
        super().__init__()
        self.width, self.length = width + (directions.width if directions else 0), length
        self.tmm = TMM(self.width, kind=tmm, length=length, dropout=dropout)
        self.classifier = Classifier(self.width)
        self.directions, self.memory = directions, memory

    def forward(self, x: Tensor, mask: Tensor) -> Detected:
        packing = Packing(mask)
        shown = x if self.directions is None else torch.cat([x, self.directions(x)], dim=-1)
        h = self.tmm(packing.pack(shown), packing)
        logits = packing.unpack(self.classifier(h))
        if self.memory is not None and not self.training:
            logits = logits + self.memory(x, mask)
        return Detected(logits, packing.unpack(h))


class Classifier(nn.Module):
    """a_t = w . (h_t + FFN(h_t)) + b: (..., D) -> (...,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = FeedForward(width)
        self.linear = nn.Linear(width, 1)

    def forward(self, h: Tensor) -> Tensor:
        return (self.linear(h) + self.ffn.dot(h, self.linear.weight)).squeeze(-1)


class ClassHead(nn.Module):
    """Which class a snippet resembles (chosen here; the paper's detector only says abnormal or not).

    DBM brings videos and descriptions into one space. A class is there as the mean of its training descriptions, so its
    share of a snippet is the softmax over cos(z_v, prototype) / tau, with no text at test time: (..., D) -> (..., C).
    """

    prototypes: Tensor
    scale: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.video_ffn = FeedForward(width)
        self.register_buffer("prototypes", torch.zeros(classes, width))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        z = F.normalize((features + self.video_ffn(features)).float(), dim=-1)
        return (self.scale * z @ self.prototypes.T).softmax(dim=-1)
