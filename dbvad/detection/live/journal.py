"""What happened, as JSON lines on disk: the one record that deliveries and the page read from.

Every line has a number `seq` that goes on over restarts, as it is read from the log, never from memory alone.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "events.jsonl"
ROTATE_BYTES = 4 << 20
KEEP = 32  # files, the newest included
HELD = 10_000  # lines that wait in memory while the disk is full


def iso(unix_s: float) -> str:
    """UTC with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Safe to call from several threads. `hear`: called with each line's content once it is in the log."""

    def __init__(self, folder: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.rotate_bytes = folder / FILE, rotate_bytes
        self.hear: list[Callable[[dict[str, Any]], None]] = []
        self.lost, self.fault = 0, ""  # lines that a full disk cost, and what the disk says now
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._mend()
        turned = max((int(_last(path)) for path in self._files() if path != self.path), default=0)
        self.seq = max((line["seq"] for line in self.since(turned)), default=turned)

    def add(self, **content: Any) -> dict[str, Any]:
        """Log a line and tell it; it gets `seq` and `at`. A full disk delays what is told to others, nothing else."""
        with self._lock:
            self.seq += 1
            line = {"seq": self.seq, "at": iso(time.time()), **content}
            self._waiting.append(line)
            if len(self._waiting) > HELD:
                self._waiting.popleft()
                self.lost += 1
            self._write()
        for hear in self.hear:
            hear(line)
        return line

    def retry(self) -> None:
        """Write what a full disk held back."""
        with self._lock:
            self._write()

    def since(self, seq: int) -> Iterator[dict[str, Any]]:
        """The lines behind number `seq` that are still kept, oldest first."""
        with self._lock:  # no file is turned over between listing and opening
            files = [path.open(encoding="utf-8", errors="replace") for path in self._files() if _last(path) > seq]
        with ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            for file in files:
                for text in file:
                    if (line := _line(text)) and line["seq"] > seq:
                        yield line

    def _files(self) -> list[Path]:
        old = sorted(self.path.parent.glob("events.*.jsonl"))
        return [*old, self.path] if self.path.exists() else old

    def _write(self) -> None:
        try:
            while self._waiting:
                data = (json.dumps(self._waiting[0], ensure_ascii=False) + "\n").encode()
                with self.path.open("ab") as file:
                    before = file.tell()
                    try:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    except OSError:
                        os.truncate(self.path, before)  # no half line
                        raise
                seq = self._waiting.popleft()["seq"]
                if before + len(data) >= self.rotate_bytes:
                    self._rotate(seq)
            self.fault = ""
        except OSError as error:
            self.fault = error.strerror or "cannot write"

    def _rotate(self, seq: int) -> None:
        os.replace(self.path, self.path.with_name(f"events.{seq:012d}.jsonl"))
        for old in sorted(self.path.parent.glob("events.*.jsonl"))[:-(KEEP - 1)]:
            old.unlink()

    def _mend(self) -> None:
        """Take off a half line that a lost power left."""
        if self.path.exists():
            data = self.path.read_bytes()
            if data and not data.endswith(b"\n"):
                os.truncate(self.path, data.rfind(b"\n") + 1)


def _last(path: Path) -> float:
    """The number of a file's last line: it stands in the name of one that is full."""
    return float(path.name.split(".")[1]) if path.name != FILE else float("inf")


def _line(text: str) -> dict[str, Any] | None:
    """None for a line that is not whole, or that a disk has spoilt: the others are told all the same."""
    try:
        line = json.loads(text) if text.endswith("\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("seq"), int) else None
