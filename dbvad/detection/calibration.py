"""Calibration: the on-threshold at which detection raises at most N false alarms a day, as far as footage can show it.

Footage in which nothing happens is searched at on-thresholds that fall from the highest; the walk ends where the exact
upper bound (Garwood, one-sided, 95 %) of the rate of events is above N. As it ends at the first such threshold, N is
kept with 95 % however many were tried; the bounds told beside it are of the threshold chosen, had no other been tried.
All assumes alarms that come independently of each other: a storm that is not in the footage is what no bound knows of.

A promise is of one protocol: what a camera is scored by, who sees no more than a few snippets ahead, gives other alarms
than what an archive is. So calibration.json keeps promises of each protocol that footage was scored by.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError

from dbvad.detection.bundle import CALIBRATION, ModelError
from dbvad.evaluation.event_metrics import Recording, garwood, lowest, meet, with_on
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from pipeline.engine.config import Config
from pipeline.engine.files import Damaged, read_record, write_record
from pipeline.words import counted

CONFIDENCE = 0.95  # of each bound
DAY_H = 24.0
REMEDY = "Delete it, and calibrate again"


class TooLittle(ValueError):
    """The footage cannot show the rate that was asked for; the message says how much would."""


class Promise(Config):
    """At most `per_day` false alarms under `on`, `off`, `min_length_s`, `merge_gap_s`, and what shows it.

    `events` were raised in `hours` without any, `marked` more were marked as false elsewhere; `low`, `high`: bounds of
    the rate a day at this threshold, had no other been tried. `seen`: recordings of the footage that were trained on.
    """

    on: float
    off: float
    min_length_s: float
    merge_gap_s: float
    per_day: float
    events: int
    marked: int
    hours: float
    low: float
    high: float
    seen: int = 0
    confidence: float = CONFIDENCE

    @property
    def rule(self) -> dict[str, float]:
        """The thresholds that it is of."""
        return {"on": self.on, "off": self.off, "min_length_s": self.min_length_s, "merge_gap_s": self.merge_gap_s}

    def told(self) -> str:
        """For people, a line."""
        seen = f"; too good, as the model was trained on {counted(self.seen, 'recording')} of the footage"
        marked = f" and {self.marked} marked as false elsewhere" if self.marked else ""
        return (f"on {self.on:g}, off {self.off:g}: at most {self.per_day:g} false alarms a day "
                f"({100 * self.confidence:g} %); seen {self.events} in {self.hours:.1f} hours{marked}, so "
                f"{self.low:.3g} to {self.high:.3g} a day (exact Poisson bounds, {100 * self.confidence:g} % each)"
                f"{seen if self.seen else ''}")


class Promises(Config):
    """Those of one protocol. `scored`: which (Protocol.scoring); `common`: for any camera."""

    scored: Protocol
    common: Promise | None = None
    cameras: dict[str, Promise] = Field(default_factory=dict)


class Calibration(Config):
    """calibration.json. `model`: fingerprint of the weights; `promises`: by protocol."""

    model: str
    promises: tuple[Promises, ...] = ()

    def by(self, protocol: Protocol) -> Promises:
        """Those of a protocol, none where footage was never scored by it."""
        return next((some for some in self.promises if some.scored.scoring == protocol.scoring),
                    Promises(scored=Protocol(**protocol.scoring)))


@dataclass(frozen=True)
class Thumb:
    """What a user said of an event: `false`, it was none. `video` and the span where it is known of which."""

    id: str
    false: bool
    peak: float
    camera: str | None = None
    video: str | None = None
    start_s: float = 0.0
    end_s: float = 0.0


@dataclass(frozen=True)
class Footage:
    """Recordings in which nothing happens but what users marked as an event, which stands in their truth.

    `marked`: peaks of events that were marked as false and are not of these recordings.
    """

    recordings: tuple[Recording, ...]
    marked: tuple[float, ...] = ()

    @property
    def hours(self) -> float:
        return sum(recording.quiet_s for recording in self.recordings) / 3600

    def events(self, thresholds: Thresholds) -> int:
        """How many events detection raises where nothing happens."""
        return sum(int((~meet(recording.truth, recording.find(thresholds)).any(axis=0)).sum())
                   for recording in self.recordings)

    def marked_at(self, on: float) -> int:
        """How many of the events that were marked elsewhere begin at this threshold."""
        return sum(peak >= on for peak in self.marked)


def make_footage(scores: Mapping[str, tuple[np.ndarray, np.ndarray]], thumbs: Iterable[Thumb] = ()) -> Footage:
    """Footage of recordings, {video_id: (edges in seconds (T + 1,), scores (T,))}, and thumbs: the last of each id.

    One up, in a recording of these: its span is no normal footage. One down, elsewhere: one false alarm more (in these
    recordings it is found as such already).
    """
    last = {thumb.id: thumb for thumb in thumbs}.values()
    recordings = []
    for video, (edges, found) in scores.items():
        true = [(thumb.start_s, thumb.end_s) for thumb in last if thumb.video == video and not thumb.false]
        recordings.append(Recording(edges, found, np.array(true, dtype=np.float64).reshape(-1, 2)))
    return Footage(tuple(recordings), tuple(thumb.peak for thumb in last if thumb.false and thumb.video not in scores))


def hours_needed(per_day: float) -> float:
    """Hours without a single false alarm that show a rate: 3.0 / N days."""
    return -math.log(1 - CONFIDENCE) / per_day * DAY_H


def promise(footage: Footage, per_day: float, thresholds: Thresholds) -> Promise:
    """The lowest thresholds at which the footage shows at most `per_day` false alarms, with off's share of on kept.

    Raises TooLittle where even footage without any false alarm would not show it, or no threshold is high enough.
    """
    needed, hours = hours_needed(per_day), footage.hours
    if hours < needed:
        raise TooLittle(f"{hours:.1f} hours of footage cannot show at most {per_day:g} false alarms a day: without a "
                        f"single one they show at most {garwood(0, hours, CONFIDENCE)[1] * DAY_H:.3g}. "
                        f"{needed:.1f} hours are needed" if hours else
                        f"there is no footage: {needed:.1f} hours are needed")

    def bounds(on: float) -> tuple[int, int, float, float]:
        events, marked = footage.events(with_on(thresholds, on)), footage.marked_at(on)
        low, high = garwood(events + marked, hours, CONFIDENCE)
        return events, marked, low * DAY_H, high * DAY_H

    on = lowest(lambda step: bounds(step)[3] <= per_day)
    if on is None:
        raise TooLittle(f"even the highest threshold gives more than {per_day:g} false alarms a day that this footage "
                        f"and feedback show: add footage, or ask for more a day")
    events, marked, low, high = bounds(on)
    return Promise(**with_on(thresholds, on).rule, per_day=per_day, events=events, marked=marked, hours=hours, low=low,
                   high=high)


def read(model: Path) -> Calibration | None:
    """The calibration that lies with a model; None where there is none. Raises Damaged."""
    path = model / CALIBRATION
    try:
        return Calibration.model_validate(read_record(path, REMEDY))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise Damaged(path, f"it is no calibration ({error.errors()[0]['msg']})", REMEDY) from None


def write(model: Path, calibration: Calibration) -> None:
    """Put it with a model. Raises WriteError."""
    write_record(model / CALIBRATION, calibration.model_dump(mode="json"))


def take_in(old: Calibration | None, model: str, protocol: Protocol, camera: str | None, made: Promise) -> Calibration:
    """A calibration with one promise more; those of other weights are not kept."""
    if old is None or old.model != model:
        old = Calibration(model=model)
    before = old.by(protocol)
    after = (before.model_copy(update={"common": made}) if camera is None else
             before.model_copy(update={"cameras": {**before.cameras, camera: made}}))
    return old.model_copy(update={"promises": (*(some for some in old.promises if some != before), after)})


@dataclass(frozen=True)
class Chosen:
    """Thresholds to detect by. `promise`: what they are known to keep, None where that is nothing; `whose`: in words.

    `remark`: what the user should know besides.
    """

    thresholds: Thresholds
    whose: str
    promise: Promise | None = None
    remark: str = ""

    @classmethod
    def given(cls, thresholds: Thresholds, remark: str = "") -> Self:
        """Those that a user names."""
        return cls(thresholds, "as given", None, remark)

    def told(self) -> str:
        """For people, a line."""
        said = (f"thresholds {self.whose}: no rate of false alarms is promised" if self.promise is None else
                f"calibrated for {self.whose}: {self.promise.told()}")
        return f"{said}; {self.remark}" if self.remark else said

    def as_row(self) -> dict[str, Any]:
        """For programs: the rule, whose it is, and how many false alarms a day it was shown to keep to (or None)."""
        return {**self.thresholds.rule, "whose": self.whose,
                "per_day": self.promise.per_day if self.promise else None}


def choose(model: Path, fingerprint: str, protocol: Protocol, given: Thresholds, camera: str | None = None) -> Chosen:
    """By which thresholds to detect: those that are given, else those of the camera's calibration, else of all cameras'
    under this very protocol, else the defaults. The rolls stay as they are given.

    Raises ModelError where the calibration is of other weights, Damaged.
    """
    calibration = read(model)
    if given.model_fields_set & given.rule.keys():
        return Chosen.given(given, "those that the model is calibrated to are not used" if calibration else "")
    if calibration and calibration.model != fingerprint:
        raise ModelError(f"{model / CALIBRATION} promises nothing here, as it is of other weights: calibrate again "
                         f"(`{command(model, protocol)}`), or give thresholds (--on 0.5)")
    held = calibration.by(protocol) if calibration else Promises(scored=protocol)
    own = held.cameras.get(camera) if camera else None
    if promise := own or held.common:
        whose = f"camera {camera}" if own else f"all cameras, as {camera} has none of its own" if camera else (
            "all cameras")
        return Chosen(given.model_copy(update=promise.rule), whose, promise)
    others = [some.scored.told() for some in calibration.promises if some != held] if calibration else []
    known = f"the model is calibrated for {', and for '.join(others)}; " if others else ""
    return Chosen(given, "by default", None, f"{known}`{command(model, protocol)}` makes a promise")


def command(model: Path, protocol: Protocol) -> str:
    """What calibrates a model for a protocol."""
    options = [f"--look-ahead {protocol.look_ahead}" if protocol.look_ahead else "",
               f"--scale {protocol.scale}" if protocol.scale != "windows" else "",
               f"--crop {protocol.crop}" if protocol.crop is not None else "",
               f"--smooth {protocol.smooth:g}" if protocol.smooth else ""]
    live = ["--live"] if protocol.look_ahead is not None else []
    return " ".join(["dbvad calibrate", quote(str(model)), "--normal FOOTAGE", *live, *filter(None, options)])


def table_scores(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """A `detect` table as edges in seconds (T + 1,) and scores (T,)."""
    edges = np.append(rows["start_s"].to_numpy(), rows["end_s"].to_numpy()[-1:])
    return edges, rows["score"].to_numpy()


def of_camera(thumbs: Sequence[Thumb], camera: str | None) -> list[Thumb]:
    """Those that count for a camera: its own, and those that name none."""
    return [thumb for thumb in thumbs if camera is None or thumb.camera in (None, camera)]
