"""`dbvad demo`: every part of the method on rendered CCTV, with small real models, and the scripts that made those."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="See the whole method work on a rendered CCTV world, on a CPU, offline.")
SETTINGS = ("batch=32", "epochs=15", "lr=0.0005")  # a small world: small batches, more rounds


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all that is made.")] = Path("demo"),
    size: Annotated[int, typer.Option(min=12, max=50_000, help="Training videos; half as many test videos.")] = 96,
    engine: Annotated[Literal["transformers", "vllm"], typer.Option(help="What serves the describing model.")
                      ] = "transformers",
    seed: Annotated[int, typer.Option(min=0, help="Of the world and of the training.")] = 7,
) -> int | None:
    """Render the world, run the six stages, train, evaluate, write the report, and find events in a test video.

    Interrupted, it goes on where it was.
    """
    if context.invoked_subcommand is not None:
        return None
    import time

    from dbvad.cli import evaluate as evaluation
    from dbvad.cli import pipeline
    from dbvad.cli import report as reporting
    from dbvad.demo.world.dataset import render_dataset
    from dbvad.progress import progress

    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _step(1, f"render {size} training and {size // 2} test videos into {out}/videos")
    with progress("render", size + size // 2, 0) as update:
        render_dataset(out, size, size // 2, seed, progress=lambda done, total: update(done, ""))
    config, artifacts, run = out / "stages.yaml", out / "artifacts", out / "run"
    write_stages(config, engine)
    _step(2, "pipeline: ingest, decode, score, select, describe, embed")
    code = pipeline.run(config=config, artifacts=artifacts)
    if code:
        return code
    _step(3, "train the detector from video-level labels and descriptions")
    _train(artifacts, run, config, seed)
    _step(4, "evaluate on test videos, frame by frame")
    evaluation.evaluate([run], artifacts, annotations=out / "temporal.txt")
    _step(5, "report")
    reporting.report(run, artifacts, out=out / "report")
    _step(6, "find the events of a test video, as dbvad detect does with any recording")
    code = _detect(out, run)
    if code:
        return code
    print(f"\ndone in {time.monotonic() - began:.0f} s. Look at {out}/report/index.html, or ask the artifacts:\n"
          f"  dbvad sql --artifacts {artifacts} \"select video_id, text from described limit 5\"\n"
          f"or detect events in videos of your own:\n  dbvad detect VIDEOS --model {run}")
    return 0


@app.command("build-models")
def build_models(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the models.")] = Path("demo-models"),
    minutes: Annotated[float, typer.Option(min=1, help="Wall-clock time, two idle cores given.")] = 57,
) -> None:
    """Train the two small models anew, from the rendered world alone: an hour on two idle cores, 6 GB of memory."""
    from dbvad.demo.build_models import build_models as build

    build(out, minutes)
    print(f"models in {out}/clip and {out}/qwen")


def _step(number: int, what: str) -> None:
    print(f"\n[{number}/6] {what}", flush=True)


def _detect(out: Path, run: Path) -> int:
    """Detect on the first test video in which something happens, and tell beside it what truly happens there."""
    from dbvad.cli.detect import detect
    from dbvad.demo.world.camera import FPS
    from dbvad.evaluation.groundtruth import read_annotations

    truth = read_annotations(out / "temporal.txt").events
    tests = {path.name: path for path in (out / "videos" / "test").rglob("*.mp4")}
    video = next(tests[name] for name, events in truth.items() if events and name in tests)
    code = detect([str(video)], run, out / "detections")
    told = [f"{event.label} from {float(event.start) / FPS:.1f} to {float(event.end + 1) / FPS:.1f} s"
            for event in truth[video.name]]
    print(f"the truth: {', '.join(told)}")
    return code


def _train(artifacts: Path, run: Path, config: Path, seed: int) -> None:
    """Go on with an interrupted training; train anew where the data or the program's settings have changed."""
    from dbvad.cli.train import train
    from dbvad.training.checkpoint import CHECKPOINT, CheckpointError
    from dbvad.training.loop import TrainError

    settings = [*SETTINGS, f"seed={seed}"]
    if (run / CHECKPOINT).exists():
        try:
            train(artifacts, run, stages=config, settings=settings, resume=True)
        except (TrainError, CheckpointError):
            pass
        else:
            return
    train(artifacts, run, stages=config, settings=settings, overwrite=True)


def write_stages(path: Path, engine: str) -> None:
    """The stages file of the demo: videos beside it, the shipped models, four key frames."""
    import yaml

    from dbvad.demo.build_models import MODELS

    stages = {
        "dataset": {"videos": "videos"},
        "decode": {"stride": 5, "short_side": 168},  # half a second: the videos have 10 frames a second
        "score": {"model": str(MODELS / "clip"), "pretrained": None},
        "select": {"frames": 4, "stand_out": 0.4},  # chosen on other videos of the world: 0.3 misses second events
        "describe": {"engine": engine, "model": str(MODELS / "qwen"), "max_tokens": 96},
    }
    path.write_text("# Written by `dbvad demo`: the stages that it runs.\n" + yaml.safe_dump(stages, sort_keys=False))
