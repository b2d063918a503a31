"""The engine of a Ray cluster: the same child processes, each held by an actor on some node.

An actor holds one child of a stage and speaks for it; deadlines, memory bounds and crashes are seen there, as on one
machine. Units travel to it, and what came of them back: shards go from the child to the artifacts folder, which all
nodes share. An actor that is lost with its node is not restarted by Ray: the run hands out anew what it held, and hires
another, which waits for a place on some node for as long as it takes. A unit may so be run twice, as a node that is
believed dead may go on for a while; its shard is published whole, under the same fingerprint.
"""

import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from pipeline.engine.cluster import Needs, RayCluster, fits, lacking
from pipeline.engine.hand import Hand, Heard, Loss, Report
from pipeline.engine.isolate import Local
from pipeline.engine.place import Folder
from pipeline.engine.plan import Unit
from pipeline.engine.stage import Stage
from pipeline.engine.store import Store

LISTEN_S = 0.2  # how long an actor waits for word of a child that could take more units
BUSY_S = 5.0  # and of one that could not
STOP_S = 5.0  # for a child to release its model or server
SETTLE_S = 5.0  # for an actor to get a place on a node that has room
TAKEN_S = 20.0  # after which it is said that the nodes are taken
LOOK_S = 1.0  # between two looks at who waits
CONNECT_S = 5.0
JOIN_S = 60.0  # a cluster answers in one
NOT_THERE = "a worker cannot start ({}): install dbvad[ray] on every node, in the version that this machine has"
WITH_NODE = ("more than once a node was lost that worked on it: see whether it takes the node's memory; then run with "
             "--retry-failed")


class NoCluster(Exception):
    """There is no cluster that can be used; the message says why, and what to do."""


def check_installed() -> None:
    """Raises NoCluster where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise NoCluster("engine: ray needs Ray, which is not installed here: pip install 'dbvad[ray]', on every node")


@contextmanager
def on_ray(log: Path, cluster: RayCluster, needs: Mapping[str, Needs]) -> Iterator["Crew"]:
    """Join the cluster for one run; on leaving it nothing of the run is left there.

    `log`: the run's, which every node must see. What Ray prints goes beside it. Raises NoCluster.
    """
    check_installed()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    said = log.with_suffix(".ray.log")
    try:
        with open(said, "w", encoding="utf-8") as words, redirect_stdout(words), redirect_stderr(words):
            _reach(cluster.address)
            import ray

            try:
                with _native_errors_to(words):
                    _join(cluster.address)
                if threading.current_thread() is threading.main_thread():
                    for number, handler in handlers.items():  # Ray sets its own
                        signal.signal(number, handler)
                yield Crew(log, cluster.wait_s, needs)
            finally:
                ray.shutdown()
    finally:
        if not said.stat().st_size:
            said.unlink()


def _reach(address: str) -> None:
    """Raises NoCluster if nobody listens there."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise NoCluster(f"{address!r} is no address of a cluster: give HOST:PORT of its head, as `ray start` "
                            "prints it, or auto")
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            raise NoCluster(f"no Ray cluster at {address} ({error.strerror or error}): start one there with `ray start "
                            "--head`, or name another by --address") from None


def _join(address: str) -> None:
    """Become a driver of the cluster. Raises NoCluster."""
    answer: list[Exception | None] = []
    thread = threading.Thread(target=lambda: answer.append(_init(address)), daemon=True)
    thread.start()  # for ever, Ray waits for a word from whatever listens there
    thread.join(JOIN_S)
    if not answer:
        raise NoCluster(f"what listens at {address} does not answer as a Ray cluster: give the port of its head, which "
                        "is 6379 unless `ray start` was told another")
    failed = answer[0]
    if isinstance(failed, ConnectionError) and address == "auto":
        raise NoCluster("no Ray cluster on this machine: make it a node of one (`ray start --head`, or `ray start "
                        "--address=HEAD:6379`), and run this on it; or run with --engine local")
    if isinstance(failed, ConnectionError):
        raise NoCluster(f"the Ray cluster at {address} does not let this machine in: make it a node of the cluster "
                        f"(`ray start --address={address}`), with the token of the others (~/.ray/auth_token, or "
                        "RAY_AUTH_TOKEN)")
    if failed:
        raise NoCluster(f"cannot join the Ray cluster at {address}: {_first(failed)}")


def _init(address: str) -> Exception | None:
    """The error, of which Ray has all kinds; another version of it or of Python is one of them."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        return error
    return None


@contextmanager
def _native_errors_to(file: TextIO) -> Iterator[None]:
    """What native code prints on standard error, too."""
    before = os.dup(2)
    try:
        os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


class Crew:
    """Hires actors, and listens to all of them at once."""

    def __init__(self, log: Path, wait_s: float, needs: Mapping[str, Needs]) -> None:
        self.log, self.wait_s, self.needs = log, wait_s, needs
        self.looked = 0.0
        self.told: dict[str, str] = {}  # by stage, what it was last said to wait for

    def hire(self, stage: Stage, store: Store, log: Path) -> "Away":
        """An actor, which waits for a place on a node."""
        import ray

        wanted = self.needs[stage.name].resources("GPU" in ray.cluster_resources())
        return Away(stage, store, log, self.log, wanted)

    def wait(self, hands: Sequence[Hand], seconds: float) -> None:
        """Until an actor says something; ask those that were not asked yet."""
        import ray

        away = [hand for hand in hands if isinstance(hand, Away)]
        self._look_after(away)
        for hand in away:
            hand.ask()
        calls = {hand.call: hand for hand in away if hand.call is not None}
        if not calls:
            time.sleep(seconds)
        elif ray.wait([*calls], num_returns=1, timeout=seconds)[0]:
            for call in ray.wait([*calls], num_returns=len(calls), timeout=0)[0]:
                calls[call].answered = True

    def _look_after(self, hands: Sequence["Away"]) -> None:
        """Say which stages wait for a place on a node, and for what; let idle hands make room for them."""
        if time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        at_work = {hand.stage.name for hand in hands if hand.placed}
        waiting = {hand.stage.name: hand for hand in reversed(hands)
                   if not hand.placed and hand.stage.name not in at_work and hand.waited() > SETTLE_S}
        if not waiting:
            return
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, hand in waiting.items():
            why, there = lacking(name, hand.wanted, nodes), any(fits(hand.wanted, node) for node in nodes)
            if self.told.get(name) != why and (not there or hand.waited() > TAKEN_S):
                self.told[name] = why
                hand.own.append(Report("note", fault={"reason": why}))
            if not there and hand.waited() > self.wait_s:
                hand.own.append(Report("stage_error", fault={"reason": why}))
        for hand in hands:
            if hand.placed and hand.idle:
                hand.stop()  # hired again when there is work for it


class Away(Hand):
    """The run's side of an actor."""

    def __init__(self, stage: Stage, store: Store, log: Path, run_log: Path, wanted: Mapping[str, float]) -> None:
        super().__init__(stage)
        import ray

        self.wanted = dict(wanted)
        self.placed, self.answered, self.node = False, False, ""
        self.own: list[Report] = []  # what is to be said of it, not by it
        self.orders: list[tuple[Unit, bool]] = []
        self.since = time.monotonic()
        post: Any = ray.remote(Post)
        self.actor = post.options(num_cpus=wanted.get("CPU", 0), num_gpus=wanted.get("GPU", 0),
                                  memory=wanted.get("memory"), max_restarts=0, max_task_retries=0).remote()
        self.call: Any = self.actor.begin.remote(stage, store, log, run_log)

    def waited(self) -> float:
        """Seconds since it was hired."""
        return time.monotonic() - self.since

    def send(self, unit: Unit, alone: bool = False) -> None:
        """Hand a video over, with the next question."""
        super().send(unit, alone)
        self.orders.append((unit, unit.source.path.exists()))

    def ask(self) -> None:
        """What came of its videos, if it has any and was not asked yet."""
        if self.call is None and self.units:
            orders, self.orders = self.orders, []
            self.call, self.answered = self.actor.step.remote(orders, LISTEN_S if self.free > 0 else BUSY_S), False

    def hear(self) -> Heard:
        """What the actor answered, if it did."""
        own, self.own = self.own, []
        if self.call is None or not self.answered:
            return Heard(own)
        import ray
        from ray.exceptions import RayActorError

        call, self.call, self.answered = self.call, None, False
        try:
            said = ray.get(call)
        except RayActorError as error:
            if not error.actor_init_failed:
                return Heard(own, Loss("node", self._end(), WITH_NODE))
            said = self._broken(NOT_THERE.format(_first(error)))
        except Exception as error:  # the code there is not the code here, or Ray's own trouble
            said = self._broken(_first(error))
        if isinstance(said, str):  # the name of its node
            self.node, self.placed, said = said, True, Heard()
        for report in said.reports:
            if report.kind == "stage_error" and self.node not in report.fault["reason"]:
                report.fault["reason"] += f" (on node {self.node})"
            self.account(report)
        return Heard(own + said.reports, said.loss)

    def _broken(self, reason: str) -> Heard:
        """The stage cannot go on, and of no video that it holds anything more will be heard."""
        return Heard([Report("stage_error", video_id, fault={"reason": reason}) for video_id in [*self.units] or [""]])

    def _end(self) -> str:
        if self.node:
            return f"node {self.node} or a worker on it was lost"
        return f"a worker of {self.stage.name} was lost before it could begin"

    def stop(self) -> None:
        """Have the child end; its actor says so. One without a place leaves the queue for it."""
        if not self.stopping:
            self.stopping = True
            if self.placed:
                self.call, self.answered = self.actor.stop.remote(), False
            else:
                self.call = None
                self.kill()

    def join(self, seconds: float) -> None:
        """Wait so long for it to say so."""
        import ray

        if self.call is not None:
            ray.wait([self.call], timeout=seconds)

    def kill(self) -> None:
        """End the actor, wherever it is; its child dies with it."""
        import ray

        ray.kill(self.actor)


class Post:
    """The actor: one child process on this node.

    All its methods run in the main thread, which the kernel takes for the child's parent.
    """

    def begin(self, stage: Stage, store: Store, log: Path, run_log: Path) -> "str | Heard":
        """Start the child. Returns the node's name, or that the run cannot be served from it."""
        import ray

        self.node = f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"
        if isinstance(store.place, Folder) and not run_log.exists():
            return Heard([_unseen(self.node, store.root, "the artifacts folder")])
        vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's, which a child would run first, and import Ray
        self.child = Local().hire(stage, store, log)
        return self.node

    def step(self, orders: list[tuple[Unit, bool]], seconds: float) -> Heard:
        """Hand videos to the child, and wait until it has something to say, but no longer than `seconds`.

        An order says whether the run saw the video: what is there and cannot be seen from here is no fault of it.
        """
        unseen = [unit for unit, seen in orders if seen and not unit.source.path.exists()]
        for unit, _ in orders:
            if unit not in unseen:
                self.child.send(unit)
        if unseen:
            return Heard([_unseen(self.node, unit.source.path, "the video", unit.video_id) for unit in unseen])
        until = time.monotonic() + seconds
        while True:
            heard = self.child.hear()
            if heard.reports or heard.loss or time.monotonic() > until:
                return heard
            Local().wait([self.child], LISTEN_S)

    def stop(self) -> Heard:
        """End the child, which releases its model and servers."""
        self.child.stop()
        self.child.join(STOP_S)
        return Heard(loss=Loss("crash", "it was told to end", ""))


def _unseen(node: str, path: Path, what: str, video_id: str = "") -> Report:
    reason = (f"node {node} does not see {what}, {path}: videos and artifacts must lie in folders that all nodes share "
              "under one path (NFS or alike)")
    return Report("stage_error", video_id, fault={"reason": reason})


def _first(error: Exception) -> str:
    """The line of an error that says what is wrong: the last where Ray tells of one elsewhere, with all its calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "ray::" in lines[0] else 0]
