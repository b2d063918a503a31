"""Cameras that fail, on purpose and by a script: what `dbvad watch` makes of it, counted.

    python tools/camera_drill.py --model RUN --clip CLIP --video VIDEO --minutes 30 --cameras 4

Good cameras play VIDEO (H.264 without B-frames, with at least one event) over RTSP, over and over. One camera is struck
by one fault after another, each until it is noticed, then healed until it is back. One is down at the start, and its
clock and picture size jump once it is there. The webhook's receiver is away for a sixth of the time, and the disk
quota is small. A describing model verifies the events, those of `good-1` before they are told; it is down, slow and
confused by turns. Ends with 1 if anything was not as it has to be.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dbvad.detection.live.deliver import LONGEST_PAUSE_S
from dbvad.detection.live.explaining import OUTCOMES
from dbvad.detection.live.journal import told
from tests.live.faults import Feeder, Proxy, Receiver, RtspServer, camera_video, free_port
from tests.live.models import FORM, Model

QUOTA_GB = 0.004
NOTICED_S, BACK_S = 90.0, 90.0
LATE_S = 5.0  # from an event's last frame to its line, and from a line to its receiver
SLOPE_MB = 1.0  # a minute
WITHIN_S = 3.0  # that an event waits for its verdict at most
STATES = ("refute", "down", "confirm", "slow", "refute", "garbage")  # of the model


@dataclass
class Drill:
    """What is watched and what was seen."""

    folder: Path
    page: str
    watch: psutil.Process
    receiver: Receiver
    model: Model
    seconds: float
    began: float = field(default_factory=time.monotonic)
    arrived: dict[int, float] = field(default_factory=dict)  # line -> unix time
    memory: list[tuple[float, float, int]] = field(default_factory=list)  # seconds, MB, open files
    ring: list[int] = field(default_factory=list)
    done: list[tuple[str, float, float]] = field(default_factory=list)  # fault, noticed after, back after
    _sampled: float = 0.0

    @property
    def away(self) -> tuple[float, float]:
        """When the receiver is away, of the drill's time."""
        return self.seconds / 3, self.seconds / 2

    def metrics(self) -> dict[tuple[str, str], float]:
        """(name, camera or other label) -> value."""
        found = {}
        with urllib.request.urlopen(f"http://{self.page}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#") and "quantile" not in line:
                    words, value = line.removeprefix("dbvad_").rsplit(" ", 1)
                    name, _, label = words.partition("{")
                    found[name.removesuffix("_total"), label.split('"')[1] if label else ""] = float(value)
        return found

    def tick(self) -> None:
        """Look at everything; the receiver comes and goes."""
        now = time.monotonic() - self.began
        here = not self.away[0] <= now < self.away[1]
        if here != (self.receiver._server is not None):
            self.receiver.start() if here else self.receiver.stop()
        self._confuse(now)
        for line in self.receiver.lines():
            self.arrived.setdefault(line["seq"], time.time())
        if now - self._sampled > 2:
            self._sampled = now
            with suppress(psutil.Error):
                self.memory.append((now, self.watch.memory_info().rss / 2**20, self.watch.num_fds()))
            sizes = []
            for path in (self.folder / "ring").rglob("*.mkv"):
                with suppress(OSError):
                    sizes.append(path.stat().st_size)
            self.ring.append(sum(sizes))
        time.sleep(0.2)

    def _confuse(self, now: float) -> None:
        """The model's state at a time of the drill, each for a twelfth of it; while it is well, what it says."""
        state = STATES[int(12 * now / self.seconds) % len(STATES) if now < self.seconds else 0]
        self.model.says = {**FORM, "event": "no" if state == "refute" else "yes"}
        if (state == "down") == (self.model._server is not None):
            self.model.stop() if state == "down" else self.model.start()
        self.model.mode = state if state in ("slow", "garbage") else "answer"

    def until(self, true: Callable[[], bool], seconds: float) -> float:
        """Seconds until it is so; infinity when it does not come."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.tick()
            if true():
                return time.monotonic() - began
        return float("inf")

    def strike(self, name: str, start: Callable[[], Any], heal: Callable[[], Any]) -> None:
        """One fault to the camera `struck`: until it is lost, healed until it is back."""
        before = self.metrics()["losses", "struck"]
        start()
        noticed = self.until(lambda: self.metrics()["losses", "struck"] > before, NOTICED_S)
        heal()
        back = self.until(lambda: self.metrics()["camera_up", "struck"] == 1, BACK_S)
        self.done.append((name, noticed, back))
        print(f"{time.monotonic() - self.began:6.0f} s  {name}: noticed after {noticed:.1f} s, back after {back:.1f} s",
              flush=True)


def faults(server: RtspServer, proxy: Proxy) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """One after another, for ever: name, how it starts, how it is healed."""
    def mode(word: str) -> Callable[[], Any]:
        return lambda: setattr(proxy, "mode", word)

    def refuse() -> None:
        proxy.mode = "refuse"
        proxy.cut()

    def heal() -> None:
        proxy.mode = "pass"
        proxy.cut()

    while True:
        yield "connection cut", proxy.cut, lambda: None
        yield "server killed", server.kill, server.start
        yield "server stopped", lambda: server.process.send_signal(signal.SIGSTOP), lambda: server.process.send_signal(
            signal.SIGCONT)
        yield "silence", mode("stall"), heal
        yield "trickle", mode("trickle"), heal
        yield "camera refuses", refuse, heal


def judge(drill: Drill, good: list[str], lines: list[dict[str, Any]]) -> list[tuple[str, bool, str]]:
    """What had to be, whether it was, in figures."""
    counts, log, lines = drill.metrics(), lines, [line for line in lines if told(line)]
    of_good = [line for line in lines if line["camera"] in good]
    begun = [line["id"] for line in of_good if line["kind"] == "begin"]
    ended = [line["id"] for line in of_good if line["kind"] == "end"]
    explained = [line["id"] for line in log if "explanation" in line]
    suppressed = {line["id"] for line in log if line.get("withheld") == "suppressed"}
    outcomes = {how: int(counts["explanations", how]) for how in OUTCOMES}
    sequence = [line["seq"] for line in drill.receiver.lines() if line["seq"] <= lines[-1]["seq"]]  # it goes on telling
    late = {held: [_unix(line["at"]) - _unix(line["end"]["wall"]) for line in of_good
                   if line["kind"] == "begin" and (line["camera"] == good[0]) == held] for held in (False, True)}
    wall = time.time() - (time.monotonic() - drill.began)
    outage = tuple(wall + second for second in drill.away)
    slow = [drill.arrived[line["seq"]] - _unix(line["at"]) for line in lines if line["seq"] in drill.arrived
            and not outage[0] - 2 <= _unix(line["at"]) <= outage[1] + LONGEST_PAUSE_S]
    settled = [sample for sample in drill.memory if sample[0] > drill.memory[-1][0] / 3]
    seconds, memory, files = np.array(settled).T
    slope = float(np.polyfit(seconds / 60, memory, 1)[0])
    drift = np.median(files[len(files) // 2:]) - np.median(files[:len(files) // 2])  # requests come and go
    spared = {key: sum(counts[key, name] for name in good) for key in ("losses", "failures", "dropped", "overrun")}
    return [
        ("good cameras were not touched", not spared["losses"] + spared["failures"], str(spared)),
        ("they dropped nothing (needs a machine with time)", not spared["dropped"] + spared["overrun"], str(spared)),
        ("their events begin and end once", len(begun) > 0 and len(set(begun)) == len(begun)
         and set(ended) <= set(begun) and len(ended) >= len(begun) - len(good),
         f"{len(begun)} begun, {len(ended)} ended"),
        ("every line arrived, in order", sorted(set(sequence)) == [line["seq"] for line in lines]
         and list(dict.fromkeys(sequence)) == sorted(set(sequence)), f"{len(set(sequence))} of {len(lines)} lines, "
         f"{len(sequence) - len(set(sequence))} twice"),
        ("no event was late", max(late[False], default=0) < LATE_S and max(late[True]) < LATE_S + WITHIN_S,
         f"at most {max(late[False], default=0):.2f} s after its last frame, {max(late[True]):.2f} s where it was held "
         "back"),
        ("explanations are of events, each once", len(explained) > 0 and len(set(explained)) == len(explained)
         and set(explained) <= {line["id"] for line in log if line["kind"] == "begin"}, str(outcomes)),
        ("what was refuted was told to nobody", 0 < len(suppressed) <= counts["suppressed", ""]
         and not suppressed & {line["id"] for line in drill.receiver.lines()}, f"{len(suppressed)} events, "
         f"{counts['unverified', '']:.0f} others went out unverified"),
        ("the model was lost and found", counts["explaining_up", ""] == 1 and sum(outcomes.values()) > len(explained),
         f"up: {counts['explaining_up', '']:.0f}"),
        ("nothing was late to the receiver", max(slow) < LATE_S, f"at most {max(slow):.2f} s while it was there"),
        ("every fault was noticed and got over", all(np.isfinite(item[1:]).all() for item in drill.done),
         f"{len(drill.done)} faults"),
        ("losses are the faults", counts["losses", "struck"] == len(drill.done),
         f"{counts['losses', 'struck']:.0f} losses, {len(drill.done)} faults"),
        ("the late camera came", counts["connections", "late"] > 0 and counts["jumps", "late"] > 0
         and counts["resized", "late"] > 0, f"{counts['failures', 'late']:.0f} failed tries, "
         f"{counts['jumps', 'late']:.0f} clock jumps, {counts['resized', 'late']:.0f} sizes"),
        ("memory is flat", slope < SLOPE_MB, f"{slope:+.2f} MB a minute, {memory[-1]:.0f} MB"),
        ("open files are flat", abs(drift) <= 3, f"{files.min():.0f} to {files.max():.0f}, {drift:+.0f} by halves"),
        ("the ring keeps its quota", max(drill.ring) < 2 * QUOTA_GB * 1e9, f"{max(drill.ring) / 1e6:.1f} MB at most, "
         f"quota {QUOTA_GB * 1e3:.0f} MB"),
    ]


def _unix(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clip")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cameras", type=int, default=4, help="two of them are bad")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), options.minutes * 60
        small, large = (camera_video(folder / f"{width}.ts", 150, (width, 96)) for width in (160, 320))
        servers = [RtspServer(options.video.parent), RtspServer(options.video.parent)]
        proxy, receiver, model, late_port = Proxy(servers[1].port), Receiver(), Model(), free_port()
        (folder / "stages.yaml").write_text(model.stages())
        good = [f"good-{k + 1}" for k in range(max(1, options.cameras - 2))]
        cameras = [{"name": name, "url": servers[0].address(options.video.name)} for name in good]
        cameras[0]["verify"] = "suppress"
        cameras += [{"name": "struck", "url": servers[1].address(options.video.name, proxy.port), "stall_s": 5},
                    {"name": "late", "url": f"tcp://127.0.0.1:{late_port}", "stall_s": 5}]
        (folder / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
        page = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "dbvad", "watch", str(folder / "cameras.yaml"), "--model", options.model,
                   "--out", str(folder), "--webhook", receiver.url, "--page", page, "--disk-gb", str(QUOTA_GB),
                   "--verify", "annotate", "--verify-within", str(WITHIN_S), "--config", str(folder / "stages.yaml")]
        with open(folder / "out.txt", "w") as out:
            watch = subprocess.Popen(command + (["--clip", options.clip] if options.clip else []), stdout=out)
        drill = Drill(folder, page, psutil.Process(watch.pid), receiver, model, seconds)
        try:
            if drill.until(lambda: _up(drill, [*good, "struck"]), 120) == float("inf"):
                print("the cameras did not come up", file=sys.stderr)
                return 1
            drill.began = time.monotonic()
            feeder: Feeder | None = None
            for fault in faults(servers[1], proxy):
                if time.monotonic() - drill.began > seconds:
                    break
                if feeder is None and time.monotonic() - drill.began > seconds / 6:
                    feeder = Feeder([small, small, large], 6, late_port)
                drill.strike(*fault)
                drill.until(lambda: False, max(2.0, seconds / 60))
            drill.until(lambda: drill.metrics()["explaining_up", ""] == 1, BACK_S)
            drill.until(lambda: False, 15)  # what is still on its way
            lines = [json.loads(line) for path in sorted(folder.glob("events*.jsonl"))
                     for line in path.read_text().splitlines()]
            last = [line["seq"] for line in lines if told(line)][-1]
            drill.until(lambda: last in drill.arrived, 30)
            verdicts = judge(drill, good, lines)
        finally:
            watch.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                watch.wait(30)
            watch.kill()
            for server in servers:
                server.kill()
            receiver.stop()
            model.stop()
    for what, right, figures in verdicts:
        print(f"{'PASS' if right else 'FAIL'}  {what}: {figures}")
    return 0 if all(right for _, right, _ in verdicts) else 1


def _up(drill: Drill, names: list[str]) -> bool:
    with suppress(OSError):
        counts = drill.metrics()
        return all(counts["camera_up", name] == 1 for name in names)
    return False


if __name__ == "__main__":
    sys.exit(main())
