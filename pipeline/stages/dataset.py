"""The dataset section of stages.yaml, and the listing of its videos."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.engine.config import Config, ConfigError
from pipeline.engine.hashing import HashCache
from pipeline.engine.place import StorageError, Url
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
    read = dataset.reader()
    others: Counter[str] = Counter()
    found: dict[str, list[VideoFile]] = defaultdict(list)
    for file in files_of(root):
        suffix = os.path.splitext(file.name)[1].lower()
        if "/." in f"/{file.name}":  # it, or a folder above it
            others["hidden"] += 1
        elif suffix in VIDEO_SUFFIXES or file.looks_like_video() or (
                dataset.names_files and read(video_id(file.name)) is not None):
            found[video_id(file.name)].append(file)
        else:
            others[suffix or "without suffix"] += 1
    if not found:
        raise ConfigError(f"no video below {root}: {told(others) or 'the folder is empty'}; set dataset.videos in "
                          f"stages.yaml to the folder of your videos")
    files = {name: found[name][0] for name in sorted(found)}
    read = read.over(files)
    known = {name: cache.fresh(name, file.stamp) or "" for name, file in files.items()}
    unread = {name: file for name, file in files.items() if not known[name]}
    total, done = sum(file.stamp[0] for file in unread.values()), 0
    read_now: dict[str, tuple[str, BadVideo | None]] = {}
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        hashed = threads.map(lambda item: item[1].read(item[0], cache), unread.items())
        for (name, file), answer in zip(unread.items(), hashed, strict=True):
            read_now[name] = answer
            done += file.stamp[0]
            tick(done, total)
    sources, shared = [], dict[Facts | None, dict[str, Any]]()  # a million videos share few facts
    for name, file in files.items():
        digest, problem = read_now.get(name, (known[name], None))
        facts = read(name)
        if problem is None and len(found[name]) > 1:
            problem = BadVideo("same_name", "two files have this name, in two forms of Unicode",
                               "rename one of them")
        if facts is None and problem is None:
            problem = BadVideo("unlabelled", f"the labels ({dataset.labels}) say nothing of this video",
                               _LABEL_REMEDY[dataset.labels])
        if facts not in shared:
            shared[facts] = {"split": facts.split if facts else "", "labels": list(facts.labels) if facts else []}
        # what cannot be read is known by its problem: another problem is looked at anew
        size = 0 if problem else file.stamp[0]
        sources.append(Source(name, file.path, digest or str(problem), size, shared[facts], problem,
                              stored=file.stored))
    cache.save()
    return Listing(sources, others, read.remarks())


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
