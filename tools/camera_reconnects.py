"""A camera that is lost a thousand times in a row: memory and open handles of the watch and of its readers.

    python tools/camera_reconnects.py --reconnects 1000

A real RTSP server over TCP stands behind a proxy that cuts the connection as soon as a score has come over it. The
whole watch takes part: reader process, CLIP (the demo's), a network with random weights, events, ring and clips on
disk. Pauses between tries are as short as `--pause` says. Ends with 1 unless memory and handles stay flat from the
second tenth on.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dbvad.demo.build_models import MODELS
from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.source import Pacing, Sampling, State
from dbvad.scoring.events import Thresholds
from tests.live.faults import Proxy, RtspServer, camera_video

if TYPE_CHECKING:  # readers import this file, too, and need no network
    from dbvad.detection.live.scorer import Scorer
    from dbvad.detection.live.watch import Watch

GROWTH_KB = 8.0  # a reconnect: a leaked picture, pipe or recording is more; the allocator's ups and downs are less
HANDLES = 4  # one connection more or less may be half closed when it is looked at
LINE = "{:>10}  {:>7}  {:>9}  {:>7}  {:>9}  {:>7}  {:>8}"


@dataclass
class Drill:
    """Cuts each connection once it has given a score, and looks at the processes just before."""

    watch: "Watch"
    proxy: Proxy
    every: int
    server: int  # process id
    began: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, ...]] = field(default_factory=list)  # reconnects, MB and handles here, MB and handles there
    _cut: int = -1  # the take that was cut last
    _scored: int = 0

    def turn(self) -> None:
        feed = self.watch.feeds[0]
        if feed.source.state != State.LIVE or feed.take == self._cut or feed.scored == self._scored:
            return
        if (done := feed.source.totals()["losses"]) == len(self.seen) * self.every:
            self._look(done)
        self._cut, self._scored = feed.take, feed.scored
        self.proxy.cut()

    def _look(self, done: int) -> None:
        me = psutil.Process()
        readers = [child for child in me.children() if child.pid != self.server and child.num_fds() and
                   "spawn_main" in " ".join(child.cmdline())]
        children = [(reader.memory_info().rss / 2**20, reader.num_fds()) for reader in readers]
        mine = me.memory_info().rss / 2**20, me.num_fds()
        theirs = tuple(sum(column) for column in zip(*children, strict=True))
        self.seen.append((done, *mine, *theirs))
        print(LINE.format(done, f"{mine[0]:.1f}", mine[1], f"{theirs[0]:.1f}", theirs[1], len(readers),
                          f"{time.monotonic() - self.began:.0f}"), flush=True)


def scorer() -> "Scorer":
    """The demo's CLIP, and a network with random weights."""
    import torch

    from dbvad.detection.live.scorer import Scorer
    from dbvad.model.detector import Detector
    from dbvad.scoring.scores import TorchNetwork
    from pipeline.instruments import clip as clips

    torch.set_num_threads(1)
    torch.manual_seed(0)
    eye = clips.load(str(MODELS / "clip"), precision="fp32", device="cpu")
    return Scorer(eye, TorchNetwork(Detector(eye.dim, length=16).eval()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reconnects", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two tries, at most")
    options = parser.parse_args()
    from dbvad.detection.live.clips import Clips
    from dbvad.detection.live.journal import Journal
    from dbvad.detection.live.watch import Watch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        server = RtspServer(camera_video(folder / "videos" / "gate.mp4").parent)
        proxy = Proxy(server.port)
        journal, said = Journal(folder), []
        keeping = Clips(folder, journal, said.append, 20_000_000)
        watch = Watch(Cameras(cameras=(Camera(name="gate", url=server.address("gate.mp4", proxy.port)),)),
                      scorer(), "print", Thresholds(on=0.01, off=0.01, min_length_s=0), Sampling(5, 96, 90), journal,
                      said.append, keeping)
        watch.feeds[0].source.pacing = Pacing(options.pause, options.pause)
        drill = Drill(watch, proxy, max(1, options.reconnects // 10), server.process.pid)
        watch.chores = [journal.retry, drill.turn]
        print(LINE.format("reconnects", "MB here", "handles", "MB there", "handles", "readers", "seconds"))
        try:
            watch.run(lambda: drill.seen[-1:] == [] or drill.seen[-1][0] < options.reconnects)
        finally:
            keeping.stop()
            proxy.close()
            server.kill()
        counts = watch.feeds[0].source.totals()
    done, here, handles, there, handles_there = np.array(drill.seen[1:]).T
    growth, growth_there = (1024 * float(np.polyfit(done, memory, 1)[0]) for memory in (here, there))
    spread = max(np.ptp(handles), np.ptp(handles_there))
    print(f"{counts['losses']} losses, {counts['failures']} failed tries, {counts['killed']} killed, "
          f"{watch.feeds[0].events} events; {growth:+.2f} KB a reconnect here, {growth_there:+.2f} KB in the readers, "
          f"handles within {spread:.0f}")
    return 0 if growth < GROWTH_KB and growth_there < GROWTH_KB and spread <= HANDLES else 1


if __name__ == "__main__":
    sys.exit(main())
