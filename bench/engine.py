"""What a second `dbvad pipeline run` costs when everything is up to date: `python bench/engine.py [--videos 1900]`.

Makes a folder of tiny files in UCF-Crime's numbers and a shard for each of the six stages (of one row; the plan reads
footers only), then times the steps of a run that finds nothing to do. Process CPU time, the best of three.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.engine.hashing import HashCache
from pipeline.engine.plan import State, make_plan
from pipeline.engine.runner import carry_out
from pipeline.engine.stage import Source, Stage
from pipeline.engine.store import Store
from pipeline.engine.todo import Options, todo
from pipeline.stages import ORDER, StagesFile, build
from pipeline.stages.dataset import Dataset, discover

CLASSES = 14  # UCF-Crime's, normal among them
REPEATS = 3


def make_videos(folder: Path, count: int) -> Dataset:
    """`count` files of a few bytes below train/ and test/."""
    for number in range(count):
        split, label = "test" if number % 7 == 0 else "train", number % CLASSES
        path = folder / split / (f"Class{label}" if label else "normal") / f"Video{number:04}_x264.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    return Dataset(videos=folder)


def make_shards(stages: list[Stage], sources: list[Source], store: Store) -> None:
    """Every shard that a finished run leaves, without rows."""
    flush, os.fsync = os.fsync, lambda fd: None  # what is measured is reading them
    try:
        for unit in make_plan(stages, sources, store).values():
            contract = next(stage.contract for stage in stages if stage.name == unit.stage)
            store.publish(contract, unit.video_id, contract.schema.empty_table(), fingerprint=unit.fingerprint,
                          basis=unit.basis)
    finally:
        os.fsync = flush


def cost(step: Callable[[], Any]) -> float:
    """CPU seconds of this process, the least of some tries."""
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        step()
        spent.append(time.process_time() - began)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of a run with nothing to do")
    parser.add_argument("--videos", type=int, default=1900)
    count = parser.parse_args().videos
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_videos(Path(folder) / "videos", count)
        store = Store(Path(folder) / "artifacts")
        hashes = store.root / ".video-hashes.json"
        stages = build(StagesFile(), store.root)
        sources = discover(dataset, HashCache(hashes)).sources
        make_shards(stages, sources, store)
        plan = make_plan(stages, sources, store)
        assert all(unit.state is State.DONE for unit in plan.values())
        options = Options(ORDER)
        quiet = Console(quiet=True)
        steps = {
            "list videos": lambda: discover(dataset, HashCache(hashes)).sources,
            "plan": lambda: make_plan(stages, sources, store),
            "choose units": lambda: todo(plan, options),
            "sweep temporary files": lambda: store.sweep(ORDER),
            "whole run": lambda: carry_out(stages, discover(dataset, HashCache(hashes)).sources, store, options, quiet),
        }
        table = Table()
        table.add_column(f"{count} videos, {len(plan)} shards, nothing to do")
        table.add_column("CPU s", justify="right")
        for name, step in steps.items():
            table.add_row(name, f"{cost(step):.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
