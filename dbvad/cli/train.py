"""`dbvad train`: from the artifacts to a trained detector in a run folder."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print
from pipeline.words import counted

if TYPE_CHECKING:
    from dbvad.training.config import TrainConfig
    from dbvad.training.run import Result


def train(
    artifacts: ArtifactsOption = Path("artifacts"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for model, checkpoint, log.")] = Path("runs/default"),
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of training keys.")] = None,
    preset: Annotated[str | None, typer.Option(help="ucf-crime or xd-violence, :cosine for that schedule; config and "
                                                    "--set go before it.")] = None,
    stages: Annotated[Path, typer.Option(help="The stages file: says where a local CLIP lies, for its text tower."
                                         )] = Path("stages.yaml"),
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as configured.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Train only if no video is left out and no warning given."
                                         )] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train the detector on the training videos' features, labels and descriptions.

    Ctrl-C leaves a checkpoint; `dbvad train --resume` goes on from it to the same weights.
    """
    given = list(settings or []) + [f"{key}={value}" for key, value in (("seed", seed), ("epochs", epochs))
                                    if value is not None]
    chosen = _parse(with_local_clip(keys(config, given, out if resume else None, preset), stages))
    from dbvad.cli.dataset import check_spotless, check_unchanged
    from dbvad.training.loop import Interrupted
    from dbvad.training.loop import train as run
    from pipeline.lists.remarks import remarks_from

    check_unchanged(artifacts)
    if strict:
        check_spotless(artifacts)
    try:
        result = run(chosen, artifacts, out, resume=resume, overwrite=overwrite)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        return
    for remark in remarks_from(result.warnings):
        print(f"warning: {remark}", file=sys.stderr)
    if as_json:
        import json
        from dataclasses import asdict

        from dbvad.training.runlog import plain

        print(json.dumps(plain(asdict(result)), indent=2, ensure_ascii=False))
    else:
        _show(result, artifacts)


def keys(path: Path | None, settings: list[str], resumed: Path | None, preset: str | None) -> dict[str, Any]:
    """Keys of the resumed run, or of the preset, overlaid by the file, then by the settings. Raises ConfigError."""
    from dbvad.training.config import TrainConfig
    from pipeline.engine.config import ConfigError, load

    if path is not None and not path.is_file():
        raise ConfigError(f"no configuration at {path}: leave out --config for the defaults, or give a YAML file of "
                          f"keys such as 'epochs: 10'")
    values: dict[str, Any] = {}
    if preset:
        from dbvad import presets

        values = dict(presets.load(preset).training)
    if resumed:
        from dbvad.training.run import run_config

        values = run_config(resumed).model_dump()
    if path is not None:
        values |= load(path, TrainConfig).model_dump(exclude_unset=True)
    return values | _overrides(settings)


def _parse(values: dict[str, Any]) -> "TrainConfig":
    from dbvad.training.config import TrainConfig
    from pipeline.engine.config import parse

    return parse(TrainConfig, values, "--set")


def with_local_clip(values: dict[str, Any], stages: Path) -> dict[str, Any]:
    """A local CLIP goes by its folder's name in the artifacts; where that folder is, the stages file knows."""
    if values.get("text_model") is not None or not stages.is_file():
        return values
    from pipeline.stages import read

    model = read(stages).score.model
    return values | {"text_model": model} if Path(model).is_dir() else values


def _overrides(settings: list[str]) -> dict[str, Any]:
    """"key=value", the value as YAML writes it; "prompts.B1=fighting" sets one entry of a mapping."""
    import yaml

    from pipeline.engine.config import ConfigError

    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as --set lr=0.0001")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if isinstance(value, str):
            value = _number(value)
        outer, dot, inner = key.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = value
        else:
            found[key] = value
    return found


def _number(text: str) -> float | str:
    """YAML reads 1e-4 as a text, for want of a dot; people do not."""
    try:
        return float(text)
    except ValueError:
        return text


def _retrieval(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Whether held-out videos find their own descriptions."""
    from dbvad.training.retrieval import verdict

    if not found:
        return
    for name, among in (("among_all", "all"), ("among_label", "those of its label")):
        if told := found[name]:
            yield (f"own description of a held-out video among {among}: first {100 * told['recall_1']:.1f} % (chance "
                   f"{100 * told['chance_1']:.1f}), in the first five {100 * told['recall_5']:.1f} % (chance "
                   f"{100 * told['chance_5']:.1f}), median rank {told['median_rank']:g} (chance "
                   f"{told['chance_rank']:g}), {counted(told['videos'], 'video')}")
    if not verdict(found):
        yield ("held-out videos do not find their own description above chance (binomial 95 % interval): DBM has "
               "taught nothing that it says")


def _show(result: "Result", artifacts: Path) -> None:
    from dbvad.cli.dataset import print_left_out
    from pipeline.engine.place import place_of

    held = f", {result.held_out} held out" if result.held_out else ""
    print(f"trained on {counted(result.videos, 'video')} ({result.abnormal} abnormal, {result.described} "
          f"described{held}), {counted(len(result.classes) - 1, 'class')}, {counted(result.epochs, 'epoch')}, "
          f"{counted(result.steps, 'step')} in {result.seconds:.0f} s "
          f"({result.device}, {result.precision})")
    print_left_out(result.dropped, "training video")
    if result.held_out:
        print(f"AUC of held-out videos after epoch {result.best_epoch}: {100 * result.holdout_auc:.2f}")
    for line in _retrieval(result.retrieval):
        print(line)
    print(f"loss of the last epoch {result.loss:.4f}; model in {result.run}/model.safetensors")
    print(f"next: dbvad evaluate {result.run} --artifacts {place_of(artifacts)}")
