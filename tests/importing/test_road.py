"""From published files to a figure: imported features, descriptions and label embeddings train a detector."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dbvad import presets
from dbvad.evaluation.evaluate import evaluate
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from tests.importing.published import run, save, unit

CLASSES = ("Abuse", "Arson", "RoadAccidents")
TEXT_DIM = 5


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 videos of 2 crops, a planted event in every second one, in VadCLIP's formats."""
    root, rng = tmp_path_factory.mktemp("published"), np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": ["path,label"], "test": ["path,label"]}
    events, texts = [], {}
    directions, meanings = unit(rng.standard_normal((3, 16))), unit(rng.standard_normal((3, TEXT_DIM)))
    for number in range(40):
        split, kind = "train" if number < 28 else "test", number // 2 % 3
        name = f"{CLASSES[kind]}{number:03d}_x264" if number % 2 else f"Normal_Videos_{number:03d}_x264"
        folder, label = (CLASSES[kind], CLASSES[kind]) if number % 2 else ("Normal", "Normal")
        x = unit(rng.standard_normal((40, 2, 16)))
        if number % 2:
            start = int(rng.integers(0, 30))
            x[start:start + 10] += directions[0] + directions[kind]
            if split == "test":
                events.append(f"{name}  {label}  {16 * start}  {16 * start + 159}  -1  -1")
        elif split == "test":
            events.append(f"{name}  Normal  -1  -1  -1  -1")
        for crop in range(2):
            save(root / "features" / folder / f"{name}__{crop}.npy", (9 * x[:, crop]).astype(np.float32))
            lists[split].append(f"/home/x/{folder}/{name}__{crop}.npy,{label}")
        texts[name] = meanings[kind] + 0.3 * rng.standard_normal(TEXT_DIM)
    for split, lines in lists.items():
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    (root / "temporal.txt").write_text("\n".join(events) + "\n")
    trained = {name: text for name, text in texts.items() if int(name.split("_x264")[0][-3:]) < 28}
    np.savez(root / "descriptions.npz", videos=np.array(list(trained)), embeddings=np.array(list(trained.values())))
    np.savez(root / "labels.npz", labels=np.array(["Normal", *CLASSES]), embeddings=rng.standard_normal((4, 7)))
    return root


def test_published_files_train_a_detector(published: Path) -> None:
    """Widths differ: features 16, descriptions 5, labels 7."""
    artifacts = published / "artifacts"
    assert run("features", published / "features", "--train", published / "train.csv", "--test",
               published / "test.csv", "--preset", "ucf-crime", "--artifacts", artifacts) == 0
    assert run("descriptions", "--embeddings", published / "descriptions.npz", "--artifacts", artifacts) == 0
    own = {"labels": "table", "label_embeddings": published / "labels.npz", "epochs": 8, "lr": 2e-3, "batch": 16,
           "schedule": "cosine", "device": "cpu", "precision": "fp32"}
    config = TrainConfig.model_validate(presets.load("ucf-crime").training | own)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = train(config, artifacts, published / "run")
    assert (trained.videos, trained.abnormal, trained.described) == (28, 14, 28)
    result = evaluate(published / "run", artifacts, published / "temporal.txt", device="cpu")
    torch.set_num_threads(threads)
    assert result["metrics"]["auc"] > 0.9
    assert result["provenance"]["feature_source"] == "import"
    assert result["frames"] == 12 * 640
