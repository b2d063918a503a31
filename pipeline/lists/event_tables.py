"""Annotations as a table with a header: a row an event, in frames or in seconds; a row without times names a video."""

import re
from fractions import Fraction
from pathlib import Path

from pipeline.lists import ListError
from pipeline.lists.events import Annotations, Event, check
from pipeline.lists.table import Row, Table, header_columns, read_table, spelling
from pipeline.lists.text import read_lines
from pipeline.lists.times import parse_frame, parse_time

FROM_ONE = "starting_frame_of_anomaly"  # MSAD's header, whose frames are numbered from 1
NEEDED = ("needed are video, start, end (frames) or video, start_s, end_s (seconds), and optionally label")


def read(path: Path) -> Annotations:
    """A table with video, start, end (frames) or start_s, end_s (seconds), and optionally label. Raises ListError."""
    lines = read_lines(path, "annotations")
    if not lines:
        raise ListError(f"{path}: no annotations in this file")
    header = lines[0].text
    named = header_columns(header)
    in_frames, in_seconds = {"start", "end"} <= named, {"start_s", "end_s"} <= named
    if "video" not in named or not (in_frames or in_seconds):
        raise ListError(f"{path}:1: the header is {header!r}; {NEEDED}")
    if in_frames and in_seconds:
        raise ListError(f"{path}:1: the header {header!r} gives the times of an event in frames and in "
                        f"seconds: keep one of the two")
    start, end = ("start", "end") if in_frames else ("start_s", "end_s")
    table = read_table(path, ("video", start, end), ("label",), "annotations")
    seconds = in_seconds or _are_clocks(table)
    first = int(spelling(table.columns[start]) == FROM_ONE)
    grouped: dict[str, list[Event]] = {}
    for row in table.rows:
        found = grouped.setdefault(row["video"], [])
        times = [row[start], row[end]]
        if times not in (["", ""], ["-1", "-1"]):
            found += [_event(row, times, label, seconds, first) for label in row["label"].split("|")]
    return Annotations(path, "csv", "seconds" if seconds else "frames",
                       {name: tuple(found) for name, found in grouped.items()})


def _are_clocks(table: Table) -> bool:
    """Whether columns that should hold frames hold hh:mm:ss, which can only be times."""
    return bool(table.rows) and all(re.search(r"\d:\d", row["start"] + row["end"]) for row in table.rows
                                    if row["start"] + row["end"])


def _event(row: Row, times: list[str], label: str, seconds: bool, first: int) -> Event:
    try:
        start, end = (parse_time(text) if seconds else Fraction(parse_frame(text) - first) for text in times)
    except ValueError as error:
        expected = str(error) if seconds else "expected whole frame numbers; seconds go into columns start_s and end_s"
        raise ListError(f"{row.where}: start and end are {times[0]!r} and {times[1]!r}, {expected}") from None
    return check(row.where, Event(start, end, label.strip()))
