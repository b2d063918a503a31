"""Cameras that fail in every way: each is noticed, counted and tried again; what comes is numbered right."""

import errno
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from dbvad.detection.live import source as sources
from dbvad.detection.live.cameras import Camera
from dbvad.detection.live.source import Heard, Pacing, Sampling, Source, State
from pipeline.instruments.live_video import StreamError, masked, open_stream
from tests.live.faults import Feeder, Proxy, RtspServer, camera_video, free_port, until
from tests.videos import read_barcode

Make = Callable[..., Source]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "pacing", Pacing(0.05, 0.2))


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Source] = []

    def one(url: str, segments: Path | None = None, **options: Any) -> Source:
        made.append(Source(Camera(name="gate", url=url, **options), Sampling(5, 96, 90), segments))
        return made[-1]

    yield one
    for source in made:
        source.stop()


def losses(source: Source, heard: list[Heard]) -> list[str]:
    heard.append(source.step())
    return [item.lost.why for item in heard if item.lost]


def live(source: Source) -> None:
    until(lambda: source.step() and source.state == State.LIVE)


def test_frames_are_sampled_numbered_and_in_time(server: RtspServer, make: Make) -> None:
    source, heard = make(server.address("gate.mp4")), []
    until(lambda: heard.append(source.step()) or sum(h.shot is not None for h in heard) >= 6)
    shots = [h.shot for h in heard if h.shot]
    assert [shot.index for shot in shots] == [0, 5, 10, 15, 20, 25]
    numbers = [read_barcode(np.asarray(Image.open(io.BytesIO(shot.jpeg)))) for shot in shots]
    assert numbers == [shot.index for shot in shots]
    assert [shot.stream_s for shot in shots] == pytest.approx([k / 5 for k in range(6)], abs=1e-6)
    opened = next(h.opened for h in heard if h.opened)
    assert (opened.codec, opened.width, opened.height, opened.fps) == ("h264", 160, 96, 25)


def test_a_file_ends_and_is_over(videos: Path, tmp_path: Path, make: Make) -> None:
    source, heard = make(f"file:{camera_video(tmp_path / 'short.mp4', 12)}"), []
    began = time.monotonic()
    assert until(lambda: losses(source, heard)) == [sources.FILE_ENDED]
    assert time.monotonic() - began > 11 / 25  # at its own speed
    assert source.over
    assert source.totals()["frames"] == 12


def test_down_at_the_start_then_up(videos: Path, make: Make) -> None:
    proxy = Proxy(free_port())
    source, heard = make(f"rtsp://bob:geheim@127.0.0.1:{proxy.port}/gate.mp4"), []
    try:
        until(lambda: len(losses(source, heard)) >= 2)
        assert source.totals()["failures"] >= 2
        assert "geheim" not in str(heard)
        server = RtspServer(videos)
        try:
            proxy.target = server.port
            live(source)
        finally:
            server.kill()
    finally:
        proxy.close()


def test_a_cut_connection_and_a_silent_one(server: RtspServer, proxy: Proxy, make: Make) -> None:
    source, heard = make(server.address("gate.mp4", proxy.port), stall_s=1), []
    live(source)
    proxy.cut()
    assert until(lambda: losses(source, heard)) == ["the stream ended"]
    live(source)
    proxy.mode = "stall"
    assert until(lambda: losses(source, heard)[1:]) == ["silent: no frame for 1 s"]
    proxy.mode = "pass"
    proxy.cut()
    live(source)
    counts = source.totals()
    assert (counts["connections"], counts["losses"], counts["killed"]) == (3, 2, 1)


def test_a_stopped_reader_is_replaced(server: RtspServer, make: Make) -> None:
    source, heard = make(server.address("gate.mp4"), stall_s=1), []
    live(source)
    os.kill(source._process.pid, signal.SIGSTOP)
    assert until(lambda: losses(source, heard)) == ["silent: no frame for 1 s"]
    live(source)


def test_a_machine_without_room_for_a_reader_is_a_failure_like_any_other(make: Make, monkeypatch: pytest.MonkeyPatch,
                                                                         ) -> None:
    def no_room(process: Any) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(sources.SPAWN.Process, "start", no_room)
    source = make("rtsp://127.0.0.1:1/x")
    heard = source.step()
    assert heard.lost is not None
    assert heard.lost.why == "its reader cannot be started (resource temporarily unavailable)"
    assert (source.state, source.counts["failures"], source.counts["losses"]) == (State.WAITING, 1, 0)
    source.stop()


def test_a_crawl_is_a_loss(server: RtspServer, proxy: Proxy, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "RATE_S", 1.5)
    monkeypatch.setattr(sources, "START_S", 0)
    source, heard = make(server.address("gate.mp4", proxy.port), stall_s=20, min_fps=10), []
    live(source)
    proxy.mode = "trickle"
    assert until(lambda: losses(source, heard))[0].startswith("crawling: ")


def test_garbage_is_survived(server: RtspServer, proxy: Proxy, make: Make) -> None:
    source, heard = make(server.address("gate.mp4", proxy.port), stall_s=1), []
    live(source)
    proxy.mode = "garbage"
    until(lambda: losses(source, heard) or source.totals()["refused"] + source.totals()["corrupt"])
    proxy.mode = "pass"
    proxy.cut()
    before = source.totals()["connections"]
    until(lambda: source.step() and source.totals()["connections"] > before)


def test_time_back_to_0_another_size_and_another_codec(tmp_path: Path, make: Make) -> None:
    small = camera_video(tmp_path / "small.ts", 50)
    large = camera_video(tmp_path / "large.ts", 50, size=(320, 192))
    feeder = Feeder([small, large], 2)
    source, heard = make(feeder.address, stall_s=5), []
    until(lambda: losses(source, heard))
    counts = source.totals()
    assert counts["jumps"] >= 1
    assert counts["resized"] >= 1
    assert counts["frames"] >= 80
    stamps = [h.shot.stream_s for h in heard if h.shot]
    assert stamps == sorted(stamps)
    assert stamps[-1] < 4
    feeder.files = [camera_video(tmp_path / "other.ts", 25, codec="mpeg4")]
    until(lambda: source.step() and source.totals()["recoded"])
    feeder.close()


def test_a_slow_parent_gets_the_newest_and_the_rest_is_counted(server: RtspServer, make: Make) -> None:
    source = make(server.address("gate.mp4"), queue=2)
    live(source)
    time.sleep(3)
    until(lambda: source.step().shot)
    counts = source.totals()
    assert counts["overrun"] + counts["dropped"] >= 8
    assert source.last_shot is not None
    assert time.monotonic() - source.last_shot.arrived < 1


def test_many_reconnects_leave_nothing(server: RtspServer, proxy: Proxy, make: Make) -> None:
    source, me = make(server.address("gate.mp4", proxy.port)), psutil.Process()
    for turn in range(8):
        until(lambda: source.step().opened, 20)
        if turn == 2:
            memory, files = me.memory_info().rss, me.num_fds()
        proxy.cut()
        until(lambda: source.step().lost)
    assert me.num_fds() <= files
    assert me.memory_info().rss - memory < 4 << 20
    assert not [child for child in me.children() if child.name() == "dbvad-gate"]


def test_no_secret_is_in_a_message() -> None:
    with pytest.raises(StreamError) as caught, open_stream(f"rtsp://bob:geheim@127.0.0.1:{free_port()}/x?key=geheim"):
        pass
    assert "geheim" not in str(caught.value)
    assert masked("rtsp://bob:geheim@cam.lan:554/a?key=geheim") == "rtsp://cam.lan:554/a"


def test_a_packet_that_comes_twice_counts_once(tmp_path: Path) -> None:
    import av

    once, twice = camera_video(tmp_path / "once.mp4", 30), tmp_path / "twice.mkv"
    with av.open(str(once)) as source, av.open(str(twice), "w") as sink:
        copy = sink.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size]:
            again = av.Packet(bytes(packet))
            again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
            packet.stream = again.stream = copy
            sink.mux(packet)
            sink.mux(again)
    with open_stream(f"file:{twice}") as stream:
        numbers = [read_barcode(frame.image()) for _, frames in stream for frame in frames]
    assert numbers == list(range(30))
    assert stream.counts["repeated"] == 30
