"""The two losses: L_bce over the top snippets of a bag, L_db between videos and descriptions.

L = L_bce + lambda L_db (stated).
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # keeps the logarithm finite where float32 rounds a score to 0 or 1


def bag_scores(logits: Tensor, mask: Tensor) -> Tensor:
    """Score of a video: mean of its top k = floor(T_i / 16) + 1 snippet scores (chosen, as in VadCLIP): (B, T) -> (B,).

    Every video has at least one valid snippet.
    """
    scores = logits.float().sigmoid().masked_fill(~mask, -1.0)
    k = mask.sum(dim=-1, keepdim=True) // 16 + 1
    ranked = scores.sort(dim=-1, descending=True).values
    chosen = torch.arange(scores.shape[1], device=scores.device) < k
    return (ranked * chosen).sum(dim=-1) / k.squeeze(-1)


def mil_loss(logits: Tensor, mask: Tensor, abnormal: Tensor) -> Tensor:
    """L_bce a video: BCE of its bag score against "is abnormal": (B, T), (B, T), (B,) -> (B,)."""
    # Written out, because torch's own fails on NaN, on a GPU beyond repair; here NaN stays and is refused by name.
    score = bag_scores(logits, mask).clamp(EPSILON, 1 - EPSILON)
    return -torch.where(abnormal, score, 1 - score).log()


def contrastive_loss(z_video: Tensor, z_text: Tensor, scale: Tensor, video: Tensor, texts: Tensor,
                     rivals: Tensor | None = None) -> Tensor:
    """L_db: (CE(S, targets) + CE(S', targets)) / 2, over the `texts` (B,) that take part; 0 if there is none.

    z_video, z_text (B, D) of unit length, S = scale * z_video z_text'. Targets are the identity; rows of one video
    (other crops of it, equal numbers in `video` (B,)) share one description, so they are positives of each other.
    `rivals` (B,): the videos that a text is to be told from, by default those whose texts take part.
    """
    with torch.autocast(z_video.device.type, enabled=False):
        logits = scale.float() * z_video.float() @ z_text.float().T
        same = (video.unsqueeze(0) == video.unsqueeze(1)) & texts.unsqueeze(1)
        both = (_cross_entropy(logits, same, texts)
                + _cross_entropy(logits.T, same, texts if rivals is None else rivals))
        return both.sum() / 2 / texts.sum().clamp_min(1)


def _cross_entropy(logits: Tensor, positive: Tensor, among: Tensor) -> Tensor:
    """Of each row (B, B) against its positives, all alike, among the columns that take part."""
    positive = (positive & among).float()
    target = positive / positive.sum(dim=-1, keepdim=True).clamp_min(1)
    logits = logits.masked_fill(~among, torch.finfo(logits.dtype).min)
    # Where the target is 0 the log may be -inf-like: it must not meet the product.
    return -(logits.log_softmax(dim=-1).masked_fill(target == 0, 0) * target).sum(dim=-1)
