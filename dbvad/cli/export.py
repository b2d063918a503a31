"""`dbvad export`: a trained model as one folder to take elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from dbvad.cli.say import say as print


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `dbvad train`.")] = Path("runs/default"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")] = Path("model"),
    onnx: Annotated[bool, typer.Option("--onnx", help="Add the network as ONNX, and compare it with PyTorch.")] = False,
    with_clip: Annotated[bool, typer.Option("--with-clip", help="Take a local CLIP folder along.")] = False,
    clip: Annotated[str | None, typer.Option(help="Where that CLIP lies, if not where it was at training.")] = None,
) -> None:
    """Put weights, configuration, classes, the CLIP's identity, calibration and a card with the figures in one folder.

    `dbvad detect --model FOLDER` takes it, and `Detector.load("FOLDER")` in Python.
    """
    from dbvad.cli.output import print_table
    from dbvad.detection import bundle, calibration, onnx_form
    from dbvad.detection.model import find_clip, load
    from pipeline.engine.hashing import HashCache
    from pipeline.words import counted

    along = None
    if with_clip:
        along = Path(find_clip(load(run), clip, HashCache(out / ".model-hashes")).model)
        if not along.is_dir():
            raise bundle.ModelError(f"{run} was trained with {along}, a model of the hub: it is fetched where it is "
                                    f"used, leave out --with-clip")
    promises = calibration.read(run)
    made = bundle.export(run, out, clip=along, calibrated=promises.model if promises else None)
    if promises and promises.model != made.weights:
        print(f"{run / bundle.CALIBRATION} is left out, as it is of other weights: `dbvad calibrate {run} --normal "
              f"FOOTAGE`, then export again")
    if onnx:
        found = onnx_form.export(load(out, device="cpu").model, out / bundle.ONNX, made.weights)
        print_table(["snippets", "largest difference of a logit", "of a class share"],
                    [(parity.snippets, f"{parity.logits:.1e}", f"{parity.shares:.1e}") for parity in found])
        print(f"ONNX against PyTorch: all logits within {onnx_form.GATE:g}")
    clip_told = "with its CLIP" if along else f"its CLIP is {made.clip['name']}, which is not in it"
    print(f"{out}: {counted(len(made.classes) - 1, 'class')}, {clip_told}; see {out}/{bundle.CARD}")
