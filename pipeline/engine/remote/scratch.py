"""Videos that lie in a bucket, on this machine for as long as a stage reads them: decoders want files."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.engine.files import alive, here
from pipeline.engine.place import Url, mirrors, objects_below

FREE = 1 << 30  # bytes that are left free beside a video


@dataclass(frozen=True)
class Stored:
    """An object: where, and the ETag under which it was listed."""

    url: Url
    key: str
    etag: str


class Changed(Exception):
    """The object is not the one that was listed."""


class NoRoom(OSError):
    """The video does not fit on this machine; the message names the place and the remedy."""


@contextmanager
def fetched(stored: Stored) -> Iterator[Path]:
    """The object as a file, which is removed at the end, also where this process was killed before: by the next.

    Raises StorageError, FileNotFoundError, Changed, NoRoom.
    """
    answer = objects_below(stored.url).get(stored.key)
    assert answer is not None
    if answer.seen.etag != stored.etag:
        raise Changed
    with tempfile.TemporaryDirectory(dir=_folder(), ignore_cleanup_errors=True) as folder:
        free = shutil.disk_usage(folder).free
        if answer.seen.size > free - FREE:
            raise NoRoom(f"{stored.url}/{stored.key} has {answer.seen.size / 1e9:.1f} GB, and {mirrors()} has "
                         f"{free / 1e9:.1f} free: make room there, or set DBVAD_MIRROR to another folder")
        path = Path(folder) / Path(stored.key).name
        answer.write(path)
        yield path


@cache
def _folder() -> Path:
    """This process's own; those of processes of this machine that are dead are removed."""
    scratch = mirrors() / "scratch"
    own = scratch / f"{here()}-{os.getpid()}"
    own.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(scratch):
        machine, _, process = entry.name.partition("-")
        if machine == here() and process.isdigit() and not alive(int(process)):
            with suppress(OSError):
                shutil.rmtree(entry.path)
    return own
