"""The seam between a run and who works for it: child processes here, or the same ones on the nodes of a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.engine.plan import Unit
from pipeline.engine.stage import Stage
from pipeline.engine.store import Store


@dataclass
class Report:
    """What a hand says. `kind`: note | ready | begun | done | bad | stage_error."""

    kind: str
    video_id: str = ""
    seconds: float = 0.0
    rows: int = 0
    peak_mb: float = 0.0  # the most memory that the child has ever held
    cpu_s: float = 0.0  # processor time of the child since its last report
    fault: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """Why a hand is gone, or must go. `kind`: crash | timeout | memory | node; `said`: the last that it printed."""

    kind: str
    reason: str
    remedy: str
    said: str = ""


@dataclass
class Heard:
    """What came of a hand since it was last asked."""

    reports: list[Report] = field(default_factory=list)
    loss: Loss | None = None


@dataclass
class InFlight:
    unit: Unit
    began: float | None = None  # set by the child's word: waiting for a model to load is not the video's time
    alone: bool = False  # no other video may be in the same child


class Hand(ABC):
    """The runner's side of one worker of a stage: which videos it holds, and what it says of them."""

    placed = True  # it has a process somewhere, and can be given a video

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.units: dict[str, InFlight] = {}
        self.ready = False  # its stage is open
        self.stopping = False

    @property
    def free(self) -> int:
        """How many more videos it takes now: one until it is ready, as nobody empties the pipe before."""
        if not self.placed or self.stopping or any(flight.alone for flight in self.units.values()):
            return 0
        return (self.stage.concurrency if self.ready else 1) - len(self.units)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, and was not told to end."""
        return not self.units and not self.stopping

    def send(self, unit: Unit, alone: bool = False) -> None:
        """Hand a video over."""
        self.units[unit.video_id] = InFlight(unit, alone=alone)

    def account(self, report: Report) -> None:
        """Keep the books of what it holds."""
        if report.kind == "ready":
            self.ready = True
        elif report.kind in ("done", "bad", "stage_error"):
            self.units.pop(report.video_id, None)

    @abstractmethod
    def hear(self) -> Heard:
        """What it said since the last call, accounted for, and whether it is lost. Never waits."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end once its videos are done, releasing its model and servers."""

    @abstractmethod
    def join(self, seconds: float) -> None:
        """Wait so long for it to end after `stop`."""

    @abstractmethod
    def kill(self) -> None:
        """End it now."""


class Executor(Protocol):
    """Who hires hands."""

    def hire(self, stage: Stage, store: Store, log: Path) -> Hand:
        """A new worker of a stage, whose process prints into `log`."""
        ...

    def wait(self, hands: Sequence[Hand], seconds: float) -> None:
        """Until one of them has something to say, but no longer than `seconds`."""
        ...


Engine = Callable[[Path], AbstractContextManager[Executor]]  # takes the run's log, made before it is opened
