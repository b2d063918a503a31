#!/usr/bin/env python
"""What the demo's models and its detector reach, against what they should: one table, exit code 1 on a miss.

    dbvad demo --out demo && python tools/check_demo.py demo [--more 240] [--seeds 0-4] [--json FILE]

Key frames and descriptions are judged on the demo's abnormal training videos, which the models never saw, and with
`--more N` on N other videos as well (half of them abnormal; rendered and scored in DEMO/check, and kept there). Each
frame selection strategy chooses its frames from the same scores; the demo's Qwen2.5-VL, run in this process, describes
them with the neutral prompt. The detector is trained with every seed: as in the demo, without DBM, and with shuffled
descriptions (`dbvad ablate` in DEMO/check/ladder). About 15 minutes on two cores; run it again to go on.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from dbvad.report.strategies import SHORT, compare
from pipeline.kess import Strategy

Span = tuple[int, int]  # first and last frame
STRATEGIES: tuple[Strategy, ...] = ("kess", "uniform", "topm")
OTHER_SEED = 1007  # of the world that --more renders; the demo's own is 7 by default
LADDER = """\
title: The demo's detector
base: as in the demo
variants:
  as in the demo: {}
  no DBM: {train: {dbm: false, sfp: "off"}}
  descriptions shuffled: {train: {descriptions: shuffled}}
"""


@dataclass(frozen=True)
class Shown:
    """One abnormal video's key frames, in order of time, and the class that its description names."""

    label: str
    n_frames: int
    spans: tuple[Span, ...]
    frames: tuple[int, ...]
    named: str = ""

    def found(self, span: Span) -> bool:
        """Whether a key frame lies inside the event."""
        return any(span[0] <= frame <= span[1] for frame in self.frames)


@dataclass
class Verdicts:
    """Rows of the table: what was measured, how it came out, and whether that is enough (None: no bound)."""

    rows: list[tuple[str, str, bool | None]] = field(default_factory=list)

    def add(self, what: str, figure: str, good: bool | None = None) -> None:
        self.rows.append((what, figure, good))

    @property
    def missed(self) -> bool:
        return any(good is False for _, _, good in self.rows)

    def __str__(self) -> str:
        width = max((len(what) for what, _, _ in self.rows), default=0)
        mark = {True: "", False: "  MISSED", None: ""}
        return "\n".join(f"{what:<{width}}  {figure}{mark[good]}" for what, figure, good in self.rows)


def share(hits: Sequence[bool]) -> float:
    """Percent of true values; nan of none."""
    return 100 * fmean(hits) if hits else float("nan")


def judge_frames(shown: dict[str, list[Shown]], verdicts: Verdicts, where: str) -> None:
    """Key frames and descriptions of one set of videos, by strategy."""
    named = {name: [video.named == video.label for video in videos] for name, videos in shown.items()}
    inside = {name: [any(map(video.found, video.spans)) for video in videos] for name, videos in shown.items()}
    short = {name: [video.found(span) for video in videos for span in video.spans
                    if (span[1] - span[0] + 1) < SHORT * video.n_frames] for name, videos in shown.items()}
    both = {name: [all(map(video.found, video.spans)) for video in videos if len(video.spans) > 1]
            for name, videos in shown.items()}

    def line(hits: dict[str, list[bool]]) -> str:
        counts = ", ".join(f"{name} {share(each):.1f} % ({sum(each)})" for name, each in hits.items())
        return f"{counts} of {len(hits['kess'])}"

    def better(hits: dict[str, list[bool]], other: str) -> bool | None:
        return sum(hits["kess"]) > sum(hits[other]) if hits["kess"] else None

    verdicts.add(f"{where}: class named, >= 85 % and more than uniform", line(named),
                 share(named["kess"]) >= 85 and bool(better(named, "uniform")))
    verdicts.add(f"{where}: a key frame inside an event, >= 95 %", line(inside), share(inside["kess"]) >= 95)
    verdicts.add(f"{where}: short events found, more than uniform", line(short), better(short, "uniform"))
    verdicts.add(f"{where}: both of two events found, more than topm", line(both), better(both, "topm"))


def judge_seeds(rows: Sequence[dict[str, Any]], verdicts: Verdicts) -> None:
    """The ladder's rows, as `dbvad ablate` writes them: means over seeds, and what leaving a part out costs."""
    base = next(row for row in rows if not row["difference"])
    for metric, title, least in (("auc", "AUC", 95.0), ("ap", "AP", 80.0), ("ano_auc", "Ano-AUC", None)):
        mean = 100 * base["metrics"][metric]["mean"]
        verdicts.add(f"{len(base['seeds'])} seeds: {title}" + (f", >= {least:.0f}" if least else ""),
                     spread(base["metrics"][metric]), None if least is None else mean >= least)
    costly = []
    for row in rows:
        if row is base:
            continue
        if any(clearly_less(row["difference"][metric]) for metric in ("ano_auc", "ap")):
            costly.append(row["name"])
        verdicts.add(row["name"], "; ".join(
            f"{title} {spread(row['metrics'][metric])}, {spread(row['difference'][metric], sign=True)}"
            for metric, title in (("auc", "AUC"), ("ap", "AP"), ("ano_auc", "Ano-AUC"))))
    verdicts.add("without it Ano-AUC or AP is lower by more than one sd", ", ".join(costly) or "none", bool(costly))


def clearly_less(difference: dict[str, Any]) -> bool:
    """A mean difference below zero by more than its standard deviation over seeds."""
    return bool(difference["clear"]) and difference["mean"] < 0


def spread(figure: dict[str, Any], sign: bool = False) -> str:
    """Mean (standard deviation) in percent."""
    mean = f"{100 * figure['mean']:+.2f}" if sign else f"{100 * figure['mean']:.2f}"
    return mean if figure["std"] is None else f"{mean} ({100 * figure['std']:.2f})"


def truth(path: Path) -> dict[str, tuple[str, int, tuple[Span, ...]]]:
    """truth.csv of a rendered dataset: video_id -> label, frames, spans; training videos with events only."""
    found: dict[str, tuple[str, int, tuple[Span, ...]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["split"] == "train" and row["event"] != "-1":
                _, _, spans = found.get(row["video_id"], ("", 0, ()))
                found[row["video_id"]] = (row["label"], int(row["n_frames"]),
                                          (*spans, (int(row["start_frame"]), int(row["end_frame"]))))
    return found


def look(folder: Path, stages: Any) -> dict[str, list[Shown]]:
    """Choose the key frames of the abnormal training videos in `folder` by every strategy, and describe them."""
    from dbvad.demo.build_models import MODELS
    from dbvad.demo.world import named_class
    from pipeline.instruments.vlm import Request
    from pipeline.instruments.vlm.prompts import load, render
    from pipeline.instruments.vlm.transformers_local import TransformersEngine

    prompt = render(load("neutral-v1"), [])
    shown: dict[str, list[Shown]] = {name: [] for name in STRATEGIES}
    with TransformersEngine(str(MODELS / "qwen")) as engine:
        for video_id, (label, n_frames, spans) in truth(folder / "truth.csv").items():
            for name, frames in choices(folder / "artifacts", video_id, stages):
                answer = engine.describe(Request(tuple(frames.values()), prompt, max_tokens=96))
                shown[name].append(Shown(label, n_frames, spans, tuple(frames), named_class(answer.text)))
    return shown


def choices(artifacts: Path, video_id: str, params: Any) -> Iterator[tuple[str, dict[int, bytes]]]:
    """For every strategy the key frames that the select stage would choose: frame index -> JPEG, in order of time."""
    import numpy as np

    from pipeline.engine.store import Store

    store = Store(artifacts)
    score = store.read("score", video_id, ["frame_idx", "relevance", "novelty"])  # one crop, a row a frame
    decoded = store.read("decode", video_id, ["frame_idx", "pts_s", "jpeg"])
    picks = compare(score["frame_idx"].to_numpy(), score["relevance"].to_numpy(), score["novelty"].to_numpy(),
                    decoded["pts_s"].to_numpy(), params.model_dump()).picks
    for name in STRATEGIES:
        chosen = np.sort(picks[name])
        yield name, {decoded["frame_idx"][int(i)].as_py(): decoded["jpeg"][int(i)].as_py() for i in chosen}


def more_videos(folder: Path, size: int) -> None:
    """Render `size` videos of another seed and take them through ingest, decode and score."""
    from dbvad.cli import pipeline
    from dbvad.cli.demo import write_stages
    from dbvad.demo.world import render_dataset

    render_dataset(folder, size, 0, OTHER_SEED)
    write_stages(folder / "stages.yaml", "transformers")
    if pipeline.run(config=folder / "stages.yaml", artifacts=folder / "artifacts", last="score"):
        raise SystemExit("check_demo: the pipeline did not go through")


def ladder(demo: Path, seeds: str, settings: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the three trainings over the seeds."""
    from dbvad.cli.ablate import ablate

    out = demo / "check" / "ladder"
    out.mkdir(parents=True, exist_ok=True)
    (out / "ladder.yaml").write_text(LADDER)
    ablate(str(out / "ladder.yaml"), demo / "artifacts", out, seeds, demo / "temporal.txt",
           stages=demo / "stages.yaml", settings=list(settings))
    rows: list[dict[str, Any]] = json.loads((out / "ladder.json").read_text())["rows"]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit code."""
    from dbvad.cli.demo import SETTINGS
    from pipeline.stages.select import SelectParams

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demo", type=Path, nargs="?", default=Path("demo"), help="folder of `dbvad demo`")
    parser.add_argument("--more", type=int, default=0, metavar="N", help="judge N other videos too")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4; empty: do not train")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the table as JSON")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a training key, for trials")
    given = parser.parse_args(arguments)
    if not (given.demo / "truth.csv").is_file():
        parser.error(f"no demo in {given.demo}: run `dbvad demo --out {given.demo}` first")
    import yaml

    verdicts = Verdicts()
    params = SelectParams(**yaml.safe_load((given.demo / "stages.yaml").read_text())["select"])
    judge_frames(look(given.demo, params), verdicts, "demo")
    if given.more:
        more_videos(given.demo / "check", given.more)
        judge_frames(look(given.demo / "check", params), verdicts, "more")
    if given.seeds:
        judge_seeds(ladder(given.demo, given.seeds, [*SETTINGS, *given.set]), verdicts)
    print(f"\n{verdicts}")
    if given.json:
        given.json.write_text(json.dumps([list(row) for row in verdicts.rows], indent=1) + "\n")
    return int(verdicts.missed)


if __name__ == "__main__":
    sys.exit(main())
