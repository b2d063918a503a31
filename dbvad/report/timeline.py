"""One video as the page shows it: a row of the list, and the data behind its timeline."""

import base64
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dbvad.report.frames import spread, thumbnails
from dbvad.report.inputs import Inputs, Scores, Video
from dbvad.report.judge import Judged
from dbvad.report.shards import Shards, read_shards
from dbvad.report.strategies import Comparison, compare
from pipeline.engine.files import Damaged
from pipeline.engine.shard import Footer

MAX_POINTS = 2000  # of a curve; a longer one shows the highest score of each of as many equal parts
SPARK = (120, 24)  # width and height of a row's curve, in its own units


@dataclass(frozen=True)
class Clock:
    """Turns frame numbers into seconds by the times of the decoded frames, else by the frame rate, else not at all."""

    unit: str  # "s" or "frame"
    frames: np.ndarray
    times: np.ndarray

    def at(self, frames: Any) -> np.ndarray:
        """Times of frames, beyond the last one known at the mean rate."""
        return np.interp(frames, self.frames, self.times)


@dataclass(frozen=True)
class Row:
    """One video in the list. `spark`: an SVG path; `events`: (start, width) of true events, in its units."""

    video: Video
    judged: Judged | None
    spark: str
    events: tuple[tuple[float, float], ...]
    text: str


@dataclass(frozen=True)
class Shown:
    """`comparison` is there for an abnormal training video whose frames were scored."""

    row: Row
    data: dict[str, Any]
    comparison: Comparison | None
    frames: int
    footers: Mapping[str, Footer]
    damaged: bool


def show(inputs: Inputs, video: Video, judged: Judged | None, budget: int, pool: Executor) -> Shown:
    """Read one video; what is missing or damaged is left out and said in `data["missing"]`. `budget`: pictures at most,
    beside those of key frames and of the highest score; 0 for none at all."""
    shards, scores = read_shards(inputs.store, inputs.entries.get(video.video_id)), inputs.scores.get(video.video_id)
    frames = (int(scores.edges[-1]) if scores else shards.frames) or video.n_frames or 1
    clock = _clock(shards.frame_idx, shards.pts_s, video.fps, frames)
    comparison = _compare(video, shards, clock)
    wanted = _wanted(shards, comparison, judged, budget) if budget else set()
    images: dict[int, bytes] = {}
    try:
        images = thumbnails(inputs.store, video.video_id, wanted, pool)
    except Damaged as error:
        shards = replace(shards, damaged=(*shards.damaged, f"{error}."))
    segments = inputs.truth.get(video.video_id)
    event = None if comparison is None or not comparison.event.any() else {
        "x": _rounded(clock.at(comparison.frames), 3), "y": _rounded(comparison.event, 3)}
    data: dict[str, Any] = {
        "id": video.video_id, "split": video.split, "labels": list(video.labels or ()), "facts": _facts(video, frames),
        "auc": None if judged is None or np.isnan(judged.auc) else round(judged.auc, 4),
        "unit": clock.unit, "end": round(float(clock.at(frames)), 3),
        "score": _steps(scores, clock), "event": event,
        "truth": None if segments is None else [[*_rounded(clock.at([s.start, s.end]), 3), s.label] for s in segments],
        "frames": {"at": _rounded(clock.at(sorted(images)), 3),
                   "jpeg": [base64.b64encode(images[index]).decode() for index in sorted(images)]},
        "keys": _rounded(clock.at([key["frame_idx"] for key in shards.keys]), 3),
        "strategy": shards.keys[0]["strategy"] if shards.keys else None,
        "picks": None if event is None or comparison is None else {
            name: _rounded(clock.at(comparison.frames[chosen]), 3) for name, chosen in comparison.picks.items()},
        "text": shards.described,
        "missing": list(shards.lacking(video, pictures=bool(images) or not budget, scored=scores is not None)),
    }
    return Shown(_row(video, judged, data), data, comparison, frames, shards.footers, bool(shards.damaged))


def _row(video: Video, judged: Judged | None, data: Mapping[str, Any]) -> Row:
    line, scale = data["score"] or data["event"], SPARK[0] / max(data["end"], 1e-9)
    events = tuple((round(start * scale, 1), max(1.0, round((end - start) * scale, 1)))
                   for start, end, _ in data["truth"] or ())
    return Row(video, judged, _spark(line["x"], line["y"], data["end"]) if line else "", events,
               data["text"]["text"] if data["text"] else "")


def _wanted(shards: Shards, comparison: Comparison | None, judged: Judged | None, budget: int) -> set[int]:
    """Frames to show: some at regular distances, every key frame of every strategy, that of the highest score."""
    wanted = set(spread(shards.frame_idx, shards.pts_s, budget).tolist()) | {key["frame_idx"] for key in shards.keys}
    if comparison is not None:
        wanted |= {int(frame) for chosen in comparison.picks.values() for frame in comparison.frames[chosen]}
    if judged is not None and len(shards.frame_idx):
        wanted.add(int(shards.frame_idx[np.abs(shards.frame_idx - judged.peak_frame).argmin()]))
    return wanted


def _clock(frame_idx: np.ndarray, pts: np.ndarray, fps: float, frames: int) -> Clock:
    if len(frame_idx) > 1:
        rate = (pts[-1] - pts[0]) / (frame_idx[-1] - frame_idx[0])
        last = max(frames, int(frame_idx[-1]) + 1)
        return Clock("s", np.append(frame_idx, last), np.append(pts, pts[-1] + rate * (last - frame_idx[-1])))
    return Clock("s" if fps > 0 else "frame", np.array([0, frames]), np.array([0, frames / fps if fps > 0 else frames]))


def _compare(video: Video, shards: Shards, clock: Clock) -> Comparison | None:
    if video.split != "train" or not video.labels or not len(shards.first_frame):
        return None
    footer = shards.footers.get("select")
    return compare(shards.first_frame, shards.relevance, shards.novelty, clock.at(shards.first_frame),
                   footer.basis.get("params") or {} if footer else {})


def _steps(scores: Scores | None, clock: Clock) -> dict[str, list[float]] | None:
    """Edges in time, one more than scores."""
    if scores is None:
        return None
    edges, values = scores.edges, scores.values
    if len(values) > MAX_POINTS:
        begins = np.linspace(0, len(values), MAX_POINTS, endpoint=False).astype(np.int64)
        edges, values = np.append(edges[begins], edges[-1]), np.maximum.reduceat(values, begins)
    return {"x": _rounded(clock.at(edges), 3), "y": _rounded(values, 4)}


def _spark(x: Sequence[float], y: Sequence[float], end: float) -> str:
    """The highest score in each unit of width, as an SVG path of steps that starts and ends on the floor."""
    width, height = SPARK
    edges = np.linspace(0, end, width + 1)
    first = np.searchsorted(x, edges[:-1], "right") - 1
    last = np.searchsorted(x, edges[1:], "left")
    tops = [max(y[max(a, 0):max(b, a + 1, 1)], default=0.0) for a, b in zip(first, last, strict=True)]
    levels = [height - round(min(max(top, 0.0), 1.0) * height) for top in tops]
    steps = [f"H{at}V{level}" for at, (before, level) in enumerate(itertools.pairwise([height, *levels]))
             if level != before]
    return f"M0 {height}{''.join(steps)}H{width}V{height}"


def _facts(video: Video, frames: int) -> list[str]:
    facts = [f"{frames} frames" if frames > 1 else "", f"{video.width}×{video.height}" if video.width else "",
             f"{video.fps:.4g} fps" if video.fps else "", video.codec]
    return [fact for fact in facts if fact]


def _rounded(values: Any, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
