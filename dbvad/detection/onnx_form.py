"""The network as ONNX: exporting it, measuring what it loses, and running it with onnxruntime."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dbvad.detection.bundle import ModelError
from dbvad.model.detector import ClassHead, Detector
from dbvad.training.checkpoint import Model
from pipeline.engine.files import atomic_file

LENGTHS = (1, 2, 17, 256)  # snippets at which the two forms are compared, as far as the model takes them
GATE = 1e-4  # largest difference of a logit
KEY = "dbvad"  # of the provenance in the file
QUIET = 3  # onnxruntime's level for errors only
LACKING = "ONNX needs packages that are not installed: pip install 'dbvad[onnx]'"


@dataclass(frozen=True)
class Parity:
    """Largest differences between the forms on sequences of `snippets`, in logits and in class shares."""

    snippets: int
    logits: float
    shares: float


class OnnxNetwork:
    """The exported network (see dbvad.scoring.scores.Network)."""

    def __init__(self, path: Path, length: int, weights: str) -> None:
        """`weights`: hash of those it must have been made from. Raises ModelError."""
        self.path, self.length = path, length
        self._session = _session(path)
        made_from = _provenance(self._session).get("weights")
        if made_from != weights:
            raise ModelError(f"{path} was made from other weights than those beside it: export the bundle again with "
                             f"--onnx")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        logits, shares = _run(self._session, x)
        return np.concatenate([1 / (1 + np.exp(-logits))[..., None], shares], axis=-1)


class _Both(nn.Module):
    """Logits (B, T) and class shares (B, T, C); C = 0 without a head."""

    def __init__(self, detector: Detector, head: ClassHead | None) -> None:
        super().__init__()
        self.detector, self.head = detector, head

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.detector(x, mask)
        return logits, self.head(features) if self.head is not None else features[..., :0]


def export(model: Model, path: Path, weights: str) -> list[Parity]:
    """Write the network to `path`, batch and length free, and compare it with PyTorch.

    `weights`: their hash, kept in the file. Raises ModelError where a package lacks or a difference exceeds GATE; then
    no file is left.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError(f"{LACKING} ({error.name} is missing)") from None
    both = _Both(model.detector, model.head).cpu().eval()
    width, length = model.facts.width, model.detector.length
    # An example as long as `length` would be frozen to it; sequences of one snippet alone cannot vary.
    example = min(9, length - 1) if length > 2 else length
    free = {0: torch.export.Dim("B", max=1024)} | ({1: torch.export.Dim("T", max=length)} if length > 2 else {})
    with atomic_file(path) as temporary:
        with _quiet():
            program = torch.onnx.export(
                both, (torch.randn(2, example, width), torch.ones(2, example, dtype=torch.bool)),
                input_names=["x", "mask"], output_names=["logits", "classes"], dynamic_shapes=(free, free),
                dynamo=True, verbose=False)
        assert program is not None
        program.save(str(temporary))
        proto = onnx.load(temporary)
        entry = proto.metadata_props.add()
        entry.key = KEY
        entry.value = json.dumps({"weights": weights, "classes": list(model.facts.classes)})
        onnx.save(proto, temporary)
        found = compare(both, temporary, length)
        worst = max(found, key=lambda parity: parity.logits)
        if not worst.logits < GATE:
            raise ModelError(f"the ONNX form differs from PyTorch by {worst.logits:.1e} in a logit at "
                             f"{worst.snippets} snippets, more than {GATE:g}: it was not written; please report it")
    return found


@torch.inference_mode()
def compare(both: nn.Module, path: Path, length: int) -> list[Parity]:
    """Differences on random unit vectors, two sequences a length."""
    session, found = _session(path), []
    width = session.get_inputs()[0].shape[2]
    for snippets in sorted({min(count, length) for count in LENGTHS}):
        x = np.random.default_rng(snippets).standard_normal((2, snippets, width)).astype(np.float32)
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        logits, shares = (part.numpy() for part in both(torch.from_numpy(x), torch.ones(2, snippets, dtype=torch.bool)))
        ours, our_shares = _run(session, x)
        found.append(Parity(snippets, float(np.abs(ours - logits).max()),
                            float(np.abs(our_shares - shares).max(initial=0))))
    return found


def _run(session: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, shares = session.run(None, {"x": np.ascontiguousarray(x, np.float32), "mask": np.ones(x.shape[:2], bool)})
    return logits, shares


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{LACKING} ({error.name} is missing)") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, by no common name
        raise ModelError(f"{path} cannot be loaded by onnxruntime ({error}): export the bundle again") from error


def _provenance(session: Any) -> dict[str, Any]:
    try:
        found = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its own workings; its faults arrive as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
