"""What this project does on a CUDA GPU, measured: `make gpu-check`, or `python tools/gpu_check.py [--help]`.

The card's own limits; CLIP's image tower against them, eager and compiled; the score stage and what bounds it; the
detector's training step against the reference (bench/train.py); describing through transformers. It needs no network
and no environment of ours: any Python whose torch sees the GPU will do, and a part whose packages are missing says
which and is left out. Each part is a process of its own with a time limit, and what it found before it failed is kept.
A table while it runs, one JSON object at the end, which `--json FILE` keeps and has after every part. Exit code 1
without a GPU or if a part failed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

SCRIPT = __file__  # what each part is run by
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.gpu_clip import clip, compiled, limits, score  # noqa: E402
from tools.gpu_common import Figures  # noqa: E402
from tools.gpu_texts import SHAPES, describing, texts  # noqa: E402


def gpu() -> str:
    """The GPU's name and memory. Raises SystemExit, with the reason, where there is none."""
    try:
        import torch
    except ImportError:
        raise SystemExit("gpu-check: this Python has no torch: run `make setup`, or name one: "
                         "make gpu-check PYTHON=...") from None
    if not torch.cuda.is_available():
        raise SystemExit(f"gpu-check: torch {torch.__version__} finds no CUDA GPU here: nothing to measure. "
                         "Run it on a machine with one; if this is one, look at nvidia-smi")
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"


def training(device: str, *options: str) -> Iterator[Figures]:
    """bench/train.py: videos a second and memory of one training step, ours and a VadCLIP-like one's."""
    __import__("dbvad.training.loop"), __import__("open_clip")  # what it needs, said here if it is missing
    command = [sys.executable, str(ROOT / "bench" / "train.py"), "--device", device, "--rounds", "20", *options]
    found_by = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": found_by}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bench/train.py ended with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    rows = json.loads(done.stdout.strip().splitlines()[-1])["results"]
    found = {}
    for row in rows:
        side = f"{row['side']} {row['precision']}, {row['lengths']}"
        found |= {f"videos/s, {side}": row["videos_s"], f"peak GB, {side}": row["peak_bytes"] / 1e9}
    yield found


PARTS: dict[str, tuple[Callable[[str], Iterator[Figures]], int]] = {  # and how many seconds each may take
    "limits": (limits, 40), "clip": (clip, 60), "score": (score, 90), "training": (training, 100),
    "describing": (describing, 110), "compiled": (compiled, 150), "texts": (texts, 60)}
BUDGET_S = 270  # chosen here: no part begins after it


def child(part: str, device: str, shape: str) -> int:
    """Do a part here: each time that it has more figures, all of them in a line of JSON."""
    work = partial(describing, shape=shape) if part == "describing" else PARTS[part][0]
    try:
        for figures in work(device):
            print(json.dumps(figures), flush=True)
    except ImportError as error:
        print(json.dumps({"skipped": f"{error}: install it to have this part"}), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), flush=True)
    return 0


def measure(part: str, device: str, shape: str, seconds: float) -> Figures:
    """Figures of a part, done in another process; with "skipped" or "failed", and why, if there are not all."""
    command = [sys.executable, SCRIPT, "--part", part, "--device", device, "--shape", shape]
    found: Figures = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        over = threading.Timer(seconds, _end, [process])
        over.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                found |= json.loads(line)
        code = process.wait()
        late = not over.is_alive()
        over.cancel()
    if late:
        found["failed"] = f"not done in {seconds:.0f} s"
    elif code and "failed" not in found:
        found["failed"] = f"its process ended with exit code {code}"
    return found


def _end(process: "subprocess.Popen[str]") -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def table(part: str, figures: Figures) -> str:
    """One line a figure."""
    lines = []
    for place, (name, value) in enumerate(figures.items()):
        shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
        lines.append(f"{part if not place else '':12}{name:56}{shown}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=[*SHAPES], default="3B", help="size of the describing model")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--part", choices=[*PARTS], help="only this one, and its bare figures")
    parser.add_argument("--device", default="cuda", help="where the one part is done")
    given = parser.parse_args()
    if given.part:
        return child(given.part, given.device, given.shape)
    began = time.monotonic()
    found: dict[str, Any] = {"machine": {"gpu": gpu()}}
    import torch

    found["machine"] |= {"torch": torch.__version__, "cores": len(os.sched_getaffinity(0))}
    print(table("machine", found["machine"]), flush=True)
    for part, (_, seconds) in PARTS.items():
        if time.monotonic() - began > BUDGET_S:
            found[part] = {"failed": f"not begun: {BUDGET_S} s are over"}
        else:
            started = time.monotonic()
            found[part] = measure(part, "cuda", given.shape, seconds)
            found[part]["seconds in all"] = round(time.monotonic() - started, 1)
        print(table(part, found[part]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    return int(any("failed" in figures for figures in found.values()))


if __name__ == "__main__":
    sys.exit(main())
