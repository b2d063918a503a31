"""TMM, the temporal modelling module: progressive temporal convolutions beside a graph convolutional network (stated).

Everything here works on a packed batch (`dbvad.model.packing`): h (N, D), the snippets of all videos one after another.
What stands in a gap never reaches a valid snippet: the convolutions read zeros there, the graphs leave gaps out.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbvad.model.gcn import GCN
from dbvad.model.layers import autocast
from dbvad.model.packing import GAP, Packing

Kind = Literal["none", "gcn", "progressive", "multi", "full"]

KERNEL, DILATIONS = 3, (1, 2, 4)  # chosen
assert max(DILATIONS) * (KERNEL // 2) <= GAP


class TMM(nn.Module):
    """H_0 = X + positions, then by `kind`: the features as they are (`none`), one branch, or `full`: both, fused.

    `length`: the longest sequence in snippets, which is what it is trained on; longer videos are cut into windows or
    averaged into bins before (`dbvad.scoring.scores`).
    """

    def __init__(self, width: int, *, kind: Kind = "full", length: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.kind, self.length = kind, length
        if kind != "none":
            self.positions = nn.Parameter(torch.empty(length, width))
            nn.init.normal_(self.positions, std=0.01)
        if kind in ("progressive", "full"):
            self.convolutions: nn.Module = ProgressiveConvolutions(width, dropout)
        elif kind == "multi":
            self.convolutions = MultiConvolutions(width, dropout)
        if kind in ("gcn", "full"):
            self.gcn = GCN(width, length)
        if kind == "full":
            self.fusion = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """(N, D) -> (N, D). Raises ValueError for a video of more than `length` snippets."""
        snippets = packing.mask.shape[1]
        if snippets > self.length:
            raise ValueError(f"{snippets} snippets in a sequence, at most {self.length}: use dbvad.scoring.scores")
        if self.kind == "none":
            return x
        h = x + F.embedding(packing.place, self.positions)
        if self.kind == "gcn":
            return self.gcn(h, x, packing)
        if self.kind != "full":
            return self.convolutions(h, packing.valid)
        return self.fusion(torch.cat([autocast(self.convolutions(h, packing.valid)), self.gcn(h, x, packing)], dim=-1))


class ProgressiveConvolutions(nn.Module):
    """A cascade over growing spans: H_l = H_{l-1} + Drop(GELU(Conv_{3, dilation}(LN(H_{l-1}) * m))), non-causal."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in DILATIONS)
        self.convolutions = nn.ModuleList(TemporalConvolution(width, dilation) for dilation in DILATIONS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, valid: Tensor) -> Tensor:
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = h + self.dropout(F.gelu(convolution(norm(h), valid)))
        return h


class MultiConvolutions(nn.Module):
    """The same convolutions side by side, concatenated and mapped back (the poster's `multi` ablation)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolutions = nn.ModuleList(TemporalConvolution(width, dilation) for dilation in DILATIONS)
        self.linear = nn.Linear(len(DILATIONS) * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, valid: Tensor) -> Tensor:
        normed = self.norm(h)
        wide = torch.cat([F.gelu(convolution(normed, valid)) for convolution in self.convolutions], dim=-1)
        return h + self.dropout(self.linear(wide))


class TemporalConvolution(nn.Module):
    """A convolution along time that keeps the length and reads zeros where nothing is valid: (N, D) -> (N, D)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, KERNEL, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.convolution((autocast(x) * valid).T.unsqueeze(0)).squeeze(0).T
