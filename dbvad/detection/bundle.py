"""A bundle: a trained model as one folder that says what it is, to take elsewhere."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dbvad import __version__
from dbvad.detection.card import write_card
from dbvad.training.checkpoint import MODEL, Facts, load_model
from pipeline.engine.files import atomic_file, read_record
from pipeline.engine.hashing import hash_file

FORMAT = 1  # raised when an older dbvad could not read what a newer one writes
MANIFEST, ONNX, CARD = "bundle.json", "detector.onnx", "README.md"
CALIBRATION, RESULT = "calibration.json", "result.json"


class ModelError(ValueError):
    """A model that detection cannot use; the message names it and the remedy."""


class Manifest(BaseModel):
    """bundle.json. `weights`: hash of model.safetensors, which holds configuration and facts once more."""

    model_config = ConfigDict(frozen=True)

    bundle: int = FORMAT
    dbvad: str = __version__
    weights: str
    classes: list[str]
    clip: dict[str, Any] = Field(description="name, identity (for a local folder the hash of its content), width")
    snippets: dict[str, Any] = Field(description="parameters of decode and score")
    config: dict[str, Any] = Field(description="of the training")
    training_data: str
    epoch: int


def read_manifest(path: Path) -> Manifest | None:
    """What the bundle in `path` says of itself; None where there is no bundle. Raises ModelError."""
    file = path / MANIFEST
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}): export the bundle again") from error
    version = raw.get("bundle") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(f"{path} is a bundle of format {version}, made by dbvad {raw.get('dbvad', '(unknown)')}; this "
                         f"is dbvad {__version__}, which reads up to format {FORMAT}: install a newer dbvad")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise ModelError(f"{file} is not a bundle's ({error.errors()[0]['msg']}): export the bundle again") from error


def weights_of(path: Path) -> tuple[Path, str]:
    """The file of the weights of a run or a bundle, or `path` itself, and its hash. Raises ModelError.

    A bundle must be whole, and its weights those that it was made with.
    """
    if not path.exists():
        raise ModelError(f"no model at {path}: name the folder of a run (`dbvad train --out {path}`) or of a bundle "
                         f"(`dbvad export RUN --out {path}`)")
    manifest, file = read_manifest(path), path / MODEL if path.is_dir() else path
    if not file.is_file():
        if manifest:
            raise ModelError(f"{path} is a bundle without its {MODEL}: export it again")
        return path, ""  # whoever loads it says what kind of run it is
    fingerprint = hash_file(file)
    if manifest and manifest.weights != fingerprint:
        raise ModelError(f"{file} is not the file that was exported into this bundle: export it again")
    return file, fingerprint


def export(run: Path, out: Path, *, clip: Path | None = None, calibrated: str | None = None) -> Manifest:
    """Make a bundle of a run: weights, manifest, result where there is one, and a card.

    `clip`: a local CLIP folder to take along; `calibrated`: hash of the weights that the run's calibration is of, which
    is taken along if they are these. An older bundle in `out` is replaced. Raises ModelError, CheckpointError, Damaged.
    """
    if run.resolve() == out.resolve():
        raise ModelError(f"{out} is the run itself: name another folder by --out")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not (out / MANIFEST).is_file():
        raise ModelError(f"{out} is there and is no bundle: name an empty or a new folder by --out")
    file, weights = weights_of(run)
    model, result = load_model(file), _result(run / RESULT)
    facts, kept = model.facts, calibrated == weights
    out.mkdir(parents=True, exist_ok=True)
    (out / ONNX).unlink(missing_ok=True)  # of older weights
    _copy(file, out / MODEL)
    for name, wanted in ((CALIBRATION, kept), (RESULT, result is not None)):
        if wanted:
            _copy(run / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)
    if clip is not None:
        _take_along(clip, out / "clip")
    manifest = Manifest(weights=weights, classes=list(facts.classes), clip=_clip(facts),
                        snippets=facts.recipe, config=model.config.model_dump(mode="json"), training_data=facts.data,
                        epoch=facts.epoch)
    with atomic_file(out / MANIFEST) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_card(out / CARD, manifest.model_dump(), result, calibrated=kept)
    return manifest


def _result(file: Path) -> dict[str, Any] | None:
    try:
        return read_record(file, "Evaluate again, or delete it")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _clip(facts: Facts) -> dict[str, Any]:
    return {"name": facts.feature_model, "identity": facts.feature_identity, "width": facts.width,
            "source": facts.feature_source}


def _copy(source: Path, target: Path) -> None:
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _take_along(clip: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(clip, target)
