"""Annotations as lines of blanks, tabs or bars: UCF-Crime's, XD-Violence's, and what others made of them.

    Name Class start end start end       UCF-Crime; -1 -1 for no event; MIST has a frame count at the end
    Folder/Name count Class start end    AnomalyDetectionCVPR2018-Pytorch
    Name start end start end             XD-Violence
    Name B2 start end G start end        XD-Violence with the class before each pair
    Folder/Name|count|[start, end]       Real-world-Anomaly-Detection..., whose normal videos have `Name count -1`
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from pipeline.lists import ListError
from pipeline.lists.events import Annotations, Event, check
from pipeline.lists.labels import class_in_path, find_label, says_normal
from pipeline.lists.names import FEATURE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.lists.published import UCF_CLASSES, XD_CLASSES
from pipeline.lists.text import Line

SUFFIXES = "|".join(map(re.escape, sorted(VIDEO_SUFFIXES | FEATURE_SUFFIXES, key=len, reverse=True)))
NAMED = re.compile(rf"(.+?(?:{SUFFIXES}))(?=\s|$)", re.IGNORECASE)
BARS = re.compile(r"([^|]+)\|\s*(\d+)\s*\|\s*\[([\d,\s-]*)\]")


@dataclass
class Fields:
    """What stands in a line: the name, a frame count, and the events by class, "" where no class is named."""

    line: Line
    name: str
    counted_first: bool = False
    counted_last: bool = False
    count: int | None = None
    groups: list[tuple[str, list[int]]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return [label for label, _ in self.groups if label]

    @property
    def pairs(self) -> list[tuple[int, int, str]]:
        """(start, end, class), without the -1 -1 that stand for nothing."""
        found = [(start, end, label) for label, numbers in self.groups
                 for start, end in zip(numbers[::2], numbers[1::2], strict=True)]
        return [pair for pair in found if pair[:2] != (-1, -1)]


def read(path: Path, lines: Sequence[Line], format: str) -> Annotations:
    """Annotations in lines. Raises ListError, naming line and column of what is no entry of a known form."""
    found = [split_line(line) for line in lines]
    words = [label for fields in found for label in fields.classes]
    bars = any("|" in line.text for line in lines)
    if format == "auto":
        format = "ucf-crime" if bars or set(words) - XD_CLASSES.keys() else "xd-violence"
    _check_form(found, format, bars)
    events: dict[str, tuple[Event, ...]] = {}
    for fields in found:
        if fields.name in events:
            raise ListError(f"{fields.line.where}: {fields.name!r} is annotated twice")
        told = _class_of(fields.name) if bars else ""
        events[fields.name] = tuple(
            check(fields.line.where, Event(Fraction(start), Fraction(end), XD_CLASSES.get(label, label)
                                           if format == "xd-violence" else label or told))
            for start, end, label in fields.pairs)
    return Annotations(path, format, "frames", events, only_abnormal=format == "xd-violence")


def split_line(line: Line) -> Fields:
    """A line's name and what follows it. Raises ListError."""
    if bars := BARS.fullmatch(line.text):
        numbers = [int(number) for number in re.findall(r"-?\d+", bars[3])]
        if len(numbers) % 2:
            raise ListError(f"{line.at(bars.start(3))}: expected pairs of start and end frame, found {bars[3]!r}")
        return Fields(line, bars[1].strip(), counted_first=True, count=int(bars[2]), groups=[("", numbers)])
    if "\t" in line.text:
        tokens = [(found.start(), found[0].strip()) for found in re.finditer(r"[^\t]+", line.text)]
    else:
        name = line_name(line.text)
        tokens = [(0, name)] + [(found.start(), found[0]) for found in
                                re.compile(r"\S+").finditer(line.text, len(name))]
    fields = Fields(line, tokens[0][1])
    _gather(fields, tokens[1:])
    return fields


def line_name(text: str) -> str:
    """The name that a line begins with: up to a tab or a bar, a file's suffix or a blank."""
    if "\t" in text or BARS.fullmatch(text):
        return re.split(r"[\t|]", text)[0].strip()
    found = NAMED.match(text)
    return found[0] if found else text.split()[0]


def _gather(fields: Fields, tokens: list[tuple[int, str]]) -> None:
    numbers: list[int] = []
    fields.groups.append(("", numbers))
    for place, token in tokens:
        if re.fullmatch(r"-?\d+", token):
            numbers.append(int(token))
            continue
        if len(fields.groups) == 1 and len(numbers) == 1 and numbers[0] >= 0:
            fields.counted_first, fields.count = True, numbers.pop()
        if len(numbers) % 2 or (len(fields.groups) > 1 and not numbers):
            raise ListError(f"{fields.line.at(place)}: expected pairs of start and end frame, found {token!r} in "
                            f"{fields.line.text!r}")
        fields.groups.append((token, numbers := []))
    if len(fields.groups) == 1 and len(numbers) == 2 and numbers[0] > 0 and numbers[1] == -1:
        fields.counted_first, fields.count = True, numbers[0]
        numbers.clear()
    if len(numbers) % 2:
        fields.counted_last, fields.count = True, numbers.pop()
    fields.groups = [group for group in fields.groups if group != ("", [])]


def _check_form(found: Sequence[Fields], format: str, bars: bool) -> None:
    """Every line is of one form. A number too many is a frame count where all lines have one."""
    all_counted = all(fields.counted_last and fields.classes for fields in found)
    for fields in found:
        line = fields.line
        if fields.counted_last and not (all_counted and (fields.count or 0) > 0):
            numbers = line.text.removeprefix(fields.name).strip()
            raise ListError(f"{line.where}: expected pairs of start and end frame, found {numbers!r}: a number too few "
                            f"or too many (a frame count stands after the pairs or before the class, in every line)")
        if bars and "|" not in line.text and fields.pairs:
            raise ListError(f"{line.where}: expected name|frames|[start, end], as in other lines, found {line.text!r}")
        is_known_normal = fields.counted_first and not fields.pairs
        if format == "ucf-crime" and not (bars or fields.classes or is_known_normal):
            raise ListError(f"{line.where}: expected 'name class start end ...', found {line.text!r}")
        if format == "xd-violence" and (strange := [label for label in fields.classes if label not in XD_CLASSES]):
            raise ListError(f"{line.at(line.text.find(strange[0], len(fields.name)))}: {strange[0]!r} is no code of "
                            f"XD-Violence ({', '.join(XD_CLASSES)})")


def _class_of(name: str) -> str:
    """UCF-Crime's class by folder or name; "" where they tell none."""
    return find_label(class_in_path(name, UCF_CLASSES, says_normal) or "", UCF_CLASSES) or ""
