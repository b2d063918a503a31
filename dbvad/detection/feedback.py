"""Feedback: what users said of events, a JSON line each, as the page of `dbvad watch` and `dbvad events` write it."""

import json
import time
from pathlib import Path
from typing import Any

from dbvad.detection.calibration import Thumb
from dbvad.detection.live.journal import iso
from dbvad.scoring.events import Event

FILE = "feedback.jsonl"


class FeedbackError(ValueError):
    """Feedback that cannot be read; the message names file, line and remedy."""


def read(path: Path) -> list[Thumb]:
    """The thumbs of a file, in order. A last line without an end is still being written. Raises FeedbackError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text in UTF-8"
        raise FeedbackError(f"cannot read {path}: {why}; name the {FILE} of `dbvad events` or `dbvad watch`") from None
    thumbs = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            continue
        try:
            found = json.loads(line)
            if found["verdict"] not in ("true", "false"):
                raise ValueError(f"verdict is {found['verdict']!r}")
            thumbs.append(Thumb(str(found["id"]), found["verdict"] == "false", float(found["peak"]),
                                found.get("camera"), found.get("video"), float(found.get("start_s", 0)),
                                float(found.get("end_s", 0))))
        except (ValueError, KeyError, TypeError) as error:
            raise FeedbackError(f"{path}:{number}: no thumb ({error}); a line has id, verdict (true or false) and "
                                f"peak: mend or delete it") from None
    return thumbs


def add(path: Path, event: Event, false: bool) -> dict[str, Any]:
    """Write that an event was none (`false`), or was one, and return the line."""
    line = {"at": iso(time.time()), "id": event.id, "verdict": "false" if false else "true", "video": event.video,
            "start_s": event.start_s, "end_s": event.end_s, "peak": event.peak, "fingerprint": event.fingerprint}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return line
