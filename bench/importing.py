"""Import of as many crop files as UCF-Crime has, killed half-way and gone on with, then an epoch of training on them.

    python bench/importing.py [--videos 1610] [--crops 10] [--dim 64] [--folder DIR]

Writes `Name__k.npy` files of random vectors, float16, with lengths drawn by the quantiles of UCF-Crime's training
videos (8 GB at --dim 512, and as much in the artifacts), and runs `dbvad import features`: once until half of the
videos are there and a SIGKILL ends it, a second time to go on, a third time with nothing to do. Then `dbvad train` for
an epoch, which says what share of its time it waited for data. Seconds, processor seconds and the most memory held, of
each: all that counts as the process's (`peak_mb`), and of it what is not pages of files (`own_mb`, looked at five times
a second); one JSON object at the end.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ABNORMAL = 0.5
# Snippets of UCF-Crime's training videos: the share of videos that are no longer. The longest two are left out.
QUANTILES = {0.0: 7, 0.05: 30, 0.25: 73, 0.5: 139, 0.75: 282, 0.95: 1599, 1.0: 10_000}


def make_files(folder: Path, given: argparse.Namespace) -> int:
    """Feature files and labels.csv; returns the bytes of the files. Slices of one block, for speed."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((20_000, given.dim), np.float32).astype(np.float16)
    lengths = np.interp(rng.random(given.videos), list(QUANTILES), list(QUANTILES.values())).astype(int)
    lines, size = ["video,label,split"], 0
    (folder / "features").mkdir()
    for number, length in enumerate(lengths):
        name = f"v{number:05d}"
        for crop, start in enumerate(rng.integers(len(block) - length, size=given.crops)):
            path = folder / "features" / f"{name}__{crop}.npy"
            np.save(path, block[start:start + length])
            size += path.stat().st_size
        lines.append(f"{name},{'event' if number < ABNORMAL * given.videos else 'normal'},train")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return size


def run(*command: str, stop_at: int = 0, shards: Path | None = None) -> dict[str, Any]:
    """`dbvad COMMAND` in a process of its own, killed as soon as `stop_at` files are in `shards`."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "dbvad", *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    own = 0
    while not _ended(process.pid):
        own = max(own, _own_mb(process.pid))
        if stop_at and len(list((shards or Path()).glob("*.parquet"))) >= stop_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.2)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {"exit": process.returncode, "seconds": round(time.monotonic() - began, 1),
            "processor_s": round(usage.ru_utime + usage.ru_stime, 1), "peak_mb": round(usage.ru_maxrss / 1024),
            "own_mb": own}


def _ended(pid: int) -> bool:
    """Whether a child is over, which is left to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _own_mb(pid: int) -> int:
    """Memory of a process but for pages of files; 0 where it is over."""
    told = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) >> 10 for line in told.splitlines() if line.startswith("RssAnon")), 0)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    size, artifacts = make_files(folder, given), folder / "artifacts"
    command = ["import", "features", str(folder / "features"), "--labels", str(folder / "labels.csv"), "--artifacts",
               str(artifacts)]
    found: dict[str, Any] = {"files": given.videos * given.crops, "mb": size >> 20}
    found["killed"] = run(*command, stop_at=given.videos // 2, shards=artifacts / "score")
    found["killed"]["videos"] = len(list((artifacts / "score").glob("*.parquet")))
    found["gone on"], found["again"] = run(*command), run(*command)
    found["videos"] = len(list((artifacts / "score").glob("*.parquet")))
    found["left over"] = [path.name for path in artifacts.rglob("*.tmp-*")]
    found["train"] = run("train", "--artifacts", str(artifacts), "--out", str(folder / "run"), "--epochs", "1", "--set",
                         "dbm=false")
    told = json.loads((folder / "run" / "train.json").read_text())
    found["train"] |= {"steps": told["steps"], "training_s": round(told["seconds"], 1),
                       "waited": round(told["waited"], 4)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1610)
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where the disk has room; a temporary folder in it is used")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given)
    for step in ("killed", "gone on", "again", "train"):
        print(f"{step:8}" + "  ".join(f"{key} {value}" for key, value in found[step].items()))
    print(json.dumps({"settings": vars(given) | {"folder": None}, "peak_of_bench_mb":
                      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "found": found}))


if __name__ == "__main__":
    main()
