"""Sources of every kind, from real senders: each is opened, sampled in order, lost, and found again."""

import io
import os
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dbvad.detection.live.cameras import Camera
from dbvad.detection.live.reader import Shot
from dbvad.detection.live.source import Heard, Pacing, Sampling, Source
from pipeline.instruments.live_video import StreamError, open_stream
from tests.live.faults import camera_video, until
from tests.live.senders import JpegCamera, Sender, serve_folder
from tests.videos import read_barcode

KINDS = ("rtmp", "flv", "ts", "udp", "hls")
STRIDE = 5
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg") and not os.environ.get("CI"),
                                  reason="FFmpeg's program is not installed: apt-get install ffmpeg")


@pytest.fixture
def senders(tmp_path: Path) -> Iterator[dict[str, Sender]]:
    video = camera_video(tmp_path / "gate.mp4", 500)
    (tmp_path / "site").mkdir()
    senders = {kind: Sender(video, kind, tmp_path / "site") for kind in KINDS}
    yield senders
    for sender in senders.values():
        sender.close()


def number(shot: Shot) -> int:
    return read_barcode(np.asarray(Image.open(io.BytesIO(shot.jpeg))))


@needs_ffmpeg
def test_each_is_opened_lost_and_found_again(senders: dict[str, Sender]) -> None:
    sources = {kind: Source(Camera(name=kind, url=sender.address, stall_s=3), Sampling(STRIDE, 96, 90), None)
               for kind, sender in senders.items()}
    heard: dict[str, list[Heard]] = {kind: [] for kind in KINDS}

    for source in sources.values():
        source.pacing = Pacing(0.2, 0.5)

    def step() -> None:
        for kind, source in sources.items():
            heard[kind].append(source.step())

    def shots(kind: str) -> list[Shot]:
        return [item.shot for item in heard[kind] if item.shot]

    try:
        until(lambda: step() or all(len(shots(kind)) >= 5 for kind in KINDS), 40)
        for kind in KINDS:
            first = [number(shot) for shot in shots(kind)[:5]]
            assert first == [first[0] + STRIDE * k for k in range(5)], kind
            stamps = [shot.stream_s for shot in shots(kind)[:5]]
            assert np.diff(stamps) == pytest.approx([STRIDE / 25] * 4, abs=0.01), kind
        for sender in senders.values():
            sender.kill()
        until(lambda: step() or all(source.totals()["losses"] for source in sources.values()), 40)
        before = {kind: len(shots(kind)) for kind in KINDS}
        for sender in senders.values():
            sender.start()
        until(lambda: step() or all(len(shots(kind)) >= before[kind] + 3 for kind in KINDS), 60)
    finally:
        for source in sources.values():
            source.stop()


def test_pictures_without_stamps_are_timed_by_their_arrival() -> None:
    camera = JpegCamera(fps=10)
    try:
        with open_stream(camera.address) as stream:
            assert stream.opened.codec == "mjpeg"
            frames = islice((frame for _, frames in stream for frame in frames), 40)
            seen = [(frame.stream_s, time.monotonic()) for frame in frames]
    finally:
        camera.close()
    (first, heard), (last, heard_last) = seen[9], seen[-1]
    assert last - first == pytest.approx(heard_last - heard, rel=0.25)  # not 1.2 s, as at 25 a second


def test_a_recording_on_a_web_server_is_played_at_its_own_speed(tmp_path: Path) -> None:
    camera_video(tmp_path / "gate.mp4", 50)
    site = serve_folder(tmp_path)
    try:
        began = time.monotonic()
        with open_stream(f"http://127.0.0.1:{site.server_address[1]}/gate.mp4") as stream:
            assert sum(len(frames) for _, frames in stream) == 50
        assert time.monotonic() - began >= 49 / 25
    finally:
        site.shutdown()
        site.server_close()


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(StreamError, match=r"no such file or directory|reads no devices"), open_stream("camera:63"):
        pass
