"""Files that are written whole or not at all, and read as they were written or not at all."""

import errno
import hashlib
import json
import os
import platform
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.engine.printable import printable

TEMP_MARK = ".tmp-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
DIGEST = "digest"
TRAILER, MAGIC = struct.Struct("<QI8s"), b"dbvad-1\n"  # behind the content: its length, its CRC-32
PART = 1 << 20  # bytes read at a time
TEMPORARY = re.compile(rf"\..*{re.escape(TEMP_MARK)}([0-9a-f]+)-(\d+)-\d+", re.DOTALL)
FORGOTTEN_S = 86_400.0  # a temporary file that nobody touched for a day, wherever its writer is


class Damaged(Exception):
    """A file does not hold what was written into it; the message names the file, and `remedy` how to mend it."""

    def __init__(self, path: Path, what: str, remedy: str, shown: str = "") -> None:
        super().__init__(f"{shown or path} is damaged: {what}. {remedy}")
        self.path, self.what, self.remedy = path, what, remedy


class WriteError(OSError):
    """A file cannot be written; the message names it, the reason and the remedy. What was there before is kept."""

    def __init__(self, path: Path, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(error.errno, reason, str(path))
        do = "make room there" if error.errno in FULL else "make that place fit to write"
        self.remedy = f"What was finished is kept: {do}, or name another place (--artifacts, --out), and run it again"

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}. {self.remedy}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the system, which seldom name a file, into a WriteError of `path`; those of other folders pass."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).parent == path.parent:
            raise WriteError(path, error) from error
        raise


class atomic_file:
    """Context manager: a temporary path beside `path` that replaces it on success and vanishes on any exception.

    Removes what writers of this machine that are dead left in the folder. Raises WriteError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}{TEMP_MARK}{here()}-{os.getpid()}-{threading.get_ident()}")

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(self.path, error) from error
        sweep_dead(self.path.parent)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            with writing(self.path):
                if isinstance(error, OSError):
                    raise error
                if kind is None:
                    with open(self.temporary, "rb+") as file:
                        os.fsync(file.fileno())
                    os.replace(self.temporary, self.path)
        finally:
            with suppress(OSError):
                self.temporary.unlink()


@cache
def sweep_dead(folder: Path) -> None:
    """Remove temporary files in a folder that are nobody's any more; looks once in a process."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            found = TEMPORARY.fullmatch(entry.name)
            dead = found and found[1] == here() and not alive(int(found[2]))
            if found and (dead or time.time() - entry.stat().st_mtime > FORGOTTEN_S):
                os.unlink(entry.path)


def write_sealed(path: Path, content: bytes) -> None:
    """Write bytes, and behind them their length and CRC-32, which `read_sealed` checks. Raises WriteError."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.write(TRAILER.pack(len(content), zlib.crc32(content), MAGIC))


def read_sealed(path: Path, remedy: str) -> bytes:
    """The bytes of a file as they were written. Raises Damaged, OSError."""
    content = path.read_bytes()
    length, crc, magic = TRAILER.unpack(content[-TRAILER.size:].rjust(TRAILER.size))
    if magic != MAGIC:
        raise Damaged(path, "it is torn, or was written by an older version of dbvad", remedy)
    content = content[:-TRAILER.size]
    if len(content) != length or zlib.crc32(content) != crc:
        raise Damaged(path, "its content is not what was written", remedy)
    return content


def check_sum(path: Path) -> int:
    """CRC-32 of a file, read part by part."""
    crc = 0
    with open(path, "rb") as file:
        while part := file.read(PART):
            crc = zlib.crc32(part, crc)
    return crc


def write_record(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write JSON with a digest of its content, which `read_record` checks. Raises WriteError."""
    record = {**content, DIGEST: digest(content)}
    with atomic_file(path) as temporary:
        temporary.write_text(printable(json.dumps(record, indent=indent, ensure_ascii=False)) + "\n", encoding="utf-8")


def read_record(path: Path, remedy: str) -> dict[str, Any]:
    """The content of a JSON file as it was written. Raises Damaged, OSError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        told = content.pop(DIGEST, None)
    except (ValueError, AttributeError, TypeError) as error:
        raise Damaged(path, f"it is no JSON that this program wrote ({error})", remedy) from None
    if told != digest(content):
        raise Damaged(path, "its content is not what was written" if told else
                      "it has no digest; it was written by an older version of dbvad, or by hand", remedy)
    return content


def digest(content: Any) -> str:
    """SHA-256 of JSON content, however it is spelled, as 32 hex digits."""
    once = json.loads(json.dumps(content))  # keys become texts, tuples lists
    return hashlib.sha256(json.dumps(once, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


@cache
def here() -> str:
    """This machine and its container: elsewhere, on a shared folder, a process number means nothing."""
    place = platform.node()
    with suppress(OSError):
        place += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
