"""The dataset section of stages.yaml, and the listing of its videos."""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.engine.config import Config, ConfigError
from pipeline.engine.hashing import HashCache
from pipeline.engine.stage import BadVideo, Source
from pipeline.instruments.sniff import looks_like_video
from pipeline.lists.remarks import Remark
from pipeline.stages.labels import (
    SPLITS,
    VIDEO_SUFFIXES,
    Facts,
    Reader,
    from_csv,
    from_folders,
    from_ucf_crime,
    from_xd_violence,
)
from pipeline.words import counted

HASH_THREADS = 4


class Dataset(Config):
    """Which videos there are, and what is known of them. Paths are relative to the configuration file."""

    videos: Path = Path("videos")
    labels: Literal["folders", "csv", "ucf-crime", "xd-violence"] = "folders"
    labels_file: Path | None = None
    train_list: Path | None = None
    test_list: Path | None = None
    normal: str = "normal"
    test_fraction: float = Field(0.3, ge=0, le=1)
    classes: dict[str, str] = Field(default_factory=dict, description="label -> the words CLIP is to look for")

    @model_validator(mode="after")
    def _files_named(self) -> "Dataset":
        if self.labels == "csv" and self.labels_file is None:
            raise ValueError("labels: csv needs labels_file, a CSV with the columns video,label[,split]")
        if self.labels == "ucf-crime" and (self.train_list is None or self.test_list is None):
            raise ValueError("labels: ucf-crime needs train_list and test_list, the official lists of videos")
        return self

    @property
    def names_files(self) -> bool:
        """Whether the labels name their videos one by one: such a file is tried whatever its suffix."""
        return self.labels in ("csv", "ucf-crime")

    def relative_to(self, folder: Path) -> "Dataset":
        """The same dataset with its paths taken from `folder`."""
        paths = {name: folder / value for name in ("videos", "labels_file", "train_list", "test_list")
                 if (value := getattr(self, name)) is not None}
        return self.model_copy(update=paths)

    def reader(self) -> Reader:
        """Where the labels come from. Raises ConfigError."""
        if self.labels == "csv":
            assert self.labels_file is not None
            return from_csv(self.labels_file, self.normal)
        if self.labels == "ucf-crime":
            assert self.train_list is not None
            assert self.test_list is not None
            return from_ucf_crime(self.train_list, self.test_list)
        if self.labels == "xd-violence":
            return from_xd_violence(self.test_list)
        return from_folders(self.normal, self.test_fraction)


@dataclass(frozen=True)
class Listing:
    """What the folder holds: the videos by id, how many other files there are by kind (".txt", "hidden"), and what the
    labels name that is not there.
    """

    sources: list[Source]
    others: Counter[str] = field(default_factory=Counter)
    remarks: list[Remark] = field(default_factory=list)


def discover(dataset: Dataset, cache: HashCache, tick: Callable[[int, int], None] = lambda done, total: None,
             ) -> Listing:
    """All videos below `dataset.videos`, sorted by id, hashed by content.

    A file that cannot be used is listed with its problem, never dropped; one that is no video is counted. `tick(done,
    total)` counts bytes of the files that have to be read. Raises ConfigError when there is no folder or no video.
    """
    root = dataset.videos
    if not root.is_dir():
        raise ConfigError(f"no videos folder at {root}: set dataset.videos in stages.yaml to the folder of your videos")
    read = dataset.reader()
    others: Counter[str] = Counter()
    found: dict[str, list[_File]] = defaultdict(list)
    for name, entry in _below(str(root)):
        video_id = _id(name)
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            others["hidden"] += 1
        elif suffix in VIDEO_SUFFIXES or may_be_video(Path(entry.path)) or (
                dataset.names_files and read(video_id) is not None):
            found[video_id].append(_file(entry, video_id, cache))
        else:
            others[suffix or "without suffix"] += 1
    if not found:
        raise ConfigError(f"no video below {root}: {told(others) or 'the folder is empty'}; set dataset.videos in "
                          f"stages.yaml to the folder of your videos")
    files = {video_id: found[video_id][0] for video_id in sorted(found)}
    read = read.over(files)
    unread = {video_id: file for video_id, file in files.items() if not file.hash}
    total, done = sum(file.size for file in unread.values()), 0
    read_now: dict[str, tuple[str, BadVideo | None]] = {}
    hashed = partial(_hash, inside=root.resolve(), cache=cache)
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        for (video_id, file), answer in zip(unread.items(), threads.map(hashed, unread.items()), strict=True):
            read_now[video_id] = answer
            done += file.size
            tick(done, total)
    sources, shared = [], dict[Facts | None, dict[str, Any]]()  # a million videos share few facts
    for video_id, file in files.items():
        digest, problem = read_now.get(video_id, (file.hash, None))
        facts = read(video_id)
        if problem is None and len(found[video_id]) > 1:
            problem = BadVideo("same_name", "two files have this name, in two forms of Unicode",
                               "rename one of them")
        if facts is None and problem is None:
            problem = BadVideo("unlabelled", f"the labels ({dataset.labels}) say nothing of this video",
                               _LABEL_REMEDY[dataset.labels])
        if facts not in shared:
            shared[facts] = {"split": facts.split if facts else "", "labels": list(facts.labels) if facts else []}
        # what cannot be read is known by its problem: another problem is looked at anew
        size = 0 if problem else file.size
        sources.append(Source(video_id, Path(file.path), digest or str(problem), size, shared[facts], problem))
    cache.save()
    return Listing(sources, others, read.remarks())


def _hash(item: tuple[str, "_File"], inside: Path, cache: HashCache) -> tuple[str, BadVideo | None]:
    """The hash of a file's content, or why there is none."""
    video_id, path = item[0], Path(item[1].path)
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
        return "", BadVideo("outside", f"a link that leads out of the videos folder, to {os.readlink(path)}",
                            "copy what it leads to into the folder, or point dataset.videos where it leads")
    if path.exists() and not path.is_file():
        return "", BadVideo("unreadable", "no regular file, but a folder, a pipe or a device", "remove it")
    try:
        return cache.hash(video_id, path), None
    except FileNotFoundError:
        return "", BadVideo("unreadable", "a link that leads nowhere, or a file that just went away",
                            "put the video there, or remove the link")
    except OSError as error:
        return "", BadVideo("unreadable", f"cannot be read: {error.strerror or error}",
                            "make the file readable, or remove it")


def told(others: Counter[str]) -> str:
    """"12 files that are no videos: 9 .txt, 3 .zip", or "" if there are none."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in others.most_common())
    what = counted(others.total(), "file") + (" that is no video" if others.total() == 1 else " that are no videos")
    return f"{what}: {kinds}" if kinds else ""


_LABEL_REMEDY = {
    "folders": "put it into a folder named after its label (`normal` for none), or use a CSV: dataset.labels: csv",
    "csv": "add a line for it to the CSV: video,label,split",
    "ucf-crime": "it is on neither official list: remove it, or use dataset.labels: csv",
    "xd-violence": "its name has no `_label_...` part: rename it, or use dataset.labels: csv",
}


def summary(sources: list[Source]) -> str:
    """"24 videos: train 8 normal + 8 abnormal, test 4 normal + 4 abnormal"."""
    counts = Counter((source.facts["split"], bool(source.facts["labels"])) for source in sources)
    parts = [f"{split} {counts[split, False]} normal + {counts[split, True]} abnormal" for split in SPLITS]
    rest = counts["", False]
    return f"{counted(len(sources), 'video')}: {', '.join(parts)}" + (f", {rest} without labels" if rest else "")


class _File(NamedTuple):
    """`size`: 0 for what is no regular file. `hash`: of its content, "" where it has to be read for that, or cannot."""

    path: str
    size: int
    hash: str


def _file(entry: os.DirEntry[str], video_id: str, cache: HashCache) -> _File:
    try:
        if not entry.is_file():
            return _File(entry.path, 0, "")
        stat = entry.stat()
    except OSError:
        return _File(entry.path, 0, "")
    return _File(entry.path, stat.st_size, "" if entry.is_symlink() else cache.fresh(video_id, stat) or "")


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder; hidden folders and linked ones are not gone into, but listed themselves."""
    return (Path(entry.path) for _, entry in _below(str(folder)))


def _below(folder: str, above: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files with their names below the first folder."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot list {folder}: {error.strerror}; make it readable, or move it elsewhere") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _below(entry.path, f"{above}{entry.name}/")
        else:
            yield above + entry.name, entry


def is_hidden(path: Path) -> bool:
    """By the habit of Unix."""
    return path.name.startswith(".")


def may_be_video(path: Path) -> bool:
    """By its suffix or else by its first bytes; what is no regular file is listed for its problem to be told."""
    return path.suffix.lower() in VIDEO_SUFFIXES or os.path.isdir(path) or (path.is_file() and looks_like_video(path))


def id_of(path: Path, root: Path) -> str:
    """The path below the root, composed (NFC), for folders that were on a Mac spell ü as u and two dots.

    Bytes that are no UTF-8 are spelt out, so that every id is printable and unique.
    """
    return _id(path.relative_to(root).as_posix())


def _id(name: str) -> str:
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
