"""Annotations as tools export them: ActivityNet's JSON (CCTV-Fights), and the CSV of the VGG Image Annotator."""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.lists import ListError
from pipeline.lists.events import Annotations, Event, check
from pipeline.lists.splits import TRAIN, read_split
from pipeline.lists.text import LINE_END
from pipeline.lists.times import parse_time

JSON_FORM = '{"database": {"name": {"subset": "test", "annotations": [{"segment": [1.5, 4], "label": "fight"}]}}}'
VIA_COLUMNS = ("file_list", "temporal_coordinates", "metadata")
VIA_HEADER = re.compile(r"^#\s*CSV_HEADER\s*=\s*(.*temporal_coordinates.*)$", re.MULTILINE)


def read_json(path: Path, text: str) -> Annotations:
    """ActivityNet's JSON, times in seconds. Raises ListError."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ListError(f"cannot read annotations {path}: {error}") from None
    videos = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(entry, dict) and isinstance(entry.get("annotations"), list)
                                               for entry in videos.values()):
        raise ListError(f"{path}: this JSON is of no known form; read is ActivityNet's: {JSON_FORM}")
    if not videos:
        raise ListError(f"{path}: no annotations in this file")
    events = {name: tuple(_json_event(f"{path}: {name!r}", found) for found in entry["annotations"])
              for name, entry in videos.items()}
    trained = frozenset(name for name, entry in videos.items() if read_split(str(entry.get("subset", ""))) == TRAIN)
    return Annotations(path, "json", "seconds", events, of_training=trained)


def _json_event(where: str, found: Any) -> Event:
    segment = found.get("segment") if isinstance(found, Mapping) else None
    if not isinstance(segment, list) or len(segment) != 2:
        raise ListError(f"{where}: expected an event with a \"segment\" of two times, found {json.dumps(found)}")
    return _event(where, segment, str(found.get("label") or ""))


def is_via(text: str) -> bool:
    """Whether this is an export of the VGG Image Annotator: its header stands in a comment."""
    return VIA_HEADER.search(text) is not None


def read_via(path: Path, text: str) -> Annotations:
    """VIA's CSV: a file, the times of a segment in seconds, and its label in the only attribute. Raises ListError."""
    header = VIA_HEADER.search(text)
    columns = header[1].strip().split(",") if header else []
    if not set(VIA_COLUMNS) <= set(columns):
        raise ListError(f"{path}: no comment `# CSV_HEADER = ...` with file_list, temporal_coordinates and metadata, "
                        f"as the VGG Image Annotator writes it")
    grouped: dict[str, list[Event]] = {}
    kept = ("" if line.startswith("#") else line for line in LINE_END.split(text))
    reader = csv.reader(io.StringIO("\n".join(kept), newline=""))
    for cells in reader:
        if not any(cells):
            continue
        where, row = f"{path}:{reader.line_num}", dict(zip(columns, cells, strict=False))
        try:
            [name], times, metadata = (json.loads(row[column]) for column in VIA_COLUMNS)
        except (KeyError, ValueError, TypeError) as error:
            raise ListError(f"{where}: no row of a VIA export with one file: {error}") from None
        found = grouped.setdefault(str(name), [])
        if times:
            labels = sorted({str(value) for value in metadata.values()})
            if len(labels) > 1:
                raise ListError(f"{where}: attributes {' and '.join(map(repr, labels))} could both be the class: "
                                f"export one attribute only")
            found.append(_event(where, [times[0], times[-1]], "".join(labels)))
    if not grouped:
        raise ListError(f"{path}: no annotations in this file")
    return Annotations(path, "via", "seconds", {name: tuple(found) for name, found in grouped.items()})


def _event(where: str, times: list[Any], label: str) -> Event:
    try:
        start, end = (parse_time(str(time)) for time in times)
    except ValueError as error:
        raise ListError(f"{where}: {error}") from None
    return check(where, Event(start, end, label))
