"""The files of a dataset, in a folder or in a bucket, as a listing looks at them: is it a video, and which?"""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from pipeline.engine.config import ConfigError
from pipeline.engine.hashing import Stamp, hash_file, stamp_of
from pipeline.engine.place import Url, objects_below
from pipeline.engine.scratch import Stored
from pipeline.engine.stage import BadVideo
from pipeline.instruments.sniff import HEAD_BYTES, format_of, looks_like_video
from pipeline.stages.labels import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from pipeline.engine.s3 import Objects, Seen


class VideoFile(Protocol):
    """`path`: of a local file; of one in a bucket, which is `stored`, its name. `video_id`: the path below the root."""

    @property
    def path(self) -> Path: ...

    @property
    def stored(self) -> Stored | None: ...

    @property
    def video_id(self) -> str: ...

    @property
    def hidden(self) -> bool:
        """By the habit of Unix."""
        ...

    def may_be_video(self) -> bool:
        """By its suffix or else by its first bytes; what is no regular file is listed for its problem to be told."""
        ...

    def problem(self) -> BadVideo | None:
        """Why it cannot even be read."""
        ...

    def stamp(self) -> Stamp:
        """Raises OSError."""
        ...

    def read_hash(self) -> str:
        """SHA-256 of its content, as 32 hex digits; reads it whole. Raises OSError, StorageError."""
        ...


@dataclass(frozen=True)
class LocalFile:
    path: Path
    root: Path
    inside: Path  # the root without links
    stored: None = None

    @property
    def video_id(self) -> str:
        return id_of(self.path, self.root)

    @property
    def hidden(self) -> bool:
        return is_hidden(self.path)

    def may_be_video(self) -> bool:
        return may_be_video(self.path)

    def problem(self) -> BadVideo | None:
        if self.path.is_symlink() and not Path(os.path.realpath(self.path)).is_relative_to(self.inside):
            return BadVideo("outside", f"a link that leads out of the videos folder, to {os.readlink(self.path)}",
                            "copy what it leads to into the folder, or point dataset.videos where it leads")
        if self.path.exists() and not self.path.is_file():
            return BadVideo("unreadable", "no regular file, but a folder, a pipe or a device", "remove it")
        return None

    def stamp(self) -> Stamp:
        return stamp_of(self.path)

    def read_hash(self) -> str:
        return hash_file(self.path)


@dataclass(frozen=True)
class StoredFile:
    objects: "Objects"
    key: str
    seen: "Seen"

    @property
    def path(self) -> Path:
        return Path(self.key)

    @property
    def stored(self) -> Stored:
        return Stored(self.objects.url, self.key, self.seen.etag)

    @property
    def video_id(self) -> str:
        return unicodedata.normalize("NFC", self.key)

    @property
    def hidden(self) -> bool:
        return any(part.startswith(".") for part in self.key.split("/"))

    def may_be_video(self) -> bool:
        if PurePosixPath(self.key).suffix.lower() in VIDEO_SUFFIXES:
            return True
        head = self.objects.part(self.key, 0, min(HEAD_BYTES, self.seen.size)) if self.seen.size else b""
        return format_of(head) is not None

    def problem(self) -> BadVideo | None:
        return None

    def stamp(self) -> Stamp:
        return self.seen.size, self.seen.etag

    def read_hash(self) -> str:
        digest = hashlib.sha256()
        if (answer := self.objects.get(self.key)) is not None:
            for part in answer.parts():
                digest.update(part)
        return digest.hexdigest()[:32]


def files_of(videos: Path | Url) -> Iterator[VideoFile]:
    """All files of a dataset in order. Raises ConfigError where there is no folder, StorageError."""
    if isinstance(videos, Path):
        if not videos.is_dir():
            raise ConfigError(f"no videos folder at {videos}: set dataset.videos in stages.yaml to the folder of your "
                              f"videos")
        yield from map(partial(LocalFile, root=videos, inside=videos.resolve()), sorted(files_below(videos)))
    else:
        objects = objects_below(videos)
        for key, seen in sorted(objects.list()):
            yield StoredFile(objects, key, seen)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder; hidden folders and linked ones are not gone into, but listed themselves."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ConfigError(f"cannot list {folder}: {error.strerror}; make it readable, or move it elsewhere") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from files_below(Path(entry.path))
        else:
            yield Path(entry.path)


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
    shown = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", shown)
