"""What a dataset says of its videos: split and labels, from folders, a CSV, or the official lists.

A label set is a list of event classes; the empty list means a normal video.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.engine.config import ConfigError

SPLITS = ("train", "test")
XD_CLASSES = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}
XD_NOTHING = {"A", "0"}  # normal; no further label


@dataclass(frozen=True)
class Facts:
    """What is known of one video without looking at it."""

    split: str
    labels: tuple[str, ...]


Reader = Callable[[str], Facts | None]  # of a video id; None: the dataset says nothing of it


def from_folders(normal: str, test_fraction: float) -> Reader:
    """`[train|test/]<label>/name.mp4`. Without a split folder, `test_fraction` of the videos are test, by name."""

    def read(video_id: str) -> Facts | None:
        folders = list(PurePosixPath(video_id).parts[:-1])
        split = folders.pop(0).lower() if folders and folders[0].lower() in SPLITS else None
        if not folders:
            return None
        drawn = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:4], "big") / 2**32
        split = split or ("test" if drawn < test_fraction else "train")
        return Facts(split, () if folders[0].lower() == normal.lower() else (folders[0],))

    return read


def from_csv(path: Path, normal: str) -> Reader:
    """Columns `video,label[,split]`; several labels joined by `|`; `label` empty or the normal class: a normal video.

    `video` is the path below the videos folder, or just the file name (then it holds for all files of that name), with
    or without its extension. Raises ConfigError, naming file and line.
    """
    known: dict[str, Facts] = {}
    for line, row in _rows(path, ("video", "label")):
        video = (row["video"] or "").strip()
        if not video:
            raise ConfigError(f"{path}:{line}: no video is named here")
        split = (row.get("split") or "").strip().lower() or "train"
        if split not in SPLITS:
            raise ConfigError(f"{path}:{line}: split {split!r}, expected train or test")
        labels = dict.fromkeys(part.strip() for part in (row["label"] or "").split("|") if part.strip())
        facts = Facts(split, tuple(label for label in labels if label.lower() != normal.lower()))
        if known.setdefault(video, facts) != facts:
            raise ConfigError(f"{path}:{line}: {video!r} was given another label or split above: keep one of them")
    return _by_name(known)


def from_ucf_crime(train_list: Path, test_list: Path) -> Reader:
    """The official lists: one `Class/Name_x264.mp4` a line; `..._Normal_Videos_Anomaly/` and `Normal...` are normal.

    Raises ConfigError, naming file and line.
    """
    known: dict[str, Facts] = {}
    for split, path in (("train", train_list), ("test", test_list)):
        for number, line in _lines(path):
            folder, _, name = line.rpartition("/")
            label = PurePosixPath(folder).name
            if not label or len(line.split()) > 1:
                raise ConfigError(f"{path}:{number}: {line!r} is no entry of an official list, they look like "
                                  "Abuse/Abuse001_x264.mp4")
            facts = Facts(split, () if "normal" in label.lower() else (label,))
            if known.setdefault(name, facts) != facts:
                raise ConfigError(f"{path}:{number}: {name} was given another label or split above, or in {train_list}")
    return _by_name(known)


def from_xd_violence(test_list: Path | None) -> Reader:
    """Labels stand in the file names (`..._label_B1-B2-0`, `_label_A`). `test_list` names the test videos, one a line
    (the official annotations will do for the abnormal ones); without it, a folder with "test" in its name holds them.
    """
    listed = _lines(test_list) if test_list else []
    tests = {_stem(PurePosixPath(line.split()[0]).name) for _, line in listed}

    def read(video_id: str) -> Facts | None:
        path = PurePosixPath(video_id)
        found = re.search(r"_label_([A-Z0-9-]+)$", path.stem)
        if found is None:
            return None
        codes = dict.fromkeys(code for code in found[1].split("-") if code not in XD_NOTHING)
        if not codes.keys() <= XD_CLASSES.keys():
            return None
        in_folder = any("test" in part.lower() for part in path.parts[:-1])
        is_test = in_folder or path.stem in tests
        return Facts("test" if is_test else "train", tuple(XD_CLASSES[code] for code in codes))

    return read


def _by_name(known: Mapping[str, Facts]) -> Reader:
    """Look a video up by its id or its file name, first with its extension, then without, where all agree on it."""
    stems: dict[str, set[Facts]] = {}
    for video, facts in known.items():
        stems.setdefault(_stem(video), set()).add(facts)

    def read(video_id: str) -> Facts | None:
        for key in (video_id, PurePosixPath(video_id).name):
            if key in known:
                return known[key]
            if len(same := stems.get(_stem(key), set())) == 1:
                return next(iter(same))
        return None

    return read


def _stem(video: str) -> str:
    path = PurePosixPath(video)
    return str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else video


VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp",
    ".ogv", ".h264", ".hevc"))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not empty, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the list {path}: {error}") from None


def _rows(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}:1: no column {missing[0]!r}; the first line must name "
                                  f"{', '.join(needed)}, found {', '.join(reader.fieldnames or ['nothing'])}")
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the labels {path}: {error}") from None
