"""`dbvad calibrate`: at most N false alarms a day, as a promise that can be checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dbvad.cli.detect import Scale
from dbvad.cli.places import here
from dbvad.cli.say import say as print
from pipeline.words import counted

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from dbvad.detection.model import Loaded
    from dbvad.scoring.protocol import Protocol


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
    artifacts: Annotated[Path, typer.Option("--artifacts", "-a", parser=here, metavar="FOLDER",
                                            help="Folder for what is made of the footage.")
                         ] = Path("normal"),
    clip: Annotated[str | None, typer.Option(help="Where the CLIP of the training lies, if it is a local one.")] = None,
    min_length: Annotated[float, typer.Option(min=0, help="Seconds; shorter events are none.")] = 1.0,
    merge_gap: Annotated[float, typer.Option(min=0, help="Seconds between events that are one.")] = 2.0,
    scale: Annotated[Scale, typer.Option(help="As detection will have it.")] = "windows",
    crop: Annotated[int | None, typer.Option(help="As detection will have it.")] = None,
    smooth: Annotated[float, typer.Option(min=0, help="As detection will have it.")] = 0.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode; 2.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> int:
    """Choose the thresholds at which detection raises at most N false alarms a day.

    Every event that is found in the footage counts as a false alarm. What the footage cannot show is refused, with the
    hours that would. Writes RUN/calibration.json, which `dbvad detect` uses and `dbvad export` takes along. Exit codes:
    0 done, or the camera goes with what holds for all; 3 done, without videos that are in quarantine.
    """
    from rich.console import Console

    from dbvad.detection import calibration
    from dbvad.detection import feedback as thumbs_of
    from dbvad.detection.model import load
    from dbvad.scoring.events import Thresholds
    from dbvad.scoring.protocol import Protocol

    if not normal:
        raise typer.BadParameter("name footage in which nothing happens by --normal")
    if not 0 < per_day < float("inf"):
        raise typer.BadParameter(f"--per-day is {per_day:g}: give a number above 0, such as 0.5 for one in two days")
    if not run.is_dir() and run.exists():
        raise typer.BadParameter(f"{run} is a file, and a calibration lies beside the weights: name their folder")
    loaded = load(run, device=device)
    protocol, thresholds = Protocol(scale=scale, crop=crop, smooth=smooth), Thresholds(min_length_s=min_length,
                                                                                      merge_gap_s=merge_gap)
    thumbs = thumbs_of.read(feedback) if feedback else []
    known = calibration.read(run)
    scores, bad = _scores(loaded, normal, protocol, artifacts, clip, device, workers, Console())
    footage = calibration.make_footage(scores, calibration.of_camera(thumbs, camera))
    try:
        made = calibration.promise(footage, per_day, thresholds)
    except calibration.TooLittle as error:
        common = known.common if known and not calibration.fits(known, loaded.fingerprint, protocol) else None
        if camera is None or common is None or camera in (known.cameras if known else ()):
            raise
        print(f"{camera}: {error}")
        print(f"{camera} goes with what holds for all cameras: {common.told()}")
        return 0
    calibration.write(run, calibration.take_in(known, loaded.fingerprint, protocol, camera, made))
    print(f"{camera or 'all cameras'}, by {counted(len(scores), 'recording')}: {made.told()}")
    print(f"kept in {run / calibration.CALIBRATION}; `dbvad detect` uses it where no thresholds are given")
    return 3 if bad else 0


def _scores(loaded: "Loaded", normal: list[str], protocol: "Protocol", artifacts: Path, clip: str | None, device: str,
            workers: int | None, console: "Console") -> "tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]":
    """{recording: edges in seconds and scores}, and how many could not be scored, which is said."""
    from pipeline.manifest import FILE

    folders = [Path(name) for name in normal if (Path(name) / FILE).is_file()]
    found: dict[str, Any] = {}
    lacking = 0
    for folder in folders:
        some, without = _read(folder, None, loaded, protocol)
        twice = found.keys() & some.keys()
        if twice:
            raise NotNormal(f"{sorted(twice)[0]!r} is in two of the folders of --normal: name one that holds both")
        found, lacking = found | some, lacking + without
    videos = [name for name in normal if Path(name) not in folders]
    if videos:
        ids = _search(loaded, videos, protocol, artifacts, clip, device, workers, console)
        some, without = _read(artifacts, ids, loaded, protocol)
        found, lacking = {**found, **some}, lacking + without
    if lacking:
        print(f"{counted(lacking, 'recording')} left out, in quarantine or not scored")
    return found, lacking


def _search(loaded: "Loaded", videos: list[str], protocol: "Protocol", artifacts: Path, clip: str | None, device: str,
            workers: int | None, console: "Console") -> set[str]:
    """Score the footage by the stages of `dbvad detect`; returns the recordings' ids."""
    from dbvad.cli import detect
    from dbvad.cli.pipeline import terminable
    from dbvad.scoring.events import Thresholds
    from pipeline.engine.runner import carry_out
    from pipeline.engine.store import Store
    from pipeline.engine.todo import Options
    from pipeline.manifest import DETECT_AGAIN

    detect.searched(artifacts)
    stages = detect.build_stages(loaded, artifacts, clip, Thresholds(), protocol.model_dump(
        include={"scale", "crop", "smooth"}), [], None, device, workers)
    sources = detect.find_sources(videos, artifacts, console)
    with terminable():
        outcome = carry_out(stages, sources, Store(artifacts, DETECT_AGAIN), Options([stage.name for stage in stages]),
                            console, planned=lambda plan: detect.record(artifacts, plan))
    if outcome.stage_errors:
        raise NotNormal("the footage could not be scored, as said above: mend that, then run the same again")
    return {source.video_id for source in sources}


def _read(folder: Path, ids: set[str] | None, loaded: "Loaded", protocol: "Protocol",
          ) -> "tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]":
    """Today's scores of the recordings in a folder of `dbvad detect`, by this model and protocol, and how many lack."""
    from dbvad.detection.calibration import scored_by, table_scores
    from pipeline.engine.store import Store
    from pipeline.manifest import DETECT_AGAIN, read

    manifest, store = read(folder), Store(folder, DETECT_AGAIN)
    if manifest.made_by != "detect":
        raise NotNormal(f"{folder} holds a dataset that is trained and tested on: name recordings that were not "
                        f"trained on, or a folder of `dbvad detect`")
    found, lacking = {}, 0
    for entry in manifest.entries:
        if ids is not None and entry.video_id not in ids:
            continue
        mark = entry.fingerprints.get("detect", "")
        footer = store.footer("detect", entry.video_id) if mark else None
        if footer is None or footer.fingerprint != mark:
            lacking += 1
            continue
        made, wanted = footer.basis["params"], {"model": loaded.fingerprint, **scored_by(protocol)}
        if {key: made[key] for key in wanted} != wanted:
            raise NotNormal(f"{folder} was searched with another model or another --scale, --crop or --smooth: search "
                            f"it again, or name the recordings themselves by --normal")
        found[entry.video_id] = table_scores(store.read("detect", entry.video_id))
    return found, lacking
