"""Where artifacts lie: a folder, or a bucket behind a local mirror. The few calls that everything makes on them.

Paths are local in both cases: those below a mirror stand for the objects of the bucket, by the same names. So whoever
holds a path need not know which of the two it is, and only `place_of` asks.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pipeline.engine.files import atomic_file, read_record, write_record
from pipeline.engine.sealed import Seal, read_seal
from pipeline.engine.stamps import STAMP, Believed, Names, Stamps, stamps_below

if TYPE_CHECKING:
    from pipeline.engine.remote.s3 import Objects

ORIGIN = ".origin.json"  # in a mirror's folder: of what it is one
WHOLE = "whole"
FORGET = "Delete this folder, it is a mirror of what lies elsewhere, and run it again"
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # of a bucket, by S3's rules


class StorageError(Exception):
    """A store behind a URL cannot be used; the message names it, the reason and the remedy, and no secret."""


@dataclass(frozen=True)
class Url:
    """`s3://bucket/prefix`, the prefix without slashes at its ends."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Raises StorageError, without a word of what may be a secret."""
        parts = urlsplit(text)
        if parts.scheme != "s3":
            raise StorageError(f"{parts.scheme}:// is no place for data here: name a folder, or s3://bucket/prefix "
                               "(any store that speaks S3; AWS_ENDPOINT_URL names its address)")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise StorageError("a URL of a store holds no user, key or signature here: write s3://bucket/prefix, and "
                               "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
        prefix = parts.path.strip("/")
        if not NAME.fullmatch(parts.netloc) or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
            raise StorageError(f"{text!r} is no URL of a store: write s3://bucket/prefix")
        return cls(parts.netloc, prefix)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class Place(Protocol):
    """What can be done with the files below `root`. All calls raise StorageError where a store does not answer."""

    root: Path

    def __str__(self) -> str:
        """As the user named it."""
        ...

    def shown(self, path: Path) -> str:
        """A file as the user knows it."""
        ...

    def files(self, folder: str) -> Iterable[Path]:
        """All files below a folder of the root."""
        ...

    def names(self, folder: str) -> Iterable[str]:
        """As `files`: their paths below the folder. Ten times as fast where there are a million."""
        ...

    def size(self, path: Path) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        ...

    def exists(self, path: Path) -> bool: ...

    def stamp(self, path: str) -> tuple[bytes, int]:
        """What changes with a file's content, b"" where there is no file; and when it did (ctime in ns).

        Within one tick of a clock a file can change twice; an ETag always changes, and has no time: 0.
        """
        ...

    def stamps(self, folder: str, names: Names, believed: Believed | None = None) -> Stamps:
        """Of the shards of many names below a folder of the root."""
        ...

    def seal(self, path: Path) -> Seal:
        """The seal of a file, which says how it was made; the file itself need not come. Raises Unsealed, OSError."""
        ...

    def fetch(self, path: Path) -> Path:
        """Have the file at `path`, as it is now. Raises FileNotFoundError."""
        ...

    def fetch_all(self, paths: Iterable[Path]) -> None:
        """As `fetch`, of many at a time; those that are not there are passed over."""
        ...

    def renew(self, path: Path) -> bool:
        """Whether a copy that is damaged or gone was given up, so that to fetch the file again may help."""
        ...

    def replacing(self, path: Path) -> AbstractContextManager[Path]:
        """As `atomic_file`: a temporary path whose content takes the file's place, whole or not at all."""
        ...

    def send(self, path: Path) -> None:
        """A file that was written in its place is finished."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        ...

    def reserved(self, part: str) -> AbstractContextManager[None]:
        """Hold all of the place (WHOLE), or a part such as "3-of-8", alone among machines. Raises Busy."""
        ...

    def anew(self, live: bool = False) -> "Place":
        """The same as it is now; where it is `live`, at each call."""
        ...


class Folder:
    """A local folder, or one that machines share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def shown(self, path: Path) -> str:
        return str(path)

    def files(self, folder: str) -> Iterable[Path]:
        return (Path(entry.path) for entry in walk(self.root / folder))

    def names(self, folder: str) -> Iterable[str]:
        start = len(f"{self.root / folder}/")
        return (entry.path[start:] for entry in walk(f"{self.root / folder}"))

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def exists(self, path: Path) -> bool:
        return path.exists()

    def stamp(self, path: str) -> tuple[bytes, int]:
        try:
            found = os.stat(path)
        except OSError:
            return b"", 0
        return STAMP.pack(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns), found.st_ctime_ns

    def stamps(self, folder: str, names: Names, believed: Believed | None = None) -> Stamps:
        return stamps_below(f"{self.root}/{folder}", names, believed)

    def seal(self, path: Path) -> Seal:
        with open(path, "rb") as file:
            return read_seal(file)

    def fetch(self, path: Path) -> Path:
        return path

    def fetch_all(self, paths: Iterable[Path]) -> None:
        pass

    def renew(self, path: Path) -> bool:
        return False

    def replacing(self, path: Path) -> AbstractContextManager[Path]:
        return atomic_file(path)

    def send(self, path: Path) -> None:
        pass

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def reserved(self, part: str) -> AbstractContextManager[None]:
        return nullcontext()  # a file's lock holds wherever the folder is shared

    def anew(self, live: bool = False) -> "Place":
        return self


def place_of(root: Path) -> Place:
    """The place that a folder is, or is the mirror of. Raises StorageError."""
    if not (root / ORIGIN).exists():
        return Folder(root)
    from pipeline.engine.remote.bucket import Bucket

    return Bucket(root)


def local(place: str | Path) -> Path:
    """The folder that stands for a place: itself, or a URL's mirror, which is made. Raises StorageError, WriteError."""
    if "://" not in str(place):
        return Path(place)
    url = Url.parse(str(place))
    objects_below(url)
    mark = hashlib.sha256(f"{server()} {url}".encode()).hexdigest()[:12]
    folder = mirrors() / "-".join([url.bucket, *url.prefix.split("/")[-1:], mark])
    write_origin(folder, url)
    return folder


def write_origin(root: Path, url: Url) -> None:
    """Make a folder the mirror of a URL. Raises StorageError, WriteError."""
    write_record(root / ORIGIN, {"url": str(url), "server": digest_of(server())})


def objects_below(url: Url) -> "Objects":
    """What to ask for the objects below a URL. Raises StorageError without the extra that can."""
    if find_spec("obstore") is None:
        raise StorageError(f"{url}: storage by URL needs the extra s3: pip install 'dbvad[s3]'")
    from pipeline.engine.remote.s3 import Objects

    return Objects(url)


def origin(root: Path) -> Url:
    """Of what a folder is the mirror. Raises Damaged, StorageError."""
    told = read_record(root / ORIGIN, FORGET)
    if told["server"] != digest_of(server()):
        raise StorageError(f"{root} mirrors {told['url']} of another server than AWS_ENDPOINT_URL names now: name the "
                           f"URL instead of the mirror, or set the variable as it was")
    return Url.parse(told["url"])


def mirrors() -> Path:
    """Where mirrors are kept: DBVAD_MIRROR, by default in the user's cache."""
    if named := os.environ.get("DBVAD_MIRROR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dbvad" / "mirror"


def server() -> str:
    """The address of the store, "" for Amazon's own. Raises StorageError for one that holds a secret."""
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc):
        raise StorageError("AWS_ENDPOINT_URL is no plain address: write https://host:port, without user, key or "
                           "signature")
    return address.rstrip("/")


def digest_of(address: str) -> str:
    """A mark by which an address is known again, and not read."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """All files below a folder; none if there is no folder."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from walk(entry.path)
        else:
            yield entry
