"""Which feature files belong to which video: a folder matched with lists, then its files with each other."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from dbvad.importing import BadInput, ImportFault
from dbvad.importing.arrays import AGAIN, Header, Layout, guess_layout, read_header, rows_crops_width
from dbvad.importing.lists import Entry
from pipeline.lists.names import CROP_MARK, AmbiguousName, Names, video_name

T = TypeVar("T")
MOST_CROPS = 100
Files = dict[int | None, Path]  # by the crop in the file's name, None: no crop in it


@dataclass(frozen=True)
class Source:
    """A video as the lists name it, with its files. `problem`: why it cannot be imported.

    `headers` and `layout` are there after `inspect`.
    """

    video_id: str
    split: str
    labels: tuple[str, ...]
    files: Files
    headers: tuple[Header, ...] = ()
    layout: Layout = "td"
    problem: BadInput | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, C, D) over all files."""
        rows, crops, width = rows_crops_width(self.headers[0].shape, self.layout)
        return rows, crops * len(self.headers), width

    @property
    def crops(self) -> tuple[int, ...]:
        """The crops' numbers, from the names of the files or counted in the array."""
        numbers = tuple(crop for crop, _ in _by_crop(self.files) if crop is not None)
        return numbers or tuple(range(self.shape[1]))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(header.offset + header.dtype.itemsize * math.prod(header.shape) for header in self.headers)


@dataclass(frozen=True)
class Matched:
    """`missing`: (name, problem) of what the lists name and the folder lacks. `unlisted`: ids that no list names."""

    sources: list[Source]
    missing: list[tuple[str, BadInput]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def scan(root: Path, mark: str = CROP_MARK) -> dict[str, Files]:
    """The .npy files below a folder by video id: the path below it, without `__k.npy`. Raises ImportFault.

    `mark`: what stands before the crop's number. Bytes of a name that are no UTF-8 are spelt out, as the pipeline does.
    """
    if not root.is_dir():
        raise ImportFault(f"no folder at {root}: give the folder of the feature files")
    found: dict[str, Files] = defaultdict(dict)
    for path in _walk(root):
        shown = os.fsencode(os.path.relpath(path, root)).decode("utf-8", "backslashreplace")
        video_id, crop = video_name(shown, mark)
        found[video_id][crop] = Path(path)
    if not found:
        raise ImportFault(f"no .npy file below {root}: give the folder of the feature files")
    return dict(sorted(found.items()))


def settle_crops(entries: Sequence[Entry], files: dict[str, Files], crops: dict[str, Files]) -> dict[str, Files]:
    """One of two readings of a folder whose names all end in _0 to _4, or in _0 to _9: `files`, a video each, or
    `crops` of fewer videos. The lists decide where they name videos of one reading only. Raises ImportFault.
    """
    numbers = {tuple(sorted(k for k in found if k is not None)) for found in crops.values()}
    if numbers not in ({tuple(range(5))}, {tuple(range(10))}) or any(None in found for found in crops.values()):
        return files
    as_files, as_crops = Names(files), Names(crops)
    if not any(as_files.matches(entry.name) for entry in entries):
        return crops if any(as_crops.matches(entry.name) for entry in entries) else files
    count = len(next(iter(crops.values())))
    raise ImportFault(f"the names of all {len(files)} files end in _0 to _{count - 1}: they are {len(crops)} videos of "
                      f"{count} crops each (then add --crop-mark _), or {len(files)} videos (--crop-mark __)")


def match(entries: Sequence[Entry], folder: dict[str, Files], root: Path, *, only_listed: bool) -> Matched:
    """The videos of the lists with their files.

    A list that names one crop of a video stands for all crops that lie beside it, unless `only_listed`. Raises
    ImportFault for a name that fits several files, for a video with two splits or labels, and if nothing is found.
    """
    names, first, crops = Names(folder), dict[str, Entry](), defaultdict[str, set[int | None]](set)
    lacking: dict[str, Entry] = {}
    for entry in entries:
        try:
            video_id = names.find(entry.name)
        except AmbiguousName as error:
            raise ImportFault(f"{entry.where}: {error}") from None
        if video_id is None:
            lacking.setdefault(video_name(entry.name)[0], entry)
            continue
        before = first.setdefault(video_id, entry)
        if (before.split, before.labels) != (entry.split, entry.labels):
            raise ImportFault(f"{entry.where}: {video_id!r} is {_facts(entry)} here and {_facts(before)} at "
                              f"{before.where}: keep one of them")
        crops[video_id].add(entry.crop)
    if not first:
        raise ImportFault(f"none of the {len(lacking)} videos of the lists is below {root}: the first is "
                          f"{next(iter(lacking), 'nothing')!r}, the first file there is {next(iter(folder))!r}")
    sources = [Source(video_id, entry.split, entry.labels,
                      _chosen(folder[video_id], crops[video_id] if only_listed else {None}))
               for video_id, entry in sorted(first.items())]
    missing = [(PurePosixPath(name).name, BadInput("missing", f"{entry.where}: no file for it below {root}", AGAIN))
               for name, entry in lacking.items()]
    return Matched(sources, missing, sorted(set(folder) - set(first)))


def inspect(sources: Iterable[Source], layout: Layout | None) -> list[Source]:
    """Read the headers, settle each file's layout, and put aside the videos that are unlike the others.

    Most videos decide on the width, and on the crops of a split. A shape that can be read both ways is read as all
    others of its split and kind are; where they differ, or there is none, the video is put aside.
    """
    known = [_with_headers(source) for source in sources]
    seen: dict[tuple[str, str, int], set[Layout]] = defaultdict(set)
    for source in known:
        if source.headers and (guessed := guess_layout(source.headers[0].shape)) in ("tcd", "ctd"):
            seen[_kind(source)].add(guessed)
    usual = {kind: next(iter(layouts)) if len(layouts) == 1 else None for kind, layouts in seen.items()}
    known = [_checked(source, lambda s: _with_layout(s, layout or usual.get(_kind(s)), forced=layout is not None))
             for source in known]
    width = _most_common(source.shape[2] for source in known if not source.problem)
    crops = {split: _most_common(source.crops for source in known if not source.problem and source.split == split)
             for split in {source.split for source in known}}
    return [_checked(source, lambda s: _like_the_others(s, width, crops[s.split])) for source in known]


def _kind(source: Source) -> tuple[str, str, int]:
    """Files that one program wrote: of one split, type and width."""
    header = source.headers[0]
    return source.split, header.dtype.str, header.shape[-1]


def _with_headers(source: Source) -> Source:
    if not source.files:
        return replace(source, problem=BadInput("missing", "the crop that the list names is not there", AGAIN))
    if None in source.files and len(source.files) > 1:
        names = ", ".join(path.name for path in source.files.values())
        return replace(source, problem=BadInput("two_kinds", f"files with and without a crop number: {names}",
                                                "keep one kind"))
    try:
        return replace(source, headers=tuple(read_header(path) for _, path in _by_crop(source.files)))
    except BadInput as problem:
        return replace(source, problem=problem)


def _checked(source: Source, check: Callable[[Source], Source]) -> Source:
    if source.problem:
        return source
    try:
        return check(source)
    except BadInput as problem:
        return replace(source, problem=problem)


def _with_layout(source: Source, usual: Layout | None, *, forced: bool) -> Source:
    shapes = sorted({header.shape for header in source.headers})
    if len(shapes) > 1:
        raise BadInput("crop_lengths", f"its crops have different shapes: {', '.join(map(str, shapes))}", AGAIN)
    shape = shapes[0]
    layout = "td" if len(shape) == 2 else usual if forced else guess_layout(shape) or usual
    if layout is None or (layout == "td") != (len(shape) == 2):
        raise BadInput("layout", f"shape {shape} could be (T, crops, D) or (crops, T, D)",
                       "say which by --layout tcd or --layout ctd")
    found = replace(source, layout=layout)
    if found.shape[1] > MOST_CROPS:
        raise BadInput("layout", f"shape {shape} read as {layout} has {found.shape[1]} crops", "name another --layout")
    return found


def _like_the_others(source: Source, width: int | None, crops: tuple[int, ...] | None) -> Source:
    if source.shape[2] != width:
        raise BadInput("width", f"its features have width {source.shape[2]}, those of most videos {width}",
                       "import features of one model only")
    if source.crops != crops:
        raise BadInput("crops", f"it has crops {_listed(source.crops)}, most {source.split} videos have "
                                f"{_listed(crops or ())}", "add the missing files, or import one kind only")
    return source


def _chosen(files: Files, crops: set[int | None]) -> Files:
    return files if None in crops else {crop: path for crop, path in files.items() if crop in crops or crop is None}


def _by_crop(files: Files) -> list[tuple[int | None, Path]]:
    return sorted(files.items(), key=lambda item: -1 if item[0] is None else item[0])


def _most_common(values: Iterable[T]) -> T | None:
    """The value found most often, the earliest of several; None where there is none."""
    most = Counter(values).most_common(1)
    return most[0][0] if most else None


def _facts(entry: Entry) -> str:
    return f"{entry.split}, {' + '.join(entry.labels) or 'normal'}"


def _listed(crops: Sequence[int]) -> str:
    return ", ".join(map(str, crops))


def _walk(root: Path) -> list[str]:
    """All .npy files below a folder, through links to folders too, each folder once."""
    paths, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        paths += [os.path.join(folder, name) for name in sorted(files)
                  if name.endswith(".npy") and not name.startswith(".")]
    return paths
