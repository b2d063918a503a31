"""Artifacts in a bucket: read through a local mirror, published by one PUT a file.

Every path below the mirror stands for the object of that name. What is listed is believed for the life of a Bucket: one
listing of each folder that is asked for, so that a plan, a query or a training sees one state of the store. What this
process changes is noted in it. A `live` one asks the store at every call. Pickled are where the mirror is, and the URL.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from pipeline.engine.files import atomic_file
from pipeline.engine.place import ORIGIN, StorageError, Url, objects_below, origin, write_origin
from pipeline.engine.remote.lease import lease
from pipeline.engine.remote.mirror import Mirror
from pipeline.engine.remote.s3 import Objects, Seen
from pipeline.engine.sealed import TAIL, Seal, Unsealed, read_seal
from pipeline.engine.stamps import STAMP, Believed, Names, Stamps

THREADS = 16  # requests at a time where many files are wanted
KEY_BYTES = 1024  # that S3 allows for the name of an object


class Bucket:
    """The place that a mirror's folder stands for: implements Place."""

    def __init__(self, root: Path, live: bool = False) -> None:
        self.root, self.live = root, live
        self.listed: dict[str, dict[str, Seen]] = {}  # by folder
        self.sealed: set[str] = set()  # folders whose seals were read
        self.renewed: set[Path] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.root, str(self.objects.url), self.live)

    @cached_property
    def objects(self) -> Objects:
        return objects_below(origin(self.root))

    @cached_property
    def mirror(self) -> Mirror:
        return Mirror(self.root)

    def __str__(self) -> str:
        return str(self.objects.url)

    def shown(self, path: Path) -> str:
        return self.objects.shown(self._name(path))

    def anew(self, live: bool = False) -> "Bucket":
        return Bucket(self.root, live)

    def files(self, folder: str) -> Iterable[Path]:
        return [self.root / name for name in self._listing(folder)]

    def names(self, folder: str) -> Iterable[str]:
        return [name.removeprefix(f"{folder}/") for name in self._listing(folder)]

    def size(self, path: Path) -> int:
        return self._seen(self._name(path)).size

    def exists(self, path: Path) -> bool:
        try:
            self._seen(self._name(path))
        except FileNotFoundError:
            return False
        return True

    def stamp(self, path: str) -> tuple[bytes, int]:
        try:
            return self._seen(path.removeprefix(f"{self.root}/")).etag.encode(), 0
        except FileNotFoundError:
            return b"", 0

    def stamps(self, folder: str, names: Names, believed: Believed | None = None) -> Stamps:
        listed = {} if self.live else self._listing(folder)
        found = bytearray()
        for text in names.texts:
            name = f"{folder}/{text}.parquet"
            etag = self.stamp(f"{self.root}/{name}")[0] if self.live else (
                listed[name].etag.encode() if name in listed else b"")
            found += hashlib.blake2b(etag, digest_size=STAMP.size).digest() if etag else bytes(STAMP.size)
        return Stamps(np.frombuffer(found, np.uint8).reshape(-1, STAMP.size), np.zeros(len(names), np.int64), {})

    def seal(self, path: Path) -> Seal:
        name = self._name(path)
        if self._asks(name):
            return self._read_seal(name)[1]
        etag = self._seen(name).etag
        self._read_seals(name.partition("/")[0])
        return self.mirror.seal(name, etag) or self._read_seal(name)[1]

    def fetch(self, path: Path) -> Path:
        name = self._name(path)
        here = self.mirror.etag(name)
        if not self._asks(name) and here == self._seen(name).etag:
            return path
        if (answer := self.objects.get(_key(name), unless=here)) is not None:
            with atomic_file(path) as temporary:
                answer.write(temporary)
            self._note(name, answer.seen)
            self.mirror.keep(name, answer.seen.etag)
        return path

    def fetch_all(self, paths: Iterable[Path]) -> None:
        wanted = [path for path in paths if self.live or self.exists(path)]
        size = 0 if self.live else sum(self.size(path) for path in wanted)
        if size > self.mirror.bound:
            raise StorageError(f"{size / 1e9:.1f} GB of {self} are to be here at a time, and their mirror may hold "
                               f"{self.mirror.bound / 1e9:g}: ask for fewer stages or videos, or set DBVAD_MIRROR_GB")
        with ThreadPoolExecutor(THREADS) as threads:
            for _ in threads.map(self._fetch_if_there, wanted):
                pass

    def renew(self, path: Path) -> bool:
        first = path not in self.renewed  # else it is the object that is damaged
        self.renewed.add(path)
        if first:
            self.mirror.forget(self._name(path))
        return first

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        with atomic_file(path) as temporary:
            yield temporary
        self.send(path)

    def send(self, path: Path) -> None:
        name = self._name(path)
        seen = self.objects.upload(_key(name), path)
        self._note(name, seen)
        self.mirror.keep(name, seen.etag)

    def remove(self, path: Path) -> None:
        name = self._name(path)
        if self._asks(name) or name in self._listing_of(name):
            self.objects.delete(_key(name))
        self._listing_of(name).pop(name, None)
        self.mirror.forget(name)

    def reserved(self, part: str) -> AbstractContextManager[None]:
        return lease(self.objects, part)

    def _asks(self, name: str) -> bool:
        """Whether the store is asked, and no listing. Files beside the folders of the shards are few."""
        return self.live or "/" not in name

    def _seen(self, name: str) -> Seen:
        """Raises FileNotFoundError."""
        if self._asks(name):
            return self.objects.head(_key(name))
        try:
            return self._listing_of(name)[name]
        except KeyError:
            raise FileNotFoundError(f"no object {self.objects.shown(name)}") from None

    def _listing_of(self, name: str) -> dict[str, Seen]:
        return {} if self._asks(name) else self._listing(name.partition("/")[0])

    def _listing(self, folder: str) -> dict[str, Seen]:
        """What is below a folder of the root, by name; copies here of what is not there any more are removed."""
        if folder not in self.listed or self.live:
            self.listed[folder] = {unquote(key): seen for key, seen in self.objects.list(folder)}
            self.mirror.keep_only(folder, self.listed[folder])
        return self.listed[folder]

    def _note(self, name: str, seen: Seen) -> None:
        """Keep a listing true."""
        if (known := self.listed.get(name.partition("/")[0])) is not None:
            known[name] = seen

    def _fetch_if_there(self, path: Path) -> None:
        try:
            self.fetch(path)
        except FileNotFoundError:
            return

    def _read_seals(self, folder: str) -> None:
        """Read the seals of all objects of a folder that are not known yet, many at a time."""
        if folder in self.sealed:
            return
        known = self.mirror.sealed(folder)
        unknown = [name for name, seen in self._listing(folder).items() if (name, seen.etag) not in known]
        with ThreadPoolExecutor(THREADS) as threads:
            self.mirror.keep_seals(entry for entry in threads.map(self._try_seal, unknown) if entry)
        self.sealed.add(folder)

    def _try_seal(self, name: str) -> tuple[str, str, Seal] | None:
        try:
            seen, seal = self._read_seal(name)
        except (Unsealed, FileNotFoundError):  # told when this one is asked for
            return None
        return name, seen.etag, seal

    def _read_seal(self, name: str) -> tuple[Seen, Seal]:
        end = _End(self.objects, _key(name))
        return end.seen, read_seal(end)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


class _End:
    """The end of an object as a file: one request, and another where the seal is longer than most."""

    def __init__(self, objects: Objects, key: str) -> None:
        self.objects, self.key, self.at = objects, key, 0
        self.seen, self.tail = objects.tail(key, TAIL)
        self.start = self.seen.size - len(self.tail)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + (self.seen.size if whence == os.SEEK_END else 0)
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = self.seen.size if size < 0 else min(self.at + size, self.seen.size)
        if self.at < self.start:
            self.tail = self.objects.part(self.key, self.at, self.start) + self.tail
            self.start = self.at
        found = self.tail[self.at - self.start:end - self.start]
        self.at = end
        return found


def _unpickled(root: Path, url: str, live: bool) -> Bucket:
    """Where another machine was sent it, there is no mirror yet."""
    if not (root / ORIGIN).exists():
        write_origin(root, Url.parse(url))
    return Bucket(root, live)


def _key(name: str) -> str:
    """The object's key: the name, but for what S3 clients refuse. Raises StorageError where it is too long."""
    key = "/".join(_part(part) for part in name.split("/"))
    if len(key.encode()) > KEY_BYTES:
        raise StorageError(f"{name[:60]}...: its name is longer than the {KEY_BYTES} bytes that S3 allows: shorten the "
                           "folders above the video")
    return key


def _part(part: str) -> str:
    if part in (".", ".."):
        return part.replace(".", "%2E")
    return "".join(f"%{ord(sign):02X}" if sign < " " or sign in "%\x7f" else sign for sign in part)
