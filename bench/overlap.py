"""Decode and score in one run against each alone: `python bench/overlap.py [--videos 48]`.

Rendered videos of 320x240 and the demo's CLIP, whose pictures are of another size than most, on all cores. The bound is
what two stages that share a machine cannot beat: the slower one alone, or all processor seconds over the cores, be that
longer. One JSON object at the end.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from decode import footage

from dbvad.demo.build_models import MODELS
from pipeline.engine.spawn import cores

STAGES = """
dataset: {{videos: videos}}
score: {{model: {model}, pretrained: null}}
"""


def run(folder: Path, *stages: str) -> tuple[float, float]:
    """Seconds, and processor seconds of all processes, of `dbvad pipeline run STAGES`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "dbvad", "pipeline", "run", *stages], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--frames", type=int, default=1500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stages.yaml").write_text(STAGES.format(model=MODELS / "clip"))
        (folder / "videos" / "normal").mkdir(parents=True)
        first = footage(folder / "first.mp4", given.frames)
        for number in range(given.videos):
            os.link(first, folder / "videos" / "normal" / f"{number:03}.mp4")
        run(folder, "ingest")
        alone = {stage: run(folder, stage) for stage in ("decode", "score")}
        for stage in alone:
            shutil.rmtree(folder / "artifacts" / stage)
        together = run(folder, "decode", "score")
    bound = max(*(seconds for seconds, _ in alone.values()), sum(cpu for _, cpu in alone.values()) / cores())
    for stage, (seconds, cpu) in {**alone, "together": together}.items():
        print(f"{stage:10}{seconds:8.1f} s{cpu:8.1f} CPU s")
    print(f"bound {bound:.1f} s on {cores()} cores: {bound / together[0]:.0%} of it reached")
    print(json.dumps({"settings": vars(given), "alone": alone, "together": together, "of_bound": bound / together[0]}))


if __name__ == "__main__":
    main()
