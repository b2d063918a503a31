"""Which variant to choose by the outcomes of a ladder, on one set of videos or on several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.config import ConfigError
from pipeline.engine.files import Damaged, read_record

Rows = Sequence[Mapping[str, Any]]  # of table.ladder_rows


@dataclass(frozen=True)
class Verdict:
    """What the sets say of a variant against the base, paired by seed.

    `differences`: per set, metric -> {mean, std, clear}, as in the rows. A difference is clear beyond its deviation.
    `unknown`: in how many sets it cannot be told from the base: it is not there, or shares no two seeds with it.
    """

    name: str
    differences: tuple[Mapping[str, Mapping[str, Any]], ...]
    unknown: int

    @property
    def gains(self) -> int:
        """How many figures are clearly above the base's."""
        return sum(one["clear"] and one["mean"] > 0 for one in self._all)

    @property
    def losses(self) -> int:
        """How many are clearly below it."""
        return sum(one["clear"] and one["mean"] < 0 for one in self._all)

    @property
    def kept(self) -> bool:
        """Measured on every set, better on one at least, and worse on none."""
        return not self.unknown and not self.losses and self.gains > 0

    @property
    def gain(self) -> float:
        """Mean difference over sets and metrics, each counting the same."""
        return sum(one["mean"] for one in self._all) / max(1, len(self._all))

    @property
    def _all(self) -> list[Mapping[str, Any]]:
        return [one for differences in self.differences for one in differences.values()]


def verdicts(sets: Sequence[Rows], metrics: Sequence[str]) -> list[Verdict]:
    """One for each variant that any set compares with the base."""
    found = [{row["name"]: _compared(row, metrics) for row in rows if row["difference"]} for rows in sets]
    names = dict.fromkeys(name for one in found for name in one)
    return [Verdict(name, tuple(one.get(name, {}) for one in found),
                    sum(len(one.get(name, {})) < len(metrics) for one in found)) for name in names]


def choose(found: Sequence[Verdict], base: str) -> str:
    """The variant with the largest gain of those that are kept; else the base."""
    return max((one for one in found if one.kept), key=lambda one: one.gain, default=Verdict(base, (), 0)).name


def read_outcomes(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The ladder.json of each folder. Raises ConfigError unless all compare with the same base."""
    found = []
    for folder in folders:
        try:
            found.append(read_record(folder / "ladder.json", "Run its `dbvad ablate` again"))
        except Damaged as error:
            raise ConfigError(str(error)) from error
        except OSError:
            raise ConfigError(f"no ladder.json in {folder}: name the --out of a finished `dbvad ablate`") from None
    bases = {outcome["base"] for outcome in found}
    if len(bases) > 1:
        raise ConfigError(f"the ladders compare with different variants ({', '.join(sorted(bases))}): run the same "
                          f"ladder on each set")
    return found


def _compared(row: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The differences that a deviation is known of."""
    return {name: row["difference"][name] for name in metrics
            if row["difference"].get(name, {}).get("std") is not None}
