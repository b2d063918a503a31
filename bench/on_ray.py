"""What a run on a Ray cluster costs more than one on this machine: `python bench/on_ray.py [--videos 100]`.

A stage that sleeps for a second a video, in four processes: here, and on a cluster of two nodes on this machine, by
turns. `whole` is all that a run takes, with joining the cluster and starting processes; `steady` is from the first
shard to the last. Seconds, the median of some rounds, with the ratio of the two. One JSON object at the end.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.engine.cluster import Needs, RayCluster
from pipeline.engine.hand import Engine
from pipeline.engine.on_ray import on_ray
from pipeline.engine.runner import local
from tests.engine.nodes import nodes
from tests.engine.world import World

WORKERS, SECONDS = 4, 1.0


def spent(folder: Path, videos: int, engine: Engine) -> tuple[float, float]:
    """Seconds of a run: whole, and steady."""
    world = World(folder).write(**{f"v{number:04}": "one" for number in range(videos)})
    began = time.monotonic()
    world.run(world.chain(seconds=SECONDS, workers=WORKERS)[:1], engine=engine)
    whole = time.monotonic() - began
    assert world.outcome.counts == {("words", "done"): videos}, world.output
    (log,) = (world.store.root / "runs").glob("*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    ends = [event["at"] for event in events if event["event"] == "unit"]
    return whole, max(ends) - min(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of a run on Ray")
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder, nodes(2) as cluster:
        cluster.join(2)
        place, needs = RayCluster(address=cluster.address), {"words": Needs()}
        engines: dict[str, Engine] = {"local": local, "ray": lambda log: on_ray(log, place, needs)}
        for number in range(given.rounds):
            for name, engine in engines.items():
                found[name].append(spent(Path(folder) / f"{name}-{number}", given.videos, engine))
    table = Table()
    table.add_column(f"{given.videos} videos of {SECONDS:g} s, {WORKERS} processes")
    for name in (*found, "ray / local"):
        table.add_column(name, justify="right")
    ratios = {}
    for place_, part in enumerate(("whole", "steady")):
        times = {name: statistics.median(run[place_] for run in runs) for name, runs in found.items()}
        ratios[part] = times["ray"] / times["local"]
        table.add_row(part, *(f"{seconds:.2f}" for seconds in times.values()), f"{ratios[part]:.3f}")
    Console().print(table)
    print(json.dumps({"settings": vars(given), "of_local": ratios}))


if __name__ == "__main__":
    main()
