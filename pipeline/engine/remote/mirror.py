"""What a mirror knows of a bucket: which files it holds as they are there, and the seals of those it does not hold.

One SQLite file in the mirror, safe among processes and under kill -9; all of it is derived, and can be thrown away with
the folder at any time. A file counts as mirrored while the bucket's ETag is the one it came under, and nobody has
touched it since.
"""

import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.engine.place import StorageError
from pipeline.engine.sealed import Seal

FILE = ".mirror.sqlite"
BOUND_GB = 50.0
LAX = 0.02  # share of the bound by which one process may go beyond it before it looks again
TABLES = """
create table if not exists files (name text primary key, etag text, size integer, mtime integer);
create table if not exists seals (name text primary key, etag text, start integer, told integer, content blob);
"""


class Mirror:
    """The books of the mirror in `root`, and its bound. Names are paths below it. Raises StorageError."""

    def __init__(self, root: Path) -> None:
        self.root, self.bound = root, _bound()
        self.added = self.bound  # so that the first file has the bound looked at
        self.lock = threading.Lock()
        self.db = _open(root / FILE)

    def etag(self, name: str) -> str | None:
        """The ETag under which a file that is here came; None if there is none, or it was touched since."""
        path = self.root / name
        for etag, size, mtime in self._ask("select etag, size, mtime from files where name = ?", name):
            try:
                stat = path.stat()
                if (size, mtime) == (stat.st_size, stat.st_mtime_ns):
                    os.utime(path, ns=(time.time_ns(), mtime))  # what was used last goes last
                    return str(etag)
            except FileNotFoundError:
                return None
        return None

    def keep(self, name: str, etag: str) -> None:
        """A file has come, or was published from here."""
        try:
            stat = (self.root / name).stat()
        except FileNotFoundError:  # it had to make room for another process's
            return
        self._do("insert or replace into files values (?, ?, ?, ?)", [(name, etag, stat.st_size, stat.st_mtime_ns)])
        self.added += stat.st_size
        if self.added > LAX * self.bound:
            self.added = 0
            self.trim()

    def drop(self, name: str) -> None:
        """Remove a file from the mirror."""
        (self.root / name).unlink(missing_ok=True)
        self._do("delete from files where name = ?", [(name,)])

    def keep_only(self, folder: str, names: Container[str]) -> None:
        """Remove the files of a folder that have none of these names: they are not in the bucket any more."""
        for (name,) in self._ask("select name from files where name between ? and ?", f"{folder}/", f"{folder}0"):
            if name not in names:
                self.drop(name)

    def trim(self) -> None:
        """Remove the files that were not used for longest, until the rest keeps to the bound; the last one stays."""
        sizes = dict(self._ask("select name, size from files"))
        excess = sum(sizes.values()) - self.bound
        for name in sorted(sizes, key=self._used)[:-1] if excess > 0 else ():
            if excess <= 0:
                break
            self.drop(name)
            excess -= sizes[name]

    def seal(self, name: str, etag: str) -> Seal | None:
        """The seal of the object that has this ETag, if it is known."""
        for start, told, content in self._ask("select start, told, content from seals where name = ? and etag = ?",
                                              name, etag):
            raw = zlib.decompress(content)
            return Seal(start, raw[:told], raw[told:])
        return None

    def sealed(self, folder: str) -> set[tuple[str, str]]:
        """Name and ETag of all objects below a folder whose seals are known."""
        return set(self._ask("select name, etag from seals where name between ? and ?", f"{folder}/", f"{folder}0"))

    def keep_seals(self, seals: Iterable[tuple[str, str, Seal]]) -> None:
        """Seals were read: name, ETag, seal."""
        self._do("insert or replace into seals values (?, ?, ?, ?, ?)",
                 [(name, etag, seal.start, len(seal.text), zlib.compress(seal.text + seal.footer))
                  for name, etag, seal in seals])

    def forget(self, name: str) -> None:
        """An object is gone."""
        self.drop(name)
        self._do("delete from seals where name = ?", [(name,)])

    def _used(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_atime_ns
        except FileNotFoundError:
            return 0

    def _do(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        with self.lock, self._plainly(), self.db:
            self.db.executemany(sql, rows)

    def _ask(self, sql: str, *values: str) -> list[Any]:
        with self.lock, self._plainly():
            return self.db.execute(sql, values).fetchall()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"the mirror in {self.root} cannot be used ({error}): delete that folder, or make room "
                               "there; the bucket holds everything") from None


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.OperationalError as error:
        raise StorageError(f"cannot write below {path.parent} ({error}): make room there, or set DBVAD_MIRROR to "
                           f"another folder") from None
    except sqlite3.DatabaseError:  # torn by a power loss: what is lost is asked anew
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60, check_same_thread=False)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = off")  # derived: a power loss costs requests
    db.executescript(TABLES)
    return db


def _bound() -> int:
    told = os.environ.get("DBVAD_MIRROR_GB", "")
    try:
        return int(1e9 * (float(told) if told else BOUND_GB))
    except ValueError:
        raise StorageError(f"DBVAD_MIRROR_GB is {told!r}: a number of gigabytes is wanted") from None
