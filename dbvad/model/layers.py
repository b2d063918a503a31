"""The one layer that classifier, SFP and DBM share, and what saves copies of activations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Sequential):
    """D -> 4D -> D with GELU between (chosen, as in VadCLIP), without the skip connection: (..., D) -> (..., D)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def dot(self, x: Tensor, w: Tensor) -> Tensor:
        """w . FFN(x): (..., D), (1, D) -> (..., 1).

        As (w W2) . GELU(W1 x) + w . b2, so that the second layer costs 4D products a row and not 4D x D.
        """
        first, gelu, last = self
        assert isinstance(last, nn.Linear)
        with torch.autocast(x.device.type, enabled=False):
            through, bias = w @ last.weight, F.linear(w, last.bias)
        return F.linear(gelu(first(x)), through) + bias


def autocast(x: Tensor) -> Tensor:
    """In the precision that autocast multiplies in, as it is without: several layers then keep one copy of it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
