"""The files of a dataset, in a folder or in a bucket, as a listing looks at them: is it a video, and which?"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.engine.config import ConfigError
from pipeline.engine.hashing import HashCache, Stamp, hash_parts
from pipeline.engine.place import Url, objects_below
from pipeline.engine.remote.scratch import Stored
from pipeline.engine.stage import BadVideo
from pipeline.instruments.sniff import HEAD_BYTES, format_of, looks_like_video
from pipeline.stages.labels import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from pipeline.engine.remote.s3 import Objects

NO_STAMP: Stamp = (0, -1)  # of what is no regular file, or a link, which is looked at when it is read


class VideoFile(Protocol):
    """`name`: the path below the root. `stamp`: its bytes, and what changes with its content."""

    @property
    def name(self) -> str: ...

    @property
    def stamp(self) -> Stamp: ...

    @property
    def path(self) -> Path:
        """Of a local file; of one in a bucket its name."""
        ...

    @property
    def stored(self) -> Stored | None:
        """Where in a bucket it lies."""
        ...

    def looks_like_video(self) -> bool:
        """By its first bytes; what is no regular file is listed for its problem to be told."""
        ...

    def read(self, key: str, cache: HashCache) -> tuple[str, BadVideo | None]:
        """The hash of its content, read whole unless the cache knows it; or why there is none. Raises StorageError."""
        ...


class LocalFile(NamedTuple):
    """A file below `root`."""

    root: str
    name: str
    stamp: Stamp
    stored: None = None

    @property
    def path(self) -> Path:
        return Path(self.root, self.name)

    def looks_like_video(self) -> bool:
        return may_be_video(self.path)

    def read(self, key: str, cache: HashCache) -> tuple[str, BadVideo | None]:
        path, inside = self.path, Path(self.root).resolve()
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
            return "", BadVideo("outside", f"a link that leads out of the videos folder, to {os.readlink(path)}",
                                "copy what it leads to into the folder, or point dataset.videos where it leads")
        if path.exists() and not path.is_file():
            return "", BadVideo("unreadable", "no regular file, but a folder, a pipe or a device", "remove it")
        try:
            return cache.hash(key, path), None
        except FileNotFoundError:
            return "", BadVideo("unreadable", "a link that leads nowhere, or a file that just went away",
                                "put the video there, or remove the link")
        except OSError as error:
            return "", BadVideo("unreadable", f"cannot be read: {error.strerror or error}",
                                "make the file readable, or remove it")


class StoredFile(NamedTuple):
    """An object of a bucket; the ETag stands in its stamp."""

    objects: "Objects"
    name: str
    stamp: Stamp

    @property
    def path(self) -> Path:
        return Path(self.name)

    @property
    def stored(self) -> Stored:
        return Stored(self.objects.url, self.name, str(self.stamp[1]))

    def looks_like_video(self) -> bool:
        size = min(HEAD_BYTES, self.stamp[0])
        return size > 0 and format_of(self.objects.part(self.name, 0, size)) is not None

    def read(self, key: str, cache: HashCache) -> tuple[str, BadVideo | None]:
        try:
            return cache.remembered(key, self.stamp, self._hash), None
        except FileNotFoundError:
            return "", BadVideo("unreadable", "an object that just went away", "run the pipeline again")

    def _hash(self) -> str:
        answer = self.objects.get(self.name)
        assert answer is not None  # it is only where an ETag is asked for
        return hash_parts(answer.parts())


def files_of(videos: Path | Url) -> Iterator[VideoFile]:
    """All files of a dataset, in order. Raises ConfigError where there is no folder, StorageError."""
    if isinstance(videos, Path):
        if not videos.is_dir():
            raise ConfigError(f"no videos folder at {videos}: set dataset.videos in stages.yaml to the folder of your "
                              f"videos")
        root = str(videos)
        for name, entry in _below(root):
            yield LocalFile(root, name, _stamp(entry))
        return
    objects = objects_below(videos)
    for key, seen in sorted(objects.list()):
        yield StoredFile(objects, key, (seen.size, seen.etag))


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder; hidden folders and linked ones are not gone into, but listed themselves."""
    return (Path(entry.path) for _, entry in _below(str(folder)))


def _below(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files with their names below the folder."""
    open_folders = [("", _entries(folder))]
    while open_folders:
        above, entries = open_folders[-1]
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                open_folders.append((f"{above}{entry.name}/", _entries(entry.path)))
                break
            yield above + entry.name, entry
        else:
            open_folders.pop()


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        return iter(sorted(os.scandir(folder), key=lambda entry: entry.name))
    except OSError as error:
        raise ConfigError(f"cannot list {folder}: {error.strerror}; make it readable, or move it elsewhere") from None


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        if not entry.is_file():
            return NO_STAMP
        stat = entry.stat()
    except OSError:
        return NO_STAMP
    return stat.st_size, -1 if entry.is_symlink() else stat.st_mtime_ns


def is_hidden(path: Path) -> bool:
    """By the habit of Unix."""
    return path.name.startswith(".")


def may_be_video(path: Path) -> bool:
    """By its suffix or else by its first bytes; what is no regular file is listed for its problem to be told."""
    return path.suffix.lower() in VIDEO_SUFFIXES or os.path.isdir(path) or (path.is_file() and looks_like_video(path))


def id_of(path: Path, root: Path) -> str:
    """The id of a file below a root."""
    return video_id(path.relative_to(root).as_posix())


def video_id(name: str) -> str:
    """A path below the root, composed (NFC), for folders that were on a Mac spell ü as u and two dots.

    Bytes that are no UTF-8 are spelt out, so that every id is printable and unique.
    """
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
