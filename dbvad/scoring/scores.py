"""From the features of a whole video to a score a snippet: the stated test-time scales, crops averaged.

The network is trained on sequences of at most `length` snippets, so a longer video has to be brought to that scale:
`bins`, averaged into `length` bins, scores spread back, which is what training does; `windows`, overlapping by half,
the last one anchored at the end, overlaps averaged; `both`, the mean of the two. A shorter video is one sequence.
A protocol with a look-ahead has the scores that a camera would have been given with the same footage (windows.py).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
import torch

from dbvad.data.features import bin_edges, bin_means
from dbvad.model.detector import ClassHead, Detector
from dbvad.scoring.protocol import Protocol, Scale
from dbvad.scoring.rescoring import smooth
from dbvad.scoring.windows import Windows

AT_ONCE = 8192  # snippets of windows that go through the network together


class Network(Interface):
    """A trained detector in whatever form: sequences without padding (N, T, D), T <= `length` -> (N, T, 1 + C).

    Column 0 is the abnormal confidence, beside it the shares of C classes, normal first (C = 0 without a class head).
    """

    @property
    def length(self) -> int: ...

    def __call__(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class TorchNetwork:
    """The network as it was trained, on its device."""

    detector: Detector
    head: ClassHead | None = None

    @property
    def length(self) -> int:
        return self.detector.length

    @torch.inference_mode()
    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.detector.eval()
        sequences = torch.tensor(x, device=next(self.detector.parameters()).device).float()
        logits, features = self.detector(sequences, torch.ones(sequences.shape[:2], dtype=torch.bool,
                                                               device=sequences.device))
        scores = logits.sigmoid().unsqueeze(-1)
        if self.head is not None:
            scores = torch.cat([scores, self.head(features)], dim=-1)
        return scores.cpu().numpy()


def score_features(model: Detector, features: np.ndarray, *, scale: Scale = "bins", crop: int | None = None,
                   ) -> np.ndarray:
    """Abnormal confidence of each snippet: (T, crops, D) -> (T,) float32."""
    return score_classes(TorchNetwork(model), features, scale=scale, crop=crop)[:, 0]


def score_by(network: Network, features: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Scores and class shares under a protocol, but for what it makes of the names: (T, crops, D) -> (T, 1 + C)."""
    if protocol.look_ahead is not None:
        return score_live(network, _views(features, protocol.crop), protocol.look_ahead)
    columns = score_classes(network, features, scale=protocol.scale, crop=protocol.crop)
    if protocol.smooth:
        columns[:, 0] = smooth(columns[:, 0], protocol.smooth)
    return columns


def score_classes(network: Network, features: np.ndarray, *, scale: Scale = "bins", crop: int | None = None,
                  ) -> np.ndarray:
    """Scores and class shares: (T, crops, D) -> (T, 1 + C) float32.

    Crops are scored one by one and averaged, or only the named `crop` counts.
    """
    views = _views(features, crop)
    if len(views) <= network.length:
        return network(views.swapaxes(0, 1)).mean(axis=0)
    parts = []
    if scale in ("bins", "both"):
        scores = network(bin_means(views, network.length).swapaxes(0, 1)).mean(axis=0)
        parts.append(np.repeat(scores, np.diff(bin_edges(len(views), network.length)), axis=0))
    if scale in ("windows", "both"):
        parts.append(_windows(network, views))
    return np.mean(parts, axis=0)


def score_live(network: Network, views: np.ndarray, look_ahead: int) -> np.ndarray:
    """What is said of each snippet as soon as `look_ahead` more are there: (T, crops, D) -> (T, 1 + C) float32.

    The network runs once a snippet, so it takes about length / 2 times as long as `windows`. Raises LookAheadError.
    """
    windows, (total, crops, _) = Windows(network.length, look_ahead), views.shape
    step = max(1, AT_ONCE // (network.length * crops))
    said: list[np.ndarray] = []
    for first in range(0, total, step):
        for scores in score_each(network, [windows.add(row) for row in views[first:first + step]]):
            due, _ = windows.take(scores)
            said += [due[1]] if due else []
    return np.stack(said + [row for _, row in windows.end()[0]]).astype(np.float32)


def score_each(network: Network, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Windows (n, crops, D), n <= length -> (n, 1 + C) each, crops averaged. Those of one n go through together."""
    alike: dict[int, list[int]] = defaultdict(list)
    for place, window in enumerate(windows):
        alike[len(window)].append(place)
    found: dict[int, np.ndarray] = {}
    for length, places in alike.items():
        x = np.stack([windows[place] for place in places]).swapaxes(1, 2)  # (N, crops, n, D)
        columns = network(x.reshape(-1, length, x.shape[3]))
        found |= zip(places, columns.reshape(*x.shape[:3], -1).mean(axis=1), strict=True)
    return [found[place] for place in range(len(windows))]


def _views(features: np.ndarray, crop: int | None) -> np.ndarray:
    return features if crop is None else features[:, [crop]]


def _windows(network: Network, views: np.ndarray) -> np.ndarray:
    """(T, crops, D) -> (T, 1 + C), T > length; as many windows in memory at a time as `AT_ONCE` allows."""
    length, (total, crops, _) = network.length, views.shape
    starts = np.array([*range(0, total - length, max(1, length // 2)), total - length])
    rows = starts[:, None] + np.arange(length)  # (windows, length)
    step = max(1, AT_ONCE // (length * crops))
    scores: list[np.ndarray] = []
    for some in np.split(rows, range(step, len(rows), step)):
        scores += score_each(network, list(views[some]))
    whole = np.stack(scores)
    sums = np.zeros((total, whole.shape[2]), np.float32)
    np.add.at(sums, rows, whole)
    return sums / np.bincount(rows.ravel(), minlength=total)[:, None].astype(np.float32)


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
