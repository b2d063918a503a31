"""Carries a plan out: hands units to child processes, lets neighbouring stages overlap, and never loses a video."""

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path

from rich.console import Console

from pipeline.engine.isolate import REPORT_IT, Child, Report
from pipeline.engine.lock import exclusive
from pipeline.engine.plan import Plan, State, Unit, make_plan
from pipeline.engine.progress import Reporter
from pipeline.engine.spawn import interrupts_held
from pipeline.engine.stage import Source, Stage
from pipeline.engine.store import Store, file_name
from pipeline.engine.todo import Options, asked_for, limited, todo, wanting

POLL_S = 0.2  # how often deadlines and memory are looked at
ALIKE = 10  # unforeseen failures in a row, with no success, after which the stage itself is at fault
UNFORESEEN = {"error", "crash", "contract"}
GRACE_S = 5.0  # for a child to release its model or server when the run ends


@dataclass
class Outcome:
    """How a run ended: units by (stage, outcome), why stages stopped, and which videos are in quarantine now.

    `wanting`: reasons why units could not even begin, and how many, where a stage before them was not asked for.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    quarantined: set[str] = field(default_factory=set)
    wanting: Counter[str] = field(default_factory=Counter)
    stage_errors: dict[str, str] = field(default_factory=dict)

    def count(self, outcome: str) -> int:
        """Units of all stages that ended so."""
        return sum(n for (_, what), n in self.counts.items() if what == outcome)


class Run:
    """One carrying-out of units. `run()` returns when every unit has ended, one way or another."""

    def __init__(self, stages: Sequence[Stage], units: Sequence[Unit], store: Store, reporter: Reporter,
                 options: Options, logs: Path) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.order = [stage.name for stage in stages]
        self.store, self.reporter, self.options, self.logs = store, reporter, options, logs
        self.ready: dict[str, deque[Unit]] = {name: deque() for name in self.order}
        self.waiting: dict[tuple[str, str], set[str]] = {}
        self.left: Counter[str] = Counter()
        self.children: dict[str, list[Child]] = defaultdict(list)
        self.spawned: Counter[str] = Counter()
        self.suspects: set[tuple[str, str]] = set()  # were in flight together when their child had to go
        self.alike: Counter[str] = Counter()
        self.outcome = Outcome()
        self.units = {(unit.stage, unit.video_id): unit for unit in units}
        for unit in units:
            self.left[unit.stage] += 1
            inputs = {name for name in self.stages[unit.stage].inputs if (name, unit.video_id) in self.units}
            if inputs:
                self.waiting[unit.stage, unit.video_id] = inputs
            else:
                self.ready[unit.stage].append(unit)

    def run(self) -> Outcome:
        """Carry all units out. On an exception (Ctrl-C) the children are ended before it goes on."""
        try:
            while any(self.left.values()):
                self._hand_out()
                self._listen()
                self._watch()
                if self.outcome.stage_errors and not self.options.keep_going:
                    break
        finally:
            self._end_children()
        return self.outcome

    def _hand_out(self) -> None:
        for position, name in enumerate(self.order):
            # Only neighbours overlap, so that at most two stages' models are in memory.
            if any(self.left[before] for before in self.order[: max(0, position - 1)]):
                break
            if not self.left[name]:
                for child in self.children[name]:
                    child.stop()
                continue
            queue = self.ready[name]
            while queue:
                alone = (name, queue[0].video_id) in self.suspects
                taker = self._free_child(name, alone)
                if taker is None:
                    break
                self.reporter.begun(name)
                taker.send(queue.popleft(), alone)

    def _free_child(self, name: str, alone: bool) -> Child | None:
        """A child that can take a video now: an idle one, a new one, else (unless `alone`) one with room beside."""
        stage, children = self.stages[name], self.children[name]
        free = max(children, key=lambda child: child.free, default=None)
        if free is not None and free.free > 0 and (not free.units or (len(children) >= stage.workers and not alone)):
            return free
        if len(children) < stage.workers:
            self.spawned[name] += 1
            with interrupts_held():
                children.append(Child(stage, self.store, self.logs / f"{name}-{self.spawned[name]}.log"))
            return children[-1]
        return None

    def _listen(self) -> None:
        children = [child for group in self.children.values() for child in group]
        wait([child.connection for child in children] + [child.process.sentinel for child in children], POLL_S)
        for child in children:
            gone = child.exited()  # asked first: what it said before it died is read all the same
            for report in child.reports():
                self._heard(child, report)
            if gone is not None:
                self._lost(child, "crash", f"the {child.stage.name} process ended ({gone})", REPORT_IT)

    def _heard(self, child: Child, report: Report) -> None:
        name = child.stage.name
        flight = child.units.pop(report.video_id, None)
        if report.kind == "done" and flight:
            self.alike[name] = 0
            self._ended(flight.unit, "done", report.seconds, report.rows, peak_mb=report.peak_mb)
        elif report.kind == "bad" and flight:
            self._quarantine(flight.unit, report.fault, report.seconds)
        elif report.kind == "note":
            self.reporter.note(f"{name}: {report.fault['reason']}", style="dim")
        elif report.kind == "stage_error":
            if flight:
                self._ended(flight.unit, "failed", reason=report.fault["reason"])
            self._break(name, report.fault["reason"])

    def _watch(self) -> None:
        for child in [child for group in self.children.values() for child in group]:
            limit = child.stage.memory_mb
            if child.overdue():
                self._lost(child, "timeout", f"no end after {child.stage.timeout_s:g} s",
                           f"raise {child.stage.name}.timeout_s in stages.yaml if this video is just long")
            elif child.units and (used := child.memory_mb()) > limit:
                self._lost(child, "memory", f"{used:.0f} MB of memory, the bound is {limit} MB",
                           f"raise {child.stage.name}.memory_mb in stages.yaml, or shrink the video")

    def _lost(self, child: Child, kind: str, reason: str, remedy: str) -> None:
        """A child is gone or must go: blame its video if it held one alone, else give each another try, alone.

        A process can die without a fault of its video, or have another way of reading it: on a crash there is a second
        try, in a child that is told so (`Source.cautious`).
        """
        name = child.stage.name
        child.kill()
        self.children[name].remove(child)
        if child.units and not child.ready:
            said = child.log_tail().strip()
            self._break(name, f"{reason} while starting" + (f": {remedy}" if kind == "memory" else "")
                        + (f"; it printed:\n{said}" if said else ""))
        for flight in list(child.units.values()):
            unit = flight.unit
            if self.store.is_current(name, unit.video_id, unit.fingerprint) and not self.options.force:
                self._ended(unit, "done")  # it had published, and died before it could say so
                continue
            blamed = child.ready and len(child.units) == 1
            broken = self.outcome.stage_errors.get(name)
            if blamed and (kind != "crash" or unit.source.cautious or broken):
                self._quarantine(unit, {"kind": kind, "reason": reason, "remedy": remedy,
                                        "traceback": child.log_tail()})
            elif broken:
                self._ended(unit, "failed", reason=broken)
            else:
                if blamed:
                    self.reporter.note(f"{name}: {unit.video_id}: {reason}; it is tried once more", style="dim")
                    unit = replace(unit, source=replace(unit.source, cautious=True))
                self.suspects.add((name, unit.video_id))
                self.ready[name].appendleft(unit)

    def _quarantine(self, unit: Unit, fault: dict[str, str], seconds: float = 0.0) -> None:
        try:
            self.store.quarantine(unit.stage, unit.video_id, fingerprint=unit.fingerprint, **fault)
        except OSError as error:
            self._break(unit.stage, f"cannot write below {self.store.root}: {error}")
            self._ended(unit, "failed", seconds, reason=fault["reason"])
            return
        self.outcome.quarantined.add(unit.video_id)
        reason = f"{fault['kind']}: {fault['reason']}"
        self._ended(unit, "quarantined", seconds, reason=reason, remedy=fault["remedy"])
        self.alike[unit.stage] += fault["kind"] in UNFORESEEN
        if self.alike[unit.stage] >= ALIKE:
            self._break(unit.stage, f"{ALIKE} videos in a row failed, the last with {reason}; once mended, run with "
                                    "--retry-failed")

    def _ended(self, unit: Unit, outcome: str, seconds: float = 0.0, rows: int = 0, reason: str = "",
               remedy: str = "", peak_mb: float = 0.0) -> None:
        self.left[unit.stage] -= 1
        self.outcome.counts[unit.stage, outcome] += 1
        self.reporter.unit(unit.stage, unit.video_id, outcome, seconds, rows, reason, remedy, peak_mb)
        if outcome == "done":
            self.store.release(unit.stage, unit.video_id)
        for name in self.order:
            needs = self.waiting.get((name, unit.video_id), set())
            if unit.stage not in needs:
                continue
            needs.discard(unit.stage)
            below = self.units[name, unit.video_id]
            if outcome != "done":
                del self.waiting[name, unit.video_id]
                cause = reason if outcome == "blocked" else f"{unit.stage} {outcome}: {reason}"
                self._ended(below, "blocked", reason=cause)
            elif not needs:
                del self.waiting[name, unit.video_id]
                self.ready[name].append(below)

    def _break(self, name: str, reason: str) -> None:
        """The stage itself cannot go on: what is left of it stays undone, to be done by a later run."""
        if name in self.outcome.stage_errors:
            return
        self.outcome.stage_errors[name] = reason
        self.reporter.note(f"{name} cannot go on: {reason}", style="red")
        for unit in list(self.ready[name]):
            self._ended(unit, "failed", reason=reason)
        self.ready[name].clear()
        for key in [key for key in self.waiting if key[0] == name]:
            del self.waiting[key]
            self._ended(self.units[key], "failed", reason=reason)

    def _end_children(self) -> None:
        children = [child for group in self.children.values() for child in group]
        for child in children:
            child.stop()
        until = time.monotonic() + GRACE_S
        for child in children:
            child.process.join(max(0.0, until - time.monotonic()))
            child.kill()


def carry_out(stages: Sequence[Stage], sources: Sequence[Source], store: Store, options: Options, console: Console,
              *, limit: int | None = None, planned: Callable[[Plan], None] = lambda plan: None) -> Outcome:
    """Plan, run and log what `options` ask for. Raises Busy if another run is at work on the same artifacts.

    `limit`: at most so many videos, the first that have work. `planned` is shown the plan of all videos before any work
    begins, while no other run can be at work.
    """
    with exclusive(store.root):
        names = [stage.name for stage in stages]
        store.sweep(names)
        plan = make_plan(stages, sources, store)
        _tidy_quarantine(plan, store)
        planned(plan)
        units, blocked = todo(plan, options)
        units = limited(units, limit)
        again = {(unit.stage, unit.video_id) for unit in units}
        before = {unit.video_id for unit in plan.not_done()
                  if unit.state is State.QUARANTINED and asked_for(unit, options)
                  and (unit.stage, unit.video_id) not in again}
        if not units:
            return Outcome(Counter((unit.stage, "blocked") for unit, _ in blocked), before, wanting(blocked))
        run_id = time.strftime("%Y%m%dT%H%M%S") + f"-{os.getpid()}"
        logs = store.root / "runs" / run_id
        per_stage = Counter(unit.stage for unit in units)
        totals = {name: per_stage[name] for name in names}
        with Reporter(console, logs.with_suffix(".jsonl"), totals) as reporter:
            run = Run(stages, units, store, reporter, options, logs)
            try:
                outcome = run.run()
            finally:
                store.sweep(names)
        outcome.counts.update((unit.stage, "blocked") for unit, _ in blocked)
        outcome.quarantined |= before
        outcome.wanting = wanting(blocked)
        return outcome


def _tidy_quarantine(plan: Plan, store: Store) -> None:
    """Release videos whose shard is there: an interrupted run published it and had no time to."""
    aside = {str(path) for path in store.shards("quarantine")}
    for name, undone in plan.undone.items() if aside else ():
        folder = store.root / "quarantine" / name
        for number, source in enumerate(plan.sources):
            if number not in undone and f"{folder}/{file_name(source.video_id)}.parquet" in aside:
                store.release(name, source.video_id)
