"""SFP, the semantic focus prompt (training only): the video feature, focused by the text of the video's labels.

Stated by the paper's diagram: [learnable prompt + label] -> frozen CLIP text encoder -> t_y; the video feature v is
aggregated by abnormal confidence; u = v + FFN(v + t_y).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbvad.model.layers import FeedForward
from pipeline.instruments.clip.text_tower import TextTower

Skip = Literal["residual", "vadclip"]
Pool = Literal["softmax", "sigmoid"]


def aggregate(features: Tensor, logits: Tensor, mask: Tensor, pool: Pool) -> Tensor:
    """The video feature v: unit-length sum of valid snippets weighted by confidence (chosen): (B, T, D) -> (B, D).

    `softmax` weighs the snippets of a video against each other, `sigmoid` each by its own score.
    """
    logits = logits.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    weights = logits.softmax(dim=-1) if pool == "softmax" else logits.sigmoid()
    features = features.float().masked_fill(~mask.unsqueeze(-1), 0)
    return F.normalize((weights.unsqueeze(1) @ features).squeeze(1), dim=-1)


class SFP(nn.Module):
    """Sums of v and t_y with one skip connection.

    `residual`: u = v + FFN(v + t_y), the paper's diagram. `vadclip`: u = (v + t_y) + FFN(v + t_y), as in VadCLIP.
    """

    def __init__(self, width: int, text_width: int, skip: Skip = "residual") -> None:
        super().__init__()
        self.skip = skip
        self.project = nn.Identity() if width == text_width else nn.Linear(text_width, width)
        self.ffn = FeedForward(width)

    def forward(self, v: Tensor, label_texts: Tensor, labels: Tensor) -> Tensor:
        """v (B, D), texts of all classes (C, D'), labels (B, C) 0 or 1 -> u (B, D). Several labels: mean of their t."""
        shares = labels / labels.sum(dim=-1, keepdim=True)
        both = v + self.project(shares @ label_texts)
        return (v if self.skip == "residual" else both) + self.ffn(both)


class PromptedLabels(nn.Module):
    """Label texts through the frozen text tower, behind a learnable context shared by all classes: () -> (C, D').

    The context stands between the start token and the label's words (chosen: length 10); texts are scaled to length 1
    (chosen), as v is. The tower is not a part of this module's state: its weights are not trained, saved or counted.
    """

    words: Tensor
    ends: Tensor

    def __init__(self, tower: TextTower, texts: Sequence[str], context: int = 10) -> None:
        super().__init__()
        self.tower = (tower,)  # in a tuple, so that it is not registered
        self.width = tower.dim
        tokens = [tower.tokenize([text])[0] for text in texts]
        longest = max(map(len, tokens))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in tokens])
        with torch.no_grad():
            self.register_buffer("words", tower.token_embedding(padded).float(), persistent=False)  # (C, L, W)
        self.register_buffer("ends", torch.tensor([len(row) - 1 + context for row in tokens]), persistent=False)
        self.context = nn.Parameter(torch.empty(context, tower.width))
        nn.init.normal_(self.context, std=0.02)

    def forward(self) -> Tensor:
        context = self.context.expand(len(self.words), -1, -1)
        prompts = torch.cat([self.words[:, :1], context, self.words[:, 1:]], dim=1)
        return F.normalize(self.tower[0](prompts, self.ends).float(), dim=-1)


class LabelTable(nn.Module):
    """Stand-in where no text tower fits the features: a frozen vector a class, and a learnable one beside it.

    `frozen` (C, D'): embeddings of the class names by any text encoder, or zeros. () -> (C, D').
    """

    frozen: Tensor

    def __init__(self, frozen: Tensor) -> None:
        super().__init__()
        self.width = frozen.shape[1]
        self.register_buffer("frozen", F.normalize(frozen.float(), dim=-1))
        self.learned = nn.Parameter(torch.zeros_like(frozen, dtype=torch.float32))

    def forward(self) -> Tensor:
        return self.frozen + self.learned
