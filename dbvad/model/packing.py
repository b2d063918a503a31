"""A padded batch as one long sequence without its padding, so that a layer costs what is valid and no more."""

from typing import Any

import torch
from torch import Tensor

GAP = 4  # empty places behind each video: the furthest that a convolution reaches from it


class Packing:
    """Where the snippets of B videos lie in a sequence of N places: video after video, GAP empty places behind each.

    mask (B, T): valid snippets come first in each row. `valid` (N, 1), `place` (N,): the snippet's number in its video.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        length = mask.shape[1]
        lengths = mask.sum(dim=1, keepdim=True)
        grid = torch.arange(length + GAP, device=mask.device).unsqueeze(0)
        row, self.place = (grid < lengths + GAP).nonzero(as_tuple=True)
        self.valid = (self.place < lengths[row, 0]).unsqueeze(-1)
        self.place = self.place.clamp(max=length - 1)
        self._from = row * length + self.place
        starts = (lengths + GAP).cumsum(dim=0) - lengths - GAP
        self._to = (starts + torch.minimum(grid[:, :length], lengths)).flatten()

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, ...), zero in the gaps whatever stood in the padding."""
        return _Move.apply(x.flatten(0, 1), self._from, self.valid, self._to, self.mask.reshape(-1, 1))

    def unpack(self, h: Tensor) -> Tensor:
        """(N, ...) -> (B, T, ...), zero in the padding whatever stood in the gaps."""
        flat = _Move.apply(h, self._to, self.mask.reshape(-1, 1), self._from, self.valid)
        return flat.unflatten(0, self.mask.shape)


class _Move(torch.autograd.Function):
    """Rows from their old places to their new ones; the gradient takes the way back, a gather too and no scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, kept: Tensor, back: Tensor, kept_back: Tensor) -> Tensor:
        ctx.save_for_backward(there, kept, back, kept_back)
        return _take(x, there, kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, _, back, kept_back = ctx.saved_tensors
        return _take(gradient, back, kept_back), None, None, None, None


def _take(x: Tensor, rows: Tensor, kept: Tensor) -> Tensor:
    return x.index_select(0, rows).masked_fill_(~(kept if x.ndim > 1 else kept.squeeze(-1)), 0)
