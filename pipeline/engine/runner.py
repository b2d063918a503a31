"""Carries a plan out: hands units to workers, lets neighbouring stages overlap, and never loses a video.

Whose workers they are, this machine's or a cluster's, is the executor's matter (hand.py).
"""

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from pipeline.engine.hand import Engine, Executor, Hand, Loss, Report
from pipeline.engine.isolate import Local
from pipeline.engine.lock import at_work
from pipeline.engine.place import StorageError
from pipeline.engine.plan import Plan, Unit, make_plan
from pipeline.engine.progress import Reporter
from pipeline.engine.spawn import cores
from pipeline.engine.stage import Source, Stage
from pipeline.engine.store import Store
from pipeline.engine.sweep import sweep
from pipeline.engine.todo import Options, asked_for, limited, todo, wanting

POLL_S = 0.2  # how often it is looked after hands that say nothing
ALIKE = 10  # unforeseen failures in a row, with no success, after which the stage itself is at fault
UNFORESEEN = {"error", "crash", "contract"}
GRACE_S = 5.0  # for a hand to release its model or server when the run ends
MOVES = 3  # lost nodes that a video may be alone on without being blamed


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
                 options: Options, executor: Executor, logs: Path) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.order = [stage.name for stage in stages]
        self.store, self.reporter, self.options = store, reporter, options
        self.live = store.anew(live=True)  # as the hands see it, who publish meanwhile
        self.executor, self.logs = executor, logs
        self.ready: dict[str, deque[Unit]] = {name: deque() for name in self.order}
        self.waiting: dict[tuple[str, str], set[str]] = {}
        self.left: Counter[str] = Counter()
        self.hands: dict[str, list[Hand]] = defaultdict(list)
        self.hired: Counter[str] = Counter()
        self.suspects: set[tuple[str, str]] = set()  # were in flight together when their hand had to go
        self.moves: Counter[tuple[str, str]] = Counter()  # how often the node was lost that worked on a unit
        self.lost_nodes: set[str] = set()  # of which the user knows
        self.unlucky: Counter[str] = Counter()  # hands lost before they were ready, with none in between that was
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
        """Carry all units out. On an exception (Ctrl-C) the hands are ended before it goes on."""
        try:
            while any(self.left.values()):
                self._hand_out()
                self._listen()
                if self.outcome.stage_errors and not self.options.keep_going:
                    break
        finally:
            self._end_all()
        return self.outcome

    def _hand_out(self) -> None:
        for position, name in enumerate(self.order):
            # Only neighbours overlap, so that at most two stages' models are in memory.
            if any(self.left[before] for before in self.order[: max(0, position - 1)]):
                break
            if not self.left[name]:
                for hand in self.hands[name]:
                    hand.stop()
                continue
            self._hire(name)
            queue = self.ready[name]
            while queue:
                alone = (name, queue[0].video_id) in self.suspects
                taker = self._taker(name, alone)
                if taker is None:
                    break
                self.reporter.begun(name)
                taker.send(queue.popleft(), alone)

    def _hire(self, name: str) -> None:
        """One more hand for each video that no idle one could take, as far as the stage may have more."""
        stage, hands = self.stages[name], self.hands[name]
        idle = sum(hand.idle for hand in hands)
        for _ in range(min(stage.workers - len(hands), len(self.ready[name]) - idle)):
            self.hired[name] += 1
            hands.append(self.executor.hire(stage, self.live, self.logs / f"{name}-{self.hired[name]}.log"))

    def _taker(self, name: str, alone: bool) -> Hand | None:
        """A hand that can take a video now: an idle one, else (unless `alone`) one of all with room beside."""
        hands = self.hands[name]
        free = max(hands, key=lambda hand: hand.free, default=None)
        if free is None or free.free <= 0:
            return None
        beside = len(hands) >= self.stages[name].workers and not alone
        return free if not free.units or beside else None

    def _listen(self) -> None:
        hands = [hand for group in self.hands.values() for hand in group]
        self.executor.wait(hands, POLL_S)
        for hand in hands:
            heard = hand.hear()
            for report in heard.reports:
                self._heard(hand.stage.name, report)
            if heard.loss:
                self._lost(hand, heard.loss)

    def _heard(self, name: str, report: Report) -> None:
        unit = self.units.get((name, report.video_id))
        if report.kind == "ready":
            self.unlucky[name] = 0
            self.reporter.write("opened", stage=name, seconds=round(report.seconds, 3), cpu_s=round(report.cpu_s, 3))
        elif report.kind == "done" and unit:
            self.alike[name] = 0
            self._ended(unit, "done", report.seconds, report.rows, peak_mb=report.peak_mb, cpu_s=report.cpu_s)
        elif report.kind == "bad" and unit:
            self._quarantine(unit, report.fault, report.seconds, report.cpu_s)
        elif report.kind == "note":
            self.reporter.note(f"{name}: {report.fault['reason']}", style="dim")
        elif report.kind == "stage_error":
            if unit:
                self._ended(unit, "failed", reason=report.fault["reason"])
            self._break(name, report.fault["reason"])

    def _lost(self, hand: Hand, loss: Loss) -> None:
        """A hand is gone or must go: blame its video if it held one alone, else give each another try, alone.

        A process can die without a fault of its video, or have another way of reading it: on a crash there is a second
        try, in a child that is told so (`Source.cautious`). A node can be lost for any reason: only a video that was
        alone in the hands of too many such nodes is put aside.
        """
        name = hand.stage.name
        hand.kill()
        self.hands[name].remove(hand)
        if loss.kind == "node":
            self._node_lost(hand, loss)
        elif hand.units and not hand.ready:
            said = loss.said.strip()
            self._break(name, f"{loss.reason} while starting" + (f": {loss.remedy}" if loss.kind == "memory" else "")
                        + (f"; it printed:\n{said}" if said else ""))
        for flight in list(hand.units.values()):
            unit = flight.unit
            if self.live.is_current(name, unit.video_id, unit.fingerprint) and not self.options.force:
                self._ended(unit, "done")  # it had published, and died before it could say so
                continue
            blamed = hand.ready and len(hand.units) == 1
            if blamed and loss.kind == "node":
                self.moves[name, unit.video_id] += 1
                blamed = self.moves[name, unit.video_id] > MOVES
            broken = self.outcome.stage_errors.get(name)
            if blamed and (loss.kind != "crash" or unit.source.cautious or broken):
                self._quarantine(unit, {"kind": loss.kind, "reason": loss.reason, "remedy": loss.remedy,
                                        "traceback": loss.said})
            elif broken:
                self._ended(unit, "failed", reason=broken)
            else:
                if blamed:
                    self.reporter.note(f"{name}: {unit.video_id}: {loss.reason}; it is tried once more", style="dim")
                    unit = replace(unit, source=replace(unit.source, cautious=True))
                self.suspects.add((name, unit.video_id))
                self.ready[name].appendleft(unit)

    def _node_lost(self, hand: Hand, loss: Loss) -> None:
        if loss.reason not in self.lost_nodes:
            self.lost_nodes.add(loss.reason)
            self.reporter.note(f"{loss.reason}: what it had in hand is handed out anew", style="yellow")
        self.unlucky[hand.stage.name] += not hand.ready
        if self.unlucky[hand.stage.name] >= ALIKE:
            self._break(hand.stage.name, f"{ALIKE} workers in a row were lost before they could begin, the last: "
                                         f"{loss.reason}; see what ends them on their nodes")

    def _quarantine(self, unit: Unit, fault: dict[str, str], seconds: float = 0.0, cpu_s: float = 0.0) -> None:
        try:
            self.store.quarantine(unit.stage, unit.video_id, fingerprint=unit.fingerprint, **fault)
        except (OSError, StorageError) as error:
            self._break(unit.stage, f"cannot write below {self.store}: {error}")
            self._ended(unit, "failed", seconds, reason=fault["reason"])
            return
        self.outcome.quarantined.add(unit.video_id)
        reason = f"{fault['kind']}: {fault['reason']}"
        self._ended(unit, "quarantined", seconds, reason=reason, remedy=fault["remedy"], cpu_s=cpu_s)
        self.alike[unit.stage] += fault["kind"] in UNFORESEEN
        if self.alike[unit.stage] >= ALIKE:
            self._break(unit.stage, f"{ALIKE} videos in a row failed, the last with {reason}; once mended, run with "
                                    "--retry-failed")

    def _ended(self, unit: Unit, outcome: str, seconds: float = 0.0, rows: int = 0, reason: str = "",
               remedy: str = "", peak_mb: float = 0.0, cpu_s: float = 0.0) -> None:
        self.left[unit.stage] -= 1
        self.outcome.counts[unit.stage, outcome] += 1
        self.reporter.unit(unit.stage, unit.video_id, outcome, seconds, rows, reason, remedy, peak_mb, cpu_s)
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

    def _end_all(self) -> None:
        hands = [hand for group in self.hands.values() for hand in group]
        for hand in hands:
            hand.stop()
        until = time.monotonic() + GRACE_S
        for hand in hands:
            hand.join(max(0.0, until - time.monotonic()))
            hand.kill()


def local(log: Path) -> AbstractContextManager[Executor]:
    """The engine of one machine."""
    return nullcontext(Local())


def carry_out(stages: Sequence[Stage], sources: Sequence[Source], store: Store, options: Options, console: Console,
              *, limit: int | None = None, planned: Callable[[Plan], None] = lambda plan: None,
              engine: Engine = local) -> Outcome:
    """Plan, run and log what `options` ask for. Raises Busy if another run is at work on the same units.

    `limit`: at most so many videos, the first that have work. `planned` is shown the plan of all videos before any work
    begins, while no other run can be at work (but other shards, whose plan is the same). `engine` is opened if there is
    work, and closed behind it; what it raises then is for the user.
    """
    with at_work(store.root, options.shard):
        store = store.anew()
        names = [stage.name for stage in stages]
        tidy = options.shard is None  # other shards may be writing: who finds what they left is the next whole run
        if tidy:
            sweep(store.root, names)
        plan = make_plan(stages, sources, store, options.quick and not options.force)
        _tidy_quarantine(plan, store)
        planned(plan)
        units, blocked = todo(plan, options)
        units = limited(units, limit)
        again = {(unit.stage, unit.video_id) for unit in units}
        before = {unit.video_id for unit in plan.quarantined()
                  if asked_for(unit, options) and (unit.stage, unit.video_id) not in again}
        if not units:
            return Outcome(Counter((unit.stage, "blocked") for unit, _ in blocked), before, wanting(blocked))
        run_id = "-".join([time.strftime("%Y%m%dT%H%M%S"), str(os.getpid()), *([options.shard.name] if options.shard
                                                                              else [])])
        logs = store.root / "runs" / run_id
        per_stage = Counter(unit.stage for unit in units)
        totals = {name: per_stage[name] for name in names}
        log = logs.with_suffix(".jsonl")
        about = {"cores": cores() if engine is local else 0,
                 "slots": {stage.name: stage.workers * stage.concurrency for stage in stages},
                 "inputs": {stage.name: stage.inputs for stage in stages}}
        try:
            with Reporter(console, log, totals, about) as reporter, engine(log) as executor:
                outcome = Run(stages, units, store, reporter, options, executor, logs).run()
        finally:
            if tidy:
                sweep(store.root, names)
        try:
            store.place.send(log)
        except StorageError as error:
            console.print(f"the log of this run stays in {logs.parent}: {error}", style="red", markup=False,
                          highlight=False, soft_wrap=True)
        outcome.counts.update((unit.stage, "blocked") for unit, _ in blocked)
        outcome.quarantined |= before
        outcome.wanting = wanting(blocked)
        return outcome


def _tidy_quarantine(plan: Plan, store: Store) -> None:
    """Release videos whose shard is there: an interrupted run published it and had no time to."""
    aside = [name.removesuffix(".parquet").partition("/") for name in store.place.names("quarantine")]
    numbers = {name: number for number, name in enumerate(plan.names.texts)} if aside else {}
    for stage, _, name in aside:
        if stage in plan.undone and name in numbers and numbers[name] not in plan.undone[stage]:
            store.release(stage, plan.sources.ids[numbers[name]])
