"""Lists that people publish beside features, as entries: videos with split and labels; and their frame counts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dbvad.importing import ImportFault
from dbvad.presets import LabelRule, PresetError
from pipeline.lists import ListError
from pipeline.lists.event_lines import split_line
from pipeline.lists.labels import UNNAMED, one_spelling, remarks_on_spelling
from pipeline.lists.names import Names, video_name
from pipeline.lists.remarks import Remark
from pipeline.lists.splits import TEST, TRAIN, VAL, is_test_folder, meaning_of_val, read_split, remarks_on_val
from pipeline.lists.table import header_columns, read_table
from pipeline.lists.text import read_lines
from pipeline.lists.times import parse_frame
from pipeline.lists.videos import Listed, read_labelled, read_videos

SPLITS = (TRAIN, TEST)


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

    def of(self, line: Listed) -> tuple[str, ...]:
        """The labels of a line of a list. Raises ImportFault."""
        if line.flag is not None:
            return (UNNAMED,) if line.flag else ()
        return tuple(dict.fromkeys(label for text in line.labels for label in self.read(text, line.where)))

    def class_of(self, name: str) -> str | None:
        """The labels' text that a video's path shows; None if it shows none."""
        return self.rule.class_of(name, self.classes)


@contextmanager
def told_as_fault() -> Iterator[None]:
    """What the reader of lists finds wrong stops the import."""
    try:
        yield
    except ListError as error:
        raise ImportFault(str(error)) from None


def read_list(path: Path, split: str, labels: Labels) -> list[Entry]:
    """The videos of a split, from a list in any form of `pipeline.lists.videos.read_videos`. Raises ImportFault."""
    with told_as_fault():
        listed = read_videos(path, labels.class_of, labels.rule.normal)
    entries = []
    for line in listed:
        if not line.labels and line.flag is None:
            raise ImportFault(f"{line.where}: {line.name!r} says no label: expected Class/Name.mp4, or a CSV with the "
                              f"columns path,label")
        entries.append(Entry(line.where, line.name, split, labels.of(line), video_name(line.name)[1]))
    return entries


def read_labels(path: Path, labels: Labels) -> list[Entry]:
    """The videos of a CSV with the columns video,label and optionally split (train where it is empty or not there).

    Several labels are joined by `|`; an empty one, or `normal`, means a normal video. Raises ImportFault.
    """
    with told_as_fault():
        listed = read_labelled(path, "", labels.rule.normal)
    entries = []
    for line in listed:
        split = read_split(line.split or TRAIN)
        if split is None:
            raise ImportFault(f"{line.where}: split {line.split!r}, expected train or test (or val)")
        entries.append(Entry(line.where, line.name, split, labels.of(line)))
    return entries


def settle(entries: list[Entry]) -> tuple[list[Entry], list[Remark]]:
    """The entries with what val counts as here and with one spelling a label, and what is to be said of that."""
    splits = [entry.split for entry in entries]
    val, spelling = meaning_of_val(splits), one_spelling(label for entry in entries for label in entry.labels)
    settled = [replace(entry, split=val if entry.split == VAL else entry.split,
                       labels=tuple(dict.fromkeys(spelling[label] for label in entry.labels))) for entry in entries]
    return settled, remarks_on_val(splits) + remarks_on_spelling(spelling)


def by_crop(entries: list[Entry], mark: str) -> list[Entry]:
    """The entries of crops by the names of their videos, `mark` standing before the crop's number."""
    named = [video_name(entry.name, mark) for entry in entries]
    return [replace(entry, name=name, crop=crop) for entry, (name, crop) in zip(entries, named, strict=True)]


def labels_in_names(video_ids: Iterable[str], tests: Path | None, labels: Labels) -> list[Entry]:
    """Entries for videos whose names hold their labels.

    Test videos are those in a folder with "test" in its name, and those that `tests` lists. Raises ImportFault.
    """
    ids = list(video_ids)
    known = Names(ids)
    with told_as_fault():
        listed = read_videos(tests, labels.class_of) if tests else []
        in_list = {known.find(line.name) for line in listed}
    entries = []
    for video_id in ids:
        text = labels.rule.from_name(video_id)
        if text is not None:
            is_test = video_id in in_list or any(map(is_test_folder, PurePosixPath(video_id).parts[:-1]))
            found = labels.read(text, f"the name of {video_id!r}")
            entries.append(Entry("its name", video_id, SPLITS[is_test], found))
    return entries


def read_frame_counts(path: Path, dataset: str | None) -> dict[str, int]:
    """Frames by name, from a table with the columns video and frames; of one `dataset` where there is such a column.

    Lists with a count in each line will do: `Class/Name.mp4 2728`. Raises ImportFault.
    """
    with told_as_fault():
        rows = _counted(path, dataset)
    counts: dict[str, int] = {}
    for where, name, frames in rows:
        try:
            count = parse_frame(frames)
        except ValueError:
            count = 0
        if count < 1:
            raise ImportFault(f"{where}: frames is {frames!r}, expected a whole number above 0")
        if counts.setdefault(name, count) != count:
            raise ImportFault(f"{where}: {name!r} was given another count above"
                              + ("" if dataset else "; if it is of another dataset, name yours by --preset"))
    if not counts:
        raise ImportFault(f"{path}: no frame counts{f' of dataset {dataset}' if dataset else ''} in this file")
    return counts


def _counted(path: Path, dataset: str | None) -> list[tuple[str, str, str]]:
    """(where, name, frames) of each line."""
    lines = read_lines(path)
    if lines and not header_columns(lines[0].text) and ("," not in lines[0].text or "|" in lines[0].text):
        found = [(line.where, split_line(line)) for line in lines]
        if all(fields.count for _, fields in found):
            return [(where, fields.name, str(fields.count)) for where, fields in found]
    table = read_table(path, ("video", "frames"), ("dataset",))
    return [(row.where, row["video"], row["frames"]) for row in table.rows
            if not dataset or row["dataset"] in ("", dataset)]
