"""Temporal annotations matched to videos, as truth for every frame.

Truth is built from each video's own frames. Frames of a video are numbered from 0; segments here are half-open,
[start, end). The files say where an event ends; whether that frame still belongs to it is a convention (`ends`). Times
in seconds become frames by the times of the frames, where they are known, else by the frame rate.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbvad.scoring.protocol import Ends
from pipeline.contracts import frame_times
from pipeline.engine.store import Store
from pipeline.lists import ListError
from pipeline.lists import annotations as forms
from pipeline.lists.events import Annotations, Event, Format
from pipeline.lists.labels import find_label
from pipeline.lists.names import AmbiguousName, Names
from pipeline.lists.remarks import Remark, remarks_on
from pipeline.lists.times import MICROSECONDS, frames_at_rate, frames_at_times, rate_of
from pipeline.manifest import Entry, current

__all__ = ["AnnotationError", "Annotations", "Event", "Format", "Matched", "Segment", "Times", "decoded_times",
           "frame_truth", "match", "read_annotations", "remarks"]
SPARE = 1  # frames by which an end may pass the last one unsaid: it may be counted from 1, or be the video's end
Times = Callable[[str], np.ndarray | None]  # of a video id -> when each frame is shown, in seconds


class AnnotationError(ValueError):
    """Annotations that cannot be read or matched; the message names file, line or video, and the remedy."""


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
    unannotated: tuple[str, ...] = ()  # videos that the file does not name
    outside: tuple[str, ...] = ()  # videos with an event that begins beyond their last frame
    remarks: tuple[Remark, ...] = ()  # what the user should know of it


def read_annotations(path: Path, format: Format = "auto") -> Annotations:
    """Read temporal annotations in one of the forms that docs/inputs.md shows. Raises AnnotationError."""
    try:
        return forms.read_annotations(path, format)
    except ListError as error:
        raise AnnotationError(str(error)) from None


def match(annotations: Annotations, videos: Mapping[str, tuple[int, float]], *, ends: Ends = "inclusive",
          times: Times = lambda video_id: None, others: Iterable[str] = ()) -> Matched:
    """Events as segments of the given videos, {video_id: (frames, fps)}.

    `times`: when the frames of a video are shown. `others`: further videos that there are; a name of one is not
    unknown. Raises AnnotationError for a name that fits several videos, or two names that fit one.
    """
    try:
        owner, strange = Names(videos).owners(annotations.events)
    except AmbiguousName as error:
        raise AnnotationError(f"{annotations.path}: {error}") from None
    rest = Names(others)
    unknown = [name for name in strange if name not in annotations.of_training and not rest.matches(name)]
    segments, clipped, outside = {}, set(), set()
    for video_id, name in owner.items():
        frames, fps = videos[video_id]
        whole = _segments(annotations, name, video_id, frames, fps, ends, times)
        segments[video_id] = tuple(Segment(s.start, min(s.end, frames), s.label) for s in whole if s.start < frames)
        clipped |= {video_id for s in whole if s.end > frames + SPARE}
        outside |= {video_id for s in whole if s.start >= frames}
    return Matched(segments, tuple(unknown), tuple(sorted(clipped)), tuple(sorted(set(videos) - set(owner))),
                   tuple(sorted(outside)))


def remarks(annotations: Annotations, matched: Matched, classes: Sequence[str] = ()) -> list[Remark]:
    """What evaluation should say of annotations that do not fit. `classes`: that were trained on, none where unknown.

    Where a form names no normal videos, those it does not name are not worth a remark.
    """
    file = annotations.path.name
    labels = {segment.label for segments in matched.segments.values() for segment in segments if segment.label}
    strange = {label for label in labels if find_label(label, classes) is None} if classes else ()
    return remarks_on(
        ("unknown_name", f"{file} names what is no video here", matched.unknown_names),
        ("outside", f"events of {file} begin beyond the end of their videos and are left out", matched.outside),
        ("clipped", f"events of {file} reach beyond the end of their videos and are clipped",
         set(matched.clipped) - set(matched.outside)),
        ("unknown_class", f"{file} has events of classes that no video was trained on", strange),
        ("unannotated", f"{file} does not name these test videos, so all their frames count as normal",
         () if annotations.only_abnormal else matched.unannotated))


def frame_truth(segments: Iterable[Segment], frames: int) -> np.ndarray:
    """Whether each frame lies in an event: (frames,) bool."""
    truth = np.zeros(frames, dtype=bool)
    for segment in segments:
        truth[segment.start:segment.end] = True
    return truth


def decoded_times(store: Store, entries: Mapping[str, Entry]) -> Times:
    """The times of frames as today's decode shards keep them, by the manifest's entries; None for a video without one,
    such as one of imported features.
    """
    def read(video_id: str) -> np.ndarray | None:
        entry = entries.get(video_id)
        if entry is None or not current(store, entry, "decode"):
            return None
        table = store.read("decode", video_id, ["times_s"])
        return frame_times(table) if table.column_names else None

    return read


def _segments(annotations: Annotations, name: str, video_id: str, frames: int, fps: float, ends: Ends, times: Times,
              ) -> list[Segment]:
    found = annotations.events[name]
    if annotations.unit == "frames":
        last = int(ends == "inclusive" and not annotations.half_open)
        return [Segment(int(event.start), int(event.end) + last, event.label) for event in found]
    shown = times(video_id)
    if shown is not None and len(shown) == frames:
        moments = np.rint(shown * MICROSECONDS).astype(np.int64).tolist()
        return [Segment(*frames_at_times(event.start, event.end, moments), event.label) for event in found]
    if not fps > 0:
        raise AnnotationError(f"{video_id}: its frame rate is unknown, so times in seconds cannot be used: annotate it "
                              f"in frames")
    return [Segment(*frames_at_rate(event.start, event.end, rate_of(fps)), event.label) for event in found]
