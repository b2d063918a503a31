"""What the metrics say of scores that are known, on UCF-Crime's own annotations, frame by frame.

    python tools/check_metrics.py ANNOTATIONS

ANNOTATIONS holds the official ucf_crime_test.txt and ucf_crime_temporal.txt, and frame_counts.csv
(dataset,video,split,frames).
Four scores: the truth itself, the same for every frame, drawn at random, and the video's label in place of its moments.
The truth must have 100 everywhere, and 92.857 in the mAP that published tables give (13 of 14 classes, see
dbvad/evaluation/localization.py); exit code 1 if it has not.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dbvad import presets
from dbvad.evaluation.groundtruth import Segment, frame_truth, match, read_annotations
from dbvad.evaluation.localization import ClassScores, localization_map
from dbvad.evaluation.metrics import VideoScores, frame_metrics
from dbvad.importing.lists import Labels, read_frame_counts, read_list

METRICS = ("auc", "ap", "ap_trapezoid", "ano_auc", "macro_auc")
CEILING = 13 / 14
Score = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # truth (frames,) -> scores (frames,)
SCORES: dict[str, Score] = {
    "truth": lambda truth, _: truth.astype(np.float32),
    "constant": lambda truth, _: np.full(len(truth), 0.5, np.float32),
    "random": lambda truth, rng: rng.random(len(truth), np.float32),
    "video label": lambda truth, _: np.full(len(truth), truth.any(), np.float32),
}


def read_truth(annotations: Path) -> dict[str, tuple[int, tuple[Segment, ...]]]:
    """Frames and segments of the test videos."""
    preset = presets.load("ucf-crime")
    counts = read_frame_counts(annotations / "frame_counts.csv", "ucf-crime")
    names = [Path(entry.name).stem for entry in
             read_list(annotations / "ucf_crime_test.txt", "test", Labels(preset.labels, preset.event_classes))]
    found = match(read_annotations(annotations / "ucf_crime_temporal.txt", preset.annotations),
                  {name: (counts[name], preset.fps) for name in names})
    return {name: (counts[name], found.segments[name]) for name in names}


def judge(videos: dict[str, tuple[int, tuple[Segment, ...]]], score: Score) -> dict[str, float]:
    """All metrics of a score, mAP averaged over its thresholds."""
    rng, classes = np.random.default_rng(0), list(presets.load("ucf-crime").classes)
    scored, localized = [], []
    for name, (frames, segments) in videos.items():
        truth = frame_truth(segments, frames)
        scores = score(truth, rng)
        scored.append(VideoScores(name, bool(segments), scores, truth))
        by_class = np.zeros((frames, len(classes)), np.float32)
        by_class[:, 0] = 1 - scores
        for segment in segments:
            by_class[:, classes.index(segment.label)] = scores
        localized.append(ClassScores(by_class, np.arange(frames + 1),
                                     [(s.start, s.end, classes.index(s.label)) for s in segments]))
    found = localization_map(localized, len(classes))
    figures = frame_metrics(scored)
    return {name: figures[name] for name in METRICS} | {
        "mAP": float(np.mean(found.mean)), "mAP compatible": float(np.mean(found.compat))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    videos = read_truth(parser.parse_args().annotations)
    print(f"{len(videos)} videos, {sum(frames for frames, _ in videos.values())} frames, "
          f"{sum(len(segments) for _, segments in videos.values())} segments")
    found = {name: judge(videos, score) for name, score in SCORES.items()}
    print(f"{'':16}" + "".join(f"{name:>13}" for name in found))
    for metric in found["truth"]:
        print(f"{metric:16}" + "".join(f"{100 * figures[metric]:13.3f}" for figures in found.values()))
    expected = dict.fromkeys(found["truth"], 1.0) | {"mAP compatible": CEILING}
    return 0 if all(np.isclose(found["truth"][name], value) for name, value in expected.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
