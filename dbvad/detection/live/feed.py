"""A camera's way from scores to events: what is open, and what is told of it."""

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dbvad.detection.calibration import Chosen
from dbvad.detection.live.album import Album
from dbvad.detection.live.clips import Clips
from dbvad.detection.live.journal import Journal, iso
from dbvad.detection.live.reader import Shot
from dbvad.detection.live.review import Review
from dbvad.detection.live.scorer import Recording, Score, Scorer
from dbvad.detection.live.source import Source
from dbvad.detection.outputs import suggested
from dbvad.scoring.events import Event, Kind, Signal, Snippet, Thresholds, Tracker

UPDATE_S = 10.0  # an event that goes on is told again after so long, or when its peak rises by
UPDATE_RISE = 0.05
DRIFT_S = 1.0
KEPT_SCORES = 600  # for the page's curve
KEPT_LATENCIES = 4096

@dataclass
class Feed:
    """One camera. `chosen`: its thresholds. `scores`: of late (take, stream_s, score). `latencies`: seconds from a
    frame to its score."""

    source: Source
    scorer: Scorer
    chosen: Chosen
    model: str
    journal: Journal
    clips: Clips | None
    review: Review | None = None
    recording: Recording = field(init=False)
    tracker: Tracker = field(init=False)
    album: Album | None = field(init=False)
    scores: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=KEPT_SCORES))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))
    scored: int = 0
    events: int = 0
    _last: Score | None = None
    _zero: float | None = None
    _told: tuple[float, float] = (0.0, 0.0)  # when the open event was told last (monotonic), and its peak then

    def __post_init__(self) -> None:
        self.open()

    @property
    def thresholds(self) -> Thresholds:
        return self.chosen.thresholds

    def open(self) -> None:
        """A new connection: a new recording, whose events are its own."""
        self.take, self._last, self._zero = self.source.take, None, None
        self.recording = self.scorer.recording()
        self.tracker = Tracker(f"{self.source.name}@{self.take}", self.thresholds, self.model,
                               self.scorer.vocabulary.names)
        self.album = self.review.album(self.source.camera, self.scorer.look_ahead) if self.review else None

    def see(self, shot: Shot) -> None:
        """A picture that is going to be scored."""
        if self.album and not self.recording.parts:  # the first of a snippet
            self.album.see(shot)

    def hear(self, scores: list[Score]) -> None:
        """What the scorer says of this camera's snippets."""
        for score in scores:
            if score.final:
                continue
            self.latencies.append(time.monotonic() - score.moment.arrived)
            self.scored += 1
            self.scores.append((self.take, score.moment.stream_s, score.score))
            snippet, self._last = self._snippet(score), score
            if self.album:
                self.album.take(snippet)
            for signal in self.tracker.feed(snippet):
                self._tell(signal)

    def close(self, why: str) -> list[Score]:
        """The connection is over, and with it its events. Returns the rest of its scores."""
        rest = self.scorer.end(self.recording)
        self.hear(rest)
        for signal in self.tracker.finish():
            self._tell(signal, because=why)
        self.open()
        return rest

    def _snippet(self, score: Score) -> Snippet:
        """It stands for as long as the one before did; the next, which would tell, has not come."""
        moment, before = score.moment, self._last.moment if self._last else None
        frames = moment.frame - before.frame if before else self.source.sampling.stride * self.scorer.per
        rate = self.source.opened.fps if self.source.opened and self.source.opened.fps else 25.0
        seconds = moment.stream_s - before.stream_s if before else frames / rate
        return Snippet(moment.stream_s, moment.stream_s + seconds, moment.frame, moment.frame + frames, score.score,
                       score.likeness)

    def _tell(self, signal: Signal, **more: Any) -> None:
        event, now = signal.event, time.monotonic()
        told, peak = self._told
        if signal.kind is Kind.UPDATE and now - told < UPDATE_S and event.peak - peak < UPDATE_RISE:
            return
        self._told = (now, event.peak)
        if signal.kind is Kind.BEGIN:
            self.events += 1
            more["thresholds"] = self.chosen.as_row()
        line = {"kind": str(signal.kind), **self.described(event), **more}
        if self.review and self.album:
            self.review.tell(self.source.camera, signal, line, self.album, self.thresholds)
        else:
            self.journal.add(**line)
        if signal.kind is Kind.END and self.clips:
            self.clips.want(self.source.name, self.take, event, self.thresholds, partial(self.curve, self.take))

    def curve(self, take: int, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """The scores of a connection between two stream times, as far as they are kept: (stream_s, score)."""
        return [(at, score) for of, at, score in self.scores.copy() if of == take and start_s <= at <= end_s]

    def described(self, event: Event) -> dict[str, Any]:
        """An event as it is told: wall clock and stream time of start and end, peak and suggestions (all so far)."""
        zero = self._zero_wall()

        def at(stream_s: float) -> dict[str, Any]:
            return {"wall": iso(zero + stream_s), "stream_s": round(stream_s, 3)}

        return {"id": event.id, "camera": self.source.name, "start": at(event.start_s), "end": at(event.end_s),
                "peak": round(event.peak, 4), "peak_at": at(event.peak_s), "mean": round(event.mean, 4),
                **({"suggestions": suggested(event)} if event.suggestions else {}),
                "take": self.take, "fingerprint": event.fingerprint}

    def _zero_wall(self) -> float:
        """Unix time of the stream's second 0; it stays as it is until the two clocks are DRIFT_S apart."""
        if self._last is not None:
            zero = self._last.moment.wall - self._last.moment.stream_s
            if self._zero is None or abs(zero - self._zero) > DRIFT_S:
                self._zero = zero
        return self.take / 1000 if self._zero is None else self._zero
