"""The graph branch of TMM, after VadCLIP and HL-Net: snippets pass messages to those alike and to those near."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbvad.model.layers import autocast
from dbvad.model.packing import Packing

SIMILARITY_THRESHOLD = 0.7  # as in VadCLIP and HL-Net


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

    def forward(self, h: Tensor, x: Tensor, packing: Packing) -> Tensor:
        """Convolve h (N, D) over graphs made of the input features x (N, D), both packed."""
        h, mask = autocast(self.norm(h)), packing.mask
        adjacency = similarity_adjacency(packing.unpack(x), mask)
        length = mask.shape[1]
        weights = self.distances[:length, :length]  # one for all videos: only the sum of a row differs
        share = 1 / distance_sums(weights, mask).unsqueeze(-1)

        def alike(messages: Tensor) -> Tensor:
            return packing.pack(adjacency @ packing.unpack(messages))

        def near(messages: Tensor) -> Tensor:
            return packing.pack((weights @ packing.unpack(messages)) * share)

        paths = []
        for spread, convolutions in ((alike, self.similar), (near, self.near)):
            path = h
            for convolution in convolutions:
                path = convolution(path, spread)
            paths.append(path)
        return self.linear(torch.cat(paths, dim=-1))


class GraphConvolution(nn.Module):
    """GELU(A H W + H R); R is the identity where the width stays. `spread`: the product with A."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width_in, width_out, bias=False)
        self.residual = nn.Identity() if width_in == width_out else nn.Linear(width_in, width_out)

    def forward(self, h: Tensor, spread: Callable[[Tensor], Tensor]) -> Tensor:
        return F.gelu(spread(self.weight(h)) + self.residual(h))


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
    return cosine.masked_fill_(~edges, torch.finfo(cosine.dtype).min).softmax(dim=-1).mul_(edges)


def distance_weights(length: int) -> Tensor:
    """exp(-|i - j| / e): (length, length)."""
    place = torch.arange(length, dtype=torch.float32)
    return torch.exp(-(place.unsqueeze(0) - place.unsqueeze(1)).abs() / math.e)


def distance_sums(weights: Tensor, mask: Tensor) -> Tensor:
    """A row's sum over the valid snippets: (T, T), (B, T) -> (B, T); at least 1, which a valid snippet gives itself."""
    with torch.autocast(mask.device.type, enabled=False):
        return (mask.to(weights.dtype) @ weights).clamp_min(1)
