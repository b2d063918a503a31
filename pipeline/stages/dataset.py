"""The dataset section of stages.yaml, and the listing of its videos."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.engine.config import Config, ConfigError
from pipeline.engine.hashing import HashCache
from pipeline.engine.place import StorageError, Url
from pipeline.engine.sources import Sources, in_columns
from pipeline.engine.stage import BadVideo, Source
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
from pipeline.stages.video_files import VideoFile, files_of, video_id
from pipeline.words import counted

HASH_THREADS = 4
AT_A_TIME = 1000  # files whose hashes are waited for: a million at a time would take a gigabyte


def _place(value: Any) -> Any:
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        return Url.parse(value)
    except StorageError as error:
        raise ValueError(str(error)) from None


class Dataset(Config):
    """Which videos there are, and what is known of them. Paths are relative to the configuration file.

    `videos`: a folder, or s3://bucket/prefix.
    """

    videos: Annotated[Path | Url, BeforeValidator(_place)] = Path("videos")
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
                 if isinstance(value := getattr(self, name), Path)}
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

    sources: Sources
    others: Counter[str] = field(default_factory=Counter)
    remarks: list[Remark] = field(default_factory=list)


def discover(dataset: Dataset, cache: HashCache, tick: Callable[[int, int], None] = lambda done, total: None,
             ) -> Listing:
    """All videos below `dataset.videos`, sorted by id, hashed by content.

    A file that cannot be used is listed with its problem, never dropped; one that is no video is counted. `tick(done,
    total)` counts bytes of the files that have to be read. Raises ConfigError when there is no folder or no video.
    """
    root = dataset.videos
    read = dataset.reader()
    others: Counter[str] = Counter()
    found: dict[str, VideoFile] = {}
    twice: set[str] = set()
    for file in files_of(root):
        name = file.name
        if name.startswith(".") or "/." in name:  # it, or a folder above it
            others["hidden"] += 1
        elif (name[-4:].lower() in VIDEO_SUFFIXES or os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
              or file.looks_like_video() or (dataset.names_files and read(video_id(name)) is not None)):
            if found.setdefault(video_id(name), file) is not file:
                twice.add(video_id(name))
        else:
            others[os.path.splitext(name)[1].lower() or "without suffix"] += 1
    if not found:
        raise ConfigError(f"no video below {root}: {told(others) or 'the folder is empty'}; set dataset.videos in "
                          f"stages.yaml to the folder of your videos")
    ids = sorted(found)
    files = [found[name] for name in ids]
    del found
    read = read.over(ids)
    hashes, problems = _hashes(ids, files, cache, tick)
    shared: dict[Facts | None, dict[str, Any]] = {}  # a million videos share few facts
    told_of: list[Mapping[str, Any]] = []
    for number, name in enumerate(ids):
        facts = read(name)
        if number not in problems and name in twice:
            problems[number] = BadVideo("same_name", "two files have this name, in two forms of Unicode",
                                        "rename one of them")
        if facts is None and number not in problems:
            problems[number] = BadVideo("unlabelled", f"the labels ({dataset.labels}) say nothing of this video",
                                        _LABEL_REMEDY[dataset.labels])
        if facts not in shared:
            shared[facts] = {"split": facts.split if facts else "", "labels": list(facts.labels) if facts else []}
        told_of.append(shared[facts])
    sizes = [0 if number in problems else file.stamp[0] for number, file in enumerate(files)]
    # what cannot be read is known by its problem: another problem is looked at anew
    known_by = [digest or str(problems[number]) for number, digest in enumerate(hashes)]
    cache.save()
    return Listing(Sources(ids, known_by, sizes, told_of, problems, lambda number: (files[number].path,
                                                                                    files[number].stored)),
                   others, read.remarks())


def _hashes(ids: Sequence[str], files: Sequence[VideoFile], cache: HashCache, tick: Callable[[int, int], None],
            ) -> tuple[list[str], dict[int, BadVideo]]:
    """Of each file's content, "" where it cannot be read, and why it cannot, by its number."""
    known = cache.fresh_all(ids, [file.stamp for file in files])
    unread = [number for number, digest in enumerate(known) if digest is None]
    total, done = sum(files[number].stamp[0] for number in unread), 0
    hashes = [digest or "" for digest in known]
    problems: dict[int, BadVideo] = {}
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        for start in range(0, len(unread), AT_A_TIME):
            some = unread[start:start + AT_A_TIME]
            read_now = threads.map(lambda number: files[number].read(ids[number], cache), some)
            for number, (digest, fault) in zip(some, read_now, strict=True):
                hashes[number] = digest
                if fault is not None:
                    problems[number] = fault
                done += files[number].stamp[0]
                tick(done, total)
    return hashes, problems


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


def summary(sources: Sequence[Source]) -> str:
    """"24 videos: train 8 normal + 8 abnormal, test 4 normal + 4 abnormal"."""
    counts = Counter((facts["split"], bool(facts["labels"])) for facts in in_columns(sources).facts)
    parts = [f"{split} {counts[split, False]} normal + {counts[split, True]} abnormal" for split in SPLITS]
    rest = counts["", False]
    return f"{counted(len(sources), 'video')}: {', '.join(parts)}" + (f", {rest} without labels" if rest else "")
