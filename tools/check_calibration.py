#!/usr/bin/env python
"""Does a calibration keep its promise on footage that it did not see? Exit code 1 if not.

    dbvad demo --out demo && python tools/check_calibration.py demo [--calibrate 10] [--check 40] [--per-day 12]

Renders so many hours of the demo's world in which nothing happens (other stories than the demo's and its models'),
calibrates a bundle of the demo's detector on the first part, and detects on the second. Every event there is a false
alarm. All of it lies in DEMO/calibration and is kept: run it again to go on. 40 s of two cores an hour of footage.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from dbvad.cli.calibrate import calibrate
from dbvad.cli.detect import detect
from dbvad.cli.export import export
from dbvad.demo.world.camera import FPS
from dbvad.demo.world.dataset import MAX_SPLIT, encode
from dbvad.demo.world.story import NORMAL, tell
from dbvad.detection.calibration import DAY_H, TooLittle, garwood
from dbvad.progress import progress
from pipeline.engine.files import atomic_file
from pipeline.sql import connect

SEEDS = {"calibrate": 2 * 3007 * MAX_SPLIT, "check": 2 * 3008 * MAX_SPLIT}  # of datasets that nobody renders
CONFIDENCE = 0.95


def footage(out: Path, part: str, hours: float, workers: int) -> float:
    """Render normal videos into `out` until they last `hours`. Returns how long they are, in hours."""
    out.mkdir(parents=True, exist_ok=True)
    wanted, seconds, jobs = hours * 3600, 0.0, []
    while seconds < wanted:
        seed = SEEDS[part] + len(jobs)
        seconds += tell(seed, NORMAL).n_frames / FPS
        jobs.append((out / f"{seed}.mp4", seed))
    left = [job for job in jobs if not job[0].exists()]
    with (progress(f"render {part}", len(jobs), len(jobs) - len(left)) as update,
          ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool):
        for done, _ in enumerate(pool.map(_render, left), start=len(jobs) - len(left) + 1):
            update(done, "")
    return seconds / 3600


def _render(job: tuple[Path, int]) -> None:
    path, seed = job
    with atomic_file(path) as temporary:
        encode(temporary, tell(seed, NORMAL))


def refuses(bundle: Path, hour: Path, out: Path) -> bool:
    """Whether one hour is not enough for one false alarm a day."""
    try:
        calibrate(bundle, [str(hour)], per_day=1, artifacts=out)
    except TooLittle as error:
        print(f"refused, as it should be: {error}")
        return True
    print("one hour was taken for a promise of one a day: it should not")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--calibrate", type=float, default=10, help="hours to calibrate on")
    parser.add_argument("--check", type=float, default=40, help="hours to check on")
    parser.add_argument("--per-day", type=float, default=12, help="false alarms a day, at most")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    out = asked.demo / "calibration"
    bundle = out / "model"
    hours = footage(out / "check", "check", asked.check, asked.workers)
    footage(out / "calibrate", "calibrate", asked.calibrate, asked.workers)
    footage(out / "hour", "calibrate", 1, asked.workers)
    if not bundle.exists():
        export(asked.demo / "run", bundle, with_clip=True)
    well = refuses(bundle, out / "hour", out / "hour-artifacts")
    if calibrate(bundle, [str(out / "calibrate")], per_day=asked.per_day, artifacts=out / "calibrate-artifacts"):
        return 1
    if detect([str(out / "check")], bundle, out / "check-artifacts", csv=out / "false-alarms.csv"):
        return 1
    row = connect(out / "check-artifacts").execute("select count(*) from events").fetchone()
    alarms = int(row[0]) if row else 0
    low, high = (bound * DAY_H for bound in garwood(alarms, hours, CONFIDENCE))
    kept = low <= asked.per_day
    print(f"{alarms} false alarms in {hours:.1f} hours: {alarms / hours * DAY_H:.3g} a day, {low:.3g} to {high:.3g} "
          f"(exact Poisson bounds, {CONFIDENCE:.0%} each); promised: at most {asked.per_day:g}: "
          f"{'kept' if kept else 'BROKEN'}")
    return 0 if kept and well else 1


if __name__ == "__main__":
    sys.exit(main())
