"""Learning rates over a budget of computing time."""

import math
import time
from collections.abc import Iterator

import torch


def schedule(core_minutes: float, peak: float, warm: int, optimizer: torch.optim.Optimizer) -> Iterator[float]:
    """Yields the share of the budget that is spent, before each step, with the learning rate set.

    Linear start over `warm` steps, then a cosine down to 2 % of `peak`. The budget is the processor time of this
    process, all threads together: a busy machine takes longer and trains no less.
    """
    start, step = time.process_time(), 0
    while (spent := (time.process_time() - start) / max(1e-6, 60 * core_minutes)) < 1:
        step += 1
        rate = peak * min(1.0, step / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        yield spent
