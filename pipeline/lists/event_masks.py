"""Annotations as a folder with a file a video and a value a frame: ShanghaiTech's .npy, UBI-Fights' .csv."""

from fractions import Fraction
from itertools import groupby
from pathlib import Path

from pipeline.lists import ListError
from pipeline.lists.events import Annotations, Event
from pipeline.lists.text import read_lines

SUFFIXES = (".npy", ".csv", ".txt")


def read(folder: Path) -> Annotations:
    """Runs of ones are events; the names are the files' paths below the folder, without suffix. Raises ListError."""
    if not folder.is_dir():
        raise ListError(f"no folder at {folder}: masks are a folder with a file a video")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ListError(f"{folder}: no {', '.join(SUFFIXES)} file, each with 0 or 1 a frame")
    events = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in events:
            raise ListError(f"{path}: {name!r} is annotated twice in {folder}")
        events[name] = _runs(_values(path))
    return Annotations(folder, "masks", "frames", events, half_open=True)


def _runs(values: list[int]) -> tuple[Event, ...]:
    found, place = [], 0
    for value, run in groupby(values):
        length = len(list(run))
        if value:
            found.append(Event(Fraction(place), Fraction(place + length)))
        place += length
    return tuple(found)


def _values(path: Path) -> list[int]:
    if path.suffix.lower() == ".npy":
        import numpy as np

        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ListError(f"cannot read annotations {path}: {error}") from None
        if array.ndim != 1 or not np.isin(array, (0, 1)).all():
            raise ListError(f"{path}: an array of shape {array.shape}; expected one row of 0 and 1, a number a frame")
        return [int(value) for value in array]
    values = []
    for line in read_lines(path, "annotations"):
        text = line.text.rstrip(",;")
        if text not in ("0", "1", "0.0", "1.0"):
            raise ListError(f"{line.where}: {line.text!r}; expected 0 or 1, a line a frame")
        values.append(int(float(text)))
    return values
