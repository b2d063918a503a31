"""The ring of packets on disk, and clips of events cut from it, from a thread of its own."""

import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbvad.detection.live.journal import Journal
from dbvad.scoring.events import Event, Thresholds
from pipeline.instruments.segments import SEGMENT_S, cut, segments

RING, CLIPS = "ring", "clips"
PATIENCE_S = 3 * SEGMENT_S  # after an event, for its last segment to be whole
TRIM_S = 5.0


Curve = Callable[[float, float], list[tuple[float, float]]]  # (stream_s, score) between two stream times


@dataclass(frozen=True)
class Wanted:
    """A clip to be cut, once `due` (monotonic) or when its last segment is whole."""

    event: Event
    camera: str
    take: int
    start_s: float
    end_s: float
    due: float
    curve: Curve


class Clips:
    """`limit_bytes`: of the ring and of the clips, each; what is oldest goes first."""

    def __init__(self, folder: Path, journal: Journal, say: Callable[[str], None], limit_bytes: int) -> None:
        self.ring, self.clips, self.journal, self.say = folder / RING, folder / CLIPS, journal, say
        self.limit_bytes = limit_bytes
        self.cut = self.missed = self.deleted = 0
        self._wanted: queue.Queue[Wanted | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def segments(self, camera: str) -> Path:
        """Where the packets of a camera are kept."""
        return self.ring / camera

    def want(self, camera: str, take: int, event: Event, thresholds: Thresholds, curve: Curve) -> None:
        """Cut an event that is over, with its rolls; `curve` is asked for the scores then."""
        start_s, end_s = thresholds.rolled(event, float("inf"))
        self._wanted.put(Wanted(event, camera, take, start_s, end_s, time.monotonic() + PATIENCE_S, curve))

    def stop(self) -> None:
        """Cut what is wanted from what is there."""
        self._wanted.put(None)
        self._thread.join(60)

    def _run(self) -> None:
        waiting: list[Wanted] = []
        ending, trimmed = False, 0.0
        while waiting or not ending:
            with suppress(queue.Empty):
                item = self._wanted.get(timeout=0.5)
                ending = ending or item is None
                waiting += [item] if item else []
            for item in [item for item in waiting if ending or self._whole(item)]:
                waiting.remove(item)
                self._cut(item)
            if time.monotonic() - trimmed > TRIM_S:
                trimmed = time.monotonic()
                self._trim()

    def _whole(self, item: Wanted) -> bool:
        """Whether the segment with the clip's end is behind, or will never be."""
        newest = max(((s.take, s.start_s) for s in segments(self.segments(item.camera))), default=(0, 0.0))
        return time.monotonic() > item.due or newest > (item.take, item.end_s)

    def _cut(self, item: Wanted) -> None:
        parts = [s for s in segments(self.segments(item.camera)) if s.take == item.take]
        first = max((k for k, s in enumerate(parts) if s.start_s <= item.start_s), default=0)
        parts = [s for s in parts[first:] if s.start_s <= item.end_s]
        self.clips.mkdir(parents=True, exist_ok=True)
        try:
            found = cut(parts, item.start_s, item.end_s, self.clips / item.event.id)
            if found:
                self._beside(item, found[1])
        except Exception as error:  # a full disk, a damaged segment: the event itself has been told
            found = None
            self.say(f"{item.camera}: no clip of event {item.event.id}: {type(error).__name__}")
        if found is None:
            self.missed += 1
            return
        self.cut += 1
        self.journal.add(kind="update", id=item.event.id, camera=item.camera, clip=found[0].name,
                         clip_start_s=round(found[1], 3))

    def _beside(self, item: Wanted, zero_s: float) -> None:
        """The scores under the clip, in its own time."""
        curve = [(round(at - zero_s, 3), round(score, 4)) for at, score in item.curve(zero_s, item.end_s)]
        (self.clips / f"{item.event.id}.json").write_text(json.dumps({
            "start_s": item.event.start_s - zero_s, "end_s": item.event.end_s - zero_s, "scores": curve}))

    def _trim(self) -> None:
        for folder in (self.ring, self.clips):
            self.deleted += trim(folder, self.limit_bytes)


def trim(folder: Path, limit_bytes: int) -> int:
    """Delete the oldest files below a folder until what is left is within the limit; how many went."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
    over, gone = sum(size for _, size, _ in found) - limit_bytes, 0
    for _, size, path in sorted(found):
        if over <= 0:
            break
        with suppress(OSError):
            path.unlink()
            over, gone = over - size, gone + 1
    return gone
