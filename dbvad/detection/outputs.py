"""Events as text for other programs: JSON lines, CSV, WebVTT and SRT."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from dbvad.scoring.events import Event

COLUMNS = ("video", "id", "start_s", "end_s", "start_frame", "end_frame", "peak", "peak_s", "mean", "suggestions",
           "fingerprint")


def as_row(event: Event) -> dict[str, Any]:
    """An event as JSON has it; seconds to the millisecond."""
    row = {name: asdict(event)[name] for name in COLUMNS}
    return row | {name: round(row[name], 3) for name in ("start_s", "end_s", "peak_s")} | {
        name: round(row[name], 6) for name in ("peak", "mean")} | {
        "suggestions": suggested(event)}


def suggested(event: Event) -> list[dict[str, Any]]:
    """What an event may be, likeliest first."""
    return [{"name": word.name, "likeness": round(word.likeness, 4)} for word in event.suggestions]


def json_lines(events: Iterable[Event], explained: Mapping[str, Mapping[str, Any]] | None = None) -> Iterable[str]:
    """A line an event; `explained`: by event id, what a model said of it."""
    for event in events:
        more = {"explanation": explained.get(event.id)} if explained is not None else {}
        yield json.dumps(as_row(event) | more, ensure_ascii=False)


def as_csv(events: Iterable[Event]) -> str:
    """A header and a line an event; suggestions as `name likeness`, joined by `|`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in events:
        row = as_row(event)
        row["suggestions"] = "|".join(f"{word['name']} {word['likeness']:.4f}" for word in row["suggestions"])
        writer.writerow(row[name] for name in COLUMNS)
    return text.getvalue()


def as_vtt(events: Iterable[Event]) -> str:
    """WebVTT, a cue an event, named by its id."""
    return "WEBVTT\n" + "".join(f"\n{event.id}\n{stamp(event.start_s)} --> {stamp(event.end_s)}\n{caption(event)}\n"
                                for event in events)


def as_srt(events: Iterable[Event]) -> str:
    """SubRip."""
    return "\n".join(f"{number}\n{stamp(event.start_s, ',')} --> {stamp(event.end_s, ',')}\n{caption(event)}\n"
                     for number, event in enumerate(events, start=1))


def caption(event: Event) -> str:
    """"anomaly 0.93 (fighting 0.71?)"; the word is a suggestion."""
    best = f" ({event.suggestions[0].name} {event.suggestions[0].likeness:.2f}?)" if event.suggestions else ""
    return f"anomaly {event.peak:.2f}{best}".replace("-->", "->")


def stamp(seconds: float, point: str = ".") -> str:
    """01:02:03.456"""
    millis = round(seconds * 1000)
    return (f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d}{point}"
            f"{millis % 1000:03d}")


def names(video_ids: Sequence[str]) -> dict[str, PurePosixPath]:
    """What to call files about each video: its id without the suffix, with it where two videos differ in that alone."""
    bare = [PurePosixPath(video_id).with_suffix("") for video_id in video_ids]
    return {video_id: stem if bare.count(stem) == 1 else PurePosixPath(video_id)
            for video_id, stem in zip(video_ids, bare, strict=True)}


def beside(folder: Path, name: PurePosixPath, suffix: str) -> Path:
    """`folder`/`name` with a suffix added; its folders are made."""
    path = folder / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
