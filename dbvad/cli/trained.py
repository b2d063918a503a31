"""Options that say which trained model is used, and what it runs on: the same for all commands that have them."""

from pathlib import Path
from typing import Annotated

import typer

TrainedModel = Annotated[Path, typer.Option("--model", "-m", help="Run of `dbvad train`, or bundle of `dbvad export`.")]
Clip = Annotated[str | None, typer.Option(help="Where the CLIP of the training lies, if it is a local one.")]
Onnx = Annotated[bool, typer.Option("--onnx", help="Use the ONNX form of a bundle.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that decode; as many as there are cores.")]
