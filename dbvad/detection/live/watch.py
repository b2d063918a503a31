"""The loop: hear all cameras, score what came together, tell events."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from dbvad.detection.calibration import Chosen
from dbvad.detection.live.cameras import Cameras
from dbvad.detection.live.clips import Clips
from dbvad.detection.live.feed import Feed
from dbvad.detection.live.journal import Journal
from dbvad.detection.live.review import Review
from dbvad.detection.live.scorer import Score, Scorer
from dbvad.detection.live.source import FILE_ENDED, Heard, Sampling, Source
from dbvad.scoring.events import Thresholds

TICK_S = 0.1

# Counts that are said when they first rise, in words.
WORDS = {"dropped": "frames were dropped, as they came faster than they are scored",
         "overrun": "frames were dropped, as they came faster than they are scored",
         "corrupt": "half frames came and were left out",
         "repeated": "packets came twice and were left out once",
         "refused": "packets came that cannot be decoded",
         "jumps": "the stream's clock jumped; its time goes on",
         "wraps": "the stream's clock wrapped; its time goes on",
         "resized": "the picture changed its size", "recoded": "the codec changed",
         "unkept": "packets could not be kept for clips"}


@dataclass
class Watch:
    """All cameras at once. `thresholds`: those given for all; `choose`: from those given for a camera and its name, by
    which to watch it; `say`: a line for the operator; `keep`: every score, for whoever writes them down; `chores`:
    done at each turn, quickly; `turned`: when the loop last came round (monotonic)."""

    cameras: Cameras
    scorer: Scorer
    model: str  # fingerprint
    thresholds: Thresholds
    sampling: Sampling
    journal: Journal
    say: Callable[[str], None]
    clips: Clips | None = None
    keep: Callable[[Feed, list[Score]], None] | None = None
    chores: list[Callable[[], None]] = field(default_factory=list)
    review: Review | None = None
    choose: Callable[[Thresholds, str], Chosen] = lambda given, camera: Chosen.given(given)
    feeds: list[Feed] = field(init=False)
    turned: float = field(default_factory=time.monotonic)
    _down: dict[str, str] = field(default_factory=dict)  # cameras whose loss was said, and why
    _said: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        clips = self.clips
        self.feeds = [Feed(Source(camera, self.sampling, clips.segments(camera.name) if clips else None), self.scorer,
                           self.choose(camera.over(self.thresholds), camera.name), self.model, self.journal, clips,
                           self.review)
                      for camera in self.cameras.cameras]
        alike: dict[str, list[str]] = {}
        for feed in self.feeds:
            alike.setdefault(feed.chosen.told(), []).append(feed.source.name)
        for told, names in alike.items():
            self.say(f"{', '.join(names)}: {told}")

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Until `goes_on` says no, or every source was a file and has ended."""
        try:
            pending = False
            while goes_on() and not all(feed.source.over for feed in self.feeds):
                pipes = [pipe for feed in self.feeds if (pipe := feed.source.waits_on())]
                if not pending:
                    wait(pipes, TICK_S) if pipes else time.sleep(TICK_S)
                pending, self.turned = self._turn(), time.monotonic()
                if self.review:
                    self.review.turn()
                for chore in self.chores:
                    chore()
        finally:
            for feed in self.feeds:
                feed.source.stop()
            for feed in self.feeds:
                self._write(feed, feed.close("the watch ended"))

    def _turn(self) -> bool:
        """One frame of each camera at most, so that none is served at another's cost."""
        batch = []
        for feed in self.feeds:
            heard = feed.source.step()
            if heard.opened:
                self._opened(feed, heard)
            if heard.shot:
                feed.see(heard.shot)
                batch.append((feed, heard.shot))
            if heard.lost:
                self._lost(feed, heard)
        if batch:
            answers = self.scorer.score([(feed.recording, shot) for feed, shot in batch])
            for (feed, _), scores in zip(batch, answers, strict=True):
                feed.hear(scores)
                self._write(feed, scores)
        for feed in self.feeds:
            self._count(feed)
        return bool(batch)

    def _opened(self, feed: Feed, heard: Heard) -> None:
        feed.open()
        opened, name = heard.opened, feed.source.name
        assert opened is not None
        picture = f"{opened.codec} {opened.width}x{opened.height}, {opened.fps:.4g} frames a second"
        self.say(f"{name}: {'back, ' if name in self._down else ''}{picture}")
        self._down.pop(name, None)

    def _lost(self, feed: Feed, heard: Heard) -> None:
        assert heard.lost is not None
        self._write(feed, feed.close(heard.lost.why))
        name, why = feed.source.name, heard.lost.why
        if why == FILE_ENDED:
            self.say(f"{name}: {why}")
        elif name not in self._down:
            self.say(f"{name}: lost ({why}); tried again until it is back")
        self._down.setdefault(name, why)

    def _count(self, feed: Feed) -> None:
        for what, total in feed.source.totals().items():
            if total and what in WORDS and (feed.source.name, WORDS[what]) not in self._said:
                self._said.add((feed.source.name, WORDS[what]))
                self.say(f"{feed.source.name}: {WORDS[what]}; said once, counted from now on")

    def _write(self, feed: Feed, scores: list[Score]) -> None:
        if self.keep and scores:
            self.keep(feed, scores)


def summary(feed: Feed) -> dict[str, Any]:
    """A camera in figures."""
    from numpy import percentile

    source, latencies = feed.source, list(feed.latencies.copy())
    median, p95 = (float(value) for value in percentile(latencies, [50, 95])) if latencies else (None, None)
    return {"camera": source.name, "state": str(source.state), "fps": round(source.fps(), 2), "scored": feed.scored,
            "events": feed.events, "latency_s": median, "latency_p95_s": p95, "down_since": source.down_since,
            "thresholds": feed.chosen.as_row(), **source.totals()}
