"""A trained detector as detection takes it: a run folder of `dbvad train`, or a bundle of `dbvad export`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dbvad.data.dataset import OPEN_CLIP, Index
from dbvad.detection.bundle import ONNX, ModelError, weights_of
from dbvad.evaluation.fit import misfit
from dbvad.scoring.scores import Network, TorchNetwork
from dbvad.training.checkpoint import Facts, Model, load_model
from dbvad.training.label_texts import words
from pipeline.engine.hashing import HashCache
from pipeline.instruments.hardware import pick_device
from pipeline.stages.models import identify, name_of

Form = Literal["torch", "onnx"]
CLIP_FOLDER = "clip"  # in a bundle that carries its CLIP along


@dataclass(frozen=True)
class Loaded:
    """A detector ready to score. `fingerprint`: of its weights, the same for a run and for a bundle made of it."""

    path: Path
    form: Form
    model: Model
    network: Network
    fingerprint: str

    @property
    def facts(self) -> Facts:
        return self.model.facts

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes but the normal one, in words; empty where the model tells none apart."""
        if self.model.head is None:
            return ()
        return tuple(words(name, self.model.config.prompts) for name in self.facts.classes[1:])


@dataclass(frozen=True)
class ClipPlace:
    """A CLIP model as open_clip finds it here, and what it is (pipeline/stages/models.py)."""

    model: str
    pretrained: str | None
    identity: dict[str, Any] = field(default_factory=dict)


def load(path: Path, *, form: Form = "torch", device: str = "auto") -> Loaded:
    """Load a run or a bundle; `form` onnx takes the network of a bundle that was exported with --onnx.

    Raises ModelError, CheckpointError.
    """
    file, fingerprint = weights_of(path)
    try:
        where = pick_device(device)
    except ValueError as error:
        raise ModelError(str(error)) from error
    model = load_model(file, where)
    network: Network = TorchNetwork(model.detector, model.head)
    if form == "onnx":
        network = _onnx(path, model, fingerprint)
    return Loaded(path, form, model, network, fingerprint)


def _onnx(path: Path, model: Model, weights: str) -> Network:
    from dbvad.detection.onnx_form import OnnxNetwork

    if not (path / ONNX).is_file():
        raise ModelError(f"{path} holds no {ONNX}: make it by `dbvad export RUN --out MODEL --onnx`")
    return OnnxNetwork(path / ONNX, model.detector.length, weights)


def find_clip(loaded: Loaded, given: str | None, cache: HashCache, crop: int | None = None) -> ClipPlace:
    """The CLIP that made the features which the model was trained on.

    `given`: where the user says it lies; a hub model needs no word, a local one is looked for in the bundle and where
    it lay at training. Raises ModelError where it is not found, or is another one.
    """
    facts, identity = loaded.facts, loaded.facts.feature_identity
    if facts.feature_source != OPEN_CLIP or not facts.recipe:
        why = (f"its features came from elsewhere ({facts.feature_source})" if facts.feature_source != OPEN_CLIP else
               "it was trained before runs kept how their snippets were made")
        raise ModelError(f"{loaded.path} cannot be shown a video, as {why}: train it on features of "
                         f"`dbvad pipeline run score`")
    for place in _places(loaded, given):
        found = ClipPlace(*place, identify(*place, cache))
        index = Index((), {}, (), facts.recipe["score"]["crops"], facts.width, OPEN_CLIP, name_of(place[0]),
                      found.identity)
        fault = misfit(facts, index, crop, owner=f"with --clip {given} the videos" if given else "these videos",
                       remedy="name the CLIP it was trained with by --clip")
        if not fault:
            return found
        if given or found.identity == identity:
            raise ModelError(fault)
    raise ModelError(f"{loaded.path} was trained with the CLIP model {facts.feature_model!r}, local files that are "
                     f"not where they were: say where they lie by --clip PATH")


def _places(loaded: Loaded, given: str | None) -> list[tuple[str, str | None]]:
    identity, config = loaded.facts.feature_identity, loaded.model.config
    name, revision = identity.get("name"), identity.get("revision")
    if given:
        weights = name is not None and Path(given).is_file()
        return [(name, given)] if name and weights else [(given, None if Path(given).is_dir() else revision)]
    if name:
        return [(name, revision or config.text_pretrained)]
    folders = [loaded.path / CLIP_FOLDER, *([Path(config.text_model)] if config.text_model else [])]
    return [(str(folder), None) for folder in folders if folder.is_dir()]
