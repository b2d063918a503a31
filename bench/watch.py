"""What a machine carries of `dbvad watch`: latency with 1, 4 and 8 cameras, and how many before frames are dropped.

    python bench/watch.py                                   # the demo's CLIP
    python bench/watch.py --clip-architecture ViT-B-16      # of open_clip, with random weights

Rendered demo footage, 25 frames a second, looped by real RTSP server processes on this machine (one for six cameras),
whose share of the processors is shown beside that of the watch. A picture every 16 frames is scored; the network has
random weights and the trained length, 256, and its windows are full. Latency runs from a frame's arrival in its reader
to its score, over all cameras. A number of cameras is carried if each keeps its frame rate and no frame is dropped.
Packets are kept for clips, as by default.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dbvad.demo.build_models import MODELS
from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.source import Sampling, State
from dbvad.scoring.events import Thresholds
from tests.live.faults import RtspServer

if TYPE_CHECKING:  # readers import this file, too, and need no network
    from dbvad.detection.live.scorer import Scorer
    from dbvad.detection.live.watch import Watch

FPS, STRIDE, LENGTH = 25, 16, 256
KEPT_FPS = 0.97 * FPS
START_S, SETTLE_S = 90.0, 3.0
COUNTS = (1, 4, 8)
MOST = 64  # cameras that are tried
EACH = 6  # clients that the server keeps up with at once on 2 cores, by its pool of threads


@dataclass(frozen=True)
class Figures:
    """Of one number of cameras. Processors in use, of which 1.0 is one: the watch itself, its readers, the server."""

    cameras: int
    seconds: float
    fps: float  # of the slowest camera
    scores: int
    latency_ms: tuple[float, float]  # median, 95th percentile
    dropped: int
    lost: int
    here: float
    readers: float
    server: float

    @property
    def carried(self) -> bool:
        return self.fps >= KEPT_FPS and not self.dropped and not self.lost


class Meter:
    """A chore of the watch: once all cameras are live and have settled, counts for `seconds`, then says enough."""

    def __init__(self, watch: "Watch", servers: list[RtspServer], seconds: float) -> None:
        self.watch, self.seconds = watch, seconds
        self.servers = [psutil.Process(server.process.pid) for server in servers]
        self.began, self.live, self.over = time.monotonic(), 0.0, False
        self._before: dict[str, Any] | None = None
        self.figures: Figures | None = None

    def turn(self) -> None:
        now, feeds = time.monotonic(), self.watch.feeds
        if not self.live and all(feed.source.state == State.LIVE for feed in feeds):
            self.live = now
        if not self.live:
            self.over = now - self.began > START_S
        elif self._before is None and now - self.live > SETTLE_S:
            for feed in feeds:
                feed.latencies.clear()
            self._before = self._count(now)
        elif self._before is not None and now - self._before["at"] >= self.seconds:
            self.figures, self.over = self._figures(self._before, self._count(now)), True

    def _count(self, now: float) -> dict[str, Any]:
        feeds = self.watch.feeds
        totals = [feed.source.totals() for feed in feeds]
        me = psutil.Process()
        return {"at": now, "dropped": sum(total["dropped"] + total["overrun"] for total in totals),
                "lost": sum(total["losses"] for total in totals), "scores": sum(feed.scored for feed in feeds),
                "here": _cpu(me),
                "server": sum(map(_cpu, self.servers)),
                "readers": sum(_cpu(child) for child in me.children() if child not in self.servers)}

    def _figures(self, before: dict[str, Any], after: dict[str, Any]) -> Figures:
        new = {key: after[key] - before[key] for key in after}
        latencies = np.concatenate([np.array(feed.latencies) for feed in self.watch.feeds])
        median, p95 = 1000 * np.percentile(latencies, [50, 95]) if len(latencies) else (np.inf, np.inf)
        share = {name: new[name] / new["at"] for name in ("here", "readers", "server")}
        slowest = min(feed.source.fps() for feed in self.watch.feeds)
        return Figures(len(self.watch.feeds), new["at"], slowest, new["scores"], (float(median), float(p95)),
                       new["dropped"], new["lost"], **share)


def _cpu(process: psutil.Process) -> float:
    """Seconds on a processor; 0 for one that has ended."""
    try:
        used = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)


def footage(path: Path, size: tuple[int, int] | None) -> Path:
    """A rendered fight of 20 s as a camera sends it: H.264 without B-frames, a key frame every two seconds."""
    from PIL import Image

    from dbvad.demo.world.render import Renderer
    from dbvad.demo.world.story import tell
    from tests.videos import write_video

    images = [image for seed in (1, 2, 3) for image in Renderer(tell(seed, "fighting")).frames()][:20 * FPS]
    frames = (np.asarray(Image.fromarray(image).resize(size)) if size else image for image in images)
    return write_video(path, frames, fps=FPS, gop=2 * FPS, options={"bf": "0", "preset": "ultrafast", "crf": "27"})


def eyes(architecture: str | None, folder: Path) -> "Scorer":
    """CLIP, and a network of the trained length with random weights, with the threads that `dbvad watch` takes."""
    import open_clip
    import torch

    from dbvad.detection.live.scorer import Moment, Recording, Scorer
    from dbvad.model.detector import Detector
    from dbvad.scoring.scores import TorchNetwork
    from pipeline.instruments import clip as clips

    class Full(Scorer):
        """Every window is full from the start, as it is after three minutes: that is the cost that stays."""

        @cached_property
        def full(self) -> Recording:
            recording, noise = super().recording(), np.random.default_rng(0)
            for place in range(LENGTH):
                feature = noise.standard_normal((self.crops, self.clip.dim)).astype(np.float16)
                recording.moments.append(Moment(place, 0, 0.0, 0.0, 0.0))
                recording.windows.take(np.zeros((len(recording.windows.add(feature)), 1)))
            return recording

        def recording(self) -> Recording:
            return deepcopy(self.full)

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    torch.manual_seed(0)
    place = MODELS / "clip"
    if architecture:
        config, place = open_clip.get_model_config(architecture), folder / "clip"
        if config is None:
            sys.exit(f"open_clip knows no {architecture!r}: `open_clip.list_models()` names them")
        place.mkdir()
        (place / clips.CONFIG).write_text(json.dumps({
            "model_cfg": config, "preprocess_cfg": {"mean": open_clip.OPENAI_DATASET_MEAN,
                                                    "std": open_clip.OPENAI_DATASET_STD}}))
        clips.initialise(place)
    eye = clips.load(str(place), device="cpu")
    return Full(eye, TorchNetwork(Detector(eye.dim, length=LENGTH).eval()))


def measure(cameras: int, scorer: "Scorer", servers: list[RtspServer], folder: Path, seconds: float,
            ) -> Figures | None:
    """None where not all cameras came up. Starts the servers that are lacking."""
    from dbvad.detection.live.clips import Clips
    from dbvad.detection.live.journal import Journal
    from dbvad.detection.live.watch import Watch

    while len(servers) * EACH < cameras:
        servers.append(RtspServer(folder / "videos"))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        journal, said = Journal(Path(name)), []
        keeping = Clips(Path(name), journal, said.append, 200_000_000)
        chosen = Cameras(cameras=tuple(Camera(name=f"camera-{k}", url=servers[k // EACH].address("demo.mp4"))
                                       for k in range(cameras)))
        watch = Watch(chosen, scorer, "print", Thresholds(), Sampling(STRIDE, 336, 90), journal, said.append, keeping)
        meter = Meter(watch, servers, seconds)
        watch.chores = [journal.retry, meter.turn]
        watch.run(lambda: not meter.over)
        keeping.stop()
    return meter.figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip-architecture", help="one of open_clip's, with random weights; else the demo's CLIP")
    parser.add_argument("--seconds", type=float, default=12, help="that each number of cameras is measured for")
    parser.add_argument("--minutes", type=float, default=3, help="after which no further number is tried")
    parser.add_argument("--size", help="WIDTHxHEIGHT of the footage; else as rendered, 224x168")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # servers and readers go, too
    size = tuple(map(int, options.size.split("x"))) if options.size else None
    end, console = time.monotonic() + 60 * options.minutes, Console()
    found: dict[int, Figures | None] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        footage(folder / "videos" / "demo.mp4", size)
        servers: list[RtspServer] = []
        try:
            scorer = eyes(options.clip_architecture, folder)

            def carries(cameras: int) -> bool:
                console.print(f"{cameras} cameras", style="dim")
                figures = found[cameras] = measure(cameras, scorer, servers, folder, options.seconds)
                if figures is None:
                    console.print(f"not all came up within {START_S:.0f} s", style="red")
                return figures is not None and figures.carried

            for cameras in COUNTS:
                carries(cameras)
            good = max((n for n in COUNTS if found[n] and found[n].carried), default=0)
            bad = min((n for n in COUNTS if n > good), default=MOST + 1)
            while bad - good > 1 and time.monotonic() < end:
                middle = min(good * 3 // 2, MOST) if bad > MOST else (good + bad) // 2
                good, bad = (middle, bad) if carries(middle) else (good, middle)
                if good == MOST:
                    break
        finally:
            for server in servers:
                server.kill()
    console.print(table(found, options.clip_architecture or "the demo's CLIP", options.size or "224x168"))
    more = "" if bad - good == 1 else f" at least; {bad - 1} at most" if bad <= MOST else " at least"
    console.print(f"carried without a dropped frame: {good} cameras{more}")
    print(json.dumps({"settings": vars(options), "carried": good, "cores": os.cpu_count(), "latency_ms": {
        cameras: figures.latency_ms for cameras, figures in found.items() if figures}}))


def table(found: dict[int, Figures | None], clip: str, size: str) -> Table:
    title = f"{clip}, {size} at {FPS} frames a second, a picture every {STRIDE}, {os.cpu_count()} cores"
    table = Table(title=title, box=box.SIMPLE, padding=0)
    for name in ("cameras", "fps", "scores/s", "p50 ms", "p95 ms", "dropped", "lost", "watch", "readers", "servers"):
        table.add_column(name, justify="right")
    for cameras, figures in sorted(found.items()):
        if figures is None:
            table.add_row(str(cameras), *["–"] * 9, style="red")
            continue
        median, p95 = figures.latency_ms
        rate = figures.scores / figures.seconds
        table.add_row(str(cameras), f"{figures.fps:.1f}", f"{rate:.1f}", f"{median:.0f}", f"{p95:.0f}",
                      str(figures.dropped), str(figures.lost), f"{figures.here:.2f}", f"{figures.readers:.2f}",
                      f"{figures.server:.2f}", style="" if figures.carried else "red")
    table.caption = ("p50, p95: latency; watch (CLIP, network), readers (decoding), server (RTSP): processors in use, "
                     "one is 1.00")
    return table


if __name__ == "__main__":
    main()
