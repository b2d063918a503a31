"""How much features and scores vary inside videos, before and after each part of the network: where time is flattened.

A share is the standard deviation inside videos over that of all snippets (chosen here): 1 where videos differ in
nothing but what happens in them, 0 where all snippets of a video are alike.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from dbvad.data.features import bin_means
from dbvad.model.detector import Detector


class Share:
    """Sums over the snippets of videos that come one after another; nothing of a video is kept."""

    def __init__(self) -> None:
        self.count = 0
        self.inside: float | Tensor = 0.0
        self.squares: float | Tensor = 0.0
        self.sums: float | Tensor = 0.0

    def add(self, h: Tensor) -> None:
        """A video's snippets (T, D)."""
        h = h.double()
        self.count += len(h)
        self.inside = self.inside + (h - h.mean(dim=0)).square().sum()
        self.squares = self.squares + h.square().sum()
        self.sums = self.sums + h.sum(dim=0)

    @property
    def value(self) -> float:
        """0 to 1; NaN where nothing varies at all."""
        mean = torch.as_tensor(self.sums) / max(1, self.count)
        total = float(torch.as_tensor(self.squares) - self.count * mean.square().sum())
        return float(np.sqrt(float(self.inside) / total)) if total > 1e-9 * float(self.squares) else float("nan")


@torch.inference_mode()
def variation(detector: Detector, videos: Iterable[np.ndarray]) -> dict[str, float]:
    """Shares of the features, of what each part of TMM makes of them, and of the scores' logits, in that order.

    videos: features (T, D), each averaged into bins where it is longer than what was trained on.
    """
    detector.eval()
    device = next(detector.parameters()).device
    shares = {name: Share() for name in ("features", *_parts(detector), "logits")}
    for features in videos:
        x = torch.tensor(bin_means(features, detector.length), device=device).float()
        with _seen(detector) as outputs:
            found = detector(x.unsqueeze(0), torch.ones(1, len(x), dtype=torch.bool, device=device))
        shares["features"].add(x)
        for name, output in outputs.items():
            shares[name].add(output[:len(x)])  # of a packed batch of one: behind the video there is a gap
        shares["logits"].add(found.logits[0].unsqueeze(-1))
    return {name: share.value for name, share in shares.items()}


def _parts(detector: Detector) -> dict[str, torch.nn.Module]:
    """TMM's branches, and TMM as a whole."""
    return {name: part for name, part in detector.tmm.named_children() if name != "fusion"} | {"TMM": detector.tmm}


@contextmanager
def _seen(detector: Detector) -> Iterator[dict[str, Tensor]]:
    """What the parts return while this is open."""
    outputs: dict[str, Tensor] = {}
    with ExitStack() as open_:
        for name, part in _parts(detector).items():
            def keep(_module: torch.nn.Module, _given: object, output: Tensor, name: str = name) -> None:
                outputs[name] = output

            open_.callback(part.register_forward_hook(keep).remove)
        yield outputs
