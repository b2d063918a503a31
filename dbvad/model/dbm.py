"""DBM, the description-boosted module (training only): video and description meet in one space.

Stated: z_v = u + FFN(u), z_d = e_d + FFN(e_d), and a contrastive loss both ways over S = cos(z_v, z_d) / tau.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn, tensor

from dbvad.model.layers import FeedForward

MAX_SCALE = 100.0  # of the logits, as in CLIP


class DBM(nn.Module):
    """Projects both sides to unit length; tau is learnable (chosen: from 0.07).

    `text_width`: of the descriptions' embeddings; where it differs from the features' a linear map comes first.
    """

    def __init__(self, width: int, text_width: int, tau: float = 0.07) -> None:
        super().__init__()
        self.project = nn.Identity() if width == text_width else nn.Linear(text_width, width)
        self.video_ffn = FeedForward(width)
        self.text_ffn = FeedForward(width)
        self.log_scale = nn.Parameter(tensor(-math.log(tau)))

    def video(self, u: Tensor) -> Tensor:
        """(..., D) -> unit z_v (..., D)."""
        return F.normalize((u + self.video_ffn(u)).float(), dim=-1)

    def text(self, description: Tensor) -> Tensor:
        """(..., D') -> unit z_d (..., D)."""
        e = self.project(description)
        return F.normalize((e + self.text_ffn(e)).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """1 / tau, at most 100."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)
