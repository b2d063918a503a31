"""One run at a time on a bucket, which has no locks: objects below `.lock`, made by conditional PUTs and renewed.

A lease is held while its ETag changes. Whoever finds one watches it by their own clock, so that the clocks of two
machines need not agree; one that stands still for STILL_S is taken over, by a PUT that succeeds only if it is still the
same. Runs of shards hold a lease each, and give way to one another where they overlap. No file depends on it: two runs
at a time would do work twice, and publish the same.
"""

import json
import os
import platform
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.engine.files import alive, here
from pipeline.engine.lock import Busy
from pipeline.engine.place import WHOLE, StorageError
from pipeline.engine.remote.s3 import NoConditions, Objects, Taken

FOLDER = ".lock"
BEAT_S = 10.0  # between two renewals
STILL_S = 3 * BEAT_S


@contextmanager
def lease(objects: Objects, part: str = WHOLE) -> Iterator[None]:
    """Hold a prefix, or a part of it such as "3-of-8". Raises Busy; says it where the store cannot keep a lease."""
    try:
        held = _Held(objects, part)
    except NoConditions:
        print(f"{objects.url}: this store knows no conditional PUT, so nobody can see to it that only one run is at "
              "work: see to it yourself", file=sys.stderr)
        yield
        return
    try:
        for key, _ in list(objects.list(FOLDER)):
            # Of two that begin at once, each sees the other.
            if _overlap(part, key.rpartition("/")[2]) and _watch(objects, key):
                objects.delete(key)
        yield
    finally:
        held.release()


def _overlap(ours: str, theirs: str) -> bool:
    """Whether two parts have videos in common; shards of one count have none."""
    counts = {part.partition("-of-")[2] for part in (ours, theirs)}
    return ours != theirs and (WHOLE in (ours, theirs) or len(counts) > 1)


class _Held:
    """A lease and the thread that renews it. Where it is lost all the same, the run is interrupted."""

    def __init__(self, objects: Objects, part: str) -> None:
        self.objects, self.key = objects, f"{FOLDER}/{part}"
        self.me = {"machine": platform.node(), "here": here(), "process": os.getpid(), "run": uuid.uuid4().hex}
        self.etag = self._take()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True)
        self.thread.start()

    def release(self) -> None:
        """Take the lease away, if it is still this run's."""
        self.ended.set()
        self.thread.join()
        with suppress(StorageError):  # it stands still now, and is anybody's soon
            if self.etag and _look(self.objects, self.key)[1].get("run") == self.me["run"]:
                self.objects.delete(self.key)

    def _take(self) -> str:
        while True:
            with suppress(Taken):
                return self._put()
            if dead := _watch(self.objects, self.key):
                with suppress(Taken):
                    return self._put(dead)

    def _renew(self) -> None:
        beats = 0
        while not self.ended.wait(BEAT_S):
            beats += 1
            try:
                self.etag = self._put(self.etag, beats)
            except StorageError:
                continue  # whoever works meets the same fault, and says it
            except Taken:
                etag, holder = _look(self.objects, self.key)  # it may be this one, whose answer got lost
                if holder.get("run") == self.me["run"]:
                    self.etag = etag
                    continue
                self.etag = ""
                print(f"{self.objects.url} was taken over by process {holder.get('process')} on "
                      f"{holder.get('machine')}, as this run was not heard of: this one ends", file=sys.stderr)
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _put(self, expected: str | None = None, beats: int = 0) -> str:
        return self.objects.put(self.key, json.dumps({**self.me, "beats": beats}).encode(), expected)


def _watch(objects: Objects, key: str) -> str:
    """The ETag of a lease that is dead; "" if it is gone meanwhile. Raises Busy if it lives."""
    first, holder = _look(objects, key)
    who = f"process {holder.get('process')} on {holder.get('machine')}"
    if not first or (holder.get("here") == here() and not alive(holder["process"])):
        return first
    print(f"{objects.url} was taken by {who}: watching for {STILL_S:g} s whether that still lives", file=sys.stderr)
    until = time.monotonic() + STILL_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 5)
        now, _ = _look(objects, key)
        if not now:
            return ""
        if now != first:
            raise Busy(f"another run ({who}) is at work on {objects.url}: wait for it, or stop it")
    return first


def _look(objects: Objects, key: str) -> tuple[str, dict[str, Any]]:
    """ETag and content of a lease, {} if nobody wrote it here; "" if there is none."""
    try:
        answer = objects.get(key)
    except FileNotFoundError:
        return "", {}
    assert answer is not None
    try:
        holder = json.loads(b"".join(answer.parts()))
    except ValueError:
        holder = None
    return answer.seen.etag, holder if isinstance(holder, dict) else {}
