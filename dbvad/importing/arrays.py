"""Feature files: what a .npy holds, told from its header, and its rows as snippets of unit length, a part at a time.

Nothing is ever unpickled, and no file lies in memory whole: a day of video has 60,000 snippets of 10 crops.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib import format as npy

from dbvad.importing import BadInput

Layout = Literal["td", "tcd", "ctd"]
CROPS = (1, 5, 10)  # numbers of crops that a layout is guessed from
PART_BYTES = 8 << 20  # of float32 in memory at a time
AGAIN = "download or extract it again, then run the same import once more"


@dataclass(frozen=True)
class Header:
    """Shape, type and place of an array in a file."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]
    offset: int

    def open(self) -> np.ndarray:
        """The array, mapped read-only. Pages count as memory until the map is dropped: open it anew for each part."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)


@dataclass
class Norms:
    """Lengths of the vectors as they were published, gathered while they are read; high is 0 before."""

    low: float = np.inf
    high: float = 0.0

    def add(self, other: "Norms") -> None:
        """Widen by others."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


def read_header(path: Path) -> Header:
    """What the file holds, without its numbers. Raises BadInput."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size == 0:
                raise BadInput("empty", f"{path.name} is an empty file", AGAIN)
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except OSError as error:
        raise BadInput("unreadable", f"{path.name} cannot be read: {error.strerror or error}",
                       "make the file readable") from error
    except ValueError as error:
        raise BadInput("not_npy", f"{path.name} is no .npy file: {error}", "save it by numpy.save") from error
    if dtype.hasobject:
        raise BadInput("pickled", f"{path.name} holds pickled Python objects, which are never loaded",
                       "save a plain array of numbers, as in np.save(path, np.stack(rows))")
    if dtype.kind != "f":
        raise BadInput("dtype", f"{path.name} holds {dtype}, expected floating numbers", "save float16 or float32")
    if size < offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise BadInput("truncated", f"{path.name} ends before its array of shape {shape} does", AGAIN)
    if len(shape) not in (2, 3) or 0 in shape:
        raise BadInput("shape", f"{path.name} has shape {shape}, expected (T, D), (T, crops, D) or (crops, T, D)",
                       "save one row a snippet, or one row a frame and import it by --per-frame")
    return Header(path, shape, dtype, "F" if fortran else "C", offset)


def guess_layout(shape: tuple[int, ...]) -> Layout | None:
    """The axes of an array by its shape; None where both readings fit, or none."""
    if len(shape) == 2:
        return "td"
    first, second = shape[0] in CROPS, shape[1] in CROPS
    return None if first == second else "ctd" if first else "tcd"


def rows_crops_width(shape: tuple[int, ...], layout: Layout) -> tuple[int, int, int]:
    """(T, C, D) of an array."""
    if layout == "td":
        return shape[0], 1, shape[1]
    return (shape[0], shape[1], shape[2]) if layout == "tcd" else (shape[1], shape[0], shape[2])


def snippets(files: Sequence[Header], layout: Layout, *, per: int, norms: Norms, stop: int | None = None,
             ) -> Iterator[np.ndarray]:
    """The snippets of a video, part after part: (t, C, D) float32 of length 1, at most `stop` of them in all.

    `files`: one file with all crops, or one file a crop, equally long. `per`: rows averaged into one snippet, each
    brought to length 1 first, as the score stage does with frames. Raises BadInput for numbers that are not finite and
    for rows of zeros.
    """
    total, _, width = rows_crops_width(files[0].shape, layout)
    crops = sum(rows_crops_width(file.shape, layout)[1] for file in files)
    total = total if stop is None else min(total, stop * per)
    step = max(1, PART_BYTES // (4 * crops * width) // per) * per
    for start in range(0, total, step):
        part = np.concatenate([_rows(file, layout, start, min(total, start + step)) for file in files], axis=1)
        lengths = np.sqrt(np.einsum("tcd,tcd->tc", part, part))
        _check(lengths, files, start)
        norms.add(Norms(float(lengths.min()), float(lengths.max())))
        part /= lengths[:, :, None]
        if per > 1:
            part = np.add.reduceat(part, np.arange(0, len(part), per), axis=0)
            part /= np.linalg.norm(part, axis=2, keepdims=True)
        yield part


def _rows(file: Header, layout: Layout, start: int, end: int) -> np.ndarray:
    """Rows [start, end) as (t, C, D) float32, copied out of the file."""
    array = file.open()
    part = array[:, start:end].transpose(1, 0, 2) if layout == "ctd" else array[start:end]
    return np.array(part[:, None] if layout == "td" else part, dtype=np.float32, order="C")


def _check(lengths: np.ndarray, files: Sequence[Header], start: int) -> None:
    """lengths (t, C) of rows from `start` on."""
    for wrong, kind, what in ((~np.isfinite(lengths), "not_finite", "holds NaN, infinity or numbers too large"),
                              (lengths == 0, "zeros", "is all zeros")):
        if wrong.any():
            row, crop = np.argwhere(wrong)[0]
            name = files[crop if len(files) > 1 else 0].path.name
            raise BadInput(kind, f"{name}: row {start + row} {what}", AGAIN)
