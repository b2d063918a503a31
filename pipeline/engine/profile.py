"""Where a run's time went, by its log: which stage bounds it, how idle workers and processors were, what to change.

A log holds when a stage was opened and when each unit ended, how long it took and what processor time went into it;
what follows is arithmetic. With w workers of c videos each, a stage whose units took B seconds in all needs B / (w c)
even if it never waits, and all stages together need their processor seconds over the cores: the run can be no faster
than the longest of these, its *bound*, as long as workers and cores stay what they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

BUSY = 0.85  # share from which on a resource counts as used up (chosen here)
IDLE = 0.5  # share of its workers' time from which on a stage has more than it needs
HUNGRY = 0.7  # cores that a unit keeps busy, from which on it computes more than it waits
TAIL = 0.2  # share of the run at whose end so few units are left that most workers have none


class NoProfile(ValueError):
    """A log does not say enough; the message says why, and what to do."""


@dataclass(frozen=True)
class StageProfile:
    """One stage of a run. All times in seconds.

    units: that it worked on. slots: videos in work at a time, at most. busy: of all units together. least: with no wait
    at all. active: from its first unit's start to its last one's end. waited: between a unit's last input and its
    start, the median. opening, cpu: of all processes, the opening's CPU time in the latter. tail: at its end, with less
    than half of its slots in use; longest: the unit that took longest, and how long.
    """

    name: str
    units: int
    slots: int
    busy: float
    active: float
    waited: float
    opening: float
    cpu: float
    tail: float
    longest: tuple[str, float]

    @property
    def least(self) -> float:
        return self.busy / self.slots

    @property
    def idle(self) -> float:
        """Share of the slots' time in which they had no unit."""
        return max(0.0, 1 - self.busy / (self.slots * self.active)) if self.active else 0.0

    @property
    def cores(self) -> float:
        """Cores that one unit keeps busy while it is worked on."""
        return self.cpu / self.busy if self.busy else 0.0


@dataclass(frozen=True)
class Profile:
    """A run: `cores` of its machine, 0 where it ran on several."""

    seconds: float
    cores: int
    stages: tuple[StageProfile, ...]

    @property
    def cpu_share(self) -> float:
        """Share of the cores' time that the stages' processes used."""
        return sum(stage.cpu for stage in self.stages) / (self.seconds * self.cores) if self.cores else 0.0

    @property
    def bounds(self) -> dict[str, float]:
        """Seconds that each stage and the processors need at least, the longest first."""
        found = {stage.name: stage.least for stage in self.stages}
        if self.cores:
            found["processors"] = sum(stage.cpu for stage in self.stages) / self.cores
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    @property
    def advice(self) -> list[str]:
        """What to change, the most useful first."""
        said = []
        bound = next(iter(self.bounds))
        if bound == "processors" or self.cpu_share >= BUSY:
            said.append(f"the processors are the bound ({self.cpu_share:.0%} busy): more workers make nothing faster; "
                        "another machine does (--shard, --engine ray), or less work: a larger decode.stride, a smaller "
                        "decode.short_side, score on a GPU")
        else:
            said += _widen(next(stage for stage in self.stages if stage.name == bound), self.cores)
        for stage in self.stages:
            if stage.slots > 1 and stage.name != bound and stage.idle > IDLE and stage.active > IDLE * self.seconds:
                said.append(f"{stage.name}: its workers were idle {stage.idle:.0%} of the time, waiting for the stage "
                            f"before it: fewer would do")
            if stage.tail > TAIL * self.seconds and stage.slots > 1:
                name, took = stage.longest
                said.append(f"{stage.name}: in its last {stage.tail:.0f} s most workers had nothing left to do; the "
                            f"longest video took {took:.0f} s ({name})")
            if stage.opening > stage.busy:
                said.append(f"{stage.name}: to open it (models, servers) took {stage.opening:.0f} s, its videos "
                            f"{stage.busy:.0f} s: run more videos at once")
        return said


def _widen(stage: StageProfile, cores: int) -> list[str]:
    if stage.cores >= HUNGRY and cores:
        most = max(1, int(cores / stage.cores))
        if stage.slots < most:
            return [f"{stage.name} is the bound and leaves cores idle: set {stage.name}.workers to {most}"]
        return [f"{stage.name} is the bound, with as many workers as there are cores: only a faster one helps"]
    return [f"{stage.name} is the bound, and waits more than it computes ({stage.cores:.1f} cores a video: for a disk, "
            f"a GPU or a server): raise {stage.name}.workers"
            + (f" or {stage.name}.concurrency" if stage.name == "describe" else "")]


def profile(log: Iterable[Mapping[str, Any]]) -> Profile:
    """The profile of one run by the lines of its log. Raises NoProfile."""
    lines = list(log)
    begun = next((line for line in lines if line["event"] == "run_begun"), None)
    units = [line for line in lines if line["event"] == "unit" and line["seconds"] > 0]
    if begun is None or "slots" not in begun:
        raise NoProfile("this log is of an older version of dbvad, which did not note how many workers there were: "
                        "profile a later run")
    if not units:
        raise NoProfile("in this run no video was worked on: there is nothing to tell")
    opened = [line for line in lines if line["event"] == "opened"]
    ended = {(unit["stage"], unit["video_id"]): unit["at"] for unit in units}
    inputs = begun["inputs"]
    found = []
    for name, slots in begun["slots"].items():
        own = [unit for unit in units if unit["stage"] == name]
        if own:
            ready = [max((ended.get((above, unit["video_id"]), begun["at"]) for above in inputs[name]),
                         default=begun["at"]) for unit in own]
            opening = [line for line in opened if line["stage"] == name]
            found.append(StageProfile(
                name, len(own), slots, sum(unit["seconds"] for unit in own),
                max(unit["at"] for unit in own) - min(_start(unit) for unit in own),
                max(0.0, median(_start(unit) - since for unit, since in zip(own, ready, strict=True))),
                sum(line["seconds"] for line in opening), sum(line["cpu_s"] for line in [*own, *opening]),
                _tail(own, slots), max(((unit["video_id"], unit["seconds"]) for unit in own), key=lambda one: one[1])))
    return Profile(lines[-1]["at"] - begun["at"], begun["cores"], tuple(found))


def _start(unit: Mapping[str, Any]) -> float:
    return float(unit["at"] - unit["seconds"])


def _tail(units: list[Mapping[str, Any]], slots: int) -> float:
    """Seconds at the end in which fewer than half of the slots were in use."""
    edges = sorted([(_start(unit), 1) for unit in units] + [(unit["at"], -1) for unit in units], reverse=True)
    after, use = edges[0][0], 0
    for at, step in edges:
        use -= step  # backwards in time
        if 2 * use >= slots:
            return float(after - at)
    return 0.0
