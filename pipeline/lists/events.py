"""When events happen in videos: annotations in every form that is read, told apart by their shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipeline.lists import ListError

Format = Literal["auto", "ucf-crime", "xd-violence", "csv", "json", "via", "masks"]
Unit = Literal["frames", "seconds"]


@dataclass(frozen=True)
class Event:
    """One annotated event as the file gives it, in frames from 0 or in seconds; `label` may be empty."""

    start: Fraction
    end: Fraction
    label: str = ""


@dataclass(frozen=True)
class Annotations:
    """Events by the name the file uses; a name with no events is a video known to hold none.

    `half_open`: frame `end` is no more of the event, whatever the convention of others is. `of_training`: names that
    the file itself gives to another split than the test split. `only_abnormal`: the form names no normal videos.
    """

    path: Path
    format: str
    unit: Unit
    events: Mapping[str, tuple[Event, ...]]
    half_open: bool = False
    of_training: frozenset[str] = frozenset()
    only_abnormal: bool = False


def read_annotations(path: Path, format: Format = "auto") -> Annotations:
    """Read annotations of the form `format`, or of the one that their shape shows. Raises ListError.

    docs/inputs.md shows the forms.
    """
    from pipeline.lists import event_documents, event_lines, event_masks, event_tables
    from pipeline.lists.text import read_lines, read_text

    found = _shape(path) if format == "auto" else format
    if found == "masks":
        return event_masks.read(path)
    if found == "json":
        return event_documents.read_json(path, read_text(path, "annotations"))
    if found == "via":
        return event_documents.read_via(path, read_text(path, "annotations"))
    if found == "csv":
        return event_tables.read(path)
    lines = read_lines(path, "annotations")
    if not lines:
        raise ListError(f"{path}: no annotations in this file")
    return event_lines.read(path, lines, found)


def check(where: str, event: Event) -> Event:
    """The event, if it ends after it begins. Raises ListError."""
    if not 0 <= event.start <= event.end:
        raise ListError(f"{where}: an event from {float(event.start):g} to {float(event.end):g}: "
                        f"expected 0 <= start <= end")
    return event


def _shape(path: Path) -> Format:
    from pipeline.lists.event_documents import is_via
    from pipeline.lists.table import header_columns
    from pipeline.lists.text import is_comment, read_text

    if path.is_dir():
        return "masks"
    text = read_text(path, "annotations")
    first = next((line for line in text.splitlines() if line.strip() and not is_comment(line)), "")
    if is_via(text):
        return "via"
    if path.suffix.lower() == ".json" or first.lstrip().startswith(("{", "[")):
        return "json"
    named = header_columns(first)
    if path.suffix.lower() in (".csv", ".tsv") or named & {"start", "start_s", "end", "end_s"} or (
            "," in first and "|" not in first and not named):
        return "csv"
    return "auto"  # columns of numbers: whose they are is seen when they are read
