"""One training of the grid and what is judged from it: found done, gone on with, or made.

A cell is a folder VARIANT/seed-N. Variants that differ in nothing that training depends on share one training, which
lies in the folder of the first of them.
"""

import hashlib
import json
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from dbvad.ablation.ladder import Ladder
from dbvad.data.dataset import Index, TrainingData, read_index, read_training
from dbvad.data.features import writable_cache
from dbvad.evaluation.evaluate import evaluate, judge_holdout, save_result
from dbvad.evaluation.groundtruth import Format
from dbvad.scoring.protocol import Protocol
from dbvad.training.checkpoint import CHECKPOINT, MODEL, CheckpointError, load_checkpoint
from dbvad.training.config import TrainConfig
from dbvad.training.loop import Interrupted, train
from dbvad.training.run import retrieval_of, uses_text
from pipeline.engine.files import Damaged, read_record
from pipeline.engine.store import Store

Todo = Literal["done", "judge", "resume", "train"]
FREE = {"device"}  # keys that weights do not depend on


@dataclass(frozen=True)
class Cell:
    """One figure of the table: a variant's training judged by its protocol."""

    variant: str
    seed: int
    protocol: Protocol
    folder: Path


@dataclass(frozen=True)
class Training:
    """One training in `folder`, and the cells that are judged from it."""

    config: TrainConfig
    artifacts: Path
    folder: Path
    cells: list[Cell] = field(default_factory=list)


@dataclass(frozen=True)
class Truth:
    """What cells are judged by: the test videos' `annotations`, or with `holdout` the held-out training videos."""

    annotations: Path | None = None
    format: Format = "auto"
    holdout: bool = False

    @cached_property
    def digest(self) -> str | None:
        """Of the annotations' content."""
        return hashlib.sha256(self.annotations.read_bytes()).hexdigest()[:32] if self.annotations else None

    @property
    def result(self) -> str:
        """Name of a cell's result file."""
        return "holdout.json" if self.holdout else "result.json"


def trainings(ladder: Ladder, seeds: list[int], artifacts: Path, out: Path, *, train: dict[str, Any],
              protocol: dict[str, Any]) -> list[Training]:
    """The grid, seed by seed, so that a table of what is done so far compares equal seeds. Raises ConfigError."""
    found: dict[str, Training] = {}
    for seed in seeds:
        for name, variant in ladder.variants.items():
            config = ladder.training(name, train, seed)
            root = Path(variant.artifacts.replace("{artifacts}", str(artifacts))) if variant.artifacts else artifacts
            folder = out / name / f"seed-{seed}"
            training = found.setdefault(f"{root} {config.model_dump_json()}", Training(config, root, folder))
            training.cells.append(Cell(name, seed, ladder.judging(name, protocol), folder))
    return list(found.values())


@lru_cache(maxsize=4)
def training_data(artifacts: Path, bins: int, descriptions: bool, allow_leaks: bool, out: Path) -> TrainingData:
    """Opened once in a process."""
    return read_training(Store(artifacts), bins=bins, cache=writable_cache(artifacts, out), descriptions=descriptions,
                         allow_leaks=allow_leaks)


def _data(training: Training, out: Path) -> TrainingData:
    config = training.config
    return training_data(training.artifacts, config.bins, uses_text(config), config.allow_leaks, out)


@lru_cache(maxsize=4)
def test_index(artifacts: Path) -> Index:
    """Read once in a process."""
    return read_index(Store(artifacts), "test")


def state(training: Training, out: Path, truth: Truth) -> tuple[Todo, str]:
    """What is left to do, and why. Raises DataError, FeatureError."""
    data = _data(training, out)
    left, reason = _trained(training, data.fingerprint)
    if left != "done":
        return left, reason
    tested = None if truth.holdout else test_index(training.artifacts).fingerprint
    for cell in training.cells:
        result = read_result(cell, truth)
        if result is None:
            return "judge", f"{cell.variant}: not judged yet"
        if changed := _changed(result, cell, data.fingerprint, tested, truth):
            return "judge", f"{cell.variant}: {changed}"
    return "done", ""


def work(training: Training, out: Path, truth: Truth, device: str, quiet: bool = False) -> dict[str, str]:
    """Do what is left to do. Returns the reason of each variant that failed; Interrupted alone is raised."""
    failed = {}
    try:
        todo, _ = state(training, out, truth)
        data = _data(training, out)
        if todo in ("resume", "train"):
            train(training.config, training.artifacts, training.folder, resume=todo == "resume",
                  overwrite=todo == "train", data=data, quiet=quiet)
    except Interrupted:
        raise
    except Exception as error:  # the grid goes on without this training
        return {cell.variant: _keep(error, cell.folder) for cell in training.cells}
    for cell in training.cells:
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
            if truth.holdout:
                result = judge_holdout(training.folder, training.artifacts, protocol=cell.protocol, device=device)
            else:
                result = evaluate(training.folder, training.artifacts, truth.annotations, format=truth.format,
                                  protocol=cell.protocol, device=device, out=cell.folder,
                                  index=test_index(training.artifacts))
            save_result(cell.folder / truth.result, result | {"truth": truth.digest,
                                                              "retrieval": retrieval_of(training.folder)})
            (cell.folder / "error.txt").unlink(missing_ok=True)
        except Exception as error:  # likewise
            failed[cell.variant] = _keep(error, cell.folder)
    return failed


def read_result(cell: Cell, truth: Truth) -> dict[str, Any] | None:
    """The result that a cell has; None without."""
    try:
        return read_record(cell.folder / truth.result, "It is judged again")
    except (OSError, Damaged):
        return None


def _trained(training: Training, data: str) -> tuple[Todo, str]:
    folder, wanted = training.folder, _weighty(training.config.model_dump(mode="json"))
    try:
        if (folder / MODEL).exists():
            begun = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            trained_on = read_record(folder / "train.json", "It is trained again")["data"]
            left: Todo = "done"
        elif (folder / CHECKPOINT).exists():
            saved = load_checkpoint(folder / CHECKPOINT)
            begun, trained_on, left = json.loads(saved["config"]), saved["data"], "resume"
        else:
            return "train", "not trained yet"
    except (OSError, ValueError, KeyError, CheckpointError, Damaged) as error:
        return "train", f"its run folder cannot be read ({error})"
    if changed := _differences(_weighty(begun), wanted):
        return "train", changed
    return (left, "begun and interrupted") if trained_on == data else ("train", "the training data changed")


def _changed(result: dict[str, Any], cell: Cell, trained: str, tested: str | None, truth: Truth) -> str:
    """Why a result does not hold any more, or ""."""
    about, judged = result["provenance"], dict(result["protocol"])
    judged.pop("selection", None)
    if changed := _differences(judged, cell.protocol.model_dump(mode="json")):
        return changed
    if about["training_data"] != trained:
        return "it was trained anew"
    if tested is not None and about["test_data"] != tested:
        return "the test videos changed"
    return "" if result.get("truth") == truth.digest else "the annotations changed"


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    return "; ".join(f"{key} was {before.get(key)!r}, is now {value!r}" for key, value in now.items()
                     if before.get(key) != value)


def _weighty(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in FREE}


def _keep(error: Exception, folder: Path) -> str:
    """The reason in a line; the traceback stays in the cell's folder."""
    with suppress(OSError):  # a full disk is the reason itself, as like as not
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return f"{type(error).__name__}: {error}"
