"""Key frame selection compared on the same videos: KESS, top-m, uniform (pipeline/kess.py does the selecting)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbvad.evaluation.groundtruth import Segment
from pipeline.kess import Strategy, event_score, select

NAMES: dict[Strategy, str] = {"kess": "KESS", "topm": "top-m", "uniform": "uniform"}
SHORT = 0.1  # an event is short if it lasts less than this share of its video
DEFAULTS = {"frames": 8, "min_gap_s": 0.5, "stand_out": 0.3}  # of the select stage, where it has not run


@dataclass(frozen=True)
class Comparison:
    """One video: `frames` (T,) first frames of its snippets, `event` (T,) their event score, chosen snippets by
    strategy in the order of rank."""

    frames: np.ndarray
    event: np.ndarray
    picks: Mapping[Strategy, np.ndarray]


def compare(frames: np.ndarray, relevance: np.ndarray, evolution: np.ndarray, times: np.ndarray,
            params: Mapping[str, Any]) -> Comparison:
    """All arrays (T,), `times` in seconds; `params` of the select stage."""
    event = event_score(relevance, evolution)
    used = DEFAULTS | {key: params[key] for key in DEFAULTS if key in params}
    picks = {strategy: select(event, times, used["frames"], strategy, min_gap_s=used["min_gap_s"],
                              stand_out=used["stand_out"]) for strategy in NAMES}
    return Comparison(frames, event, picks)


@dataclass
class Tally:
    """Sums over videos for one strategy; the shares are NaN where there was nothing to count."""

    videos: int = 0
    scores: float = 0.0
    gaps: float = 0.0
    events: int = 0
    found: int = 0
    short: int = 0
    short_found: int = 0
    several: int = 0
    several_found: int = 0

    def add(self, comparison: Comparison, strategy: Strategy, frames: int, segments: Sequence[Segment]) -> None:
        """One video of `frames` frames with its true events (none where they are not known)."""
        chosen = comparison.picks[strategy]
        at = np.sort(comparison.frames[chosen])
        self.videos += 1
        self.scores += float(comparison.event[chosen].mean()) if len(chosen) else 0.0
        self.gaps += float(np.diff(at, prepend=0, append=frames).max() / frames)
        hits = _hits(at, segments)
        brief = [hit for hit, s in zip(hits, segments, strict=True) if s.end - s.start < SHORT * frames]
        self.events, self.found = self.events + len(hits), self.found + sum(hits)
        self.short, self.short_found = self.short + len(brief), self.short_found + sum(brief)
        if len(hits) > 1:
            self.several, self.several_found = self.several + 1, self.several_found + all(hits)

    def row(self, strategy: Strategy) -> dict[str, Any]:
        """What the table shows."""
        return {"name": NAMES[strategy], "score": _share(self.scores, self.videos),
                "gap": _share(self.gaps, self.videos), "found": _share(self.found, self.events),
                "short": _share(self.short_found, self.short), "several": _share(self.several_found, self.several)}


def disagreement(comparison: Comparison, frames: int, segments: Sequence[Segment]) -> tuple[float, ...]:
    """How far the strategies differ on one video, whichever is right, to be compared part by part: in events found,
    in how often KESS and top-m chose another frame, in how short the shortest event is."""
    at = {strategy: comparison.frames[chosen] for strategy, chosen in comparison.picks.items()}
    found = [sum(_hits(chosen, segments)) for chosen in at.values()]
    shortest = min(((s.end - s.start) / frames for s in segments), default=1.0)
    return (sum(abs(a - b) for a, b in itertools.combinations(found, 2)),
            len(set(at["kess"].tolist()) - set(at["topm"].tolist())), 1 - shortest)


def _hits(at: np.ndarray, segments: Sequence[Segment]) -> list[bool]:
    """Whether one of the frames `at` lies in each event."""
    return [bool(((at >= s.start) & (at < s.end)).any()) for s in segments]


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
