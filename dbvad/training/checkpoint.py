"""What a run leaves on disk: a model to use (safetensors) and a checkpoint to go on from, each one file.

Both are replaced whole, so that an interruption at any moment leaves a good one, and checked when they are read: the
model carries a digest of all that it says, the checkpoint a check sum.

A run folder holds model.safetensors (only once training has ended), checkpoint.pt, log.jsonl, config.yaml, and with
`keep_epochs` epochs/epoch-NN.safetensors.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dbvad.model.detector import ClassHead, Detector
from dbvad.model.directions import Directions
from dbvad.model.memory import DescriptionMemory
from dbvad.training.config import TrainConfig
from pipeline.engine.files import Damaged, atomic_file, read_sealed, write_sealed

MODEL, CHECKPOINT = "model.safetensors", "checkpoint.pt"


class CheckpointError(ValueError):
    """A run folder that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Facts:
    """What a model must say of itself: its classes, and the features and data it was trained on."""

    classes: tuple[str, ...]  # normal first
    width: int
    feature_source: str
    feature_model: str
    feature_identity: dict[str, Any]  # of that model, empty where nothing but its name is known
    data: str  # fingerprint of the training data
    epoch: int  # how many epochs it has seen
    recipe: dict[str, Any] = field(default_factory=dict)  # how its snippets were made, see dbvad.data.dataset.Index
    videos: tuple[str, ...] = ()  # content hashes of the training videos, held-out ones too, where they are known


@dataclass(frozen=True)
class Model:
    """A trained detector, all that detection needs. `head` is None where there were no descriptions to learn from."""

    detector: Detector
    head: ClassHead | None
    config: TrainConfig
    facts: Facts


def save_model(path: Path, model: Model) -> None:
    """Write weights, configuration and facts to one safetensors file."""
    parts = {"detector": model.detector} | ({"head": model.head} if model.head else {})
    tensors = {f"{name}.{key}": value.detach().cpu().contiguous()
               for name, part in parts.items() for key, value in part.state_dict().items()}
    about = {"config": model.config.model_dump_json(), "facts": json.dumps(vars(model.facts))}
    about["digest"] = _digest(tensors, about)
    with atomic_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=about))  # save_file would make it readable by its owner only


def load_model(path: Path, device: torch.device | str = "cpu") -> Model:
    """Read a model from its file or its run folder. Raises CheckpointError."""
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        if (path / CHECKPOINT).is_file():
            raise CheckpointError(f"{path}: its training has not ended: go on with `dbvad train --resume --out {path}`")
        raise CheckpointError(f"no trained model at {path}: make one with `dbvad train --out {path}`")
    again = f"train it again: dbvad train --overwrite --out {file.parent}"
    try:
        with safe_open(file, framework="pt") as opened:
            about, tensors = opened.metadata(), {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} is damaged, or no model ({error}): {again}") from error
    if "digest" not in (about or {}):
        raise CheckpointError(f"{file}: not a model of this version of dbvad, it has no digest: {again}")
    if about.pop("digest") != _digest(tensors, about):
        raise CheckpointError(f"{file} is damaged: its weights, configuration or facts are not what was written; "
                              f"{again}")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file}: its weights hold NaN or infinity (in {name}), so its scores would mean "
                                  f"nothing; {again}, with a lower lr or precision=fp32")
    try:
        config = TrainConfig.model_validate_json(about["config"])
        raw = json.loads(about["facts"])
        facts = Facts(**raw | {name: tuple(raw.get(name, ())) for name in ("classes", "videos")})
        remembered = _part(tensors, "detector.memory.")
        memory = DescriptionMemory.restored(remembered, config.bins) if remembered else None
        shown = _part(tensors, "detector.directions.")
        detector = Detector(facts.width, tmm=config.tmm, length=config.bins, dropout=config.dropout,
                            directions=Directions.restored(shown) if shown else None, memory=memory)
        detector.load_state_dict(_part(tensors, "detector."))
        head = None
        if head_tensors := _part(tensors, "head."):
            head = ClassHead(detector.width, len(facts.classes))
            head.load_state_dict(head_tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: not a model of this version of dbvad ({error}): {again}") from error
    return Model(detector.to(device).eval(), head.to(device).eval() if head else None, config, facts)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """`state`: tensors, numbers, strings, and lists and dicts of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_sealed(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read without running any code that the file might hold. Raises CheckpointError."""
    again = f"Start anew: dbvad train --overwrite --out {path.parent}, with the other options as before"
    try:
        return torch.load(io.BytesIO(read_sealed(path, again)), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}: nothing to resume, leave out --resume") from None
    except Damaged as error:
        raise CheckpointError(str(error)) from None
    except Exception as error:  # torch raises whatever its unpickler meets
        raise CheckpointError(f"{path} cannot be read ({error}). {again}") from error


def _digest(tensors: dict[str, torch.Tensor], about: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes and values of the tensors and of the texts beside them."""
    digest = hashlib.sha256(json.dumps(sorted(about.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
