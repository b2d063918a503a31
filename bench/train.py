"""Our training step against that of a network that works as VadCLIP does: `python bench/train.py [--device cuda]`.

Both train on the same memory-mapped features of 1,610 generated videos, 128 a batch, at most 256 snippets of 512
numbers, 14 classes, and a text tower of ViT-B/16's size with random weights; ours with the preset `ucf-crime`, the
functions that `dbvad train` calls, the other (`bench/vadclip_like.py`) in float32 as its authors have it. Each lives in
a process of its own with as many threads; steps alternate, so that both meet the same load, and medians are compared.
Two sets of lengths: drawn by the quantiles of UCF-Crime's training videos, and every video of full length, where there
is no padding to save. A step is gather, forward, backward and update; memory is the most that a process ever held
(on a GPU: of its memory). `--layers 1 --heads 8` makes the other one smaller. One JSON object at the end.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vadclip_like import LENGTH, VadclipLike

from dbvad import presets
from dbvad.data.dataset import Batch, Index, TrainingData, Video, epoch_batches
from dbvad.data.features import Features
from dbvad.data.mapped import MappedRows
from dbvad.model.directions import Directions
from dbvad.model.sfp import PromptedLabels
from dbvad.training.config import TrainConfig
from dbvad.training.distributed import Group
from dbvad.training.label_texts import words
from dbvad.training.loop import descend, forget_shapes, forward, make_optimizer, prefetch
from dbvad.training.network import TrainingNetwork
from pipeline.instruments import clip

VIDEOS, ABNORMAL, WIDTH = 1610, 810, 512
# Snippets of UCF-Crime's training videos: the share of videos that are no longer.
QUANTILES = {0.0: 5, 0.05: 30, 0.25: 73, 0.5: 139, 0.75: 282, 0.95: 1599}


@dataclass(frozen=True)
class Side:
    """One of the two in one precision; `videos`: whose lengths."""

    name: str
    precision: str
    videos: str


def make_features(path: Path, lengths: np.ndarray) -> None:
    """Unit vectors, neighbours alike, as a feature cache holds them: (sum of lengths, 512) float16."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for length in lengths:
            rows = rng.standard_normal(WIDTH, np.float32) + 0.5 * rng.standard_normal((length, WIDTH), np.float32)
            file.write((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).tobytes())


def lengths_of(videos: str) -> np.ndarray:
    if videos == "full length":
        return np.full(VIDEOS, LENGTH)
    drawn = np.interp(np.random.default_rng(1).random(VIDEOS), list(QUANTILES), list(QUANTILES.values()))
    return np.minimum(drawn.astype(np.int64), LENGTH)


def open_data(path: Path, lengths: np.ndarray, classes: tuple[str, ...]) -> TrainingData:
    rng = np.random.default_rng(2)
    kinds = np.where(np.arange(VIDEOS) < ABNORMAL, rng.integers(1, len(classes), VIDEOS), 0)
    features = Features(MappedRows(path, WIDTH), np.cumsum(lengths) - lengths, lengths, 1)
    index = Index(tuple(Video(str(i), (), 30.0, 0, "") for i in range(VIDEOS)), {}, (), 1, WIDTH, "", "", {})
    return TrainingData(index, classes, np.eye(len(classes), dtype=np.float32)[kinds],
                        rng.standard_normal((VIDEOS, WIDTH), np.float32), np.ones(VIDEOS, bool), features, "")


def endless(data: TrainingData, batch: int, device: torch.device) -> Iterator[Batch]:
    for epoch in range(10**6):
        plan = epoch_batches(np.arange(VIDEOS), data.abnormal, crops=1, batch=batch, seed=0, epoch=epoch)
        yield from (found for found, _ in prefetch(data, plan, device))


def ours(data: TrainingData, tower: Any, precision: str, device: torch.device, given: argparse.Namespace,
         ) -> Callable[[], float]:
    config = TrainConfig.model_validate(presets.load("ucf-crime").training | {"batch": given.batch})
    texts = PromptedLabels(tower, [words(name, config.prompts) for name in data.classes], config.context)
    tower.to(device)  # it is no part of the module
    network = TrainingNetwork(config, WIDTH, WIDTH, texts, directions=Directions(WIDTH, config.directions)).to(device)
    optimizer, batches = make_optimizer(network, config), endless(data, given.batch, device)

    def step() -> float:
        losses = forward(network, next(batches), precision)
        descend(network, losses, optimizer, Group())
        return losses.total.item()
    return step


def theirs(data: TrainingData, tower: Any, precision: str, device: torch.device, given: argparse.Namespace,
           ) -> Callable[[], float]:
    config = presets.load("ucf-crime")
    network = VadclipLike(tower.to(device), [config.classes[name] for name in data.classes], WIDTH, given.layers,
                          given.heads).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.training["lr"], weight_decay=0.01)
    batches = endless(data, given.batch, device)

    def step() -> float:
        batch = next(batches)
        x = torch.nn.functional.pad(batch.x, (0, 0, 0, LENGTH - batch.x.shape[1]))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = network.losses(x, batch.mask.sum(dim=1).tolist(), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def worker(side: Side, folder: Path, given: argparse.Namespace, pipe: Connection) -> None:
    """Make a step each time the pipe says so and answer with its seconds; at the end with the most memory held."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = torch.device(given.device)
    if side.name == "dbvad":
        forget_shapes()
    tower = clip.load(str(folder / "clip"), device="cpu").text_tower()
    classes = tuple(presets.load("ucf-crime").classes)
    data = open_data(folder / f"{side.videos}.f16", lengths_of(side.videos), classes)
    step = (ours if side.name == "dbvad" else theirs)(data, tower, side.precision, device, given)
    while pipe.recv():
        began = time.perf_counter()
        loss = step()  # a number of the device, so all its work is done
        pipe.send((time.perf_counter() - began, loss))
    pipe.send(torch.cuda.max_memory_allocated() if device.type == "cuda"
              else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def compare(sides: list[Side], folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Steps in turn, the first round not counted."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for side in sides:
        ours_end, theirs_end = context.Pipe()
        process = context.Process(target=worker, args=(side, folder, given, theirs_end), daemon=True)
        process.start()
        pipes.append(ours_end)
        workers.append(process)
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(given.rounds + 1):
        for pipe, spent in zip(pipes, seconds, strict=True):
            pipe.send(True)
            took, _ = pipe.recv()
            if number:
                spent.append(took)
    results = []
    for side, pipe, process, spent in zip(sides, pipes, workers, seconds, strict=True):
        pipe.send(False)
        results.append({"side": side.name, "precision": side.precision, "lengths": side.videos, "seconds": spent,
                        "videos_s": given.batch / statistics.median(spent), "peak_bytes": pipe.recv()})
        process.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2, help="of the other network's transformer")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--lengths", choices=["UCF-Crime", "full length"], help="only these")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tower(folder / "clip")
        for videos in [given.lengths] if given.lengths else ["UCF-Crime", "full length"]:
            make_features(folder / f"{videos}.f16", lengths_of(videos))
            sides = [Side("VadCLIP-like", "fp32", videos), Side("dbvad", "fp32", videos), Side("dbvad", "bf16", videos)]
            results = compare(sides, folder, given)
            show(results, given)
            found += results
    print(json.dumps({"settings": vars(given), "results": found}))


def make_tower(folder: Path) -> None:
    """A CLIP with ViT-B/16's text tower, random weights, and next to no image tower."""
    from dbvad.demo.tiny_clip import clip_config

    config: dict[str, Any] = clip_config(embed_dim=WIDTH, text_width=512, text_layers=12)
    config["model_cfg"]["text_cfg"]["heads"] = 8
    config["model_cfg"]["quick_gelu"] = True
    folder.mkdir()
    (folder / clip.CONFIG).write_text(json.dumps(config))
    clip.initialise(folder)


def show(results: list[dict[str, Any]], given: argparse.Namespace) -> None:
    base = results[0]
    print(f"\nlengths: {base['lengths']}; {given.batch} videos a step, {given.device}, {given.threads} threads, "
          f"median of {given.rounds} steps")
    print(f"{'':14}{'':6}{'s/step':>8}{'videos/s':>10}{'times':>7}{'peak GB':>9}{'of it':>7}")
    for row in results:
        print(f"{row['side']:14}{row['precision']:6}{statistics.median(row['seconds']):8.2f}{row['videos_s']:10.1f}"
              f"{row['videos_s'] / base['videos_s']:7.2f}{row['peak_bytes'] / 1e9:9.2f}"
              f"{row['peak_bytes'] / base['peak_bytes']:7.0%}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
