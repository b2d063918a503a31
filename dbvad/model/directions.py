"""Whitened directions beside the features: what varies little in them, but tells videos apart, in plain sight.

Features of unit length vary most along what all videos share, and the few hundred steps of a training hardly reach the
rest. So the network reads their leading principal directions at equal variance beside them (chosen here, not the
paper's).
"""

import torch
from torch import Tensor, nn

from dbvad.model.memory import spectrum


class Directions(nn.Module):
    """Snippets (..., D) -> their coordinates (..., K): (x - mean) @ map."""

    mean: Tensor
    map: Tensor

    def __init__(self, width: int, directions: int) -> None:
        super().__init__()
        self.width = directions
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("map", torch.zeros(width, directions))

    @classmethod
    def of(cls, means: Tensor, count: int, snippets: Tensor) -> "Directions":
        """The leading `count` of videos' mean features (N, D), so that over `snippets` (M, D) they vary as those do."""
        mean, axes = principal(means, count)
        spread = ((snippets - mean) @ axes).std().clamp_min(torch.finfo(axes.dtype).tiny)
        found = cls(*axes.shape)
        found.load_state_dict({"mean": mean, "map": axes * (snippets.std() / spread)})
        return found

    @classmethod
    def restored(cls, state: dict[str, Tensor]) -> "Directions":
        """As saved by `state_dict`."""
        found = cls(*state["map"].shape)
        found.load_state_dict(state)
        return found

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # small differences are what it is about
            return (x.float() - self.mean) @ self.map


def principal(means: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean (D,) of videos' mean features (N, D), and their `count` leading principal axes at variance 1 (D, K)."""
    _, mean, values, axes = spectrum(means)
    return mean.float(), (axes[:, -count:] / values[-count:].sqrt()).float()
