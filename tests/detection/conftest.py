"""A small trained model on real videos, by the real stages and the demo's CLIP, shared by the tests of this folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dbvad.demo.build_models import MODELS
from dbvad.evaluation.evaluate import evaluate, save_result
from dbvad.scoring.protocol import Protocol
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from tests import videos
from tests.e2e.conftest import call

CLIP = MODELS / "clip"
STRIDE, BINS = 4, 8
TEST = {"fighting/a.mp4": 120, "fighting/b.mkv": 80, "normal/a.mp4": 60}


@dataclass(frozen=True)
class World:
    """`root`/videos, artifacts and a run on them; `on`: a threshold that some snippets reach and others do not."""

    root: Path
    on: float

    @property
    def tests(self) -> Path:
        return self.root / "videos" / "test"

    @property
    def run(self) -> Path:
        return self.root / "run"


def moving(path: Path, n_frames: int, seed: int) -> Path:
    """Blocks that move, and in the middle third a flash of other blocks."""
    rng = np.random.default_rng(seed)
    still, flash = (rng.integers(0, 255, (6, 8, 3), np.uint8).repeat(20, axis=0).repeat(20, axis=1) for _ in range(2))
    path.parent.mkdir(parents=True, exist_ok=True)
    return videos.write_video(path, (np.roll(flash if n_frames < 3 * k < 2 * n_frames else still, 2 * k, axis=1)
                                     for k in range(n_frames)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("detection")
    names = [f"train/{label}/v{number}.mp4" for label in ("fighting", "road_accident", "normal", "normal")
             for number in range(2)]
    names = list(dict.fromkeys(name.replace("normal/v", f"normal/{place}")
                               for place, name in enumerate(names)))
    for seed, name in enumerate(names):
        moving(root / "videos" / name, 60 + 8 * seed, seed)
    for seed, (name, n_frames) in enumerate(TEST.items(), start=50):
        moving(root / "videos" / "test" / name, n_frames, seed)
    (root / "stages.yaml").write_text(yaml.safe_dump({
        "decode": {"stride": STRIDE, "short_side": 112}, "score": {"model": str(CLIP), "pretrained": None}}))
    artifacts = root / "artifacts"
    assert call("pipeline", "run", "--to", "score", "-c", root / "stages.yaml", "-a", artifacts) == 0
    np.savez(root / "texts.npz", videos=np.array(names),
             embeddings=np.random.default_rng(0).standard_normal((len(names), 16)).astype(np.float32))
    assert call("import", "descriptions", "--embeddings", root / "texts.npz", "-a", artifacts) == 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(TrainConfig(epochs=4, lr=1e-3, batch=4, bins=BINS, precision="fp32", device="cpu", text_model=str(CLIP)),
          artifacts, root / "run")
    result = evaluate(root / "run", artifacts, protocol=Protocol(scale="bins"), device="cpu")
    torch.set_num_threads(threads)
    save_result(root / "run" / "result.json", result)
    assert json.loads((root / "run" / "result.json").read_text())["videos"] == len(TEST)
    return World(root, threshold(root / "run"))


def threshold(run: Path) -> float:
    """Between the scores of one video, so that it has snippets on both sides."""
    import pyarrow.parquet as pq

    table = pq.read_table(run / "scores.parquet", filters=[("video_id", "=", "test/fighting/a.mp4")])
    return float(np.quantile(table["score"].to_numpy(), 0.6))


@pytest.fixture(scope="session")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `dbvad detect` on the test videos."""
    out = tmp_path_factory.mktemp("searched")
    assert call(*detect(world, out)) == 0
    return out


def detect(world: World, out: Path, *more: object, scale: str = "bins") -> list[object]:
    """The command, with thresholds that give events."""
    return ["detect", world.tests, "--model", world.run, "-a", out / "detections", "--on", world.on, "--off",
            world.on * 0.99, "--min-length", 0, "--merge-gap", 0.1, "--scale", scale, "--device", "cpu", *more]
