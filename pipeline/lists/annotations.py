"""Annotations in every form that is read, told apart by their shape."""

from pathlib import Path

from pipeline.lists import ListError, event_documents, event_lines, event_masks, event_tables
from pipeline.lists.events import Annotations, Format
from pipeline.lists.table import header_columns
from pipeline.lists.text import LINE_END, is_comment, read_lines, read_text


def read_annotations(path: Path, format: Format = "auto") -> Annotations:
    """Read annotations of the form `format`, or of the one that their shape shows. Raises ListError.

    docs/inputs.md shows the forms.
    """
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


def _shape(path: Path) -> Format:
    if path.is_dir():
        return "masks"
    text = read_text(path, "annotations")
    first = next((line for line in LINE_END.split(text) if line.strip() and not is_comment(line)), "")
    if event_documents.is_via(text):
        return "via"
    if path.suffix.lower() == ".json" or first.lstrip().startswith(("{", "[")):
        return "json"
    named = header_columns(first)
    if path.suffix.lower() in (".csv", ".tsv") or named & {"start", "start_s", "end", "end_s"} or (
            "," in first and "|" not in first and not named):
        return "csv"
    return "auto"  # columns of numbers: whose they are is seen when they are read
