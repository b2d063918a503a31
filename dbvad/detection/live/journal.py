"""What happened, as JSON lines on disk: the one record that deliveries and the page read from.

Every line has a number `seq` that goes on over restarts, as it is read from the log, never from memory alone. Lines of
an event that is held back or suppressed are logged like all others, and marked `withheld`: they are told to nobody.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "events.jsonl"
ROTATE_BYTES = 4 << 20
KEEP = 32  # files, the newest included
HELD = 10_000  # lines that wait in memory while the disk is full
SUPPRESSED = 1000  # events, the last ones, of which something may still come

Line = dict[str, Any]
OWN = ("seq", "at", "withheld")  # of a line, not of what it tells


def iso(unix_s: float) -> str:
    """UTC with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Safe to call from several threads. `hear`: called with each line's content once it is in the log."""

    def __init__(self, folder: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.rotate_bytes = folder / FILE, rotate_bytes
        self.hear: list[Callable[[Line], None]] = []
        self.lost, self.fault = 0, ""  # lines that a full disk cost, and what the disk says now
        self._lock = threading.Lock()
        self._waiting: deque[Line] = deque()
        self._held: dict[str, list[Line]] = {}
        self._suppressed: deque[str] = deque(maxlen=SUPPRESSED)
        with suppress(OSError):
            self.path.touch()  # who looks for a log finds one from the start
        self._mend()
        turned = sorted(int(_last(path)) for path in _files(folder) if path != self.path)
        self.seq = turned[-1] if turned else 0
        for line in self.since(turned[-2] if turned[1:] else 0):
            self.seq = max(self.seq, line["seq"])
            self._remember(line)

    def add(self, **content: Any) -> Line:
        """Log a line and tell it; it gets `seq` and `at`. A full disk delays what is told to others, nothing else."""
        with self._lock:
            id = content.get("id", "")
            if id in self._held:
                self._held[id].append(content)
                content = {**content, "withheld": "held"}
            elif id in self._suppressed:
                content = {**content, "withheld": "suppressed"}
            line = self._log(content)
        self._tell(line)
        return line

    def hold(self, id: str) -> None:
        """Withhold an event's lines from now on, until `release` or `suppress`."""
        with self._lock:
            self._held.setdefault(id, [])

    def held(self) -> list[str]:
        """The events that are held, those of a watch that ended before included."""
        with self._lock:
            return list(self._held)

    def release(self, id: str, **more: Any) -> None:
        """Tell what was held of an event, in order, with `more` in each line; `withheld` is None in them."""
        with self._lock:
            released = [self._log({**content, **more, "withheld": None}) for content in self._held.pop(id, [])]
        for line in released:
            self._tell(line)

    def suppress(self, id: str) -> None:
        """Withhold an event for good."""
        with self._lock:
            self._held.pop(id, None)
            self._suppressed.append(id)

    def retry(self) -> None:
        """Write what a full disk held back."""
        with self._lock:
            self._write()

    def since(self, seq: int) -> Iterator[Line]:
        """The lines behind number `seq` that are still kept, oldest first."""
        return lines(self.path.parent, seq)

    def _log(self, content: Line) -> Line:
        self.seq += 1
        line = {"seq": self.seq, "at": iso(time.time()), **content}
        self._waiting.append(line)
        if len(self._waiting) > HELD:
            self._waiting.popleft()
            self.lost += 1
        self._write()
        return line

    def _tell(self, line: Line) -> None:
        for hear in self.hear:
            hear(line)

    def _remember(self, line: Line) -> None:
        """What a watch that was killed still held."""
        if line.get("withheld") == "held":
            content = {key: value for key, value in line.items() if key not in OWN}
            self._held.setdefault(line.get("id", ""), []).append(content)
        else:
            self._held.pop(line.get("id", ""), None)

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
        with suppress(FileNotFoundError):
            data = self.path.read_bytes()
            if data and not data.endswith(b"\n"):
                os.truncate(self.path, data.rfind(b"\n") + 1)


def lines(folder: Path, seq: int = 0) -> Iterator[Line]:
    """The lines of a log behind number `seq`, oldest first; also while a watch writes it."""
    with ExitStack() as stack:
        files = []
        # The newest first: a file that is turned over meanwhile is then found twice, and not never.
        for path in (folder / FILE, *reversed(_files(folder))):
            with suppress(FileNotFoundError):
                if _last(path) > seq:
                    files.append(stack.enter_context(path.open(encoding="utf-8", errors="replace")))
        for file in reversed(files):
            for text in file:
                if (line := _line(text)) and line["seq"] > seq:
                    seq = line["seq"]
                    yield line


def told(line: Line) -> bool:
    """Whether a line is for receivers and standard output: it is not withheld."""
    return not line.get("withheld")


def fold(known: Line, line: Line) -> Line:
    """What is known of an event with one line more: what is said later counts. `kind` is "end" once it has ended."""
    return {**known, **line, "kind": "end" if known.get("kind") == "end" else line["kind"]}


def _files(folder: Path) -> list[Path]:
    """Those of a log, oldest first."""
    return [*sorted(folder.glob("events.*.jsonl")), *folder.glob(FILE)]


def _last(path: Path) -> float:
    """The number of a file's last line: it stands in the name of one that is full."""
    return float(path.name.split(".")[1]) if path.name != FILE else float("inf")


def _line(text: str) -> Line | None:
    """None for a line that is not whole, or that a disk has spoilt: the others are told all the same."""
    try:
        line = json.loads(text) if text.endswith("\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("seq"), int) else None
