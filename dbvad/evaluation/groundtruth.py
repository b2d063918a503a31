"""Temporal annotations: the published formats and a plain CSV, matched to videos, as truth for every frame.

Truth is built from each video's own frame count. Frames of a video are numbered from 0; segments here are half-open,
[start, end). The files say where an event ends; whether that frame still belongs to it is a convention (`ends`).
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from dbvad.scoring.protocol import Ends

Format = Literal["auto", "ucf-crime", "xd-violence", "csv"]
VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".ts", ".mts", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv"}


class AnnotationError(ValueError):
    """Annotations that cannot be read or matched; the message names file, line or video, and the remedy."""


@dataclass(frozen=True)
class Event:
    """One annotated event as the file gives it, `end` by the file's own convention; `label` may be empty."""

    start: float
    end: float
    label: str = ""


@dataclass(frozen=True)
class Annotations:
    """Events by the name the file uses; a name with no events is a video known to hold none."""

    path: Path
    format: str
    unit: Literal["frames", "seconds"]
    events: Mapping[str, tuple[Event, ...]]


@dataclass(frozen=True)
class Segment:
    """Frames [start, end) of one event."""

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True)
class Matched:
    """Segments by video_id, and what did not fit."""

    segments: Mapping[str, tuple[Segment, ...]]
    unknown_names: tuple[str, ...] = ()  # annotated, but no such video here
    clipped: tuple[str, ...] = ()  # videos with an event that reaches beyond their last frame
    unannotated: tuple[str, ...] = field(default=())  # videos that the file does not name


def read_annotations(path: Path, format: Format = "auto") -> Annotations:
    """Read temporal annotations. Raises AnnotationError.

    `ucf-crime`: "name class start end start end", -1 for none. `xd-violence`: "name start end start end ...". `csv`: a
    header with video, start, end and optionally label; times in frames, or in seconds where the columns are called
    start_s and end_s; a row without start and end names a video with no event.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"cannot read annotations: {error}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise AnnotationError(f"{path}: no annotations in this file")
    if format == "auto":
        format = _guess(path, lines)
    if format == "csv":
        return _read_csv(path, text)
    return _read_columns(path, lines, format)


def match(annotations: Annotations, videos: Mapping[str, tuple[int, float]], *, ends: Ends = "inclusive") -> Matched:
    """Events as segments of the given videos, {video_id: (frames, fps)}.

    A name fits a video by its video_id or its file name, with or without extension. Raises AnnotationError for a name
    that fits several videos, or two names that fit one.
    """
    ids_by_name: dict[str, set[str]] = defaultdict(set)
    for video_id in videos:
        for name in _names(video_id):
            ids_by_name[name].add(video_id)
    owner: dict[str, str] = {}
    unknown = []
    for name in annotations.events:
        ids = {name} if name in videos else ids_by_name.get(name) or ids_by_name.get(_without_suffix(name)) or set()
        if len(ids) > 1:
            raise AnnotationError(f"{annotations.path}: {name!r} fits {len(ids)} videos ({_few(sorted(ids))}): "
                                  f"name them in the file by their path in the dataset")
        if not ids:
            unknown.append(name)
            continue
        video_id = ids.pop()
        if video_id in owner:
            raise AnnotationError(f"{annotations.path}: {owner[video_id]!r} and {name!r} both fit {video_id!r}: "
                                  f"keep one")
        owner[video_id] = name
    segments, clipped = {}, []
    for video_id, name in owner.items():
        frames, fps = videos[video_id]
        whole = [_segment(event, annotations, video_id, fps, ends) for event in annotations.events[name]]
        cut = [Segment(s.start, min(s.end, frames), s.label) for s in whole if s.start < frames]
        segments[video_id] = tuple(cut)
        if cut != whole:
            clipped.append(video_id)
    return Matched(segments, tuple(unknown), tuple(sorted(clipped)), tuple(sorted(set(videos) - set(owner))))


def frame_truth(segments: Iterable[Segment], frames: int) -> np.ndarray:
    """Whether each frame lies in an event: (frames,) bool."""
    truth = np.zeros(frames, dtype=bool)
    for segment in segments:
        truth[segment.start:segment.end] = True
    return truth


def _segment(event: Event, annotations: Annotations, video_id: str, fps: float, ends: Ends) -> Segment:
    if annotations.unit == "seconds":  # a moment, so the frame it falls into belongs to the event
        if not fps > 0:
            raise AnnotationError(f"{video_id}: its frame rate is unknown, so times in seconds cannot be used: "
                                  f"annotate it in frames")
        return Segment(math.floor(event.start * fps), math.ceil(event.end * fps), event.label)
    return Segment(int(event.start), int(event.end) + (ends == "inclusive"), event.label)


def _guess(path: Path, lines: Sequence[tuple[int, str]]) -> Literal["ucf-crime", "xd-violence", "csv"]:
    if path.suffix.lower() == ".csv" or "," in lines[0][1]:
        return "csv"
    second = [line.split()[1:2] for _, line in lines]
    return "xd-violence" if all(not part or _is_int(part[0]) for part in second) else "ucf-crime"


def _read_columns(path: Path, lines: Sequence[tuple[int, str]], format: Literal["ucf-crime", "xd-violence"],
                  ) -> Annotations:
    events: dict[str, tuple[Event, ...]] = {}
    for number, line in lines:
        name, *rest = line.split()
        label = ""
        if format == "ucf-crime":
            if not rest or _is_int(rest[0]):
                raise AnnotationError(f"{path}:{number}: expected 'name class start end ...', found {line.strip()!r}")
            label, *rest = rest
        if len(rest) % 2 or not all(map(_is_int, rest)):
            raise AnnotationError(f"{path}:{number}: expected pairs of start and end frame, found {' '.join(rest)!r}")
        times = list(map(int, rest))
        pairs = [(start, end) for start, end in zip(times[::2], times[1::2], strict=True) if (start, end) != (-1, -1)]
        _add(events, path, number, name, [Event(start, end, label) for start, end in pairs])
    return Annotations(path, format, "frames", events)


def _read_csv(path: Path, text: str) -> Annotations:
    reader = csv.DictReader(text.splitlines())
    columns = [name.strip().lower() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    seconds = {"start_s", "end_s"} <= set(columns)
    start, end = ("start_s", "end_s") if seconds else ("start", "end")
    if not {"video", start, end} <= set(columns):
        raise AnnotationError(f"{path}: the header is {','.join(columns)!r}; needed are video, start, end (frames) or "
                              f"video, start_s, end_s (seconds), and optionally label")
    grouped: dict[str, list[Event]] = {}
    for row in reader:
        number = reader.line_num
        name = (row["video"] or "").strip()
        times = [(row[column] or "").strip() for column in (start, end)]
        if not name:
            raise AnnotationError(f"{path}:{number}: no video named")
        found = grouped.setdefault(name, [])
        if times == ["", ""]:
            continue
        try:
            first, last = (float(value) if seconds else int(value) for value in times)
        except ValueError:
            raise AnnotationError(f"{path}:{number}: {start} and {end} are {times[0]!r} and {times[1]!r}, expected "
                                  f"{'seconds' if seconds else 'whole frame numbers'}") from None
        event = Event(first, last, (row.get("label") or "").strip())
        _check(path, number, event)
        found.append(event)
    return Annotations(path, "csv", "seconds" if seconds else "frames",
                       {name: tuple(found) for name, found in grouped.items()})


def _add(events: dict[str, tuple[Event, ...]], path: Path, number: int, name: str, found: list[Event]) -> None:
    if name in events:
        raise AnnotationError(f"{path}:{number}: {name!r} is annotated twice")
    for event in found:
        _check(path, number, event)
    events[name] = tuple(found)


def _check(path: Path, number: int, event: Event) -> None:
    if not 0 <= event.start <= event.end or not math.isfinite(event.end):
        raise AnnotationError(f"{path}:{number}: an event from {event.start:g} to {event.end:g}: "
                              f"expected 0 <= start <= end")


def _names(video_id: str) -> set[str]:
    base = PurePosixPath(video_id).name
    return {video_id, _without_suffix(video_id), base, _without_suffix(base)}


def _without_suffix(name: str) -> str:
    """Without a video file's extension; a dot inside a title (Casino.Royale.2006__#1) stays."""
    return name[:-len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in VIDEO_SUFFIXES else name


def _is_int(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _few(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
