"""Text files as editors and spreadsheets of all systems write them: UTF-8, with a mark or without, or marked UTF-16."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from pipeline.lists import ListError

# UTF-32 begins with the mark of UTF-16 in little endian, so it is looked for first.
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
LINE_END = re.compile(r"\r\n|\r|\n")  # no more: a name may hold what str.splitlines takes for an end


class Line(NamedTuple):
    """A line that is not empty and no comment, without blanks around it. `where`: file and line; `indent`: blanks left
    out before it.
    """

    where: str
    text: str
    indent: int = 0

    def at(self, place: int) -> str:
        """File, line and column of a place in the text."""
        return f"{self.where}:{self.indent + place + 1}"


def read_text(path: Path, what: str = "") -> str:
    """The file's text. `what` it is, for the message ("the labels"). Raises ListError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ListError(f"cannot read {_called(what, path)}: {error.strerror or error}") from None
    mark, encoding = next((known for known in MARKS if data.startswith(known[0])), (b"", "utf-8"))
    body = data.removeprefix(mark)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        before = LINE_END.split(body[:error.start].decode(encoding))
        raise ListError(f"cannot read {_called(what, path)}:{len(before)}:{len(before[-1]) + 1}: byte "
                        f"0x{body[error.start]:02x} is no {encoding.upper()}: save the file as UTF-8") from None
    if "\0" in text:
        raise ListError(f"cannot read {_called(what, path)}: it holds NUL, as UTF-16 without a mark does, or is no "
                        f"text: save the file as UTF-8")
    return text


def read_lines(path: Path, what: str = "") -> list[Line]:
    """Lines but empty ones and comments (`#` first). Raises ListError."""
    lines = LINE_END.split(read_text(path, what))
    return [Line(f"{path}:{number}", line.strip(), len(line) - len(line.lstrip()))
            for number, line in enumerate(lines, start=1) if line.strip() and not is_comment(line)]


def is_comment(line: str) -> bool:
    """A line that begins with `#` (a name that does is written `./#name`), and the `sep=;` of a spreadsheet."""
    return line.lstrip().startswith("#") or re.fullmatch(r"sep=.", line.strip(), re.IGNORECASE) is not None


def _called(what: str, path: Path) -> str:
    return f"{what} {path}" if what else str(path)
