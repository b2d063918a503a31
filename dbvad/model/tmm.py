"""TMM, the temporal modelling module: progressive temporal convolutions beside a graph convolutional network (stated).

Shapes: features x (B, T, D), mask (B, T) bool, True where a snippet is valid. What stands in padded places never
reaches a valid one: the convolutions read zeros there, the graphs have no edge there.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["none", "gcn", "progressive", "multi", "full"]

KERNEL, DILATIONS = 3, (1, 2, 4)  # chosen
SIMILARITY_THRESHOLD = 0.7  # as in VadCLIP and HL-Net


class TMM(nn.Module):
    """H_0 = X + positions, then by `kind`: the features as they are (`none`), one branch, or `full`: both, fused.

    `length`: the longest sequence in snippets, which is what it is trained on; longer videos are cut into windows or
    averaged into bins before (`dbvad.scoring`).
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

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) -> (B, T, D). Raises ValueError for T > length."""
        if x.shape[1] > self.length:
            raise ValueError(f"{x.shape[1]} snippets in a sequence, at most {self.length}: use dbvad.scoring")
        if self.kind == "none":
            return x
        h = x + self.positions[: x.shape[1]]
        if self.kind == "gcn":
            return self.gcn(h, x, mask)
        if self.kind != "full":
            return self.convolutions(h, mask)
        return self.fusion(torch.cat([self.convolutions(h, mask), self.gcn(h, x, mask)], dim=-1))


class ProgressiveConvolutions(nn.Module):
    """A cascade over growing spans: H_l = H_{l-1} + Drop(GELU(Conv_{3, dilation}(LN(H_{l-1}) * m))), non-causal."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in DILATIONS)
        self.convolutions = nn.ModuleList(TemporalConvolution(width, dilation) for dilation in DILATIONS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = h + self.dropout(F.gelu(convolution(norm(h), mask)))
        return h


class MultiConvolutions(nn.Module):
    """The same convolutions side by side, concatenated and mapped back (the poster's `multi` ablation)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolutions = nn.ModuleList(TemporalConvolution(width, dilation) for dilation in DILATIONS)
        self.linear = nn.Linear(len(DILATIONS) * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(h)
        wide = torch.cat([F.gelu(convolution(normed, mask)) for convolution in self.convolutions], dim=-1)
        return h + self.dropout(self.linear(wide))


class TemporalConvolution(nn.Module):
    """A convolution along T that keeps the length and reads zeros in padded places: (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, KERNEL, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.convolution((x * mask.unsqueeze(-1)).transpose(1, 2)).transpose(1, 2)


class GCN(nn.Module):
    """Two graphs over the snippets, by similarity and by distance in time; two graph convolutions each, D -> D/2."""

    distances: Tensor

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        half = width // 2
        self.norm = nn.LayerNorm(width)
        self.similar = nn.ModuleList([GraphConvolution(width, half), GraphConvolution(half, half)])
        self.near = nn.ModuleList([GraphConvolution(width, half), GraphConvolution(half, half)])
        self.linear = nn.Linear(2 * half, width)
        # Made once for the longest sequence: a shorter one uses its top left corner.
        self.register_buffer("distances", distance_weights(length), persistent=False)

    def forward(self, h: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve h (B, T, D) over graphs made of the input features x (B, T, D)."""
        h = self.norm(h)
        paths = []
        for adjacency, convolutions in ((similarity_adjacency(x, mask), self.similar),
                                        (distance_adjacency(self.distances, mask), self.near)):
            path = h
            for convolution in convolutions:
                path = convolution(path, adjacency)
            paths.append(path)
        return self.linear(torch.cat(paths, dim=-1))


class GraphConvolution(nn.Module):
    """GELU(A H W + H R); R is the identity where the width stays."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width_in, width_out, bias=False)
        self.residual = nn.Identity() if width_in == width_out else nn.Linear(width_in, width_out)

    def forward(self, h: Tensor, adjacency: Tensor) -> Tensor:
        return F.gelu(adjacency @ self.weight(h) + self.residual(h))


@torch.no_grad()
def similarity_adjacency(x: Tensor, mask: Tensor) -> Tensor:
    """Row softmax over the pairs of valid snippets with cos > 0.7; no mass anywhere else: (B, T, D) -> (B, T, T).

    A valid snippet always keeps its edge to itself, so that its row sums to 1; rows of padded ones are zero.
    """
    unit = F.normalize(x.float(), dim=-1)
    with torch.autocast(x.device.type, enabled=False):  # the threshold needs more than bfloat16's three digits
        cosine = unit @ unit.transpose(1, 2)
    itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    edges = ((cosine > SIMILARITY_THRESHOLD) | itself) & mask.unsqueeze(1) & mask.unsqueeze(2)
    return cosine.masked_fill(~edges, torch.finfo(cosine.dtype).min).softmax(dim=-1) * edges


def distance_weights(length: int) -> Tensor:
    """exp(-|i - j| / e): (length, length)."""
    place = torch.arange(length, dtype=torch.float32)
    return torch.exp(-(place.unsqueeze(0) - place.unsqueeze(1)).abs() / math.e)


def distance_adjacency(weights: Tensor, mask: Tensor) -> Tensor:
    """Distance weights with each row normalised over the valid snippets: (L, L), (B, T) -> (B, T, T), T <= L."""
    length = mask.shape[1]
    valid = weights[:length, :length] * mask.unsqueeze(1)
    return valid / valid.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(valid.dtype).tiny)
