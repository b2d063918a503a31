"""Calibration: the on-threshold at which detection raises at most N false alarms a day, as far as footage can show it.

Footage in which nothing happens is searched at on-thresholds that fall from the highest; the walk ends where the exact
upper bound (Garwood, one-sided, 95 %) of the rate of events is above N. As it ends at the first such threshold, N is
kept with 95 % however many were tried; the bounds told beside it are of the threshold chosen, had no other been tried.
All assumes alarms that come independently of each other: a storm that is not in the footage is what no bound knows of.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from dbvad.detection.bundle import CALIBRATION, ModelError
from dbvad.evaluation.event_metrics import Recording, garwood, lowest, meet, with_on
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from pipeline.engine.config import Config
from pipeline.engine.files import Damaged, read_record, write_record

CONFIDENCE = 0.95  # of each bound
DAY_H = 24.0
SCORED_BY = ("scale", "crop", "smooth")  # what of a protocol changes scores


class TooLittle(ValueError):
    """The footage cannot show the rate that was asked for; the message says how much would."""


class Promise(Config):
    """At most `per_day` false alarms under `on`, `off`, `min_length_s`, `merge_gap_s`, and what shows it.

    `events` were raised in `hours` without any, `marked` more were marked as false elsewhere; `low`, `high`: bounds of
    the rate a day at this threshold, had no other been tried.
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
    confidence: float = CONFIDENCE

    @property
    def rule(self) -> dict[str, float]:
        """The thresholds that it is of."""
        return {"on": self.on, "off": self.off, "min_length_s": self.min_length_s, "merge_gap_s": self.merge_gap_s}

    def told(self) -> str:
        """For people, a line."""
        marked = f" and {self.marked} marked as false elsewhere" if self.marked else ""
        return (f"on {self.on:g}, off {self.off:g}: at most {self.per_day:g} false alarms a day "
                f"({100 * self.confidence:g} %); seen {self.events} in {self.hours:.1f} hours{marked}, so "
                f"{self.low:.3g} to {self.high:.3g} a day (exact Poisson bounds, {100 * self.confidence:g} % each)")


class Calibration(Config):
    """calibration.json. `model`: fingerprint of the weights; `scored`: by which protocol; `common`: for any camera."""

    model: str
    scored: dict[str, Any]
    common: Promise | None = None
    cameras: dict[str, Promise] = Field(default_factory=dict)


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


def scored_by(protocol: Protocol) -> dict[str, Any]:
    """What of a protocol a calibration is tied to."""
    return protocol.model_dump(include=set(SCORED_BY))


def read(model: Path) -> Calibration | None:
    """The calibration that lies with a model; None where there is none. Raises Damaged."""
    path, remedy = model / CALIBRATION, "Calibrate again, or delete it"
    try:
        return Calibration.model_validate(read_record(path, remedy))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise Damaged(path, f"it is no calibration ({error.errors()[0]['msg']})", remedy) from None


def is_there(model: Path) -> bool:
    """Whether a calibration lies with a model."""
    return (model / CALIBRATION).is_file()


def write(model: Path, calibration: Calibration) -> None:
    """Put it with a model. Raises WriteError."""
    write_record(model / CALIBRATION, calibration.model_dump())


def fits(calibration: Calibration, fingerprint: str, protocol: Protocol) -> str:
    """Why a calibration says nothing of these scores, "" where it does."""
    if calibration.model != fingerprint:
        return "it is of other weights"
    differ = [f"{key} {value}" for key, value in calibration.scored.items() if scored_by(protocol).get(key) != value]
    return f"it is for {', '.join(differ)}" if differ else ""


def find(model: Path, fingerprint: str, protocol: Protocol, camera: str | None = None) -> tuple[Promise, str] | None:
    """The promise that holds for a camera, and whose it is, in words; None where the model is not calibrated.

    Raises ModelError where the calibration is of something else, Damaged.
    """
    calibration = read(model)
    if calibration is None:
        return None
    fault = fits(calibration, fingerprint, protocol)
    if fault:
        raise ModelError(f"{model / CALIBRATION} promises nothing here, as {fault}: calibrate again (`dbvad calibrate "
                         f"{model}`), or give thresholds (--on 0.5)")
    if camera is not None and camera in calibration.cameras:
        return calibration.cameras[camera], f"camera {camera}"
    if calibration.common is None:
        return None
    return calibration.common, f"all cameras, as {camera} has none of its own" if camera else "all cameras"


def take_in(old: Calibration | None, model: str, protocol: Protocol, camera: str | None, made: Promise) -> Calibration:
    """A calibration with one promise more; an older one of other weights or another protocol is not kept."""
    if old is None or fits(old, model, protocol):
        old = Calibration(model=model, scored=scored_by(protocol))
    if camera is None:
        return old.model_copy(update={"common": made})
    return old.model_copy(update={"cameras": {**old.cameras, camera: made}})


def table_scores(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """A `detect` table as edges in seconds (T + 1,) and scores (T,)."""
    edges = np.append(rows["start_s"].to_numpy(), rows["end_s"].to_numpy()[-1:])
    return edges, rows["score"].to_numpy()


def of_camera(thumbs: Sequence[Thumb], camera: str | None) -> list[Thumb]:
    """Those that count for a camera: its own, and those that name none."""
    return [thumb for thumb in thumbs if camera is None or thumb.camera in (None, camera)]
