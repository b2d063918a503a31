"""Where the texts of the classes come from: the CLIP that made the features, or a table of vectors."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dbvad.data.dataset import NORMAL, OPEN_CLIP, DataError, Index, TrainingData
from dbvad.model.sfp import LabelTable, PromptedLabels
from dbvad.training.config import TrainConfig
from pipeline.lists.labels import find_label
from pipeline.words import few


def label_texts(config: TrainConfig, data: TrainingData, device: torch.device) -> PromptedLabels | LabelTable:
    """The module behind SFP's t_y. Raises DataError."""
    if _has_tower(config, data.index):
        return _prompted(config, data.classes, data.index, device)
    if config.label_embeddings:
        return LabelTable(_read_table(config.label_embeddings, data.classes))
    return LabelTable(torch.zeros(len(data.classes), data.descriptions.shape[1]))


def name_vectors(config: TrainConfig, classes: Sequence[str], index: Index) -> torch.Tensor:
    """Vectors of the bare class names in the features' space (C, D), without a learnable part. Raises DataError."""
    if _has_tower(config, index):
        with torch.no_grad():
            found = _prompted(config.model_copy(update={"context": 0}), classes, index, torch.device("cpu"))()
    elif config.label_embeddings:
        found = _read_table(config.label_embeddings, classes)
    else:
        raise DataError("the class names have no vectors: the features have no text tower, and the model was trained "
                        "without label_embeddings; train with --set label_embeddings=FILE.npz")
    if found.shape[1] != index.dim:
        raise DataError(f"class names have vectors of {found.shape[1]} numbers, the features {index.dim}: likeness to "
                        f"the names needs both from one encoder")
    return found


def words(label: str, prompts: dict[str, str]) -> str:
    """A label in words: as `prompts` says, or spelt out, "RoadAccidents" and "road_accidents" as "road accidents"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", label)
    return prompts.get(label) or " ".join(re.split(r"[\s_-]+", spaced)).strip().lower()


def _has_tower(config: TrainConfig, index: Index) -> bool:
    made_by_clip = index.feature_source == OPEN_CLIP
    return config.labels == "prompt" or (config.labels == "auto" and made_by_clip and not config.label_embeddings)


def _prompted(config: TrainConfig, classes: Sequence[str], index: Index, device: torch.device) -> PromptedLabels:
    from pipeline.instruments import clip

    model, pretrained = _text_model(config, index)
    try:
        tower = clip.load(model, pretrained, device="cpu").text_tower()
        prompts = PromptedLabels(tower, [words(label, config.prompts) for label in classes], config.context)
    except (clip.ClipError, ValueError) as error:
        raise DataError(f"the text tower of {model} cannot be used: {error}. Name the CLIP, or its folder, by "
                        f"--set text_model=NAME, or do without: --set labels=table") from error
    tower.to(device)  # the module does not own it, so it does not move along
    return prompts


def _text_model(config: TrainConfig, index: Index) -> tuple[str, str | None]:
    """Name and tag as asked for, else as the features were made: a local folder has only the path in the footer."""
    if config.text_model:
        return config.text_model, config.text_pretrained
    if name := index.identity.get("name"):
        return name, index.identity.get("revision") or config.text_pretrained
    return index.model, config.text_pretrained


def _read_table(path: Path, classes: Sequence[str]) -> torch.Tensor:
    """The classes' rows of an .npz with `labels` (N,) and `embeddings` (N, D'); names compared as labels are."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = dict(zip(file["labels"].tolist(), file["embeddings"], strict=True))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"label_embeddings: {path} cannot be used ({error}): needed is an .npz with `labels` and "
                        f"`embeddings`") from error
    found = [find_label(name, rows) for name in classes]
    missing = [name for name, label in zip(classes, found, strict=True) if label is None]
    if missing:
        raise DataError(f"label_embeddings: {path} has no row for {few(missing)} (it has {few(list(rows), 20)}); "
                        f"the normal class is called {NORMAL!r}")
    return torch.tensor(np.stack([rows[label] for label in found if label is not None]), dtype=torch.float32)
