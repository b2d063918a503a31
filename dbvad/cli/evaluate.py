"""`dbvad evaluate`: a trained detector against the truth."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print
from dbvad.cli.thresholds import MergeGap, MinLength, Off, On, thresholds_of
from dbvad.cli.trained import Device
from pipeline.lists.events import Format
from pipeline.words import counted, few

Ends = Literal["inclusive", "exclusive"]
Scale = Literal["bins", "windows", "both"]
Row = Literal["markdown", "latex"]


def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders of `dbvad train`; runs/default.")] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    annotations: Annotated[Path | None, typer.Option(help="When events happen in the test videos.")] = None,
    format: Annotated[Format, typer.Option(help="Format of the annotations.")] = "auto",
    ends: Annotated[Ends, typer.Option(help="Does an event's end frame belong to it?")] = "inclusive",
    scale: Annotated[Scale, typer.Option(help="How a long video is brought to the trained length.")] = "bins",
    crop: Annotated[int | None, typer.Option(help="One crop (0: centre); all are averaged by default.")] = None,
    smooth: Annotated[float, typer.Option(help="Average scores over about so many snippets, such as 4.")] = 0.0,
    names: Annotated[float, typer.Option(help="Weight of likeness to the anomalies' names, such as 10.")] = 0.0,
    threshold: Annotated[float, typer.Option(help="Score that counts as a false alarm.")] = 0.5,
    on: On = None,
    off: Off = None,
    min_length: MinLength = None,
    merge_gap: MergeGap = None,
    alarms_per_hour: Annotated[float, typer.Option(min=0, help="False alarms at which recall is given.")] = 1.0,
    oracle: Annotated[bool, typer.Option("--oracle", help="Also the best epoch on the test set; no result.")] = False,
    variation: Annotated[bool, typer.Option("--variation", help="Also how much features and scores vary inside "
                                            "abnormal videos, part by part of the network.")] = False,
    scores: Annotated[Path | None, typer.Option(help="Judge these scores, a file or a folder, whoever made them; runs "
                                                     "named too are shown beside.")] = None,
    snippet: Annotated[int | None, typer.Option(min=1, help="Frames that each of --scores stands for.")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Leave out test videos without --scores."
                                                )] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 where the annotations do not fit.")] = False,
    row: Annotated[Row | None, typer.Option(help="Print a table row instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the result; RUN/result.json by default.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Score the test videos and compare with their annotations, frame by frame.

    Writes RUN/result.json and RUN/scores.parquet. Annotations: UCF-Crime's or XD-Violence's own files, a CSV with
    video,start,end[,label] in frames (start_s,end_s: in seconds), or another form of docs/inputs.md. Without them only
    whole videos are judged. Several runs, one a seed, give mean and standard deviation as well. Scores from elsewhere:
    docs/evaluation.md.
    """
    if scores and not runs:
        if oracle or variation or names or crop is not None or scale != "bins":
            raise typer.BadParameter("--scale, --crop, --names, --oracle and --variation act on a run's features, not "
                                     "on --scores: leave them out, or name a run")
    elif not scores and (snippet or allow_missing):
        raise typer.BadParameter("--snippet and --allow-missing belong to --scores")
    from dbvad.cli.dataset import check_unchanged
    from dbvad.evaluation.evaluate import evaluate as judge
    from dbvad.evaluation.evaluate import save_result
    from dbvad.evaluation.summary import row as table_row
    from dbvad.evaluation.summary import summarise
    from dbvad.progress import track
    from dbvad.scoring.protocol import Protocol

    thresholds = thresholds_of(on=on, off=off, min_length_s=min_length, merge_gap_s=merge_gap)
    check_unchanged(artifacts)
    folders = runs or ([] if scores else [Path("runs/default")])
    protocol = Protocol(scale=scale, crop=crop, smooth=smooth, names=names, ends=ends, threshold=threshold)
    results = []
    for run in folders:
        result = judge(run, artifacts, annotations, format=format, protocol=protocol, thresholds=thresholds,
                       per_hour=alarms_per_hour, oracle=oracle, vary=variation, device=device,
                       track=track(f"score videos with {run}"))
        save_result(run / "result.json", result)
        results.append(result)
    if scores:
        from dbvad.evaluation.beside import judge_scores

        whole = judge_scores(scores, artifacts, annotations, format=format, protocol=protocol, snippet=snippet,
                             allow_missing=allow_missing, runs=folders, thresholds=thresholds,
                             per_hour=alarms_per_hour)
    else:
        whole = results[0] if len(results) == 1 else summarise(results)
    if out:
        save_result(out, whole)
    if as_json:
        import json

        print(json.dumps(whole, indent=2, ensure_ascii=False))
    elif row and scores:
        rows = [(scores.name, whole["metrics"]), *((Path(one["run"]).name, one["metrics"]) for one in whole["beside"])]
        lines = [table_row(name, figures, row).splitlines() for name, figures in rows]
        print("\n".join([*lines[0][:-1], *(line[-1] for line in lines)]))
    elif scores:
        _show_scores(whole, scores, out)
    elif row:
        print(table_row(folders[0].name if len(folders) == 1 else f"{len(folders)} runs", whole["metrics"], row))
    elif len(results) > 1:
        _show_summary(whole, results)
    else:
        _show(whole, folders[0], out or folders[0] / "result.json")
    return 1 if _warn([*results, whole] if scores else results) and strict else 0


def _warn(results: list[dict[str, Any]]) -> bool:
    """Say each warning once, beside whatever is printed for a program to read. Whether there was any."""
    from pipeline.lists.remarks import remarks_from

    said = remarks_from(warning for result in results for warning in result["warnings"])
    for remark in said:
        print(f"warning: {remark}", file=sys.stderr)
    return bool(said)


def _show(result: dict[str, Any], run: Path, where: Path) -> None:
    from dbvad.cli.output import print_table
    from dbvad.evaluation.summary import TITLES, percent

    rows = [(TITLES[name], percent(value), _interval(result["intervals"].get(name)))
            for name, value in result["metrics"].items()]
    found = result["localization"]
    if isinstance(found, dict):
        rows += [("mAP@IoU 0.1-0.5", percent(found["average"]), ""),
                 ("mAP@IoU, compat", percent(found["average_compat"]), "")]
    print_table(["metric", "%", "95 % interval"], rows)
    chosen = {"last": "the last epoch", "holdout": "the epoch best on held-out training videos"}
    print(f"{counted(result['videos'], 'test video')} ({result['abnormal_videos']} abnormal), "
          f"{counted(result['frames'], 'frame')}, scale {result['protocol']['scale']}, weights of "
          f"{chosen[result['protocol']['selection']]}")
    _show_events(result["events"])
    _show_notes(result)
    print(f"result in {where}, scores in {run}/scores.parquet")


def _show_summary(summary: dict[str, Any], results: list[dict[str, Any]]) -> None:
    from dbvad.cli.output import print_table
    from dbvad.evaluation.summary import TITLES, percent

    print_table(["metric", "mean %", "std", *(f"seed {seed}" for seed in summary["seeds"])],
                [(TITLES[name], percent(value["mean"]), percent(value["std"]),
                  *(percent(result["metrics"][name]) for result in results))
                 for name, value in summary["metrics"].items()])
    others = [key for key in summary["varied"] if key != "seed"]
    if others:
        print(f"these runs differ in more than their seed: {', '.join(others)}")
    _show_notes(results[0])
    print("each run's own result is in its result.json")


def _show_scores(result: dict[str, Any], scores: Path, out: Path | None) -> None:
    from dbvad.cli.output import print_table
    from dbvad.evaluation.summary import TITLES, percent

    columns = ["metric", f"{scores.name} %", "95 % interval"]
    for one in result["beside"]:
        columns += [f"{one['run']} %", "95 % interval", "difference", "95 % interval"]
    rows = []
    for name, value in result["metrics"].items():
        row = [TITLES[name], percent(value), _interval(result["intervals"].get(name))]
        for one in result["beside"]:
            figure = one["metrics"][name]
            row += [percent(figure), _interval(one["intervals"].get(name)),
                    "-" if figure is None or value is None else f"{100 * (figure - value):+.2f}",
                    _interval(one.get("difference_intervals", {}).get(name))]
        rows.append(row)
    print_table(columns, rows)
    about = result["scores"]
    smoothing = about["smoothing"]
    print(f"{counted(result['videos'], 'test video')} ({result['abnormal_videos']} abnormal), "
          f"{counted(result['frames'], 'frame')}; smoothing: "
          + (f"Gaussian, standard deviation {smoothing['sd_frames']:g} frames" if smoothing else
             "none here, what the scores had before is not known"))
    if about["lacking"]:
        print(f"without scores and left out, so this is no figure of the whole test set: {few(about['lacking'])}")
    if about["unknown_names"]:
        print(f"{scores} has scores of what is no test video here: {few(about['unknown_names'])}")
    if about["other_files"]:
        print(f"files in {scores} that hold no scores: "
              + ", ".join(f"{count} {suffix}" for suffix, count in about["other_files"].items()))
    if not 0 <= about["low"] <= about["high"] <= 1:
        print(f"scores reach from {about['low']:.4g} to {about['high']:.4g}: false alarms over "
              f"{result['protocol']['threshold']:g} mean little")
    _show_events(result["events"])
    _show_notes(result)
    if out:
        print(f"result in {out}")


def _show_events(events: dict[str, Any] | str | None) -> None:
    from dbvad.evaluation.summary import percent

    if not isinstance(events, dict):
        if events:
            print(f"events {events}")
        return
    rule, delay, at = events["thresholds"], events["delay_s"]["median"], events["at_rate"]
    f1 = ", ".join(f"{percent(figures['f1'])} at IoU {iou}" for iou, figures in events["iou"].items())
    print(f"events (on {rule['on']:g}, off {rule['off']:g}, of {rule['min_length_s']:g} s, gaps to "
          f"{rule['merge_gap_s']:g} s): {events['true']} true, {events['found']} found; "
          f"F1 {f1}")
    print(f"{events['detected']} detected" + ("" if delay is None else f", half of them within {delay:.1f} s"))
    if events["quiet_hours"]:
        low, high = events["interval"]
        print(f"{counted(events['false_alarms'], 'false alarm')} in {events['quiet_hours']:.2f} hours without event: "
              f"{events['false_alarms_per_hour']:.2f} an hour (95 %: {low:.2f} to {high:.2f})")
        print(f"at most {at['per_hour']:g} an hour: " + ("at no threshold" if at["on"] is None else
              f"{percent(at['recall'])} % of the events detected, at --on {at['on']:g}"))


def _show_notes(result: dict[str, Any]) -> None:
    from dbvad.cli.dataset import print_left_out
    from dbvad.evaluation.summary import TITLES, percent

    if result["annotations"] is None:
        print("no annotations: only whole videos were judged; name them by --annotations FILE")
    for name, best in (result.get("oracle") or {}).items():
        if isinstance(best, dict):
            print(f"oracle, chosen on the test set, no result: {TITLES[name]} {percent(best['value'])} "
                  f"at epoch {best['epoch']}")
    if shares := result.get("variation"):
        print("variation inside abnormal videos, as a share of all: "
              + ", ".join(f"{name} {'-' if share is None else f'{share:.2f}'}" for name, share in shares.items()))
    if isinstance(result["localization"], str):
        print(f"mAP@IoU {result['localization']}")
    print_left_out(result["dropped"], "test video")


def _interval(bounds: list[float | None] | None) -> str:
    from dbvad.evaluation.summary import percent

    return f"{percent(bounds[0])} to {percent(bounds[1])}" if bounds and bounds[0] is not None else ""
