"""What a dataset says of its videos: split and labels, from folders, a CSV, or the official lists.

A label set is a list of event classes; the empty list means a normal video.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

from pipeline.engine.config import ConfigError
from pipeline.lists import ListError
from pipeline.lists.labels import (
    UNNAMED,
    class_in_path,
    find_label,
    one_spelling,
    remarks_on_spelling,
    same_label,
    says_normal,
)
from pipeline.lists.names import VIDEO_SUFFIXES, Names, bare_name, base_name, nfc, path_parts, video_name
from pipeline.lists.published import UCF_CLASSES, XD_CLASSES, XD_NOTHING
from pipeline.lists.remarks import Remark, remarks_on
from pipeline.lists.splits import TEST, TRAIN, VAL, is_test_folder, meaning_of_val, read_split, remarks_on_val
from pipeline.lists.videos import Listed, read_labelled, read_videos

__all__ = ["SPLITS", "VIDEO_SUFFIXES", "Facts", "Reader", "from_csv", "from_folders", "from_ucf_crime",
           "from_xd_violence"]
SPLITS = (TRAIN, TEST)


@dataclass(frozen=True)
class Facts:
    """What is known of one video without looking at it. `split`: train, test, or val, which is neither."""

    split: str
    labels: tuple[str, ...]


class Reader(Protocol):
    """Tells the facts of a video by its id, None where the dataset says nothing of it.

    `over`: the same reader, knowing which videos there are. `remarks`: what it names that is not among them, and what
    else the user should know.
    """

    def __call__(self, video_id: str) -> Facts | None: ...
    def over(self, video_ids: Iterable[str]) -> Self: ...
    def remarks(self) -> list[Remark]: ...


def from_folders(normal: str, test_fraction: float) -> Reader:
    """`[train|test|val/]<label>/name.mp4`. Without a split folder, `test_fraction` of the videos are test, by name.

    Where other folders stand before the label, it is the folder on the level of the normal class.
    """
    return _Folders(normal, test_fraction)


@dataclass(frozen=True)
class _Folders:
    normal: str
    test_fraction: float
    level: int | None = None  # of the label among the folders that are no split; None: as far as one video shows it
    splits: tuple[str, ...] = ()  # of all videos, as their folders call them
    spelling: Mapping[str, str] = field(default_factory=dict)  # label -> the one that holds
    by_folder: dict[str, Facts | None] = field(init=False, default_factory=dict, repr=False, compare=False)  # as read

    def __call__(self, video_id: str) -> Facts | None:
        found = self._in_folder(_folder_of(video_id))
        if found is None or found.split:
            return found
        drawn = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:4], "big") / 2**32
        return replace(found, split=TEST if drawn < self.test_fraction else TRAIN)

    def over(self, video_ids: Iterable[str]) -> Self:
        counts = Counter(map(_folder_of, video_ids))  # in the order of the first video in each
        found = {folder: _around_split(folder) for folder in counts}
        levels = [level for before, _, after in found.values() for level, folder in enumerate(before + after)
                  if same_label(folder, self.normal)]
        splits = tuple(split for folder, (_, split, _) in found.items() if split for _ in range(counts[folder]))
        known = replace(self, level=min(levels, default=None), splits=splits)
        facts = filter(None, map(known._in_folder, counts))
        return replace(known, spelling=one_spelling(label for fact in facts for label in fact.labels))

    def _in_folder(self, folder: str) -> Facts | None:
        """The facts of the videos in a folder; the split "" where it is drawn for each."""
        if folder not in self.by_folder:
            self.by_folder[folder] = self._read(folder)
        return self.by_folder[folder]

    def _read(self, folder: str) -> Facts | None:
        before, split, after = _around_split(folder)
        folders = before + after
        level = self.level if self.level is not None else len(before) if after else 0
        if level >= len(folders):
            return None
        if split == VAL:
            split = meaning_of_val(self.splits)
        label = nfc(folders[level])
        return Facts(split or "", () if same_label(label, self.normal) else (self.spelling.get(label, label),))

    def remarks(self) -> list[Remark]:
        return remarks_on_val(self.splits) + remarks_on_spelling(self.spelling)


def _folder_of(video_id: str) -> str:
    return video_id.rpartition("/")[0]


def _around_split(folder: str) -> tuple[list[str], str | None, list[str]]:
    """Folders before the first one that is called like a split, that split, and those after it."""
    folders = list(PurePosixPath(folder).parts)
    for place, folder in enumerate(folders):
        if split := read_split(folder):
            return folders[:place], split, folders[place + 1:]
    return [], None, folders


@dataclass(frozen=True)
class _Lists:
    """`known`: the facts by the names that the lists use. `anywhere`: those names hold in other folders too."""

    known: Mapping[str, Facts]
    names: Names
    files: str
    anywhere: bool
    splits: tuple[str, ...] = ()
    spelling: Mapping[str, str] = field(default_factory=dict)
    video_ids: tuple[str, ...] = field(default=(), repr=False)

    def __call__(self, video_id: str) -> Facts | None:
        found = {self.known[name] for name in self.names.matches(video_id, self.anywhere)}
        return found.pop() if len(found) == 1 else None

    def over(self, video_ids: Iterable[str]) -> Self:
        return replace(self, video_ids=tuple(video_ids))

    def remarks(self) -> list[Remark]:
        used = Counter(name for video_id in self.video_ids for name in self.names.matches(video_id, self.anywhere))
        return remarks_on_val(self.splits) + remarks_on_spelling(self.spelling) + remarks_on(
            ("not_here", f"named in {self.files}, but no such video here", self.known.keys() - used.keys()),
            ("several", f"a name in {self.files} is that of several videos here, and holds for each",
             [name for name, count in used.items() if count > 1]))


def from_csv(path: Path, normal: str) -> Reader:
    """A table with video, label (or anomaly) and optionally split; several labels joined by `|`; `label` empty or the
    normal class: a normal video.

    `video` is the path below the videos folder, or just the file name (then it holds for all files of that name), with
    or without its extension. Raises ConfigError, naming file and line.
    """
    try:
        rows = read_labelled(path, "the labels", (normal,))
        splits = [_split(row) for row in rows]
    except ListError as error:
        raise ConfigError(str(error)) from None
    val, labels = meaning_of_val(splits), [_labels(row, normal) for row in rows]
    spelling = one_spelling(label for found in labels for label in found)
    known: dict[str, Facts] = {}
    for row, split, found in zip(rows, splits, labels, strict=True):
        facts = Facts(val if split == VAL else split, tuple(dict.fromkeys(spelling[label] for label in found)))
        if known.setdefault(row.name, facts) != facts:
            raise ConfigError(f"{row.where}: {row.name!r} was given another label or split above: keep one of them")
    return _Lists(known, Names(known), str(path), False, tuple(splits), spelling)


def _split(row: Listed) -> str:
    split = read_split(row.split or TRAIN)
    if split is None:
        raise ListError(f"{row.where}: split {row.split!r}, expected train or test (or val)")
    return split


def _labels(row: Listed, normal: str) -> tuple[str, ...]:
    if row.flag is not None:
        return (UNNAMED,) if row.flag else ()
    labels = dict.fromkeys(nfc(part.strip()) for text in row.labels for part in text.split("|") if part.strip())
    return tuple(label for label in labels if not same_label(label, normal))


def from_ucf_crime(train_list: Path, test_list: Path) -> Reader:
    """The official lists: one `Class/Name_x264.mp4` a line; `..._Normal_Videos_Anomaly/` and the like are normal.

    Also the lists of other authors, see `read_videos`. Raises ConfigError, naming file and line.
    """
    def class_of(name: str) -> str | None:
        return class_in_path(name, UCF_CLASSES, says_normal)

    known: dict[str, Facts] = {}
    for split, path in ((TRAIN, train_list), (TEST, test_list)):
        try:
            listed = read_videos(path, class_of)
        except ListError as error:
            raise ConfigError(str(error)) from None
        for line in listed:
            if not line.labels and line.flag is None:
                raise ConfigError(f"{line.where}: {line.name!r} is no entry of an official list, they look like "
                                  "Abuse/Abuse001_x264.mp4")
            labels = tuple(find_label(label, UCF_CLASSES) or label for label in line.labels if not says_normal(label))
            facts = Facts(split, (UNNAMED,) if line.flag else labels)
            if known.setdefault(base_name(video_name(line.name)[0]), facts) != facts:
                raise ConfigError(f"{line.where}: {path_parts(line.name)[-1]} was given another label or split above, "
                                  f"or in {train_list}")
    return _Lists(known, Names(known), f"{train_list} or {test_list}", True)


def from_xd_violence(test_list: Path | None) -> Reader:
    """Labels stand in the file names (`..._label_B1-B2-0`, `_label_A`). `test_list` names the test videos, one a line
    (the official annotations will do for the abnormal ones); without it, a folder with "test" in its name holds them.
    """
    try:
        listed = read_videos(test_list, _codes_in) if test_list else []
    except ListError as error:
        raise ConfigError(str(error)) from None
    tests = {line.name: Facts(TEST, ()) for line in listed}
    return _NamesTell(_Lists(tests, Names(tests), str(test_list), True))


def _codes_in(name: str) -> str | None:
    found = re.search(r"_label_([A-Z0-9-]+)$", bare_name(video_name(name)[0]))
    return found[1] if found else None


@dataclass(frozen=True)
class _NamesTell:
    tests: _Lists

    def __call__(self, video_id: str) -> Facts | None:
        path = PurePosixPath(video_id)
        told = _codes_in(video_id)
        if told is None:
            return None
        codes = dict.fromkeys(code for code in told.split("-") if code not in XD_NOTHING)
        if not codes.keys() <= XD_CLASSES.keys():
            return None
        is_test = any(map(is_test_folder, path.parts[:-1])) or self.tests(video_id) is not None
        return Facts(TEST if is_test else TRAIN, tuple(XD_CLASSES[code] for code in codes))

    def over(self, video_ids: Iterable[str]) -> Self:
        return replace(self, tests=self.tests.over(video_ids))

    def remarks(self) -> list[Remark]:
        return self.tests.remarks()
