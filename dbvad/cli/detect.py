"""`dbvad detect`: the trained detector on recordings that nobody has labelled."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from dbvad.cli.classes import Classes, words_of
from dbvad.cli.places import here
from dbvad.cli.protocol import Crop, Live, LookAhead, Scale, Smooth, protocol_of
from dbvad.cli.thresholds import MergeGap, MinLength, Off, On, PostRoll, PreRoll, thresholds_of
from dbvad.cli.trained import Clip, Device, Onnx, TrainedModel, Workers
from pipeline.engine.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from dbvad.detection.model import Loaded
    from dbvad.scoring.events import Thresholds
    from dbvad.scoring.protocol import Protocol
    from pipeline.engine.plan import Plan
    from pipeline.engine.stage import Source, Stage
    from pipeline.manifest import Entry

FOUND = 4  # exit code of --fail-on-event


class NotForDetection(Exception):
    """The folder holds a dataset that is trained and tested on."""


def detect(
    paths: Annotated[list[str], typer.Argument(help="Videos, folders of videos, or patterns ('cam1/**/*.mp4').")],
    model: TrainedModel = Path("runs/default"),
    artifacts: Annotated[Path, typer.Option("--artifacts", "-a", parser=here, metavar="FOLDER",
                                            help="Folder for what is made of these videos; never that of a training.")
                         ] = Path("detections"),
    clip: Clip = None,
    onnx: Onnx = False,
    on: On = None,
    off: Off = None,
    min_length: MinLength = None,
    merge_gap: MergeGap = None,
    pre_roll: PreRoll = None,
    post_roll: PostRoll = None,
    camera: Annotated[str | None, typer.Option(help="Whose calibrated thresholds to use, where the model has some.")
                      ] = None,
    scale: Scale = "windows",
    crop: Crop = None,
    smooth: Smooth = 0.0,
    live: Live = False,
    look_ahead: LookAhead = None,
    classes: Classes = None,
    explain: Annotated[bool, typer.Option("--explain", help="Let the describing model of --config say what it sees in "
                                                            "each event.")] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="Stages file whose describe section --explain uses.")
                      ] = Path("stages.yaml"),
    normal_here: Annotated[str, typer.Option(help="What is usual in these recordings, in your own words, for "
                                                  "--explain.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write events to this CSV.")] = None,
    vtt: Annotated[Path | None, typer.Option(help="Folder for WebVTT subtitles, a file a video.")] = None,
    srt: Annotated[Path | None, typer.Option(help="Folder for SRT subtitles.")] = None,
    png: Annotated[Path | None, typer.Option(help="Folder for timelines of the scores.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Folder for clips of the events, cut without re-encoding.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder for the videos with the score drawn in.")] = None,
    fail_on_event: Annotated[bool, typer.Option("--fail-on-event", help="Exit with 4 if there is an event.")] = False,
    workers: Workers = None,
    device: Device = "auto",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try quarantined videos again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Redo what is up to date too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done and why, and stop.")] = False,
) -> int:
    """Find events in recordings: what happened from when to when, how sure, and what it may be.

    Works as `dbvad pipeline run` does: what is done stays done, a bad video goes to quarantine and the others go on;
    other thresholds redo the last step alone. Exit codes: 0 done, 3 finished with quarantined videos, 4 (only with
    --fail-on-event) there is an event.
    """
    from rich.console import Console

    from dbvad.cli import detected
    from dbvad.cli.pipeline import print_todo, terminable
    from dbvad.detection.model import load
    from pipeline.engine.runner import carry_out
    from pipeline.engine.store import Store
    from pipeline.engine.todo import Options
    from pipeline.manifest import DETECT_AGAIN

    if normal_here and not explain:
        raise typer.BadParameter("--normal-here is for what explains events: add --explain, or leave it out")
    console = Console(stderr=as_json)
    protocol = protocol_of(scale, crop, smooth, live, look_ahead)
    given = thresholds_of(on=on, off=off, min_length_s=min_length, merge_gap_s=merge_gap, pre_roll_s=pre_roll,
                          post_roll_s=post_roll)
    loaded = load(model, form="onnx" if onnx else "torch", device=device)
    thresholds = _thresholds(loaded, given, protocol, camera, console)
    store = Store(artifacts, DETECT_AGAIN)
    searched(artifacts)
    stages = build_stages(loaded, artifacts, clip, thresholds, protocol, words_of(classes), config if explain else None,
                          device, workers, normal_here)
    sources = find_sources(paths, artifacts, console)
    options = Options([stage.name for stage in stages], retry_failed=retry_failed, force=force)
    if dry_run:
        print_todo(stages, sources, store, options, None, as_json)
        return 0
    with terminable():
        outcome = carry_out(stages, sources, store, options, console,
                            planned=lambda plan: record(artifacts, plan))
    found = detected.read(store, stages, sources)
    if as_json:
        detected.print_lines(found, explain)
    else:
        detected.print_events(found, explain)
    detected.write_texts(found, csv, vtt, srt)
    failed = detected.write_pictures(found, thresholds, png, clips, overlay, console)
    detected.print_rest(found, outcome, console)
    if outcome.stage_errors or failed:
        return 1
    if fail_on_event and any(found.events.values()):
        return FOUND
    return 3 if found.bad else 0


def _thresholds(loaded: "Loaded", given: "Thresholds", protocol: "Protocol", camera: str | None, console: "Console",
                ) -> "Thresholds":
    """Those given, else those that the model was calibrated to, which is said; else the defaults."""
    from dbvad.detection import calibration
    from dbvad.detection.bundle import ModelError

    if camera and given.model_fields_set & given.rule.keys():
        raise typer.BadParameter("--camera chooses calibrated thresholds: leave it out, or --on, --off, --min-length "
                                 "and --merge-gap")
    chosen = calibration.choose(loaded.path, loaded.fingerprint, protocol, given, camera)
    if camera and chosen.promise is None:
        raise ModelError(f"{loaded.path} is not calibrated for {camera} by {protocol.told()}: "
                         f"`{calibration.command(loaded.path, protocol)} --camera {quote(camera)}`, or leave out "
                         f"--camera")
    console.print(printable(chosen.told()), highlight=False, markup=False, soft_wrap=True)
    return chosen.thresholds


def searched(artifacts: Path) -> "dict[str, Entry]":
    """The videos that were searched before. Raises NotForDetection for a folder of other things."""
    from pipeline.manifest import NoManifest, read

    try:
        manifest = read(artifacts)
    except NoManifest:
        return {}
    if manifest.made_by != "detect":
        raise NotForDetection(f"{artifacts} holds a dataset that is trained and tested on: name another folder for "
                              f"what is detected, such as --artifacts detections")
    return {entry.video_id: entry for entry in manifest.entries}


def record(artifacts: Path, plan: "Plan") -> None:
    """What was searched stays in the views until it is searched otherwise, and what explains an event with it."""
    from dataclasses import replace

    from dbvad.cli.dataset import entries_of
    from pipeline.manifest import Manifest, write

    known = searched(artifacts)
    for entry in entries_of(plan):
        old = known.get(entry.video_id, entry).fingerprints
        if old.get("events") == entry.fingerprints["events"]:
            entry = replace(entry, fingerprints={**old, **entry.fingerprints})
        known[entry.video_id] = entry
    write(artifacts, Manifest(tuple(known.values()), "detect"))


def build_stages(loaded: "Loaded", artifacts: Path, clip: str | None, thresholds: "Thresholds",
                 protocol: "Protocol", words: list[str], config: Path | None, device: str, workers: int | None,
                 normal_here: str = "") -> list["Stage"]:
    """The stages in order, with `explain` where `config` names what describes."""
    from dbvad.detection.explain import Explain
    from dbvad.detection.model import find_clip
    from dbvad.detection.road import stages
    from pipeline import stages as pipeline_stages
    from pipeline.engine.hashing import HashCache
    from pipeline.stages.describe import Describe
    from pipeline.stages.models import identify

    cache = HashCache(artifacts / pipeline_stages.MODEL_HASHES)
    place = find_clip(loaded, clip, cache, protocol.crop)
    built = stages(loaded, place, protocol=protocol, thresholds=thresholds, words=words, device=device,
                   workers=workers)
    if config is not None:
        params = pipeline_stages.read(config).describe
        describe = Describe(params, identify(params.model, params.revision, cache), artifacts / "runs" / "servers")
        built.append(Explain(describe, thresholds, normal_here))
    cache.save()
    return built


def find_sources(paths: Sequence[str], artifacts: Path, console: "Console") -> list["Source"]:
    """The videos meant; how many, and what was left out, is said."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from dbvad.detection.sources import find_videos, read_sources
    from pipeline.engine.hashing import HashCache
    from pipeline.stages.dataset import told
    from pipeline.words import counted

    videos, others = find_videos(paths)
    console.print(counted(len(videos), "video"), highlight=False)
    if others:
        console.print(f"left out: {told(others)}", highlight=False, markup=False, soft_wrap=True)
    with Progress(TextColumn("reading videos"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console,
                  transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        return read_sources(videos, HashCache(artifacts / ".video-hashes"),
                            lambda done, total: bar.update(task, completed=done, total=total))
