"""How near CLIP on a processor is to the matrix products that it could do: `python bench/score.py [--frames 64]`.

The limit is a square product in the model's precision, one thread a core. Beside it the image tower alone, on crops
that are ready, as the score stage runs it; and the score stage, from stored JPEGs of 336 x 448 to its shard. Weights
are drawn at random. CPU seconds of all threads, the least of some rounds that take turns, so that other work on the
machine matters little. One JSON object at the end.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.instruments.clip import Clip
from pipeline.instruments.clip.encoder import PASS, dtype_of
from pipeline.instruments.clip.threads import single_threaded
from tools.gpu_clip import MODEL, forward, operations, random_clip, stage
from tools.gpu_common import jpeg, pictures

SIDE = 2048


def spent(work: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def everywhere(work: Callable[[], object], times: int) -> float:
    """CPU seconds of `work`, done so many times by one thread a core."""
    _, pool = single_threaded()
    with pool:
        for _ in pool.map(lambda _: work(), range(times)):
            pass
        return spent(lambda: list(pool.map(lambda _: work(), range(times)))) / times


def product(precision: str) -> Callable[[], object]:
    import torch

    left, right = (torch.randn(SIDE, SIDE, dtype=dtype_of(precision)) for _ in range(2))
    return partial(torch.mm, left, right)


def measure(folder: Path, net: Clip, frames: int, rounds: int) -> dict[str, dict[str, float]]:
    """GFLOP in a CPU second, and CPU seconds a frame; of the stage also seconds."""
    cost, jpegs = operations(net), [jpeg(picture) for picture in pictures(8, 448, 336)]
    jpegs = (jpegs * -(-frames // len(jpegs)))[:frames]
    multiply, tower = product(net.precision), forward(net, PASS)
    took: dict[str, list[float]] = {"matrix product": [], "network alone": [], "stage": [], "seconds": []}
    for turn in range(rounds):
        took["matrix product"].append(everywhere(multiply, 16))
        took["network alone"].append(everywhere(tower, max(2, frames // PASS // 2)) / PASS)
        began = time.perf_counter()
        took["stage"].append(spent(partial(stage, folder / str(turn), net, jpegs, 1, 1)) / frames)
        took["seconds"].append((time.perf_counter() - began) / frames)
    least = {name: min(times) for name, times in took.items()}
    found = {"matrix product": {"GFLOP/s": 2 * SIDE**3 / least["matrix product"] / 1e9}}
    for name in ("network alone", "stage"):
        found[name] = {"GFLOP/s": cost / least[name] / 1e9, "CPU s a frame": least[name]}
    found["stage"]["seconds a frame"] = least["seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL, help="any name of open_clip's")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        net = random_clip(folder, given.model, "cpu", "auto")
        found = measure(Path(folder), net, given.frames, given.rounds)
    limit = found["matrix product"]["GFLOP/s"]
    of_limit = {name: told["GFLOP/s"] / limit for name, told in found.items()}
    for name, told in found.items():
        print(f"{name:15}{told['GFLOP/s']:8.1f} GFLOP in a CPU second, {of_limit[name]:.0%} of the product"
              + (f", {told['CPU s a frame']:.3f} CPU s a frame" if "CPU s a frame" in told else ""))
    print(json.dumps({"settings": vars(given) | {"precision": net.precision}, "found": found, "of_limit": of_limit}))


if __name__ == "__main__":
    main()
