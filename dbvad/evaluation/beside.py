"""Anybody's scores judged as a run's are, and beside those of runs, on the same videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbvad.data.dataset import Video, read_index
from dbvad.evaluation.evaluate import (
    EvaluateError,
    Scored,
    about_annotations,
    about_code,
    measure,
    read_truth,
    with_truth,
)
from dbvad.evaluation.given_scores import Given, read_scores
from dbvad.evaluation.groundtruth import Format, Matched
from dbvad.evaluation.metrics import bootstrap_difference
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from dbvad.scoring.rescoring import smooth
from dbvad.training.runlog import plain
from pipeline.engine.store import Store
from pipeline.words import counted, few

SNIPPET = 16  # frames of a snippet that `smooth` counts in, whatever the scores stand for (chosen here)


def judge_scores(path: Path, artifacts: Path, annotations: Path | None = None, *, format: Format = "auto",
                 protocol: Protocol | None = None, snippet: int | None = None, allow_missing: bool = False,
                 runs: Sequence[Path] = (), thresholds: Thresholds | None = None, per_hour: float = 1.0,
                 ) -> dict[str, Any]:
    """The result of the scores at `path` on the test videos, with that of evaluated `runs` on the same videos in it.

    `snippet`: frames that a score stands for where it does not say so itself. `allow_missing`: leave out test videos
    that have no scores, which is an error otherwise. Of the protocol only `smooth`, `ends`, `threshold` and `repeats`
    act on scores; those of runs are taken as they were saved. `thresholds`, `per_hour`: as in `evaluate`. Raises
    EvaluateError, ScoresError, AnnotationError, DataError.
    """
    protocol = protocol or Protocol()
    store = Store(artifacts)
    index = read_index(store, "test")
    given = read_scores(path)
    found, strange = given.match(video.video_id for video in index.videos)
    if not found:
        raise EvaluateError(f"{path} has scores of none of the {len(index.videos)} test videos "
                            f"({few([video.video_id for video in index.videos])}), but of {few(strange)}")
    lacking = [video.video_id for video in index.videos if video.video_id not in found]
    if lacking and not allow_missing:
        raise EvaluateError(f"{path} has no scores of {counted(len(lacking), 'test video')} of {len(index.videos)} "
                            f"({few(lacking)}): a figure without them is one of another test set. Add their scores, or "
                            "leave them out with --allow-missing")
    videos = [video for video in index.videos if video.video_id in found]
    truth = read_truth(annotations, format, index, protocol.ends, store) if annotations else None
    scored = _lay(found, videos, snippet, protocol.smooth)
    values = np.concatenate([one.scores for one in scored])
    result = measure(scored, truth, protocol, thresholds, per_hour) | {
        "localization": "not available: scores alone tell no classes apart", "dropped": index.dropped,
        "protocol": protocol.model_dump(include={"smooth", "ends", "threshold", "repeats"}),
        "annotations": about_annotations(annotations, format, truth, protocol) if annotations and truth else None,
        "scores": {"path": str(path), "snippet": snippet, "lacking": lacking, "unknown_names": strange,
                   "other_files": dict(given.others), "low": values.min(), "high": values.max(),
                   "smoothing": {"kernel": "gaussian", "sd_frames": SNIPPET * protocol.smooth} if protocol.smooth else
                   None},
        "provenance": {"scores": str(path), "test_data": index.fingerprint, **about_code()},
        "beside": [_beside(run, scored, videos, truth, protocol, thresholds, per_hour) for run in runs]}
    return plain(result)


def _beside(run: Path, scored: list[Scored], videos: list[Video], truth: Matched | None,
            protocol: Protocol, thresholds: Thresholds | None, per_hour: float) -> dict[str, Any]:
    """A run's figures on these videos, and by how much they are above the given ones, each draw of videos of both."""
    ours, _ = read_scores(run / "scores.parquet").match(video.video_id for video in videos)
    row = _lay(ours, videos, None, 0)
    found = {"run": str(run)} | measure(row, truth, protocol, thresholds, per_hour)
    if truth is not None and protocol.repeats:
        found["difference_intervals"] = bootstrap_difference(with_truth(row, truth), with_truth(scored, truth),
                                                             repeats=protocol.repeats)
    return found


def _lay(found: dict[str, Given], videos: list[Video], snippet: int | None, sigma: float) -> list[Scored]:
    """Scores on the frames of the videos, smoothed by a Gaussian of `sigma` snippets of 16 frames."""
    scored = []
    for video in videos:
        edges, scores = found[video.video_id].edges(video.frames, snippet)
        if sigma:
            scores = smooth(scores, sigma * SNIPPET / float(np.median(np.diff(edges))))
        scored.append(Scored(video, edges, scores, None))
    return scored
