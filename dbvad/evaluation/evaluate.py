"""Evaluation of a run on the test videos by the project's protocol; the result says how it was come by."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dbvad.data.dataset import Index, Video, read_index, split_holdout
from dbvad.data.features import read_features
from dbvad.evaluation.event_metrics import Recording, event_metrics
from dbvad.evaluation.fit import misfit
from dbvad.evaluation.groundtruth import (
    Format,
    Matched,
    Segment,
    decoded_times,
    frame_truth,
    match,
    read_annotations,
    remarks,
)
from dbvad.evaluation.localization import ClassScores, localization_map
from dbvad.evaluation.metrics import VideoScores, auc, bootstrap, frame_metrics
from dbvad.evaluation.variation import variation
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Ends, Protocol
from dbvad.scoring.rescoring import add_to_logits, name_likeness
from dbvad.scoring.scores import TorchNetwork, score_by, snippet_edges
from dbvad.training.checkpoint import CheckpointError, Model, load_model
from dbvad.training.label_texts import name_vectors
from dbvad.training.run import retrieval_of
from dbvad.training.runlog import plain
from pipeline.engine.files import atomic_file, write_record
from pipeline.engine.sealed import seal
from pipeline.engine.store import Store
from pipeline.instruments.hardware import pick_device
from pipeline.lists.labels import find_label
from pipeline.manifest import read as read_manifest
from pipeline.manifest import remarks_on_leaks
from pipeline.words import few

TOP_SHARE = 16  # a video's score is the mean of its top T // 16 + 1 snippets, as in training
SCORES = pa.schema([("video_id", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("score", pa.float32())])


class EvaluateError(ValueError):
    """Run, artifacts and annotations do not fit together; the message says where and what to do."""


@dataclass(frozen=True)
class Scored:
    """One test video: `edges` (T + 1,) in frames, `scores` (T,), `classes` (T, C) or None without a class head."""

    video: Video
    edges: np.ndarray
    scores: np.ndarray
    classes: np.ndarray | None

    @property
    def frame_scores(self) -> np.ndarray:
        """(frames,)"""
        return np.repeat(self.scores, np.diff(self.edges))

    @property
    def video_score(self) -> float:
        return float(np.sort(self.scores)[::-1][:len(self.scores) // TOP_SHARE + 1].mean())


Track = Callable[[Iterable[Any], int], Iterable[Any]]


def evaluate(run: Path, artifacts: Path, annotations: Path | None = None, *, format: Format = "auto",
             protocol: Protocol | None = None, thresholds: Thresholds | None = None, per_hour: float = 1.0,
             oracle: bool = False, vary: bool = False, device: str = "auto", out: Path | None = None,
             index: Index | None = None, model: Model | None = None, track: Track = lambda items, total: items,
             ) -> dict[str, Any]:
    """Score the test videos with the run's model, compare with the annotations, and return the result.

    Writes scores.parquet (video_id, start, end exclusive, score; one row a snippet) into the run folder, or into `out`.
    `index`, `model`: the test videos and the model, where they are at hand already. Without annotations only whole
    videos can be judged: `video_auc`. `thresholds`, `per_hour`: as in event_metrics.py. `oracle` adds the best figures
    over the run's kept epochs, chosen on the test set and therefore no result. `vary` adds how much features and scores
    vary inside the abnormal videos (variation.py). Raises EvaluateError, CheckpointError,
    DataError, FeatureError, AnnotationError.
    """
    protocol = protocol or Protocol()
    store, model = Store(artifacts), model or _load(run, device)
    index = index or read_index(store, "test")
    _check_fit(model, index, protocol)
    truth = read_truth(annotations, format, index, protocol.ends, store, model.facts.classes) if annotations else None
    scored = score_videos(model, store, index, protocol, track)
    save_scores((out or run) / "scores.parquet", scored)
    result = measure(scored, truth, protocol, thresholds, per_hour) | {
        "dropped": index.dropped, "protocol": protocol.model_dump() | {"selection": model.config.select},
        "annotations": None, "provenance": _provenance(run, model, index)}
    result["warnings"] += [remark.as_dict() for remark in remarks_on_leaks(index.leaks)]
    if vary:
        result["variation"] = variation(model.detector, (read_features(store, video.video_id, index.crops)[0][:, 0]
                                                         for video in index.videos if video.abnormal))
    if truth is not None and annotations is not None:
        result["localization"] = _localization(scored, truth, model)
        result["annotations"] = about_annotations(annotations, format, truth, protocol)
        if oracle:
            result["oracle"] = _oracle(run, store, index, truth, protocol, device)
    return plain(result)


def measure(scored: list[Scored], truth: Matched | None, protocol: Protocol, thresholds: Thresholds | None = None,
            per_hour: float = 1.0) -> dict[str, Any]:
    """What scores come to: frame by frame and by events where the truth is known, else of whole videos alone."""
    result: dict[str, Any] = {
        "metrics": {"video_auc": _video_auc(scored)}, "intervals": {}, "localization": None, "events": None,
        "videos": len(scored), "abnormal_videos": sum(s.video.abnormal for s in scored),
        "frames": int(sum(s.edges[-1] for s in scored)),
        "warnings": [remark.as_dict() for remark in truth.remarks] if truth else []}
    if truth is not None:
        videos = with_truth(scored, truth)
        result["metrics"] |= frame_metrics(videos, threshold=protocol.threshold)
        result["intervals"] = bootstrap(videos, repeats=protocol.repeats) if protocol.repeats else {}
        result["events"] = _events(scored, truth, thresholds or Thresholds(), per_hour)
        result["abnormal_frames"] = int(sum(video.truth.sum() for video in videos))
    return result


def _events(scored: list[Scored], truth: Matched, thresholds: Thresholds, per_hour: float) -> dict[str, Any] | str:
    """Metrics of events, in seconds by the videos' frame rates, or why there are none."""
    timeless = [s.video.video_id for s in scored if not s.video.fps > 0]
    if timeless:
        return f"not available: the frame rate of {few(timeless)} is unknown, so frames have no seconds"
    if any(s.scores.min() < 0 or s.scores.max() > 1 for s in scored):
        return "not available: scores are not between 0 and 1, as the thresholds of events are"
    return event_metrics([Recording(s.edges / s.video.fps, s.scores, np.array(
        [(segment.start, segment.end) for segment in truth.segments.get(s.video.video_id, ())],
        dtype=np.float64).reshape(-1, 2) / s.video.fps) for s in scored], thresholds, per_hour)


def about_annotations(annotations: Path, format: Format, truth: Matched, protocol: Protocol) -> dict[str, Any]:
    """Which annotations a result rests on, and what of them did not fit."""
    return {"file": annotations.name, "path": str(annotations), "format": format, "ends": protocol.ends,
            "unknown_names": truth.unknown_names, "clipped": truth.clipped, "unannotated": len(truth.unannotated)}


def judge_holdout(run: Path, artifacts: Path, *, protocol: Protocol | None = None, device: str = "auto",
                  ) -> dict[str, Any]:
    """The figure that options may be chosen by: AUC of the scores of held-out training videos under a protocol.

    `retrieval`: whether the training found their descriptions from them.

    No test video and no frame-level truth is read. Raises EvaluateError without a hold-out, and as `evaluate`.
    """
    protocol = protocol or Protocol()
    store, model = Store(artifacts), _load(run, device)
    if not model.config.holdout:
        raise EvaluateError(f"{run} held out no training video: train with --set holdout=0.2")
    index = read_index(store, "train")
    _check_fit(model, index, protocol)
    _, held = split_holdout(np.array([video.abnormal for video in index.videos]), model.config.holdout,
                            model.config.seed)
    scored = score_videos(model, store, replace(index, videos=tuple(index.videos[place] for place in held)), protocol)
    return plain({"metrics": {"holdout_auc": _video_auc(scored)}, "retrieval": retrieval_of(run), "videos": len(scored),
                  "protocol": protocol.model_dump() | {"selection": model.config.select},
                  "provenance": _provenance(run, model, index)})


def score_videos(model: Model, store: Store, index: Index, protocol: Protocol,
                 track: Track = lambda items, total: items) -> list[Scored]:
    """Scores of every video of an index. Raises FeatureError, EvaluateError."""
    found = []
    network = TorchNetwork(model.detector, model.head)
    names = name_vectors(model.config, model.facts.classes, index)[1:].numpy() if protocol.names else None
    for video in track(index.videos, len(index.videos)):
        features, starts = read_features(store, video.video_id, index.crops)
        try:
            edges = snippet_edges(starts, video.frames)
        except ValueError as error:
            raise EvaluateError(f"{video.video_id}: {error}: its features are not of this video, make them again: "
                                f"dbvad pipeline run score --video {quote(video.video_id)} --force") from None
        columns = score_by(network, features, protocol)
        if not np.isfinite(columns).all():
            raise EvaluateError(f"{video.video_id}: the model gives it scores that are not finite; train it again with "
                                f"a lower lr or precision=fp32")
        if names is not None:
            views = features if protocol.crop is None else features[:, [protocol.crop]]
            columns[:, 0] = add_to_logits(columns[:, 0], protocol.names * name_likeness(views, names))
        classes = None if model.head is None else _class_scores(columns)
        found.append(Scored(video, edges, columns[:, 0], classes))
    return found


def save_scores(path: Path, scored: Iterable[Scored]) -> None:
    """One row a snippet: video_id, start, end (exclusive), score."""
    tables = [pa.table([pa.array([s.video.video_id] * len(s.scores)), s.edges[:-1], s.edges[1:],
                        s.scores.astype(np.float32)], schema=SCORES) for s in scored]
    with atomic_file(path) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
        seal(temporary)


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """The result as JSON, with a digest."""
    write_record(path, result)


def _load(run: Path, device: str) -> Model:
    try:
        return load_model(run, pick_device(device))
    except ValueError as error:
        raise error if isinstance(error, CheckpointError) else EvaluateError(str(error)) from error


def _class_scores(columns: np.ndarray) -> np.ndarray:
    """(T, 1 + C) confidence and class shares -> (T, C) that sum to 1: normal has 1 - s, s is divided by the shares."""
    confidence, shares = columns[:, :1], columns[:, 2:]
    total = shares.sum(axis=1, keepdims=True)
    return np.concatenate([1 - confidence, confidence * shares / np.where(total == 0, 1, total)], axis=1)


def _check_fit(model: Model, index: Index, protocol: Protocol) -> None:
    fault = misfit(model.facts, index, protocol.crop, owner="the test videos",
                   remedy="score them alike, or train on these")
    if fault:
        raise EvaluateError(fault)


def read_truth(annotations: Path, format: Format, index: Index, ends: Ends, store: Store, classes: Sequence[str] = (),
               ) -> Matched:
    """The events of the test videos. `classes`: those trained on. Raises AnnotationError, EvaluateError."""
    videos = {video.video_id: (video.frames, video.fps) for video in index.videos}
    read = read_annotations(annotations, format)
    entries = {entry.video_id: entry for entry in read_manifest(store.root).entries}
    truth = match(read, videos, ends=ends, times=decoded_times(store, entries), others=entries)
    if len(truth.unannotated) == len(videos):
        raise EvaluateError(f"{annotations} names none of the {len(videos)} test videos ({few(list(videos))}); it has "
                            f"{few(truth.unknown_names)}")
    abnormal = {video.video_id for video in index.videos if video.abnormal}
    lacking = sorted(abnormal & set(truth.unannotated))
    if lacking:
        raise EvaluateError(f"{annotations} does not name {len(lacking)} abnormal test videos ({few(lacking)}): their "
                            f"frames would count as normal. Add a row for each (without times if nothing happens)")
    odd = sorted(video_id for video_id, segments in truth.segments.items() if segments and video_id not in abnormal)
    if odd:
        raise EvaluateError(f"{annotations} has events in {len(odd)} videos that are labelled normal ({few(odd)}): "
                            f"correct the labels or the annotations")
    return replace(truth, remarks=tuple(remarks(read, truth, classes)))


def with_truth(scored: Iterable[Scored], truth: Matched) -> list[VideoScores]:
    """Scores and truth of every frame."""
    return [VideoScores(s.video.video_id, s.video.abnormal, s.frame_scores,
                        frame_truth(truth.segments.get(s.video.video_id, ()), s.video.frames)) for s in scored]


def _video_auc(scored: list[Scored]) -> float:
    return auc(np.array([s.video.abnormal for s in scored]), np.array([s.video_score for s in scored]))


def _localization(scored: list[Scored], truth: Matched, model: Model) -> dict[str, Any] | str:
    """mAP@IoU, or why there is none."""
    if model.head is None:
        return "not available: the model was trained without descriptions (dbm), so it tells no classes apart"
    names = {name: column for column, name in enumerate(model.facts.classes)}
    found = {label: find_label(label, names) for s in scored for segment in truth.segments.get(s.video.video_id, ())
             for label in _labels(segment, s.video)}
    strange = sorted(label for label, name in found.items() if name is None)
    if strange:
        return f"not available: the model was not trained on {few(strange)}, it knows {few(model.facts.classes, 20)}"
    videos = []
    for s in scored:
        assert s.classes is not None
        segments = [(segment.start, segment.end, names[found[label] or ""])
                    for segment in truth.segments.get(s.video.video_id, ())
                    for label in _labels(segment, s.video)]
        videos.append(ClassScores(s.classes, s.edges, segments))
    located = localization_map(videos, len(names))
    return {"ious": located.ious, "map": located.mean, "map_compat": located.compat,
            "average": float(np.mean(located.mean)), "average_compat": float(np.mean(located.compat)),
            "classes": dict(zip(model.facts.classes, located.classes, strict=True))}


def _labels(segment: Segment, video: Video) -> tuple[str, ...]:
    """The class of an event; XD-Violence does not say which of its video's labels it is, so it counts for each."""
    return (segment.label,) if segment.label else video.labels


def _oracle(run: Path, store: Store, index: Index, truth: Matched, protocol: Protocol, device: str) -> dict[str, Any]:
    paths = sorted((run / "epochs").glob("epoch-*.safetensors"))
    if not paths:
        raise EvaluateError(f"{run} kept no epochs to choose an oracle from: train with --set keep_epochs=true")
    figures = {}
    for path in paths:
        model = load_model(path, pick_device(device))
        figures[model.facts.epoch] = frame_metrics(with_truth(score_videos(model, store, index, protocol), truth))
    result: dict[str, Any] = {"note": "chosen on the test set: an upper bound, not a result"}
    for name in ("auc", "ap"):
        value, epoch = max((figure[name], epoch) for epoch, figure in figures.items())
        result[name] = {"epoch": epoch, "value": value}
    return result


def _provenance(run: Path, model: Model, index: Index) -> dict[str, Any]:
    facts = model.facts
    return {
        "run": str(run), "epoch": facts.epoch, "seed": model.config.seed, "classes": facts.classes,
        "training_data": facts.data, "test_data": index.fingerprint, "feature_source": index.feature_source,
        "feature_model": index.model, "feature_identity": index.identity, "crops": index.crops,
        "config": model.config.model_dump(mode="json"), **about_code()}


def about_code() -> dict[str, Any]:
    """Commit and versions of what judges."""
    return {"commit": _commit(), "versions": {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("dbvad", "torch", "numpy", "pyarrow")}}


def _commit() -> str | None:
    """The commit of the code that runs, with "+" if it was changed since; None outside a checkout."""
    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(Path(__file__).parents[1]), *command], capture_output=True, text=True,
                              timeout=10, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None

