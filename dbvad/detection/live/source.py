"""A camera as the parent sees it: one child process a connection, watched from here, started again for ever.

FFmpeg's own time-outs are not to be trusted (pipeline/instruments/live_video.py), so the age of the last frame and the
frame rate are watched here, and a child that falls behind either is killed. A child holds one connection, so nothing
can leak from one to the next.
"""

import os
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dbvad.detection.live.cameras import Camera
from dbvad.detection.live.reader import Order, Shot, Word, main
from pipeline.engine.spawn import SPAWN, interrupts_held
from pipeline.instruments.live_video import Opened

START_S = 15.0  # a child's own start, on a machine that is busy
GONE_S = 1.0  # for a killed child to be gone
RATE_S = 20.0  # the frame rate is judged over so long
COUNTS = ("connections", "losses", "failures", "killed", "frames", "dropped", "overrun", "corrupt", "repeated",
          "refused", "jumps", "wraps", "resized", "recoded", "unkept")
FILE_ENDED = "its file has been played to the end"


class State(StrEnum):
    CONNECTING, LIVE, WAITING, ENDED = "connecting", "live", "waiting", "ended"


@dataclass(frozen=True)
class Sampling:
    """How pictures are taken, as the features that the model was trained on (DecodeParams)."""

    stride: int = 16
    short_side: int = 336
    quality: int = 90


@dataclass(frozen=True)
class Pacing:
    """Pauses between tries, in seconds: they double up to the longest, and start anew after a connection that held for
    `steady_s`. A part of each is left to chance, so that cameras do not march."""

    first_s: float = 1.0
    longest_s: float = 30.0
    steady_s: float = 15.0

    def pause(self, tries: int) -> float:
        """After so many tries in a row, from 1."""
        return min(self.longest_s, self.first_s * 2 ** min(tries, 8)) * random.uniform(0.5, 1)


@dataclass(frozen=True)
class Lost:
    """A connection's end. `why` in words; `at`: unix time."""

    why: str
    at: float


@dataclass
class Heard:
    """What a camera brought since the last look: one frame at most, and a loss only behind the frames before it."""

    shot: Shot | None = None
    opened: Opened | None = None
    lost: Lost | None = None


class Source:
    """One camera. `take` names the connection, its start in unix milliseconds. `counts`: over all connections."""

    pacing = Pacing()

    def __init__(self, camera: Camera, sampling: Sampling, segments: Path | None) -> None:
        self.camera, self.sampling, self.segments = camera, sampling, segments
        self.state, self.take, self.tries = State.WAITING, 0, 0
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.opened: Opened | None = None
        self.last_shot: Shot | None = None
        self.down_since: float | None = time.time()
        self.why = ""  # why it was lost last, empty while it is live
        self._shots: deque[Shot] = deque()
        self._process: Any = None
        self._connection: Connection | None = None
        self._now: dict[str, int] = {}  # counts of the connection in hand
        self._seen: deque[tuple[float, int]] = deque()  # (monotonic, frames) for the rate
        self._heard: float | None = None
        self._began = self._next_try = 0.0
        self._lost: Lost | None = None

    @property
    def name(self) -> str:
        return self.camera.name

    def totals(self) -> dict[str, int]:
        """All counts, those of the connection in hand included."""
        total = Counter(self.counts)
        total.update(self._now)
        return dict(total)

    def fps(self) -> float:
        """Frames a second over the last RATE_S, 0 when not live."""
        if self.state != State.LIVE or len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else 0.0

    @property
    def over(self) -> bool:
        """Whether nothing will come any more: its file has been read to the end, or it was stopped."""
        return self.state == State.ENDED and not (self._shots or self._lost)

    def waits_on(self) -> Connection | None:
        """The pipe that `multiprocessing.connection.wait` may wait on."""
        return self._connection

    def step(self) -> Heard:
        """Start, hear, judge. Call it often from the thread that made the first child: a child dies with its thread."""
        now, heard = time.monotonic(), Heard()
        if self.state == State.WAITING and now >= self._next_try and not (self._shots or self._lost):
            self._start(now)
        elif self.state in (State.CONNECTING, State.LIVE):
            self._listen(heard)
            if self.state in (State.CONNECTING, State.LIVE) and (why := self._fault(time.monotonic())):
                self.counts["killed"] += 1
                self._lose(why)
        if self._shots:
            heard.shot = self._shots.popleft()
        else:
            heard.lost, self._lost = self._lost, None
        return heard

    def stop(self) -> None:
        """End the child now."""
        self._end_child()
        self._shots.clear()
        self.state, self._lost = State.ENDED, None

    def _start(self, now: float) -> None:
        ours, theirs = SPAWN.Pipe(duplex=False)
        self.take = max(self.take + 1, int(time.time() * 1000))
        order = Order(self.camera.url, self.take, self.sampling.stride, self.sampling.short_side,
                      self.sampling.quality, self.camera.queue, self.camera.timeout_s, self.segments)
        self._connection, self._began, self._heard, self._now = ours, now, None, {}
        self._seen.clear()
        self.tries += 1
        self.state = State.CONNECTING
        process = SPAWN.Process(target=main, args=(order, theirs, os.getpid()), daemon=True, name=f"dbvad-{self.name}")
        try:
            with interrupts_held():
                process.start()
            self._process = process
        except OSError as error:  # no memory or no process left: a loss like any other
            self._lose(f"its reader cannot be started ({(error.strerror or 'no process').lower()})")
        finally:
            theirs.close()

    def _listen(self, heard: Heard) -> None:
        """All that the pipe holds, so that nothing grows old in it."""
        assert self._connection is not None
        try:
            while self.state in (State.CONNECTING, State.LIVE) and self._connection.poll():
                self._take_in(self._connection.recv(), heard)
        except (EOFError, OSError):
            self._process.join(GONE_S)
            self._lose(f"its reader ended with exit code {self._process.exitcode}")

    def _take_in(self, word: Word, heard: Heard) -> None:
        self._now = word.counts
        if word.heard is not None:
            self._heard = word.heard
            self._seen.append((time.monotonic(), word.counts.get("frames", 0)))
            while self._seen[-1][0] - self._seen[0][0] > RATE_S:
                self._seen.popleft()
            if self.state == State.CONNECTING:
                self.state, self.down_since, self.why = State.LIVE, None, ""
                self.counts["connections"] += 1
                before, self.opened = self.opened, word.opened
                heard.opened = word.opened
                if before and word.opened:
                    self.counts["recoded"] += before.codec != word.opened.codec
                    self.counts["resized"] += (before.width, before.height) != (word.opened.width, word.opened.height)
        for shot in word.shots:
            self.last_shot = shot
            self._shots.append(shot)
            if len(self._shots) > self.camera.queue:
                self._shots.popleft()
                self.counts["overrun"] += 1
        if word.done:
            self._end_child()
            self.state, self._lost = State.ENDED, Lost(FILE_ENDED, time.time())
        elif word.lost is not None:
            self._lose(word.lost)

    def _fault(self, now: float) -> str:
        """Why the child has to go, empty while it may stay."""
        camera = self.camera
        if self._heard is None:
            return "silent: no frame since it was opened" if now - self._began > camera.stall_s + START_S else ""
        if now - self._heard > camera.stall_s:
            return f"silent: no frame for {camera.stall_s:g} s"
        whole = len(self._seen) > 1 and now - self._began > RATE_S + START_S
        if whole and self.fps() < camera.min_fps:
            return f"crawling: {self.fps():.2g} frames a second"
        return ""

    def _lose(self, why: str) -> None:
        held = time.monotonic() - self._began
        live = self.state == State.LIVE
        self._end_child()
        self.tries = 0 if live and held > self.pacing.steady_s else self.tries
        self._next_try = time.monotonic() + self.pacing.pause(self.tries)
        self.counts["losses" if live else "failures"] += 1
        self._lost, self.why = Lost(why, time.time()), why
        if live:
            self.down_since = self._lost.at
        self.state = State.WAITING

    def _end_child(self) -> None:
        self.counts.update(self._now)
        self._now = {}
        if self._process is not None:
            self._process.kill()
            self._process.join(GONE_S)
            if self._process.exitcode is not None:  # else a disk or a driver holds it, but not the other cameras
                self._process.close()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
