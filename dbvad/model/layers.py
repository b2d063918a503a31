"""The one layer that classifier, SFP and DBM share."""

from torch import nn


class FeedForward(nn.Sequential):
    """D -> 4D -> D with GELU between (chosen, as in VadCLIP), without the skip connection: (..., D) -> (..., D)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
