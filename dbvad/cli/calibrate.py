"""`dbvad calibrate`: at most N false alarms a day, as a promise that can be checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dbvad.cli.places import here
from dbvad.cli.protocol import Crop, Live, LookAhead, Scale, Smooth, protocol_of
from dbvad.cli.say import say as print
from dbvad.cli.trained import Clip, Device, Workers
from pipeline.words import counted

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from dbvad.detection.model import Loaded
    from dbvad.scoring.protocol import Protocol
    from pipeline.engine.stage import Source
    from pipeline.manifest import Entry


class NotNormal(Exception):
    """What was named cannot serve as footage in which nothing happens; the message says why, and what can."""


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run of `dbvad train`, or bundle of `dbvad export`.")
                   ] = Path("runs/default"),
    normal: Annotated[list[str] | None, typer.Option(help="Footage in which nothing happens, and that was not trained "
                      "on: videos, folders, patterns, or a folder of `dbvad detect`; may be repeated.")] = None,
    per_day: Annotated[float, typer.Option(help="False alarms a day, at most.")] = 1.0,
    camera: Annotated[str | None, typer.Option(help="The footage is of this camera; without it, of all.")] = None,
    feedback: Annotated[Path | None, typer.Option(help="Thumbs of `dbvad events` or `dbvad watch` (feedback.jsonl).")
                        ] = None,
    allow_seen: Annotated[bool, typer.Option("--allow-seen", help="Take footage that was trained on all the same; the "
                                             "promise is then too good, and says so.")] = False,
    artifacts: Annotated[Path, typer.Option("--artifacts", "-a", parser=here, metavar="FOLDER",
                                            help="Folder for what is made of the footage.")
                         ] = Path("normal"),
    clip: Clip = None,
    min_length: Annotated[float, typer.Option(min=0, help="Seconds; shorter events are none.")] = 1.0,
    merge_gap: Annotated[float, typer.Option(min=0, help="Seconds between events that are one.")] = 2.0,
    scale: Scale = "windows",
    crop: Crop = None,
    smooth: Smooth = 0.0,
    live: Live = False,
    look_ahead: LookAhead = None,
    workers: Workers = None,
    device: Device = "auto",
) -> int:
    """Choose the thresholds at which detection raises at most N false alarms a day.

    Every event that is found in the footage counts as a false alarm. What the footage cannot show is refused, with the
    hours that would. Writes RUN/calibration.json, which `dbvad detect` uses (and `dbvad watch` what is made with
    --live) and `dbvad export` takes along. Exit codes: 0 done, or the camera goes with what holds for all; 3 done,
    without videos that are in quarantine.
    """
    from rich.console import Console

    from dbvad.detection import calibration
    from dbvad.detection import feedback as thumbs_of
    from dbvad.detection.model import load
    from dbvad.scoring.events import Thresholds

    if not normal:
        raise typer.BadParameter("name footage in which nothing happens by --normal")
    if not 0 < per_day < float("inf"):
        raise typer.BadParameter(f"--per-day is {per_day:g}: give a number above 0, such as 0.5 for one in two days")
    if not run.is_dir() and run.exists():
        raise typer.BadParameter(f"{run} is a file, and a calibration lies beside the weights: name their folder")
    protocol, thresholds = protocol_of(scale, crop, smooth, live, look_ahead), Thresholds(min_length_s=min_length,
                                                                                         merge_gap_s=merge_gap)
    loaded = load(run, device=device)
    thumbs = thumbs_of.read(feedback) if feedback else []
    known = calibration.read(run)
    scores, bad, seen = _scores(loaded, normal, protocol, artifacts, clip, device, workers, allow_seen, Console())
    footage = calibration.make_footage(scores, calibration.of_camera(thumbs, camera))
    try:
        made = calibration.promise(footage, per_day, thresholds).model_copy(update={"seen": seen})
    except calibration.TooLittle as error:
        held = known.by(protocol) if known and known.model == loaded.fingerprint else None
        if camera is None or held is None or held.common is None or camera in held.cameras:
            raise
        print(f"{camera}: {error}")
        print(f"{camera} goes with what holds for all cameras: {held.common.told()}")
        return 0
    calibration.write(run, calibration.take_in(known, loaded.fingerprint, protocol, camera, made))
    print(f"{camera or 'all cameras'}, by {counted(len(scores), 'recording')}: {made.told()}")
    print(f"kept in {run / calibration.CALIBRATION}, for {protocol.told()}; "
          f"`dbvad {_user(protocol)}` uses it where no thresholds are given")
    return 3 if bad else 0


def _user(protocol: "Protocol") -> str:
    if protocol.look_ahead is None:
        return "detect"
    return f"watch --look-ahead {protocol.look_ahead}" if protocol.look_ahead else "watch"


def _scores(loaded: "Loaded", normal: list[str], protocol: "Protocol", artifacts: Path, clip: str | None, device: str,
            workers: int | None, allow_seen: bool, console: "Console",
            ) -> "tuple[dict[str, tuple[np.ndarray, np.ndarray]], int, int]":
    """{recording: edges in seconds and scores}, how many could not be scored, and how many were trained on; it is said.

    Raises NotNormal.
    """
    from dbvad.cli import detect
    from pipeline.manifest import FILE

    folders = [Path(name) for name in normal if (Path(name) / FILE).is_file()]
    videos = [name for name in normal if Path(name) not in folders]
    entries = {folder: _searched(folder) for folder in folders}
    sources = detect.find_sources(videos, artifacts, console) if videos else []
    seen = _seen(loaded, [(entry.video_id, entry.source_hash) for some in entries.values() for entry in some] +
                 [(source.video_id, source.hash) for source in sources], allow_seen)
    if sources:
        _search(loaded, sources, protocol, artifacts, clip, device, workers, console)
        wanted = {source.video_id for source in sources}
        entries[artifacts] = [entry for entry in _searched(artifacts)
                              if artifacts in folders or entry.video_id in wanted]
    found: dict[str, Any] = {}
    lacking = 0
    for folder, some in entries.items():
        scores, without = _read(folder, some, loaded, protocol)
        twice = found.keys() & scores.keys()
        if twice:
            raise NotNormal(f"{sorted(twice)[0]!r} is in two places of --normal: name one that holds both")
        found, lacking = found | scores, lacking + without
    if lacking:
        print(f"{counted(lacking, 'recording')} left out, in quarantine or not scored")
    return found, lacking, seen


def _searched(folder: Path) -> "Sequence[Entry]":
    from pipeline.manifest import read

    manifest = read(folder)
    if manifest.made_by != "detect":
        raise NotNormal(f"{folder} holds a dataset that is trained and tested on: name recordings that were not "
                        f"trained on, or a folder of `dbvad detect`")
    return manifest.entries


def _seen(loaded: "Loaded", contents: list[tuple[str, str]], allow_seen: bool) -> int:
    """How many recordings the model was trained on, by (id, hash of the content); a copy cut anew is not known."""
    from pipeline.words import few

    known = set(loaded.facts.videos)
    if not known:
        print("whether the footage was trained on cannot be told, as the model does not say which videos it was "
              "trained on: a model that is trained anew does")
    seen = [video_id for video_id, content in contents if content in known]
    if seen and not allow_seen:
        raise NotNormal(f"the model was trained on {counted(len(seen), 'recording')} of the footage ({few(seen)}), "
                        f"and raises fewer false alarms there than anywhere else, so the promise would be too good: "
                        f"name other footage, or take it all the same by --allow-seen")
    return len(seen)


def _search(loaded: "Loaded", sources: "list[Source]", protocol: "Protocol", artifacts: Path, clip: str | None,
            device: str, workers: int | None, console: "Console") -> None:
    """Score the footage by the stages of `dbvad detect`."""
    from dbvad.cli import detect
    from dbvad.cli.pipeline import terminable
    from dbvad.scoring.events import Thresholds
    from pipeline.engine.runner import carry_out
    from pipeline.engine.store import Store
    from pipeline.engine.todo import Options
    from pipeline.manifest import DETECT_AGAIN

    detect.searched(artifacts)
    stages = detect.build_stages(loaded, artifacts, clip, Thresholds(), protocol, [], None, device, workers)
    with terminable():
        outcome = carry_out(stages, sources, Store(artifacts, DETECT_AGAIN), Options([stage.name for stage in stages]),
                            console, planned=lambda plan: detect.record(artifacts, plan))
    if outcome.stage_errors:
        raise NotNormal("the footage could not be scored, as said above: mend that, then run the same again")


def _read(folder: Path, entries: "Sequence[Entry]", loaded: "Loaded", protocol: "Protocol",
          ) -> "tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]":
    """Today's scores of recordings in a folder of `dbvad detect`, by this model and protocol, and how many lack."""
    from dbvad.detection.calibration import table_scores
    from pipeline.engine.store import Store
    from pipeline.manifest import DETECT_AGAIN

    store = Store(folder, DETECT_AGAIN)
    found, lacking = {}, 0
    for entry in entries:
        mark = entry.fingerprints.get("detect", "")
        footer = store.footer("detect", entry.video_id) if mark else None
        if footer is None or footer.fingerprint != mark:
            lacking += 1
            continue
        made, wanted = footer.basis["params"], {"model": loaded.fingerprint, **protocol.scoring}
        if {key: made.get(key) for key in wanted} != wanted:
            raise NotNormal(f"{folder} was searched with another model or another --scale, --crop, --smooth or --live: "
                            f"search it again, or name the recordings themselves by --normal")
        found[entry.video_id] = table_scores(store.read("detect", entry.video_id))
    return found, lacking
