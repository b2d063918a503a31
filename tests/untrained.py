"""A run as training leaves it, with random weights: for tests that need a model and not a good one."""

from pathlib import Path
from typing import Any

import torch

from dbvad.demo.build_models import MODELS
from dbvad.model.detector import ClassHead, Detector
from dbvad.training.checkpoint import MODEL, Facts, Model, save_model
from dbvad.training.config import TrainConfig
from pipeline.engine.hashing import HashCache
from pipeline.stages.decode import DecodeParams
from pipeline.stages.models import identify
from pipeline.stages.score import ScoreParams

CLIP = MODELS / "clip"
LENGTH, STRIDE = 16, 5


def untrained_run(folder: Path, *, seed: int = 0, **facts: Any) -> Path:
    """A run on features of the demo's CLIP; `facts` in place of the usual ones."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"decode": DecodeParams(stride=STRIDE, short_side=96).model_dump(mode="json"),
              "score": ScoreParams(precision="fp32").model_dump(mode="json")}
    identity = identify(str(CLIP), None, HashCache(folder / "hashes.json"))
    usual = {"classes": ("normal", "fighting", "road_accident"), "width": 256, "feature_source": "open_clip",
             "feature_model": "clip", "feature_identity": identity, "data": "data", "epoch": 1, "recipe": recipe}
    save_model(folder / MODEL, Model(Detector(256, length=LENGTH), ClassHead(256, 3),
                                     TrainConfig(bins=LENGTH, dbm=False), Facts(**usual | facts)))
    return folder
