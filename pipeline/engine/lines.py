"""Logs of JSON lines in which every line carries a check sum of itself."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.engine.printable import printable

WHOLE = re.compile(rb'(\{.*), "crc": "([0-9a-f]{8})"\}', re.DOTALL)


def line(content: Mapping[str, Any]) -> str:
    """One line of a log, its end included; numbers must be finite."""
    text = printable(json.dumps(content, ensure_ascii=False, allow_nan=False))[:-1]
    return f'{text}, "crc": "{zlib.crc32(text.encode()):08x}"}}\n'


def is_whole(raw: bytes) -> bool:
    """Whether a line (without its end) is as it was written; one cut off by a power loss is not."""
    found = WHOLE.fullmatch(raw)
    return found is not None and zlib.crc32(found[1]) == int(found[2], 16)


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The content of the lines that are as they were written."""
    for raw in _lines(path):
        if is_whole(raw):
            content = json.loads(raw)
            del content["crc"]
            yield content


def damaged(path: Path) -> int:
    """How many lines are not as they were written, be it that they are older than check sums."""
    return sum(not is_whole(raw) for raw in _lines(path))


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return content.removesuffix(b"\n").split(b"\n") if content else []
