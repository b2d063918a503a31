"""Kill `dbvad pipeline run` at random moments, run it again, and compare its tables with those of a quiet run.

    python tools/kill_nine.py STAGES_YAML [--kills 20] [--to select] [--seed 0]

A run that ends before its moment has come is compared and thrown away, and the next one starts from nothing, so that
every kill hits work. Says what differs and exits with 1 if anything does, if a temporary file is left, or if a child
outlives its parent.
Columns that tell of time (latency_ms) are not compared.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa

from pipeline.engine.files import TEMP_MARK
from pipeline.engine.store import Store

STAGES = ("ingest", "decode", "score", "select", "describe", "embed")
TIMES = {"latency_ms"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--to", default="select", choices=STAGES)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-nine-"))
    try:
        return compare(given, folder / "quiet", folder / "killed")
    finally:
        shutil.rmtree(folder)


def compare(given: argparse.Namespace, quiet: Path, killed: Path) -> int:
    command = [str(Path(sys.executable).with_name("dbvad")), "pipeline", "run", "--to", given.to,
               "--config", str(given.stages), "--artifacts"]
    began = time.monotonic()
    code = subprocess.run([*command, str(quiet)], stdout=subprocess.DEVNULL, check=False).returncode
    whole = time.monotonic() - began
    print(f"quiet run: {whole:.1f} s, exit code {code}")
    draw = random.Random(given.seed)
    kills, rows, faults = 0, 0, []
    while kills < given.kills:
        moment = draw.uniform(0.02, 0.4) * whole
        run = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(moment)
        except subprocess.TimeoutExpired:
            children = psutil.Process(run.pid).children(recursive=True)
            run.send_signal(signal.SIGKILL)
            run.wait()
            _, rest = psutil.wait_procs(children, timeout=5)
            kills += 1
            faults += [f"kill {kills}: process {child.pid} lives on" for child in rest if is_alive(child)]
            left = sum(len(Store(killed).shards(stage)) for stage in STAGES)
            print(f"kill {kills} after {moment:.1f} s: {left} shards, {len(children)} children ended", flush=True)
        if run.returncode >= 0 or kills == given.kills:
            last = subprocess.run([*command, str(killed)], stdout=subprocess.DEVNULL, check=False).returncode
            if last != code:
                faults.append(f"exit code {last} at last, {code} in the quiet run")
            compared, found = differences(Store(quiet), Store(killed))
            rows, faults = rows + compared, faults + found
            shutil.rmtree(killed)
    for fault in faults:
        print(fault)
    print(f"{kills} kills, {rows} rows compared, {len(faults)} faults")
    return 1 if faults else 0


def differences(quiet: Store, killed: Store) -> tuple[int, list[str]]:
    """How many rows were compared, and what is wrong with `killed`."""
    rows, faults = 0, [f"temporary file {path}" for path in killed.root.rglob(f"*{TEMP_MARK}*")]
    for stage in STAGES:
        if quiet.videos(stage) != killed.videos(stage):
            faults.append(f"{stage}: other videos")
            continue
        for video in quiet.videos(stage):
            first, second = (table_of(store, stage, video) for store in (quiet, killed))
            rows += first.num_rows
            if first != second:
                faults.append(f"{stage} {video}: other rows")
    return rows, faults


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs: where process 1 collects no orphans, ended ones stay listed as zombies."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def table_of(store: Store, stage: str, video: str) -> pa.Table:
    table = store.read(stage, video)
    return table.drop_columns([name for name in table.column_names if name in TIMES])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
