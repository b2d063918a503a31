"""Kill parts of a Ray cluster under `dbvad pipeline run`, and compare the tables with those of one machine.

    python tools/ray_drill.py [--videos 200]

Renders small videos, some of them faulty, and takes them through ingest, decode and score: here, then on a cluster of
two nodes on this machine, once for each fault. Says what differs, and exits with 1 if anything does: a shard that is
missing or other, another quarantine, another exit code, a temporary file, or a process that lives on.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kill_nine import differences

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.engine.store import Store
from tests import videos
from tests.engine.nodes import Nodes, nodes
from tests.tiny import tiny_clip

STAGES = ("ingest", "decode", "score")
COMMAND = [str(Path(sys.executable).with_name("dbvad")), "pipeline", "run", *STAGES]
DEADLINE_S = 1200


def render(folder: Path, count: int) -> Path:
    """`count` videos of 1 to 4 seconds in two classes, every fortieth of them no whole one. Returns the stages file."""
    for number in range(count):
        path = folder / "videos" / "train" / ("fight" if number % 2 else "normal") / f"v{number:03}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 40 == 39:
            videos.truncated_mp4(path)
        else:
            videos.barcode(path, 25 + number * 7 % 75)
    model = tiny_clip(folder / "clip")
    config = {"dataset": {"videos": "videos"}, "ingest": {"workers": 2}, "decode": {"workers": 2},
              "score": {"workers": 2, "model": str(model), "pretrained": None, "device": "cpu"}}
    (folder / "stages.yaml").write_text(yaml.safe_dump(config))
    return folder / "stages.yaml"


@dataclass
class Drill:
    """A dataset, what one machine makes of it, and a cluster; `second` is its node that may be killed."""

    config: Path
    folder: Path
    cluster: Nodes
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alone = Store(self.folder / "alone")
        self.second = self.cluster.join(1)

    def start(self, store: Store, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*COMMAND, "--config", str(self.config), "--artifacts", str(store.root), *options],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def on_ray(self, store: Store) -> subprocess.Popen[str]:
        return self.start(store, "--engine", "ray", "--address", self.cluster.address)

    def try_out(self, name: str, moment: Callable[[Store], bool], fault: Callable[[subprocess.Popen[str]], None],
                ) -> None:
        """One run on the cluster, with a fault at a moment."""
        store = Store(self.folder / name)
        began = time.monotonic()
        run = self.on_ray(store)
        while not moment(store) and run.poll() is None:
            time.sleep(0.05)
        hit = run.poll() is None
        there = sum(len(store.shards(stage)) for stage in STAGES)
        fault(run)
        said, _ = run.communicate(timeout=DEADLINE_S)
        if run.returncode < 0:  # the driver itself
            if not self.cluster.quiet():
                self.faults.append(f"{name}: processes live on after the driver")
            run = self.on_ray(store)
            said = run.communicate(timeout=DEADLINE_S)[0]
        spent = time.monotonic() - began
        if not hit:
            self.faults.append(f"{name}: the run was over before the fault")
        if not self.cluster.quiet():
            self.faults.append(f"{name}: processes live on")
        if run.returncode != 3:
            self.faults.append(f"{name}: exit code {run.returncode}\n{said}")
        compared, found = differences(self.alone, store)
        if quarantine(store) != quarantine(self.alone):
            found.append("another quarantine")
        self.faults += [f"{name}: {what}" for what in found]
        there_now = sum(len(store.shards(stage)) for stage in STAGES)
        print(f"{name}: at {there} shards, {spent:.0f} s, {there_now} shards, {compared} rows compared, "
              f"{len(said.splitlines())} lines printed, of these:", flush=True)
        print("".join(f"    {line}\n" for line in said.splitlines() if "lost" in line or "wants" in line), end="")


def quarantine(store: Store) -> list[tuple[str, ...]]:
    columns = ("stage", "video_id", "kind", "reason", "remedy", "fingerprint")
    return sorted(tuple(row[column] for column in columns) for row in store.quarantine_rows())


def shards(stage: str, count: int) -> Callable[[Store], bool]:
    return lambda store: len(store.shards(stage)) >= count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    count = parser.parse_args().videos
    folder = Path(tempfile.mkdtemp(prefix="ray-drill-"))
    try:
        config = render(folder, count)
        with nodes(1) as cluster:
            drill = Drill(config, folder, cluster)
            began = time.monotonic()
            run = drill.start(drill.alone)
            said, _ = run.communicate(timeout=DEADLINE_S)
            print(f"here: {time.monotonic() - began:.0f} s, exit code {run.returncode}, "
                  f"{sum(len(drill.alone.shards(stage)) for stage in STAGES)} shards", flush=True)
            if run.returncode != 3:
                print(said)
                return 1
            drill.try_out("nothing", shards("decode", 1), lambda run: None)
            drill.try_out("whole-node", shards("decode", count // 4), lambda run: cluster.kill(drill.second))
            drill.try_out("joins-late", shards("decode", count // 4), lambda run: join(drill))
            drill.try_out("raylet", shards("score", count // 4),
                          lambda run: cluster.kill(drill.second, only_raylet=True))
            join(drill)
            drill.try_out("driver", shards("score", count // 4), lambda run: run.send_signal(signal.SIGKILL))
        for fault in drill.faults:
            print(fault)
        print(f"{len(drill.faults)} faults")
        return 1 if drill.faults else 0
    finally:
        shutil.rmtree(folder)


def join(drill: Drill) -> None:
    drill.second = drill.cluster.join(1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
