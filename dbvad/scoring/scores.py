"""From the features of a whole video to a score a snippet: the stated test-time scales, crops averaged.

The network is trained on sequences of at most `length` snippets, so a longer video has to be brought to that scale:
`bins`, averaged into `length` bins, scores spread back, which is what training does; `windows`, overlapping by half,
the last one anchored at the end, overlaps averaged; `both`, the mean of the two. A shorter video is one sequence.
"""

import numpy as np
import torch
from torch import Tensor

from dbvad.data.features import bin_edges, bin_means
from dbvad.model.detector import ClassHead, Detector
from dbvad.scoring.protocol import Scale

AT_ONCE = 8192  # snippets of windows that go through the network together


def score_features(model: Detector, features: np.ndarray, *, scale: Scale = "bins", crop: int | None = None,
                   ) -> np.ndarray:
    """Abnormal confidence of each snippet: (T, crops, D) -> (T,) float32.

    Crops are scored one by one and averaged, or only the named `crop` counts.
    """
    return score_classes(model, None, features, scale=scale, crop=crop)[:, 0]


@torch.inference_mode()
def score_classes(model: Detector, head: ClassHead | None, features: np.ndarray, *, scale: Scale = "bins",
                  crop: int | None = None) -> np.ndarray:
    """As `score_features`, with the shares of C classes beside it (C = 0 without `head`): -> (T, 1 + C)."""
    model.eval()
    device = next(model.parameters()).device
    views = torch.tensor(features if crop is None else features[:, [crop]], device=device)
    if len(views) <= model.length:
        return _run(model, head, views.transpose(0, 1)).mean(dim=0).cpu().numpy()
    parts = []
    if scale in ("bins", "both"):
        edges = bin_edges(len(views), model.length)
        means = torch.from_numpy(bin_means(views.cpu().numpy(), model.length)).to(device)
        scores = _run(model, head, means.transpose(0, 1)).mean(dim=0)
        parts.append(scores.repeat_interleave(torch.from_numpy(np.diff(edges)).to(device), dim=0))
    if scale in ("windows", "both"):
        parts.append(_windows(model, head, views))
    return torch.stack(parts).mean(dim=0).cpu().numpy()


def _windows(model: Detector, head: ClassHead | None, views: Tensor) -> Tensor:
    """(T, crops, D) -> (T, 1 + C), T > length; as many windows in memory at a time as `AT_ONCE` allows."""
    length, (total, crops, _) = model.length, views.shape
    starts = torch.tensor([*range(0, total - length, max(1, length // 2)), total - length], device=views.device)
    rows = starts.unsqueeze(1) + torch.arange(length, device=views.device)  # (windows, length)
    scores = torch.cat([
        _run(model, head, views[some].transpose(1, 2).flatten(0, 1)).unflatten(0, (len(some), crops)).mean(dim=1)
        for some in rows.split(max(1, AT_ONCE // (length * crops)))]).flatten(0, 1)
    sums = torch.zeros(total, scores.shape[1], device=views.device).index_add_(0, rows.flatten(), scores)
    return sums / rows.flatten().bincount(minlength=total).unsqueeze(1)


def _run(model: Detector, head: ClassHead | None, x: Tensor) -> Tensor:
    """Sequences without padding: (N, T, D) -> (N, T, 1 + C)."""
    logits, features = model(x.float(), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
    scores = logits.sigmoid().unsqueeze(-1)
    return scores if head is None else torch.cat([scores, head(features)], dim=-1)


def spread(scores: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """Scores of snippets (T, ...) to all frames (frames, ...): each holds until the next snippet starts.

    starts: (T,) first frame of each snippet, rising. Frames before the first snippet take its score.
    """
    return np.repeat(scores, np.diff(snippet_edges(starts, frames)), axis=0)


def snippet_edges(starts: np.ndarray, frames: int) -> np.ndarray:
    """Frames at which the snippets begin, from 0, and the end of the video: (T + 1,). Raises ValueError.

    A feature that belongs to no frame of the video is a sign that features and video do not belong together.
    """
    if not len(starts) or starts[-1] >= frames:
        raise ValueError(f"snippet at frame {starts[-1] if len(starts) else None} in a video of {frames} frames")
    return np.concatenate([[0], starts[1:], [frames]]).astype(np.int64)
