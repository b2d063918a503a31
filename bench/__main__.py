"""All measurements, kept and compared: `python -m bench [NAME ...] [--history]`.

Each script of this folder runs in a process of its own, one after the other, in a size that takes all of them under 15
minutes on two idle cores; larger ones are for the scripts by themselves. What they found is kept as JSON in --out, one
file a run, with machine and commit; printed is a table of ratios, which say more than seconds do where machines differ.
What could not be run is named with the reason. `--history` draws the ratios of all kept runs into history.html.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.engine.spawn import cores

HERE = Path(__file__).parent
ROOT = HERE.parent
Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """A script with its arguments. `figures`: ratios by name, of its JSON. `aims`: what each should be, in words.

    `lacks`: what it needs that is not here, "" for nothing.
    """

    arguments: tuple[str, ...]
    figures: Callable[[Any], Figures]
    aims: dict[str, str]
    lacks: Callable[[], str] = lambda: ""


def needs_module(name: str, extra: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(name) else f"needs {name}: pip install 'dbvad[{extra}]'"


def needs_vllm() -> str:
    return "" if (ROOT / ".venv-vllm").exists() else "needs a vLLM of its own: make vllm"


def of_training(found: Any) -> Figures:
    speed = {f"{row['side']} {row['precision']}": row["videos_s"] for row in found["results"]}
    theirs = speed.pop("VadCLIP-like fp32")
    return {f"{side} / VadCLIP-like": videos_s / theirs for side, videos_s in speed.items()}


def of_importing(found: Any) -> Figures:
    told = found["found"]
    return {"again / first": told["again"]["processor_s"] / (told["killed"]["processor_s"]
                                                             + told["gone on"]["processor_s"]),
            "an epoch's time that waits": told["train"]["waited"]}


def of_ray(found: Any) -> Figures:
    return {"steady, ray / local": found["of_local"]["steady"]}


def of_watch(found: Any) -> Figures:
    return {"cameras a core": found["carried"] / found["cores"]}


def of_engine(found: Any) -> Figures:
    told, videos = found["found"], found["settings"]["videos"]
    least = min(told["nothing to do"]["cpu_s"], told["again"]["cpu_s"])
    return {"nothing to do / first plan": least / told["first plan"]["cpu_s"],
            "one video more / first plan": told["one video more, --quick"]["cpu_s"] / told["first plan"]["cpu_s"],
            "CPU ms a video": 1000 * least / videos}


def of_sql(found: Any) -> Figures:
    told = found["found"]
    return {f"{question}: compacted / shards": told["compacted"][question]["cpu_s"] / before["cpu_s"]
            for question, before in told["shards"].items()}


BENCHES = {
    "decode": Bench(("--frames", "6000", "--rounds", "2"), lambda found: {
        f"{part} / ffmpeg -f null": found["of_ffmpeg"][part] for part in ("pyav: with pictures", "auto: the stage")},
        {"pyav: with pictures / ffmpeg -f null": "at most 1.15"}),
    "score": Bench((), lambda found: {
        f"{part} / matrix product": found["of_limit"][part] for part in ("network alone", "stage")},
        {"network alone / matrix product": "at least 0.8"}),
    "overlap": Bench(("--videos", "24", "--frames", "600"), lambda found: {"bound / together": found["of_bound"]},
                     {"bound / together": "at least 0.9"}),
    "engine": Bench(("--videos", "5000"), of_engine, {"CPU ms a video": "at most 0.2"}),
    "sql": Bench(("--videos", "2000"), of_sql, {}),
    "importing": Bench(("--videos", "320"), of_importing, {"an epoch's time that waits": "under 0.02"}),
    "train": Bench(("--lengths", "UCF-Crime", "--rounds", "1"), of_training, {"dbvad fp32 / VadCLIP-like": "over 1"}),
    "on_ray": Bench(("--videos", "80", "--rounds", "1"), of_ray, {"steady, ray / local": "under 1.1"},
                    needs_module("ray", "ray")),
    "describe": Bench(("--requests", "64", "--rounds", "1"), lambda found: {
        "stage / bare client": found["of_bare"]["stage"]}, {"stage / bare client": "at least 0.9"}, needs_vllm),
    "watch": Bench(("--seconds", "6", "--minutes", "1"), of_watch, {}, needs_module("aio_rtsp_toolkit", "dev")),
}


def measure(name: str, timeout_s: float) -> dict[str, Any]:
    """What one script found, or why there is nothing."""
    bench = BENCHES[name]
    if lacks := bench.lacks():
        return {"left_out": lacks}
    began = time.monotonic()
    try:
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *bench.arguments], cwd=ROOT, text=True,
                              capture_output=True, timeout=timeout_s, env=os.environ | {"PYTHONPATH": str(ROOT)})
    except subprocess.TimeoutExpired:
        return {"left_out": f"no end after {timeout_s:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip() or "nothing on standard error").splitlines()[-1]
        return {"left_out": f"exit code {done.returncode}: {last}"}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": round(time.monotonic() - began, 1), "figures": bench.figures(found), "found": found}


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor()) if Path("/proc/cpuinfo").exists() else ""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%S"), "commit": commit.stdout.strip() or "unknown", "cpu": model,
            "cores": cores(), "load": round(os.getloadavg()[0], 1)}


def show(run: dict[str, Any]) -> None:
    print(f"{run['commit']}, {run['cores']} cores of {run['cpu']}, load {run['load']} at the start, {run['at']}")
    for name, told in run["benches"].items():
        if "left_out" in told:
            print(f"{name:<10} left out: {told['left_out']}")
        for figure, value in told.get("figures", {}).items():
            print(f"{name:<10} {figure:<44}{value:>8.3f}   {BENCHES[name].aims.get(figure, '')}")
    if run["load"] > 1:
        print("other work kept this machine busy: ratios hold roughly, seconds do not")


def draw(folder: Path) -> Path:
    """The ratios of all runs that are kept, one line each."""
    import plotly.graph_objects as go

    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not runs:
        sys.exit(f"no run is kept in {folder} yet: `python -m bench` makes one")
    series: dict[str, list[tuple[str, float]]] = {}
    for run in runs:
        for name, told in run["benches"].items():
            for figure, value in told.get("figures", {}).items():
                series.setdefault(f"{name}: {figure}", []).append((f"{run['at']} {run['commit']}", value))
    chart = go.Figure([go.Scatter(x=[at for at, _ in points], y=[value / median(value for _, value in points)
                                                                 for _, value in points],
                                  name=name, text=[f"{value:.3f}" for _, value in points], mode="lines+markers")
                       for name, points in series.items()])
    chart.update_layout(title="Ratios of all runs, each over its median")
    chart.write_html(folder / "history.html", include_plotlyjs=True)
    return folder / "history.html"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where runs are kept")
    parser.add_argument("--timeout", type=float, default=300, help="seconds, of one script")
    parser.add_argument("--history", action="store_true", help="draw the runs that are kept, and measure nothing")
    given = parser.parse_args()
    if given.history:
        print(draw(given.out))
        return 0
    run = machine() | {"benches": {}}
    for name in given.names or BENCHES:
        print(f"{name} ...", file=sys.stderr)
        run["benches"][name] = measure(name, given.timeout)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{run['at'].replace(':', '')}.json").write_text(json.dumps(run, indent=1))
    show(run)
    return int(any("exit code" in told.get("left_out", "") for told in run["benches"].values()))


if __name__ == "__main__":
    sys.exit(main())
