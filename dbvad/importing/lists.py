"""Lists that people publish beside features: which videos there are, their split and labels, their frame counts."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dbvad.importing import ImportFault
from dbvad.importing.names import AmbiguousName, Names, video_name
from dbvad.presets import LabelRule, PresetError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Entry:
    """One line of a list. `where`: file and line; `name`: as written; `crop`: if the line names one crop's file."""

    where: str
    name: str
    split: str
    labels: tuple[str, ...]
    crop: int | None = None


@dataclass(frozen=True)
class Labels:
    """How label texts are read: a rule, and the classes there may be (any if empty)."""

    rule: LabelRule = field(default_factory=LabelRule)
    classes: tuple[str, ...] = ()

    def read(self, text: str, where: str) -> tuple[str, ...]:
        """Raises ImportFault."""
        try:
            return self.rule.parse(text, self.classes)
        except PresetError as error:
            raise ImportFault(f"{where}: {error}") from None


def read_list(path: Path, split: str, labels: Labels) -> list[Entry]:
    """The videos of a split. Raises ImportFault.

    Either VadCLIP's CSV with the columns path,label, one line a feature file, or the official text list, one
    `Class/Name.mp4` a line (with labels in the names, the name alone will do, and what follows it is ignored).
    """
    first = next(_lines(path), (0, ""))[1]
    if "," in first and {"path", "label"} <= {cell.strip().lower() for cell in first.split(",")}:
        rows = read_table(path, ("path", "label"))
        return [Entry(where, row["path"], split, labels.read(row["label"], where), video_name(row["path"])[1])
                for where, row in rows]
    entries = []
    for number, line in _lines(path):
        where = f"{path}:{number}"
        name = line if video_name(line)[0] != line else line.split()[0]
        text, folders = labels.rule.from_name(video_name(name)[0]), PurePosixPath(name).parts[:-1]
        if text is None and not folders:
            raise ImportFault(f"{where}: {name!r} says no label: expected Class/Name.mp4, or a CSV with the columns "
                              f"path,label")
        entries.append(Entry(where, name, split, labels.read(folders[0] if text is None else text, where)))
    return entries


def read_labels(path: Path, labels: Labels) -> list[Entry]:
    """The videos of a CSV with the columns video,label and optionally split (train where it is empty or not there).

    Several labels are joined by `|`; an empty one, or `normal`, means a normal video. Raises ImportFault.
    """
    entries = []
    for where, row in read_table(path, ("video", "label")):
        split = row.get("split", "").lower() or "train"
        if split not in SPLITS:
            raise ImportFault(f"{where}: split {split!r}, expected train or test")
        entries.append(Entry(where, row["video"], split, labels.read(row["label"], where)))
    return entries


def labels_in_names(video_ids: Iterable[str], tests: Path | None, labels: Labels) -> list[Entry]:
    """Entries for videos whose names hold their labels.

    Test videos are those in a folder with "test" in its name, and those that `tests` lists. Raises ImportFault.
    """
    ids = list(video_ids)
    listed = {entry.name for entry in read_list(tests, "test", labels)} if tests else set()
    known = Names(ids)
    try:
        in_list = {known.find(name) for name in listed}
    except AmbiguousName as error:
        raise ImportFault(f"{tests}: {error}") from None
    entries = []
    for video_id in ids:
        folders = PurePosixPath(video_id).parts[:-1]
        is_test = video_id in in_list or any("test" in folder.lower() for folder in folders)
        text = labels.rule.from_name(video_id)
        if text is not None:
            found = labels.read(text, f"the name of {video_id!r}")
            entries.append(Entry("its name", video_id, SPLITS[is_test], found))
    return entries


def read_frame_counts(path: Path, dataset: str | None) -> dict[str, int]:
    """Frames by name, from a CSV with the columns video,frames; of one `dataset` where there is such a column.

    Raises ImportFault.
    """
    counts: dict[str, int] = {}
    for where, row in read_table(path, ("video", "frames")):
        if dataset and row.get("dataset") not in (None, "", dataset):
            continue
        if not row["frames"].isdecimal() or int(row["frames"]) == 0:
            raise ImportFault(f"{where}: frames is {row['frames']!r}, expected a whole number above 0")
        if counts.setdefault(row["video"], int(row["frames"])) != int(row["frames"]):
            raise ImportFault(f"{where}: {row['video']!r} was given another count above"
                              + ("" if dataset else "; if it is of another dataset, name yours by --preset"))
    if not counts:
        raise ImportFault(f"{path}: no frame counts{f' of dataset {dataset}' if dataset else ''} in this file")
    return counts


def read_table(path: Path, needed: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """Rows of a CSV as (file:line, {column in lower case: value}); the first needed one is never empty.

    Raises ImportFault.
    """
    rows: list[tuple[str, dict[str, str]]] = []
    columns: list[str] | None = None
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                where, cells = f"{path}:{reader.line_num}", [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if columns is None:
                    columns = [cell.lower() for cell in cells]
                    _check_columns(path, columns, needed)
                    continue
                if len(cells) > len(columns):
                    raise ImportFault(f"{where}: {len(cells)} values for {len(columns)} columns: put quotes around a "
                                      f"value that holds a comma")
                row = dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True))
                if not row[needed[0]]:
                    raise ImportFault(f"{where}: no {needed[0]} named")
                rows.append((where, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImportFault(f"cannot read {path}: {error}") from None
    _check_columns(path, columns or [], needed)
    return rows


def _check_columns(path: Path, columns: list[str], needed: tuple[str, ...]) -> None:
    if not set(needed) <= set(columns):
        raise ImportFault(f"{path}: the first line must name the columns {', '.join(needed)}; it is "
                          f"{','.join(columns)!r}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers. Raises ImportFault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFault(f"cannot read {path}: {error}") from None
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
