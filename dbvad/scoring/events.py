"""Events: from a score a snippet to what happened from when to when, by hysteresis.

An event begins with a snippet of at least `on` and goes on while snippets have at least `off`. One that begins again
within `merge_gap_s` of an event's end continues it; what is shorter than `min_length_s` after that is none. A
`Tracker` decides snippet by snippet with what it has seen, so a recording and a live source give the same events.

Times are floats of seconds, and their differences are rounded: 1.4 - 0.4 is a little less than 1. So, wherever times
are compared, two that are less than SAME_S apart are one, as `longer` has it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from pipeline.engine.config import Config
from pipeline.engine.files import digest

OFF_SHARE = 0.6  # of `on`, where `off` is not named
# Far below the length of a frame, far above the rounding of times of a hundred days (chosen here).
SAME_S = 1e-6
SUGGESTIONS = 3  # words an event, at most


class Thresholds(Config):
    """When a score is an event (defaults chosen here). The rolls widen what is cut and shown, never the event."""

    on: float = Field(0.5, gt=0, le=1)
    off: float = Field(default_factory=lambda seen: OFF_SHARE * seen["on"], ge=0, le=1)
    min_length_s: float = Field(1.0, ge=0)
    merge_gap_s: float = Field(2.0, ge=0)
    pre_roll_s: float = Field(2.0, ge=0)
    post_roll_s: float = Field(2.0, ge=0)

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.off > self.on:
            raise ValueError(f"off is {self.off:g}, above on ({self.on:g}): an event ends at a lower score than it "
                             f"begins with")
        return self

    @property
    def rule(self) -> dict[str, float]:
        """What events depend on."""
        return self.model_dump(include={"on", "off", "min_length_s", "merge_gap_s"})

    def fingerprint(self, model: str) -> str:
        """Of the events that `model` (a fingerprint itself) gives under these thresholds: 32 hex digits."""
        return digest([model, self.rule])

    def rolled(self, event: "Event", length_s: float) -> tuple[float, float]:
        """From when to when an event is cut out of a recording of `length_s` seconds."""
        return max(0.0, event.start_s - self.pre_roll_s), min(length_s, event.end_s + self.post_roll_s)


@dataclass(frozen=True)
class Snippet:
    """A score and the time and frames that it stands for; ends are exclusive.

    `likeness`: to each of the words that its events may be suggested to be, where there are any.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    score: float
    likeness: tuple[float, ...] = ()


@dataclass(frozen=True)
class Suggestion:
    """A word for what an event may be and how much it resembles it: ranks, never decides."""

    name: str
    likeness: float


@dataclass(frozen=True)
class Event:
    """What happened from `start_s` to `end_s` (exclusive, as `end_frame`), in seconds from the video's first frame.

    `id` is a hash of video, start and `fingerprint`, which names model and thresholds. `peak`: highest score, first
    reached in the snippet that begins at `peak_s`; `mean`: over the event's snippets, as the likeness of `suggestions`,
    likeliest first.
    """

    id: str
    video: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    peak: float
    peak_s: float
    mean: float
    fingerprint: str
    suggestions: tuple[Suggestion, ...] = ()


class Kind(StrEnum):
    BEGIN = "begin"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True)
class Signal:
    """`begin`: an event is certain, `update`: it went on, `end`: it is over, and `event` is what stays of it."""

    kind: Kind
    event: Event


class Tracker:
    """Events of one source as its snippets come, in order of time; time lost between them ends what it may not merge.

    `begin` comes with the snippet that makes the event long enough, `end` with the first that can no longer continue
    it. Every event has one of each and the same id in all; an `end` may stand before a `begin` in one answer.
    """

    def __init__(self, video: str, thresholds: Thresholds, model: str, words: Sequence[str] = ()) -> None:
        """`model`: its fingerprint. `words`: what the `likeness` of the snippets is to."""
        self.words = words
        self.video, self.thresholds, self.fingerprint = video, thresholds, thresholds.fingerprint(model)
        self._event: Event | None = None  # open, perhaps not long enough yet
        self._certain = self._high = False
        self._nothing = np.zeros(1 + len(words))
        self._sum, self._count = self._nothing, 0  # of scores and likeness, up to the event's end
        self._low_sum, self._low_count = self._nothing, 0  # since then: part of the event if it continues
        self._last_s = float("-inf")

    def feed(self, snippet: Snippet) -> list[Signal]:
        """What one snippet more says. Raises ValueError for one that begins before the last."""
        if snippet.start_s < self._last_s:
            raise ValueError(f"snippets come in order of time: {snippet.start_s:g} s after {self._last_s:g} s")
        self._last_s = snippet.start_s
        over = self.finish() if self._out_of_reach(snippet.start_s) else []
        if snippet.score >= (self.thresholds.off if self._high else self.thresholds.on):
            return over + self._extend(snippet)
        self._high = False
        self._low_sum, self._low_count = self._low_sum + _row(snippet), self._low_count + 1
        return over + (self.finish() if self._out_of_reach(snippet.end_s) else [])

    def finish(self) -> list[Signal]:
        """The source ends here, and with it an event that is open."""
        event, certain = self._event, self._certain
        self._event, self._certain, self._high = None, False, False
        return [Signal(Kind.END, event)] if event is not None and certain else []

    def _out_of_reach(self, start_s: float) -> bool:
        return self._event is not None and longer(start_s - self._event.end_s, self.thresholds.merge_gap_s)

    def _extend(self, snippet: Snippet) -> list[Signal]:
        if self._event is None:
            self._event = Event(event_id(self.video, snippet.start_s, self.fingerprint), self.video, snippet.start_s,
                                snippet.end_s, snippet.start_frame, snippet.end_frame, snippet.score, snippet.start_s,
                                snippet.score, self.fingerprint)
            self._sum, self._count = self._nothing, 0
        elif self._low_count:  # the gap belongs to the event
            self._sum, self._count = self._sum + self._low_sum, self._count + self._low_count
        self._high, self._low_sum, self._low_count = True, self._nothing, 0
        self._sum, self._count = self._sum + _row(snippet), self._count + 1
        mean, *likeness = (self._sum / self._count).tolist()
        higher = snippet.score > self._event.peak
        self._event = replace(self._event, end_s=snippet.end_s, end_frame=snippet.end_frame,
                              mean=mean, peak=max(self._event.peak, snippet.score),
                              peak_s=snippet.start_s if higher else self._event.peak_s,
                              suggestions=_ranked(self.words, likeness))
        if self._certain:
            return [Signal(Kind.UPDATE, self._event)]
        self._certain = not longer(self.thresholds.min_length_s, self._event.end_s - self._event.start_s)
        return [Signal(Kind.BEGIN, self._event)] if self._certain else []


def signals(video: str, snippets: Iterable[Snippet], thresholds: Thresholds, model: str, words: Sequence[str] = (),
            ) -> Iterator[Signal]:
    """All that a tracker says of a source, to its end."""
    tracker = Tracker(video, thresholds, model, words)
    for snippet in snippets:
        yield from tracker.feed(snippet)
    yield from tracker.finish()


def find_events(video: str, snippets: Iterable[Snippet], thresholds: Thresholds, model: str, words: Sequence[str] = (),
                ) -> list[Event]:
    """The events of a recording, in order of time. `model`: fingerprint of what made the scores."""
    return [signal.event for signal in signals(video, snippets, thresholds, model, words) if signal.kind is Kind.END]


def spans(edges_s: np.ndarray, scores: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """From when to when the events of `find_events` last, by arrays, for those who try many thresholds: (events, 2).

    `edges_s`: when the snippets of a recording begin and the last one ends (T + 1,); `scores` (T,).
    """
    high, low = scores >= thresholds.on, scores < thresholds.off
    steps = np.arange(len(scores))
    last_high = np.maximum.accumulate(np.where(high, steps, -1))
    last_low = np.maximum.accumulate(np.where(low, steps, -1))
    inside = np.diff((last_high > last_low).astype(np.int8), prepend=0, append=0)
    starts, ends = edges_s[np.flatnonzero(inside == 1)], edges_s[np.flatnonzero(inside == -1)]
    if not len(starts):
        return np.zeros((0, 2))
    apart = longer(starts[1:] - ends[:-1], thresholds.merge_gap_s)
    found = np.column_stack([starts[np.append(True, apart)], ends[np.append(apart, True)]])
    return found[~longer(thresholds.min_length_s, found[:, 1] - found[:, 0])]


def longer(length_s: Any, than_s: Any) -> Any:
    """Whether a time is longer than another (floats or arrays), by more than rounding makes it."""
    return length_s - than_s > SAME_S


def event_id(video: str, start_s: float, fingerprint: str) -> str:
    """16 hex digits; the start counts in milliseconds."""
    return digest([video, round(start_s * 1000), fingerprint])[:16]


def _row(snippet: Snippet) -> np.ndarray:
    return np.array([snippet.score, *snippet.likeness])


def _ranked(words: Sequence[str], likeness: Sequence[float]) -> tuple[Suggestion, ...]:
    order = sorted(range(len(words)), key=lambda place: -likeness[place])[:SUGGESTIONS]
    return tuple(Suggestion(words[place], likeness[place]) for place in order)
