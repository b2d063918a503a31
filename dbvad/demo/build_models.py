"""Builds the two small models that the demo ships, from nothing but the rendered world."""

import os
import pickle
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dbvad.demo.world.dataset import MODEL_SEEDS

MODELS = Path(__file__).parent / "models"
STORIES, HELD_OUT = 2000, 150
OTHER_MINUTES = 7  # of rendering and of taking the figures


def build_models(out: Path = MODELS, minutes: float = 57, stories: int = STORIES, workers: int | None = None) -> None:
    """Write `out`/clip and `out`/qwen, made in about `minutes` on two idle cores, each with a card.

    First `stories` rendered videos are looked at (about 4 minutes), then both models train at the same time, each in a
    process of one thread that stops when it has used its share of processor time, and last their figures are taken. A
    faster machine makes better models, and two runs differ a little. Progress is printed. Needs 6 GB of memory.

    The seeds come from MODEL_SEEDS, which no rendered dataset uses; the last HELD_OUT stories only give the figures.
    """
    from dbvad.demo.training.card import write_cards
    from dbvad.demo.training.data import samples
    from dbvad.demo.training.figures import clip_figures, qwen_figures

    started, cores = time.monotonic(), workers or os.cpu_count() or 1
    out, work = Path(out), Path(out).with_name(f".{Path(out).name}.building")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        data = samples(MODEL_SEEDS[:stories], cores)
        print(f"{stories} stories rendered in {time.monotonic() - started:.0f} s", flush=True)
        for name, unused in (("clip", "qwen"), ("qwen", "clip")):
            with (work / f"{name}.pickle").open("wb") as file:
                pickle.dump([replace(sample, **{unused: None}) for sample in data], file, protocol=5)  # type: ignore[arg-type]
        del data
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            each = max(0.1, minutes - OTHER_MINUTES)
            for done in [pool.submit(_train, name, work, each) for name in ("clip", "qwen")]:
                done.result()
        held_out = samples(MODEL_SEEDS[stories : stories + HELD_OUT], cores)
        found = clip_figures(work / "clip", held_out), qwen_figures(work / "qwen", held_out)
        write_cards(work, *found, stories=stories, core_minutes={"clip": each, "qwen": each})
        out.mkdir(parents=True, exist_ok=True)
        for name in ("clip", "qwen"):
            shutil.rmtree(out / name, ignore_errors=True)
            os.replace(work / name, out / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for figures in found:
        for what, value in figures.items():
            print(f"{what}: {100 * value:.1f} %", flush=True)


def _train(name: str, work: Path, core_minutes: float) -> None:
    import torch

    torch.set_num_threads(1)  # two threads that share a core with others spend their time waiting for each other
    with (work / f"{name}.pickle").open("rb") as file:
        data: Any = pickle.load(file)
    if name == "clip":
        from dbvad.demo.training.clip_training import train_clip as train
    else:
        from dbvad.demo.training.qwen_training import train_qwen as train
    train(data, work / name, core_minutes)
