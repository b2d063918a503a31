"""Child processes for native code: a hang, a crash or a leak costs one video, never the run.

A child opens its stage once, then takes videos over a pipe and publishes their shards itself; the parent only watches
deadlines, memory and exit codes. A child dies with its parent, however that dies.
"""

import errno
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from pipeline.contracts import ContractError
from pipeline.engine.files import FORBIDDEN, FULL, Damaged, WriteError
from pipeline.engine.hand import Hand, Heard, Loss, Report
from pipeline.engine.place import StorageError
from pipeline.engine.plan import Unit, changes
from pipeline.engine.printable import printable
from pipeline.engine.spawn import SPAWN, begin_child, interrupts_held
from pipeline.engine.stage import BadVideo, Product, Stage, StageError, Worker, recipe
from pipeline.engine.store import Store

LOG_TAIL_BYTES = 2000
OTHER_VERSIONS = ("the code or a library here is not what the run was planned with ({}): its results would not be what "
                  "their footers say. Install the same versions everywhere, and run it again")
REPORT_IT = "see `dbvad pipeline failures --traceback`; then run with --retry-failed, or report it"


class Local:
    """Hires child processes of this one."""

    def hire(self, stage: Stage, store: Store, log: Path) -> "Child":
        """Start a child."""
        with interrupts_held():
            return Child(stage, store, log)

    def wait(self, hands: Sequence[Hand], seconds: float) -> None:
        """Until a child says something or ends."""
        children = [hand for hand in hands if isinstance(hand, Child)]
        wait([child.connection for child in children] + [child.process.sentinel for child in children], seconds)


class Child(Hand):
    """The parent's side of one child process of a stage."""

    def __init__(self, stage: Stage, store: Store, log: Path) -> None:
        super().__init__(stage)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_main, args=(stage, store, theirs, str(log), os.getpid()),
                                     name=f"dbvad-{stage.name}", daemon=False)
        self.process.start()
        theirs.close()

    def send(self, unit: Unit, alone: bool = False) -> None:
        """Hand a video over. A child that died meanwhile is noticed by `hear`."""
        super().send(unit, alone)
        with suppress(BrokenPipeError, OSError):
            self.connection.send(unit)

    def hear(self) -> Heard:
        """What it said, and whether it has ended, is past a deadline or holds too much memory."""
        gone = self._exited()  # asked first: what it said before it died is read all the same
        heard = Heard(self._reports())
        if gone is not None:
            heard.loss = Loss("crash", f"the {self.stage.name} process ended ({gone})", REPORT_IT, self._log_tail())
        elif self._overdue():
            heard.loss = Loss("timeout", f"no end after {self.stage.timeout_s:g} s",
                              f"raise {self.stage.name}.timeout_s in stages.yaml if this video is just long",
                              self._log_tail())
        elif self.units and (used := self._memory_mb()) > self.stage.memory_mb:
            heard.loss = Loss("memory", f"{used:.0f} MB of memory, the bound is {self.stage.memory_mb} MB",
                              f"raise {self.stage.name}.memory_mb in stages.yaml, or shrink the video",
                              self._log_tail())
        return heard

    def _reports(self) -> list[Report]:
        found: list[Report] = []
        try:
            while self.connection.poll():
                report: Report = self.connection.recv()
                if report.kind == "begun":
                    self.units[report.video_id].began = time.monotonic()
                else:
                    self.account(report)
                    found.append(report)
        except (EOFError, OSError):
            pass
        return found

    def _overdue(self) -> bool:
        """Whether a video is past the stage's deadline."""
        began = [flight.began for flight in self.units.values() if flight.began is not None]
        return bool(began) and time.monotonic() - min(began) > self.stage.timeout_s

    def _memory_mb(self) -> float:
        """Resident memory of the child, 0 once it is gone."""
        try:
            return psutil.Process(self.process.pid).memory_info().rss / 2**20
        except psutil.Error:
            return 0.0

    def _exited(self) -> str | None:
        """None while the child runs, else how it ended, in words."""
        code = self.process.exitcode
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _log_tail(self) -> str:
        """The last of what the child and its native libraries printed."""
        try:
            return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask the child to end once its videos are done, releasing its model and servers."""
        if not self.stopping:
            self.stopping = True
            with suppress(BrokenPipeError, OSError):
                self.connection.send(None)

    def join(self, seconds: float) -> None:
        """Wait so long for it to end."""
        self.process.join(seconds)

    def kill(self) -> None:
        """End the child now and wait until it is gone."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _main(stage: Stage, store: Store, connection: Connection, log: str, parent: int) -> None:
    """The child's side."""
    begin_child(parent, log)
    lock, began, told_s = threading.Lock(), time.monotonic(), 0.0

    def say(report: Report) -> None:
        nonlocal told_s
        with lock, suppress(BrokenPipeError, OSError):
            if report.kind not in ("note", "begun"):  # several videos at a time share a process: none is lost
                report.cpu_s, told_s = time.process_time() - told_s, time.process_time()
            connection.send(report)

    def note(text: str) -> None:
        say(Report("note", fault={"reason": text}))

    try:
        with stage.open(note) as worker, ThreadPoolExecutor(stage.concurrency) as threads:
            identity = stage.identity()
            say(Report("ready", seconds=time.monotonic() - began))
            while (unit := _receive(connection)) is not None:
                here = recipe(stage, unit.recipe["facts"], identity)
                if other := changes(unit.recipe, here):  # an upgrade on the way, or another node's
                    say(_failure(StageError(OTHER_VERSIONS.format("; ".join(other))), unit.video_id))
                    continue
                threads.submit(_work, stage, worker, store, unit, say)
    except Exception as error:
        say(_failure(StageError(str(error) if isinstance(error, StageError) else f"{type(error).__name__}: {error}")))


def _receive(connection: Connection) -> Unit | None:
    try:
        unit: Unit | None = connection.recv()
    except (EOFError, OSError):
        return None
    return unit


def _work(stage: Stage, worker: Worker, store: Store, unit: Unit, say: Callable[[Report], None]) -> None:
    began = time.monotonic()
    say(Report("begun", unit.video_id))
    try:
        if unit.source.problem is not None:
            raise unit.source.problem
        product: Product = worker(unit.source, store)
        rows = store.publish(stage.contract, unit.video_id, product.rows, fingerprint=unit.fingerprint,
                             basis=unit.basis, meta=product.meta)
        say(Report("done", unit.video_id, time.monotonic() - began, rows, _peak_mb()))
    except BaseException as error:  # Rust libraries panic with no Exception, and a thread's SystemExit goes unheard
        if isinstance(error, Damaged):
            error = BadVideo("damaged", f"{store.place.shown(error.path)} is damaged: {error.what}",
                             store.mend(unit.video_id, error.path.relative_to(store.root).parts[0], stage.name))
        say(_failure(error, unit.video_id, time.monotonic() - began))


def _failure(error: BaseException, video_id: str = "", seconds: float = 0.0) -> Report:
    """Say whose fault an exception is: the video's, or (a full disk, a lost server or bucket) the whole stage's."""
    fault = {"kind": "error", "reason": f"{type(error).__name__}: {error}", "remedy": REPORT_IT,
             "traceback": traceback.format_exc()}
    if isinstance(error, StageError | StorageError) or _fails_all(error):
        return Report("stage_error", video_id, seconds, fault={"reason": printable(str(error))})
    if isinstance(error, BadVideo):
        fault |= {"kind": error.kind, "reason": error.reason, "remedy": error.remedy}
    elif isinstance(error, ContractError):
        fault |= {"kind": "contract", "reason": str(error)}
    return Report("bad", video_id, seconds, fault={key: printable(text) for key, text in fault.items()})


def _fails_all(error: BaseException) -> bool:
    """Whether every further video would fail alike: a full disk, or a folder that one may not write."""
    return isinstance(error, OSError) and (
        error.errno in (*FULL, errno.EROFS) or (isinstance(error, WriteError) and error.errno in FORBIDDEN))


def _peak_mb() -> float:
    """The most resident memory this process has held; 0 where the system does not tell."""
    # Not getrusage: its maximum is handed down from the parent through exec.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return 0.0
