"""Packets of a live stream kept on disk as they came, in short files, and clips cut from them. Nothing is encoded.

A segment starts at a key frame and is named by what it holds: `TAKE-MILLISECONDS.mkv`, the connection and the stream
time of its first frame, so a folder listing is the index.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from pipeline.instruments.live_video import LiveStream

SEGMENT_S = 4.0  # chosen here: what an interruption may cost a clip, and how fine the quota deletes
REST_S = 10.0  # after a full disk, until it is tried again
MP4 = {"h264", "hevc", "av1", "mpeg4"}  # what a browser or a player may take from an mp4; the rest goes into mkv
NAME = re.compile(r"(\d+)-(\d+)\.mkv$")


@dataclass(frozen=True)
class Segment:
    """`start_s`: stream time of its first frame."""

    path: Path
    take: int
    start_s: float


class SegmentWriter:
    """Writes the packets of one connection. `lost`: packets that could not be kept (a full disk, no time stamps)."""

    def __init__(self, folder: Path, take: int, stream: LiveStream) -> None:
        self.folder, self.take, self.source = folder, take, stream
        self.lost = 0
        self._file: Any = None
        self._copy: Any = None
        self._start_s = self._last_dts_s = 0.0
        self._size: tuple[int, int] | None = None
        self._rest_until = 0.0

    def write(self, packet: Any) -> None:
        """Keep a packet, after its frames were taken. Never raises for a full disk: reading goes on without."""
        if not packet.size:
            return
        at = self.source.time
        pts_s = at.now if packet.pts is None else at.at(float(packet.pts * packet.time_base))
        dts_s = pts_s if packet.dts is None else at.at(float(packet.dts * packet.time_base))
        context = self.source.stream.codec_context
        size = (context.width, context.height)
        broken = size != self._size or not 0 <= dts_s - self._last_dts_s < SEGMENT_S
        try:
            if self._file and (broken or (packet.is_keyframe and pts_s - self._start_s >= SEGMENT_S)):
                self.close()
            if not self._file and packet.is_keyframe and time.monotonic() >= self._rest_until:
                self._open(max(0.0, pts_s))
                self._size = size
            if not self._file or pts_s < self._start_s:  # shown before its key frame: of no use in this file
                self.lost += 1
                return
            base = packet.time_base
            packet.pts, packet.dts = round((pts_s - self._start_s) / base), round((dts_s - self._start_s) / base)
            packet.stream = self._copy
            self._file.mux(packet)
            self._last_dts_s = dts_s
        except (FFmpegError, OSError):
            self.lost += 1
            self._rest_until = time.monotonic() + REST_S
            self.close()

    def _open(self, start_s: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.take}-{round(start_s * 1000):012d}.mkv"
        self._file = av.open(str(path), "w", format="matroska", options={"flush_packets": "1"})
        self._copy = self._file.add_stream_from_template(self.source.stream)
        self._start_s = round(start_s * 1000) / 1000
        self._last_dts_s = start_s - SEGMENT_S / 2

    def close(self) -> None:
        """End the file in hand."""
        file, self._file = self._file, None
        if file:
            with suppress(FFmpegError, OSError):
                file.close()


def segments(folder: Path) -> list[Segment]:
    """The segments in a folder, oldest first; empty where there is none."""
    found = [(NAME.search(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ())]
    return sorted((Segment(path, int(match[1]), int(match[2]) / 1000) for match, path in found if match),
                  key=lambda segment: (segment.take, segment.start_s))


def cut(parts: Sequence[Segment], start_s: float, end_s: float, path: Path) -> tuple[Path, float] | None:
    """Join segments of one take into a clip, from the last key frame before `start_s` to `end_s` (stream time).

    Returns the file, `path` with the suffix that fits its codec, and the stream time of its first frame; None where
    nothing of it is kept. A segment whose codec or size differs from the first one's ends the clip.
    """
    found = [(at, key) for _, at, key, _ in _packets(parts)]  # twice through the files, never all of them in memory
    keys = [at for at, key in found if key]
    if not keys:
        return None
    zero = max((at for at in keys if at <= start_s), default=keys[0])
    shown = [at for at, _ in found if at >= zero]
    # Matroska keeps no decoding times: the order of the file with the times of showing, early enough for each.
    times = sorted(shown)
    early = max(time - at for time, at in zip(times, shown, strict=True))
    out, sink, copy, last = path, None, None, -1.0
    try:
        place = 0
        for stream, at, _, packet in _packets(parts):
            if at < zero:
                continue
            if times[place] > end_s:
                break
            if sink is None:
                suffix = ".mp4" if stream.codec_context.name in MP4 else ".mkv"
                out = path.with_suffix(suffix)
                sink = av.open(str(out), "w", options={"movflags": "faststart"} if suffix == ".mp4" else {})
                copy = sink.add_stream_from_template(stream)
                last = -early - 1
            step = float(packet.time_base)
            last = max(times[place] - zero - early, last + step)
            packet.dts = round(last / step)
            packet.pts, packet.stream = max(round((at - zero) / step), packet.dts), copy
            sink.mux(packet)
            place += 1
    finally:
        if sink is not None:
            sink.close()
    return (out, zero) if sink is not None else None


def _packets(parts: Sequence[Segment]) -> Iterator[tuple[Any, float, bool, Any]]:
    """Stream, stream time, whether it is a key frame, and packet, up to where each file can be read."""
    like = None
    for part in parts:
        with suppress(FFmpegError), av.open(str(part.path)) as source:
            stream: Any = source.streams.video[0]
            kind = (stream.codec_context.name, stream.codec_context.width, stream.codec_context.height)
            if like not in (None, kind):
                return
            like = kind
            for packet in source.demux(stream):
                if packet.size and packet.pts is not None:
                    yield stream, part.start_s + float(packet.pts * packet.time_base), packet.is_keyframe, packet
