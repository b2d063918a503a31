"""What the page says: which videos it shows and in what order, and the values that its template puts in place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dbvad.report.inputs import Inputs, Video
from dbvad.report.judge import Curves, Judged, by_class, curves
from dbvad.report.ladder import LadderError, read_ladder
from dbvad.report.provenance import Making, run_facts
from dbvad.report.strategies import NAMES, Tally, disagreement
from dbvad.report.timeline import SPARK, Row, Shown
from pipeline.lists.remarks import remarks_from

EXAMPLES = 6  # videos offered on which the key frame strategies differ
EXTREMES = 4  # best, worst and most alarming normal videos shown
HEADLINE = ("auc", "ap", "ano_auc", "macro_auc")
METRICS = {
    "auc": "AUC", "ap": "AP", "ano_auc": "Ano-AUC", "macro_auc": "Macro AUC", "video_auc": "Video AUC",
    "false_alarms": "False alarms", "ap_trapezoid": "AP (trapezoid)",
}
MEANING = {
    "auc": "how often a frame of an event scores higher than a normal frame",
    "ap": "precision averaged over all recalls, frame by frame",
    "ano_auc": "AUC among the frames of abnormal videos alone",
    "macro_auc": "mean of the AUCs inside each abnormal video",
    "video_auc": "how often an abnormal video scores higher than a normal one",
}
PARTS = ("dataset", "result", "metrics", "scores", "curves", "truth", "train_truth", "texts", "strategies", "ladder",
         "damage")


@dataclass(frozen=True)
class Chosen:
    """The videos of the report, in order. `extremes`: title -> video_ids; `first`: the one that is open at first."""

    videos: tuple[Video, ...]
    judged: Mapping[str, Judged]
    extremes: Mapping[str, tuple[str, ...]]
    first: str


def choose(videos: Sequence[Video], judged: Mapping[str, Judged], limit: int | None) -> Chosen:
    """Test videos from the worst AUC to the best, then normal ones from the most alarming, then training videos.

    Under a `limit` both kinds keep their share, and of each, videos at regular distances in this order are kept, the
    first and the last among them.
    """
    def rank(video: Video) -> tuple[bool, float, str]:
        found = judged.get(video.video_id)
        worst = math.nan if found is None else found.auc
        return math.isnan(worst), -(found.peak if found else 0.0) if math.isnan(worst) else worst, video.video_id

    tested = sorted((video for video in videos if video.split != "train"), key=rank)
    trained = sorted((video for video in videos if video.split == "train"), key=lambda video: video.video_id)
    if limit is not None and limit < len(videos):
        share = round(limit * len(tested) / len(videos))
        share = min(max(share, 1 if tested else 0), limit - 1 if trained and limit > 1 else limit)
        tested, trained = _every(tested, share), _every(trained, limit - share)
    ranked = [v.video_id for v in tested if v.video_id in judged and not math.isnan(judged[v.video_id].auc)]
    half = min(EXTREMES, -(-len(ranked) // 2))
    loud = [v.video_id for v in tested if v.video_id in judged and v.labels == ()][:EXTREMES]
    extremes = {"Worst": tuple(ranked[:half]), "Best": tuple(ranked[::-1][:min(half, len(ranked) - half)]),
                "Most alarming normal videos": tuple(loud)}
    everything = (*tested, *trained)
    telling = [video.video_id for video in everything if video.labels and (video.split == "train" or judged)]
    first = ranked[len(ranked) // 2] if ranked else (telling or [everything[0].video_id])[0]
    return Chosen(everything, judged, {title: ids for title, ids in extremes.items() if ids}, first)


def _every(videos: list[Video], count: int) -> list[Video]:
    if count >= len(videos) or not videos:
        return videos
    return [videos[int(at)] for at in np.linspace(0, len(videos) - 1, count).round()]


class Collected:
    """What the page itself needs of each video, gathered as they go by: a line of text each, and a few pictures."""

    def __init__(self, chosen: Chosen) -> None:
        self.rows: list[Row] = []
        self.pictures: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.tallies = {strategy: Tally() for strategy in NAMES}
        self.telling: list[tuple[tuple[float, ...], int]] = []  # how far the strategies differ, and the video's number
        self.described = self.damaged = 0
        self._wanted = {video_id for ids in chosen.extremes.values() for video_id in ids}

    def add(self, number: int, shown: Shown, inputs: Inputs) -> None:
        """The next video, whose number is its place in the report."""
        row, data = shown.row, shown.data
        video_id = row.video.video_id
        self.rows.append(row)
        self.numbers[video_id] = number
        self.described += bool(row.text)
        self.damaged += shown.damaged
        if row.judged and video_id in self._wanted and data["frames"]["at"]:
            peak = row.judged.peak_frame / shown.frames * data["end"]
            nearest = min(range(len(data["frames"]["at"])), key=lambda k: abs(data["frames"]["at"][k] - peak))
            self.pictures[video_id] = data["frames"]["jpeg"][nearest]
        if shown.comparison is not None and data["picks"]:
            segments = inputs.truth.get(video_id, ())
            for strategy, tally in self.tallies.items():
                tally.add(shown.comparison, strategy, shown.frames, segments)
            self.telling.append((disagreement(shown.comparison, shown.frames, segments), number))


def content(inputs: Inputs, chosen: Chosen, collected: Collected, making: Making) -> dict[str, Any]:
    """The values of the template, by name."""
    result, drawn = inputs.result or {}, curves(inputs.scores, inputs.truth)
    missing = dict(inputs.missing)
    ladders = _ladders(inputs, missing)
    _explain(inputs, collected, drawn is not None, missing)
    videos = {video.video_id: video for video in chosen.videos}
    tiles = {title: [(videos[video_id], collected.rows[collected.numbers[video_id]], collected.pictures.get(video_id))
                     for video_id in video_ids] for title, video_ids in chosen.extremes.items()}
    return {
        "missing": {part: missing.get(part, "") for part in PARTS}, "result": result,
        "warnings": [str(remark) for remark in remarks_from(result.get("warnings", ()))],
        "run": _title(inputs.run),
        "counts": _counts(inputs.videos), "left_out": len(inputs.videos) - len(chosen.videos),
        "headline": [(METRICS[name], MEANING[name], *_bounds(result, name)) for name in _headline(result)],
        "others": _others(result), "curves": _drawn(drawn), "prevalence": drawn.prevalence if drawn else None,
        "classes": by_class(inputs.videos, chosen.judged), "extremes": tiles, "pictures": bool(collected.pictures),
        "trained": len({video.split == "train" for video in chosen.videos}) == 2,
        "scored": bool(inputs.scores), "rows": collected.rows, "spark": SPARK, "first": collected.numbers[chosen.first],
        "labels": sorted({label for row in collected.rows for label in row.video.labels or ()}),
        "strategies": [tally.row(strategy) for strategy, tally in collected.tallies.items()],
        "compared": collected.tallies["kess"], "telling": [number for _, number in sorted(
            collected.telling, key=lambda one: ([-part for part in one[0]], one[1]))[:EXAMPLES]],
        "ladders": ladders, "run_facts": run_facts(inputs.result), "stages": making.stages(),
    }


def _ladders(inputs: Inputs, missing: dict[str, str]) -> list[dict[str, Any]]:
    tables = []
    for found in inputs.ladders:
        try:
            tables.append(read_ladder(found))
        except LadderError as error:
            missing["ladder"] = f"A ladder cannot be shown: {error}."
    return tables


def _explain(inputs: Inputs, collected: Collected, drawn: bool, missing: dict[str, str]) -> None:
    """Add why parts of the page stay out that only the shards could tell."""
    if collected.damaged:
        missing["damage"] = (f"Damaged shards of {collected.damaged} videos are not shown: `dbvad artifacts verify` "
                             "names each, with the command that mends it.")
    trained = any(row.video.split == "train" for row in collected.rows)
    if trained and not collected.described:
        missing["texts"] = "No video has a description yet: `dbvad pipeline run describe`."
    if not collected.tallies["kess"].videos:
        missing["strategies"] = (
            "No abnormal training video has frames that were scored for its event (imported features have no such "
            "score), so strategies cannot be compared: `dbvad pipeline run score`, with labels in stages.yaml."
            if trained else "There are no training videos here, so there are no key frames to compare.")
    if inputs.result is not None and "auc" not in inputs.result["metrics"]:
        missing["metrics"] = ("Evaluated without annotations, so only whole videos were judged: `dbvad evaluate "
                              f"{inputs.run} --annotations FILE` gives the frame-level figures.")
    if not drawn and inputs.scores:
        missing["curves"] = missing.get("truth") or ("The frames of the scored videos are all of one kind, so there "
                                                     "are no curves to draw.")


def _title(run: Path | None) -> str | None:
    """The run as it was named, or of a longer path its last two parts: those of `demo/run` or `runs/first`."""
    return None if run is None else "/".join([part for part in run.parts if part != run.anchor][-2:])


def _headline(result: Mapping[str, Any]) -> list[str]:
    found = [name for name in (*HEADLINE, "video_auc") if _number(result.get("metrics", {}).get(name))]
    return found[:len(HEADLINE)]


def _bounds(result: Mapping[str, Any], name: str) -> tuple[float, list[float] | None]:
    bounds = (result.get("intervals") or {}).get(name)
    return result["metrics"][name], bounds if bounds and all(map(_number, bounds)) else None


def _others(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    shown = _headline(result)
    titles, over = dict(METRICS), (result.get("protocol") or {}).get("threshold")
    if _number(over):
        titles["false_alarms"] = f"Frames of normal videos over {over:g}"
    rows = [(titles.get(name, name), value) for name, value in result.get("metrics", {}).items()
            if name not in shown and _number(value)]
    found = result.get("localization")
    if isinstance(found, dict):
        rows += [(title, found[key]) for title, key in (("mAP at IoU 0.1 to 0.5", "average"),
                                                        ("mAP as in published tables", "average_compat"))
                 if _number(found.get(key))]
    return rows


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _counts(videos: Sequence[Video]) -> list[tuple[str, int, int]]:
    """Split, videos and abnormal ones among them; the test videos first."""
    splits = sorted({video.split for video in videos}, key=lambda split: (split != "test", split))
    return [(split, sum(v.split == split for v in videos), sum(v.split == split and bool(v.labels) for v in videos))
            for split in splits]


def _drawn(found: Curves | None) -> dict[str, list[float]] | None:
    if found is None:
        return None
    return {name: [round(float(value), 4) for value in getattr(found, name)]
            for name in ("false_rate", "true_rate", "recall", "precision")}
