"""Scores that anybody's detector gave, read from the forms that people keep them in and laid onto a video's frames.

A file holds the scores of many videos, or of the one that it is named after; a folder holds such files.

    Parquet, CSV   columns video (or video_id), score, and start,end (frames; exclusive or inclusive is told by whether
                   the video is covered) or frame; neither: the scores stand in order. No header: a score a line.
    JSON           {video: [score, ...]}, {video: {frame: score}}, or rows as objects with the columns above; the inner
                   part alone in a file that is named after its video
    .npy           (N,) scores

In order means one score a frame, or one a snippet of so many frames where the user says how many. Scores that stand at
frames hold until the next one, so these must come at even steps. Frames count from 0.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dbvad.scoring.scores import snippet_edges
from pipeline.engine.sealed import Unsealed, verify_if_sealed
from pipeline.lists.names import AmbiguousName, Names

COLUMNS = {"video_id": "video", "video": "video", "frame": "frame", "start": "start", "end": "end", "score": "score"}
FORMS = "CSV or Parquet with video,start,end,score or video,frame,score; JSON {video: [scores]}; a .npy a video"


class ScoresError(ValueError):
    """Scores that cannot be read, or do not fit the videos; the message names file and video, and both numbers."""


@dataclass(frozen=True)
class Given:
    """Scores (N,) of one video as a file has them; `starts`, `ends` (N,): from and to which frame, as far as told."""

    where: str
    scores: np.ndarray
    starts: np.ndarray | None = None
    ends: np.ndarray | None = None

    def edges(self, frames: int, snippet: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Where each score begins, from 0, and the end of the video (N + 1,), and the scores in that order (N,).

        Raises ScoresError unless they cover a video of `frames` frames, once.
        """
        if self.starts is None:
            return self._in_order(frames, snippet), self.scores
        order = np.argsort(self.starts, kind="stable")
        starts = self.starts[order]
        if self.ends is None:
            return self._at_frames(starts, frames, snippet), self.scores[order]
        return self._tiled(starts, self.ends[order], frames), self.scores[order]

    def _in_order(self, frames: int, snippet: int | None) -> np.ndarray:
        count = len(self.scores)
        if count == frames:
            return np.arange(frames + 1)
        if snippet and _fits(count, frames, snippet):
            return np.append(np.arange(count) * snippet, frames)
        likely = round(frames / count) if count else 0
        told = (f"one a snippet of {snippet} frames would be {-(-frames // snippet)}" if snippet else
                f"they fit one a snippet of {likely} frames: say so by --snippet {likely}"
                if likely > 1 and _fits(count, frames, likely) else "and one a snippet of no length, see --snippet")
        raise ScoresError(f"{self.where}: {count} scores, one a frame would be {frames}, {told}")

    def _at_frames(self, starts: np.ndarray, frames: int, snippet: int | None) -> np.ndarray:
        if starts[0] < 0 or starts[-1] >= frames:
            raise ScoresError(f"{self.where}: scores from frame {starts[0]} to {starts[-1]}, the video has frames 0 to "
                              f"{frames - 1}")
        steps = np.diff(starts)
        step = int(steps.min()) if len(steps) else snippet or 1
        uneven = np.flatnonzero(steps != step)
        if step == 0 or len(uneven):
            at = int(starts[np.flatnonzero(steps == 0)[0] if step == 0 else uneven[0]])
            raise ScoresError(f"{self.where}: two scores at frame {at}" if step == 0 else
                              f"{self.where}: scores stand every {step} frames, but after frame {at} comes "
                              f"{starts[uneven[0] + 1]}: where steps are uneven, give start and end of each")
        if starts[0] >= step or frames - starts[-1] >= 2 * step:
            raise ScoresError(f"{self.where}: scores every {step} frames from {starts[0]} to {starts[-1]} do not cover "
                              f"the video's {frames} frames")
        return snippet_edges(starts, frames)

    def _tiled(self, starts: np.ndarray, ends: np.ndarray, frames: int) -> np.ndarray:
        if np.array_equal(starts[1:], ends[:-1] + 1) and ends[-1] == frames - 1:  # else every last frame would lack
            ends = ends + 1
        bad = np.flatnonzero(starts[1:] != ends[:-1])
        if len(bad):
            raise ScoresError(f"{self.where}: after frames {starts[bad[0]]} to {ends[bad[0]]} comes "
                              f"{starts[bad[0] + 1]}: scores must cover every frame, once")
        if starts[0] != 0 or ends[-1] != frames or (ends <= starts).any():
            raise ScoresError(f"{self.where}: scores from frame {starts[0]} to {ends[-1]}, the video has frames 0 to "
                              f"{frames - 1}")
        return np.append(starts, frames)


@dataclass(frozen=True)
class GivenScores:
    """Scores by the name that the files use. `others`: how many files of which suffix in the folder hold no scores."""

    path: Path
    by_name: Mapping[str, Given]
    others: Mapping[str, int] = field(default_factory=dict)

    def match(self, video_ids: Iterable[str]) -> tuple[dict[str, Given], list[str]]:
        """Scores by video_id, and the names that are none of these videos. Raises ScoresError for a doubtful name."""
        try:
            owner, strange = Names(video_ids).owners(self.by_name)
        except AmbiguousName as error:
            raise ScoresError(f"{self.path}: {error}") from None
        return {video_id: self.by_name[name] for video_id, name in owner.items()}, strange


def read_scores(path: Path) -> GivenScores:
    """Read a file, or all files of a folder and those below it. Raises ScoresError."""
    if not path.exists():
        raise ScoresError(f"{path}: no such file or folder")
    if not path.is_dir():
        if path.suffix.lower() not in READERS:
            raise ScoresError(f"{path}: no form of scores that is known here: {FORMS}")
        return GivenScores(path, _read(path, path.stem))
    found: dict[str, Given] = {}
    others: Counter[str] = Counter()
    for file in sorted(path.rglob("*")):
        if file.is_dir() or file.name.startswith("."):
            continue
        if file.suffix.lower() not in READERS:
            others[file.suffix.lower() or "no suffix"] += 1
            continue
        for name, given in _read(file, file.relative_to(path).with_suffix("").as_posix()).items():
            if name in found:
                raise ScoresError(f"{found[name].where} and {given.where}: scores of {name!r} twice: keep one")
            found[name] = given
    if not found:
        raise ScoresError(f"{path}: no scores in this folder: {FORMS}")
    return GivenScores(path, found, others)


def _read(path: Path, name: str) -> dict[str, Given]:
    try:
        found = READERS[path.suffix.lower()](path, name)
    except ScoresError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:  # torn, no UTF-8, pickled, no JSON
        raise ScoresError(f"{path}: cannot be read as scores: {error}") from None
    for given in found.values():
        if not len(given.scores):
            raise ScoresError(f"{given.where}: no scores in it")
        odd = np.flatnonzero(~np.isfinite(given.scores))
        if len(odd):
            raise ScoresError(f"{given.where}: score {odd[0]} of {len(given.scores)} is {given.scores[odd[0]]}: no "
                              f"figure can be made of that")
    return found


def _read_npy(path: Path, name: str) -> dict[str, Given]:
    array = np.load(path, allow_pickle=False)
    scores = array.reshape(-1) if array.size == max(array.shape, default=0) else array
    if scores.ndim != 1 or scores.dtype.kind not in "fiub":
        raise ScoresError(f"{path}: {array.dtype} of shape {array.shape}, expected (N,) scores of one video: average "
                          f"crops before")
    return {name: Given(str(path), scores.astype(np.float64))}


def _read_parquet(path: Path, name: str) -> dict[str, Given]:
    try:
        verify_if_sealed(path)
    except Unsealed as error:
        raise ScoresError(f"{path} is damaged: {error}. Take it from a copy, or evaluate the run again") from None
    table = pq.ParquetFile(path).read()
    return _from_columns(path, {column: table[column].to_pylist() for column in table.column_names}, name)


def _read_csv(path: Path, name: str) -> dict[str, Given]:
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=next((mark for mark in ",;\t" if mark in first), ","))
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    head = ["score"]
    if rows and not (len(rows[0][1]) == 1 and _is_number(rows[0][1][0])):
        (_, head), *rows = rows
    if not rows:
        raise ScoresError(f"{path}: no scores in this file")
    if len(set(head)) < len(head):
        raise ScoresError(f"{path}:1: a column twice in {','.join(head)!r}")
    for line, row in rows:
        if len(row) != len(head):
            raise ScoresError(f"{path}:{line}: {len(row)} values, expected {len(head)}: {','.join(head)}")
    columns = dict(zip(head, zip(*(row for _, row in rows), strict=True), strict=True))
    return _from_columns(path, columns, name, [line for line, _ in rows])


def _read_json(path: Path, name: str) -> dict[str, Given]:
    content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        heads = dict.fromkeys(key for row in content for key in row)
        return _from_columns(path, {head: [row.get(head) for row in content] for head in heads}, name)
    if isinstance(content, dict) and any(isinstance(value, dict | list) for value in content.values()):
        return {video: _from_json(f"{path}, {video!r}", scores) for video, scores in content.items()}
    return {name: _from_json(str(path), content)}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dictionary. Raises ValueError where JSON's rules would let the last of two win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _from_json(where: str, content: Any) -> Given:
    """[score, ...] or {frame: score}."""
    if isinstance(content, dict):
        return Given(where, _numbers(where, "score", list(content.values())),
                     _whole(where, "frame", list(content)))
    if not isinstance(content, list):
        raise ScoresError(f"{where}: {str(content)[:40]!r} are no scores: {FORMS}")
    return Given(where, _numbers(where, "score", content))


def _from_columns(path: Path, table: Mapping[str, Sequence[Any]], name: str, lines: Sequence[int] | None = None,
                  ) -> dict[str, Given]:
    """Rows by video; `lines`: of the file, for messages."""
    heads = {head: COLUMNS[key] for head in table if (key := head.strip().lower()) in COLUMNS}
    columns = {column: table[head] for head, column in heads.items()}
    if "score" not in columns or ("start" in columns) != ("end" in columns) or len(columns) < len(heads):
        raise ScoresError(f"{path}: the columns are {','.join(table)!r}; needed are video, score, and start,end or "
                          "frame, each once")
    scores = _numbers(str(path), "score", columns["score"], lines)
    at = {key: _whole(str(path), key, columns[key], lines) for key in ("start", "end", "frame") if key in columns}
    places: dict[str, list[int]] = defaultdict(list)
    for place, video in enumerate(columns.get("video", [name] * len(scores))):
        places[str(video)].append(place)
    return {video: Given(f"{path}, {video!r}" if "video" in columns else str(path), scores[rows],
                         _pick(at.get("start", at.get("frame")), rows), _pick(at.get("end"), rows))
            for video, rows in places.items()}


def _pick(values: np.ndarray | None, rows: list[int]) -> np.ndarray | None:
    return None if values is None else values[rows]


def _numbers(where: str, what: str, values: Sequence[Any], lines: Sequence[int] | None = None) -> np.ndarray:
    try:
        return np.array(values, dtype=np.float64).reshape(len(values))
    except (TypeError, ValueError):
        place = next((k for k, value in enumerate(values) if not _is_number(value)), 0)
        line = f":{lines[place]}" if lines else f", row {place}"
        raise ScoresError(f"{where}{line}: {what} is {values[place]!r}, expected a number") from None


def _whole(where: str, what: str, values: Sequence[Any], lines: Sequence[int] | None = None) -> np.ndarray:
    numbers = _numbers(where, what, values, lines)
    odd = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.floor(numbers)))
    if len(odd):
        line = f":{lines[odd[0]]}" if lines else f", row {odd[0]}"
        raise ScoresError(f"{where}{line}: {what} is {values[odd[0]]}, expected a whole frame number")
    return numbers.astype(np.int64)


def _fits(count: int, frames: int, snippet: int) -> bool:
    """Whether so many snippets are what a video yields, with or without a last one that is not full."""
    return count > 0 and count in (frames // snippet, -(-frames // snippet))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


READERS = {".npy": _read_npy, ".parquet": _read_parquet, ".csv": _read_csv, ".txt": _read_csv, ".json": _read_json}
