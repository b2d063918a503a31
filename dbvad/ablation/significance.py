"""Are differences paired by seed more than chance? Student's t for their mean, sign flips where seeds are few."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np

EXACT = 16  # seeds up to which all sign flips are tried


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """`interval`: 95 % of the mean, by Student's t, None for one seed. `p`: two-sided, of the exact sign-flip test: the
    share of the 2^N ways to sign the differences whose mean is as far from 0; None beyond 16 seeds.
    """
    return {"interval": _interval(differences), "p": sign_flip(differences) if len(differences) <= EXACT else None}


def least_p(seeds: int) -> float:
    """The best that the sign-flip test can show: all differences of one sign leave this and its mirror image."""
    return min(1.0, 2.0 ** (1 - seeds))


def what_seeds_can_show(seeds: int) -> str:
    """What the figures of `paired` are, and the limit of the test."""
    interval = "[95 % interval of the mean difference by Student's t]"
    if seeds < 2:
        return "one seed: no test of significance"
    if seeds > EXACT:
        return interval
    least = least_p(seeds)
    more = "" if least <= 0.05 else ", so not under 0.05: that takes 6 seeds"
    return (f"{interval}; p: exact two-sided sign-flip test, which with {seeds} seeds cannot be below 1/{1 / least:.0f}"
            f"{more}")


def sign_flip(differences: Sequence[float]) -> float:
    """p of "each difference is as likely to have either sign"."""
    values = np.asarray(differences, float)
    signs = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
    reached = np.abs(signs @ values) >= np.abs(values.sum()) * (1 - 1e-9)
    return float(reached.mean())


def _interval(differences: Sequence[float]) -> list[float] | None:
    if len(differences) < 2:
        return None
    from scipy.special import stdtrit  # takes a tenth of a second, which `dbvad report` need not wait for

    mean = fmean(differences)
    half = float(stdtrit(len(differences) - 1, 0.975)) * stdev(differences) / sqrt(len(differences))
    return [mean - half, mean + half]
