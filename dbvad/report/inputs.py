"""What a report is made from: the videos, and where there are any, a run's result and scores, and the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dbvad.detection.contracts import DETECT, SPLIT
from dbvad.evaluation.groundtruth import (
    AnnotationError,
    Annotations,
    Format,
    Segment,
    Times,
    decoded_times,
    match,
    read_annotations,
)
from pipeline.contracts import STAGES
from pipeline.engine.files import Damaged, read_record
from pipeline.engine.shard import open_sealed
from pipeline.engine.store import Store
from pipeline.manifest import Entry, NoManifest, current
from pipeline.manifest import read as read_manifest

RESULT, SCORES, LADDER = "result.json", "scores.parquet", "ladder.json"


class ReportError(ValueError):
    """There is nothing to report on; the message says what to run."""


@dataclass(frozen=True)
class Video:
    """One video as ingest saw it. `labels`: none for a normal video, None where unknown; numbers: 0 where unknown."""

    video_id: str
    split: str
    labels: tuple[str, ...] | None = None
    fps: float = 0.0
    duration_s: float = 0.0
    n_frames: int = 0
    width: int = 0
    height: int = 0
    codec: str = ""


@dataclass(frozen=True)
class Scores:
    """Scores of one video: `edges` (T + 1,) in frames, `values` (T,); a score holds from its edge to the next."""

    edges: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """Everything but the shards, which are read one video at a time.

    `entries`: of today's dataset, by video_id; what is not in it is not shown. `truth`: segments by video_id, empty for
    a video known to be normal, no entry where nothing is known. `missing`: part of the report -> one sentence on why it
    is left out and what to run.
    """

    store: Store
    run: Path | None
    entries: Mapping[str, Entry]
    videos: tuple[Video, ...]
    scores: Mapping[str, Scores]
    result: Mapping[str, Any] | None
    ladders: tuple[Any, ...]
    truth: Mapping[str, tuple[Segment, ...]]
    missing: dict[str, str] = field(default_factory=dict)


def read_inputs(store: Store, run: Path | None, annotations: Path | None, format: Format,
                ladders: Sequence[Path] = ()) -> Inputs:
    """Read what there is. Raises ReportError, and AnnotationError for a file that the user named."""
    if run is not None and not run.is_dir():
        raise ReportError(f"no run folder at {run}: make one with `dbvad train --out {run}`")
    missing: dict[str, str] = {}
    result = _read_result(run, missing)
    entries = _read_entries(store)
    scores = _read_detected(store, entries, missing) if run is None else _read_scores(run, missing)
    if entries and (others := sorted(set(scores) - set(entries))):
        missing["dataset"] = (f"{len(others)} videos that this run was evaluated on are no longer in the dataset "
                              f"({', '.join(others[:3])}) and are not shown; the figures still count them: `dbvad "
                              f"evaluate {run}` judges today's.")
        scores = {video_id: found for video_id, found in scores.items() if video_id in entries}
    videos = _read_videos(store, entries, scores)
    if not videos:
        raise ReportError(f"nothing to report on: no videos in {store} and no scores of a run. Run "
                          f"`dbvad pipeline run` first, or name another folder by --artifacts")
    truth = _read_truth(videos, scores, result, annotations, format, missing, decoded_times(store, entries))
    return Inputs(store, run, entries, videos, scores, result, _read_ladders(run, ladders, missing), truth, missing)


def _read_entries(store: Store) -> dict[str, Entry]:
    """The videos of the dataset; none where there are no artifacts, and a run's scores are all there is."""
    try:
        return {entry.video_id: entry for entry in read_manifest(store.root).entries}
    except NoManifest as error:
        if any(store.shards(stage) for stage in STAGES):
            raise ReportError(str(error)) from None
        return {}


def _read_videos(store: Store, entries: Mapping[str, Entry], scores: Mapping[str, Scores]) -> tuple[Video, ...]:
    columns = ["fps", "duration_s", "n_frames", "width", "height", "codec"]
    found = {}
    for video_id in store.ahead("ingest", entries):
        entry = entries[video_id]
        rows = store.read("ingest", video_id, columns).to_pylist() if current(store, entry, "ingest") else []
        found[video_id] = Video(video_id, entry.split, _labels(entry), **rows[0] if rows else {})
    unknown = {video_id: Video(video_id, "test") for video_id in scores if video_id not in found}
    return tuple(sorted([*found.values(), *unknown.values()], key=lambda video: video.video_id))


def _labels(entry: Entry) -> tuple[str, ...] | None:
    return None if entry.split == SPLIT else tuple(sorted(entry.labels))


def _read_detected(store: Store, entries: Mapping[str, Entry], missing: dict[str, str]) -> dict[str, Scores]:
    """Scores of recordings that `dbvad detect` searched, of which no truth is known."""
    found = {}
    for video_id, entry in entries.items():
        if DETECT.artifact in entry.fingerprints and current(store, entry, DETECT.artifact):
            rows = store.read(DETECT.artifact, video_id, ["start_frame", "end_frame", "score"])
            edges = np.append(rows["start_frame"].to_numpy(), rows["end_frame"].to_numpy()[-1:])
            found[video_id] = Scores(edges, rows["score"].to_numpy())
    if found:
        missing["result"] = ("These are recordings that `dbvad detect` searched: nothing is known of what truly "
                             "happens in them, so nothing is judged.")
    else:
        missing["scores"] = missing["result"]
    return found


def _read_result(run: Path | None, missing: dict[str, str]) -> Mapping[str, Any] | None:
    if run is None:
        missing["result"] = ("No run was named, so this page shows the data only. `dbvad train --out RUN`, "
                             "`dbvad evaluate RUN --annotations FILE`, then `dbvad report RUN` add the results.")
        return None
    path = run / RESULT
    try:
        result = read_record(path, f"Run `dbvad evaluate {run}` again.")
        if not isinstance(result.get("metrics"), dict):
            raise ValueError("it holds no metrics")
        return result
    except FileNotFoundError:
        missing["result"] = (f"This run has not been evaluated: `dbvad evaluate {run} --annotations FILE` writes "
                             f"{RESULT} and {SCORES}.")
    except Damaged as error:
        missing["result"] = str(error)
    except (OSError, ValueError) as error:
        missing["result"] = f"{path} cannot be read ({error}): run `dbvad evaluate {run}` again."
    return None


def _read_scores(run: Path, missing: dict[str, str]) -> dict[str, Scores]:
    path = run / SCORES
    try:
        with open_sealed(path) as file:
            found = _split(file.read(columns=["video_id", "start", "end", "score"]))
    except FileNotFoundError:
        missing["scores"] = f"This run has no scores: `dbvad evaluate {run}` writes {SCORES}."
        return {}
    except (OSError, ValueError, KeyError) as error:
        missing["scores"] = f"{path} cannot be read ({error}): run `dbvad evaluate {run}` again."
        return {}
    if not found:
        missing["scores"] = f"{path} holds no scores: are there test videos? See `dbvad pipeline status`."
    return found


def _split(table: pa.Table) -> dict[str, Scores]:
    """Rows of one video stand together, in the order of time."""
    ids = table["video_id"].combine_chunks().dictionary_encode()
    codes, names = ids.indices.to_numpy(), ids.dictionary.to_pylist()
    start, end, score = (table[name].to_numpy() for name in ("start", "end", "score"))
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(begins) != len(names):
        raise ValueError("rows of one video do not stand together")
    found = {}
    for first, last in zip(begins, [*begins[1:], len(codes)], strict=True):
        edges = np.append(start[first:last], end[last - 1])
        if (np.diff(edges) <= 0).any() or (end[first:last] != edges[1:]).any():
            raise ValueError(f"the snippets of {names[codes[first]]} do not follow one another")
        if not np.isfinite(score[first:last]).all():
            raise ValueError(f"a score of {names[codes[first]]} is not finite")
        found[names[codes[first]]] = Scores(edges, score[first:last])
    return found


def _read_ladders(run: Path | None, named: Sequence[Path], missing: dict[str, str]) -> tuple[Any, ...]:
    """Contents of the named files, else of RUN/ladder.json if it is there."""
    beside = [run / LADDER] if run and (run / LADDER).is_file() else []
    found, faults = [], []
    for path in named or beside:
        try:
            found.append(read_record(path, "Run `dbvad ablate` again."))
        except FileNotFoundError:
            faults.append(f"There is no file {path}.")
        except Damaged as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{path} cannot be read ({error}).")
    if not found and not faults:
        faults = ["No ablation is shown here: `dbvad ablate modules --annotations FILE` runs one, and `dbvad report "
                  "RUN --ladder ablations/modules/ladder.json` adds its table."]
    if faults:
        missing["ladder"] = " ".join(faults)
    return tuple(found)


def _read_truth(videos: tuple[Video, ...], scores: Mapping[str, Scores], result: Mapping[str, Any] | None,
                given: Path | None, format: Format, missing: dict[str, str], times: Times,
                ) -> dict[str, tuple[Segment, ...]]:
    recorded = (result or {}).get("annotations") or {}
    path = given or (Path(recorded["path"]) if recorded.get("path") else None)
    if path is None:
        missing["truth"] = ("No annotations are known, so no true events are shaded and no video can be judged: name "
                            "the file by `--annotations FILE`, here or at `dbvad evaluate`.")
        return {}
    try:
        annotations = read_annotations(path, format if given else recorded.get("format", "auto"))
        return _matched(annotations, videos, scores, recorded.get("ends", "inclusive"), missing, times)
    except AnnotationError as error:
        if given:
            raise
        missing["truth"] = (f"The annotations of this run cannot be used ({error}): name the file by "
                            f"`--annotations FILE`.")
    return {}


def _matched(annotations: Annotations, videos: tuple[Video, ...], scores: Mapping[str, Scores], ends: Any,
             missing: dict[str, str], times: Times) -> dict[str, tuple[Segment, ...]]:
    """Truth of the test videos, as evaluation has it, and of training videos where the file names them too."""
    frames = {video.video_id: int(scores[video.video_id].edges[-1]) if video.video_id in scores else video.n_frames
              for video in videos}
    sizes = {video.video_id: (frames[video.video_id] or 2**62, video.fps) for video in videos}
    tested = {video.video_id for video in videos if video.split == "test"}
    truth = dict(match(annotations, {key: size for key, size in sizes.items() if key in tested}, ends=ends,
                       times=times).segments)
    try:
        rest = {key: size for key, size in sizes.items() if key not in tested}
        truth |= match(annotations, rest, ends=ends, times=times).segments
    except AnnotationError as error:
        missing["train_truth"] = f"No true events are shown in training videos: {error}."
    return {video.video_id: () for video in videos if video.labels == ()} | truth
