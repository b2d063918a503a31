"""The child process of one connection to a camera: reads, samples, shrinks, and hands over as JPEG.

It holds what the parent has not taken yet in a bounded queue that drops the oldest, so a slow parent never makes it
late, and says every BEAT_S that it lives. It keeps the packets as they came, where it is asked to.
"""

import io
import os
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.engine.spawn import begin_child
from pipeline.instruments.live_video import LiveFrame, LiveStream, Opened, StreamError, open_stream
from pipeline.instruments.segments import SegmentWriter

BEAT_S = 0.5
ENDED = "the stream ended"


@dataclass(frozen=True)
class Order:
    """What a child is to do. `take`: names this connection; `segments`: where packets are kept, None for nowhere;
    `queue`: frames that wait at most. The other values as in DecodeParams."""

    address: str
    take: int
    stride: int
    short_side: int
    quality: int
    queue: int
    timeout_s: float
    segments: Path | None = None


@dataclass(frozen=True)
class Shot:
    """A sampled frame. `arrived`: of the monotonic clock, which all processes of a machine share; `wall`: unix time."""

    index: int
    stream_s: float
    arrived: float
    wall: float
    jpeg: bytes


@dataclass(frozen=True)
class Word:
    """What a child says. `counts`: its totals; `heard`: when the last frame of any kind came (monotonic), None before
    the first. `lost`: why it ends, in words; `done`: its file has been read to the end."""

    counts: dict[str, int]
    heard: float | None
    opened: Opened | None = None
    shots: list[Shot] = field(default_factory=list)
    lost: str | None = None
    done: bool = False


class Outbox:
    """Sends from a thread of its own, so that reading never waits for the parent."""

    def __init__(self, connection: Connection, limit: int) -> None:
        self.connection, self.limit = connection, limit
        self.counts: Counter[str] = Counter()
        self.heard: float | None = None
        self.opened: Opened | None = None
        self._shots: deque[Shot] = deque()
        self._told, self._end, self._closing = threading.Condition(), ("", False), False
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def put(self, shot: Shot) -> None:
        with self._told:
            self._shots.append(shot)
            if len(self._shots) > self.limit:
                self._shots.popleft()
                self.counts["dropped"] += 1
            self._told.notify()

    def close(self, lost: str, done: bool) -> None:
        """Send what is left, and why it ends."""
        with self._told:
            self._end, self._closing = (lost, done), True
            self._told.notify()
        self._thread.join()

    def _send(self) -> None:
        last = False
        while not last:
            with self._told:
                if not self._shots and not self._closing:
                    self._told.wait(BEAT_S)
                shots = [self._shots.popleft()] if self._shots else []
                last = self._closing and not self._shots
                lost, done = self._end if last else (None, False)
                word = Word(dict(self.counts), self.heard, self.opened, shots, lost, done)
            try:
                self.connection.send(word)
            except OSError:
                os._exit(1)  # nobody listens any more


def main(order: Order, connection: Connection, parent: int) -> None:
    """The child's side; ends when the connection does."""
    begin_child(parent)  # what libraries print is lost: their faults arrive as words and counts
    outbox = Outbox(connection, order.queue)
    try:
        with open_stream(order.address, timeout_s=order.timeout_s, short_side=order.short_side) as stream:
            _read(stream, order, outbox)
        outbox.close(ENDED, done=order.address.startswith("file:"))
    except StreamError as error:
        outbox.close(str(error), done=False)
    except Exception as error:
        outbox.close(f"{type(error).__name__} in its reader", done=False)


def _read(stream: LiveStream, order: Order, outbox: Outbox) -> None:
    outbox.opened = stream.opened
    keep = SegmentWriter(order.segments, order.take, stream) if order.segments else None
    try:
        for packet, frames in stream:
            if frames:
                outbox.heard = time.monotonic()
            for frame in frames:
                if frame.index % order.stride == 0:
                    outbox.put(_shot(frame, order.quality))
            if keep:
                keep.write(packet)
                outbox.counts["unkept"] = keep.lost
            outbox.counts.update({name: total - outbox.counts[name] for name, total in stream.counts.items()})
    finally:
        if keep:
            keep.close()


def _shot(frame: LiveFrame, quality: int) -> Shot:
    """Through JPEG as `decode` stores it: CLIP then sees the very same picture."""
    from PIL import Image

    arrived, wall, buffer = time.monotonic(), time.time(), io.BytesIO()
    Image.fromarray(frame.image()).save(buffer, "JPEG", quality=quality)
    return Shot(frame.index, frame.stream_s, arrived, wall, buffer.getvalue())


