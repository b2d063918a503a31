"""Lists of videos: which there are, with the label that each line gives or shows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.lists import ListError
from pipeline.lists.event_lines import line_name, split_line
from pipeline.lists.labels import FLAGS, UNNAMED, are_flags, label_key
from pipeline.lists.names import path_parts, video_name
from pipeline.lists.splits import is_test_folder, read_split
from pipeline.lists.table import Row, header_columns, read_table
from pipeline.lists.text import Line, read_lines

FLAGGED = re.compile(r"([^,]+),\s*([01])\s*(?:,\s*\d+)?")
FLAG_WORDS = FLAGS | {"false": False, "true": True, "no": False, "yes": True, "normal": False, UNNAMED: True}


@dataclass(frozen=True)
class Listed:
    """One line of a list. `labels`: as the list has them, none where it says none; `flag`: whether the video is
    abnormal, where the list says that in place of labels; `split`: as the list has it, "" where it says none.
    """

    where: str
    name: str
    labels: tuple[str, ...] = ()
    flag: bool | None = None
    split: str = ""


def read_videos(path: Path, class_of: Callable[[str], str | None], stated: Sequence[str] = ()) -> list[Listed]:
    """The videos of a list. Raises ListError. Its forms:

    a table with a header that names a video or path, and a label;
    a path of which `class_of` knows the class (by a folder, or by the name, as in `Abuse028_x264.npy`);
    `Class/Name.mp4`, behind folders that all lines share, whatever stands after the name;
    `Name Class start end ...` and `Name class,class`;
    `Name,0` and `Name,1`, with a frame count behind or not (ShanghaiTech): 1 is an anomaly.
    """
    lines = read_lines(path, "the list")
    named = header_columns(lines[0].text) if lines else set()
    if "video" in named and named & {"label", "anomaly"}:
        return read_labelled(path, "the list", stated)
    flags = [FLAGGED.fullmatch(line.text) for line in lines]
    if lines and all(flags):
        return [Listed(line.where, found[1].strip(), flag=FLAGS[found[2]])
                for line, found in zip(lines, flags, strict=True) if found]
    shared = _shared_folders([_name_of(line) for line in lines])
    return [_listed(line, shared, class_of) for line in lines]


def read_labelled(path: Path, what: str, stated: Sequence[str] = ()) -> list[Listed]:
    """The rows of a table with the columns video and label (or anomaly, 0 or 1), and optionally split.

    `stated`: names of the normal class that the user stated. Raises ListError, also for labels that are 0 and 1 only:
    they may be two classes, or normal and not.
    """
    columns = header_columns(next(iter(read_lines(path, what)), Line("", "")).text)
    flagged = "anomaly" in columns and "label" not in columns
    label = "anomaly" if flagged else "label"
    table = read_table(path, ("video", label), ("split",), what)
    if not flagged and are_flags(row[label] for row in table.rows) and not set(stated) & FLAGS.keys():
        raise ListError(f"{table.rows[0].where}: the labels are 0 and 1: either 1 is an anomaly, then call the column "
                        f"anomaly, or they are two classes, then give them names")
    for row in table.rows:
        if not flagged and re.search(r"[,;]|^\[", row[label]):
            raise ListError(f"{row.where}: the label {row[label]!r} is one class or several: join several by |, and "
                            f"leave commas, semicolons and brackets out of a class's name")
    return [Listed(row.where, row["video"], () if flagged else (row[label],), _flag(row) if flagged else None,
                   row["split"]) for row in table.rows]


def _flag(row: Row) -> bool:
    flag = FLAG_WORDS.get(row["anomaly"].casefold())
    if flag is None:
        raise ListError(f"{row.where}: anomaly is {row['anomaly']!r}, expected 0 or 1")
    return flag


def _listed(line: Line, shared: int, class_of: Callable[[str], str | None]) -> Listed:
    name = _name_of(line)
    rest, plain = line.text[len(name):].strip(), video_name(name)[0]
    if found := class_of(plain):
        return Listed(line.where, name, (found,))
    folders = path_parts(plain)[:-1]
    if rest and (named := _classes_after(line, rest, bool(folders))):
        return Listed(line.where, name, named)
    own = folders if len(folders) == 1 else folders[shared:]
    if len(own) == 1 and not (read_split(own[0]) or is_test_folder(own[0])):
        return Listed(line.where, name, (own[0],))
    if len(folders) > 1:
        raise ListError(f"{line.where}: which folder of {name!r} is the class, "
                        f"{' or '.join(map(repr, (own or folders)[-2:]))}? None is one that is known: leave the others "
                        f"out, or name the dataset by --preset")
    return Listed(line.where, name)


def _classes_after(line: Line, rest: str, in_folders: bool) -> tuple[str, ...]:
    """`Name fighting,chasing`, or what stands in annotations; a word behind a path with folders may belong to it."""
    if re.fullmatch(r"[^\W\d]\S*", rest):
        return () if in_folders else tuple(part for part in rest.split(",") if part)
    return tuple({label_key(label): label for label in split_line(line).classes}.values())


def _name_of(line: Line) -> str:
    """All of the line where it ends like a file, else what it begins with."""
    return line.text if video_name(line.text)[0] != line.text else line_name(line.text)


def _shared_folders(names: Sequence[str]) -> int:
    """How many folders all names begin with."""
    folders = [path_parts(name)[:-1] for name in names]
    first, last = min(folders, default=[]), max(folders, default=[])
    return next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
                min(len(first), len(last)))
