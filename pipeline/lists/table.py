"""Tables with a header, as people and spreadsheets write them: commas, semicolons or tabs, headers spelt their way.

A column is known by its name or by what else it is commonly called. Where two columns could be meant, the file is
refused with both readings.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.lists import ListError
from pipeline.lists.text import LINE_END, is_comment, read_text

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
CALLED: dict[str, tuple[str, ...]] = {  # blanks, case and punctuation do not count
    "video": ("video_id", "videoid", "video_name", "videoname", "video_file", "video_path", "videopath", "vid", "file",
              "filename", "file_name", "file_path", "filepath", "path", "name", "clip", "clip_name"),
    "label": ("labels", "class", "classes", "class_name", "classname", "category", "anomaly_class", "anomaly_type",
              "event_type", "event_class", "event"),
    "anomaly": ("anomalous", "abnormal", "is_anomaly", "is_abnormal", "is_anomalous"),
    "split": ("splits", "subset", "set", "partition", "usage"),
    "start": ("start_frame", "startframe", "frame_start", "first_frame", "begin", "begin_frame",
              "starting_frame_of_anomaly"),
    "end": ("end_frame", "endframe", "frame_end", "last_frame", "ending_frame_of_anomaly"),
    "start_s": ("start_sec", "start_secs", "start_second", "start_seconds", "start_time", "starttime", "start_time_s",
                "begin_s", "begin_time", "begin_seconds", "begin_time_hh_mm_ss_ms"),
    "end_s": ("end_sec", "end_secs", "end_second", "end_seconds", "end_time", "endtime", "end_time_s",
              "end_time_hh_mm_ss_ms"),
    "frames": ("n_frames", "nframes", "num_frames", "frame_count", "framecount", "total_frames", "number_of_frames"),
    "text": ("texts", "description", "descriptions", "caption"),
}


@dataclass(frozen=True)
class Row:
    """One row: its file and line, and its cells by column, without blanks around them; "" where it has none."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """`columns`: what is asked for -> how the header spells it, for the columns that are there."""

    path: Path
    columns: Mapping[str, str]
    rows: Sequence[Row]


def read_table(path: Path, needed: Sequence[str], optional: Sequence[str] = (), what: str = "") -> Table:
    """A table with a header. The first needed column is empty in no row. Raises ListError.

    `what` the file is, for messages ("the labels").
    """
    text = read_text(path, what)
    raw = LINE_END.split(text)
    header = next((line for line in raw if line.strip() and not is_comment(line)), "")
    delimiter = _delimiter(path, header, needed)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    columns: dict[str, str] = {}
    places: dict[str, int] = {}
    width, rows, began = 0, [], 0
    try:
        for found in reader:
            first, began = began, reader.line_num
            cells, where = [cell.strip() for cell in found], f"{path}:{reader.line_num}"
            if not any(cells) or is_comment(raw[first]):
                continue
            if not places:
                width = len(cells)
                places = _places(path, where, cells, needed, optional)
                columns = {name: cells[place] for name, place in places.items()}
                continue
            if any(cells[width:]):
                raise ListError(f"{where}: {len(cells)} values for {width} columns: put quotes around a value that "
                                f"holds {DELIMITERS[delimiter]}")
            row = Row(where, {name: cells[place] if place < len(cells) else "" for name, place in places.items()})
            if not row[needed[0]]:
                raise ListError(f"{where}: no {needed[0]} named")
            rows.append(row)
    except csv.Error as error:
        called = f"{what} {path}" if what else str(path)
        raise ListError(f"cannot read {called}: {error}, line {reader.line_num}") from None
    if not places:
        _places(path, f"{path}:1", [], needed, optional)
    return Table(path, columns, rows)


def header_columns(line: str) -> set[str]:
    """The known columns that a first line may name, by any delimiter: to tell a table from a list."""
    return {name for delimiter in DELIMITERS for name in CALLED if _named(name, _split(line, delimiter))}


def spelling(name: str) -> str:
    """A column's name for comparing: "Total Frames" and total_frames are one."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _delimiter(path: Path, header: str, needed: Sequence[str]) -> str:
    """The one by which the header names most of what is needed; a comma where none does."""
    named = {delimiter: sum(bool(_named(name, _split(header, delimiter))) for name in needed)
             for delimiter in DELIMITERS}
    best = [delimiter for delimiter, count in named.items() if count == max(named.values())]
    if max(named.values()) == len(needed) > 1 and len(best) > 1:
        raise ListError(f"{path}: the first line can be read with {DELIMITERS[best[0]]} or {DELIMITERS[best[1]]} "
                        f"between its columns: use one of them only")
    return best[0]


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _named(name: str, cells: Iterable[str]) -> list[int]:
    """Where a column may be: at its own name, else wherever it is called otherwise."""
    spelt = [spelling(cell) for cell in cells]
    exact = [place for place, cell in enumerate(spelt) if cell == name]
    return exact or [place for place, cell in enumerate(spelt) if cell in CALLED.get(name, ())]


def _places(path: Path, where: str, cells: list[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for name in (*needed, *optional):
        found = _named(name, cells)
        if len(found) > 1:
            raise ListError(f"{where}: columns {cells[found[0]]!r} and {cells[found[1]]!r} could both be the {name}: "
                            f"call the one that is meant {name!r}, and the other something else")
        if found:
            places[name] = found[0]
        elif name in needed:
            raise ListError(f"{where}: no column {name!r}; the first line must name the columns {', '.join(needed)}; "
                            f"it is {','.join(cells)!r}")
    return places
