"""A watch that a test plays: cameras whose states, pictures, scores and events are made up, behind the real page."""

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.journal import Journal, iso
from dbvad.detection.live.pages import Desk
from dbvad.detection.live.reader import Shot
from dbvad.detection.live.source import Sampling, State
from dbvad.detection.live.watch import Watch
from dbvad.detection.suggestions import Vocabulary
from dbvad.scoring.events import Thresholds
from tests.live.faults import camera_video


class NoScorer:
    """Cameras that nobody scores."""

    vocabulary = Vocabulary()

    def recording(self) -> None:
        return None


def picture(shade: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 120), (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


class Stage:
    """`desk` is what the page shows; `feeds` by the cameras' names."""

    def __init__(self, folder: Path, cameras: Sequence[str]) -> None:
        self.folder, self.journal = folder, Journal(folder)
        chosen = Cameras(cameras=tuple(Camera(name=name, url="rtsp://bob:geheim@cam.lan/1") for name in cameras))
        self.watch = Watch(chosen, NoScorer(), "print", Thresholds(), Sampling(), self.journal, print)  # type: ignore[arg-type]
        self.feeds = {feed.source.name: feed for feed in self.watch.feeds}
        self.desk = Desk(self.watch, folder, [])

    def live(self, camera: str, *, fps: float = 25, latency_s: float = 0.1, scores: Sequence[float] = (),
             jpeg: bytes = b"") -> None:
        """Frames come, with these scores of late."""
        source, feed = self.feeds[camera].source, self.feeds[camera]
        source.state, source.down_since, source.why = State.LIVE, None, ""
        source.counts["connections"] += not source._seen
        source._seen.clear()
        source._seen.extend([(0, 0), (10, int(10 * fps))])
        feed.latencies.clear()
        feed.latencies.append(latency_s)
        for score in scores:
            feed.scores.append((feed.take, 0.64 * feed.scored, score))
            feed.scored += 1
        source.last_shot = Shot(16 * feed.scored, 0.64 * feed.scored, 0, 0, jpeg or picture())

    def lose(self, camera: str, why: str = "the stream ended", seconds: float = 0) -> None:
        source = self.feeds[camera].source
        source.state, source.why, source.down_since = State.WAITING, why, time.time() - seconds
        source.counts["losses"] += 1

    def happen(self, event: str, camera: str, *kinds: str, ago_s: float = 10, length_s: float = 4,
               peak: float = 0.9) -> None:
        """Lines of an event; `clip` is the update that tells of its clip, which is made."""
        start = time.time() - ago_s
        told: dict[str, Any] = {"camera": camera, "peak": peak, "fingerprint": "f",
                                "start": {"wall": iso(start), "stream_s": 100.0},
                                "end": {"wall": iso(start + length_s), "stream_s": 100.0 + length_s}}
        for kind in kinds:
            if kind == "clip":
                self._clip(event, length_s)
                self.journal.add(kind="update", id=event, camera=camera, clip=f"{event}.mp4", clip_start_s=98.0)
            else:
                self.journal.add(kind=kind, id=event, **told)

    def _clip(self, event: str, length_s: float) -> None:
        folder = self.folder / "clips"
        folder.mkdir(exist_ok=True)
        if not (folder / f"{event}.mp4").exists():
            camera_video(folder / f"{event}.mp4", round(25 * (length_s + 4)))
        curve = [(k / 2, 0.9 if 2 <= k / 2 <= 2 + length_s else 0.1) for k in range(round(2 * (length_s + 4)))]
        (folder / f"{event}.json").write_text(json.dumps({"start_s": 2, "end_s": 2 + length_s, "scores": curve}))
