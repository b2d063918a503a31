"""Live video in: the door to PyAV for streams. A stream has no length and no honest end: each end is a loss.

Measured (FFmpeg 8 in PyAV 18): a killed server ends the iteration without an error; a silent one is noticed after twice
the time-out, or never; a trickle of bytes never. So the caller watches from another process what comes out here.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from pipeline.instruments import video
from pipeline.instruments._pyav import picture
from pipeline.instruments.stream_time import StreamTime

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "camera", "file")
SEGMENTED = ("hls", "dash")  # containers that come a segment at a time, faster than they are shown
UNTIMED = ("mpjpeg",)  # containers without time stamps, of which FFmpeg makes 25 frames a second
FLV_OPTIONS = {"analyzeduration": "1000000", "fpsprobesize": "0"}  # else it waits for sound that may never come
DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
LONGEST_PAUSE_S = 2.0  # chosen here: a frame is not held back longer than this, whatever its stamp says


class StreamError(Exception):
    """A stream that cannot be opened or read on. The message holds no address, which may hold a password."""


@dataclass(frozen=True)
class Opened:
    """What a stream says of itself; `fps` 0 where it does not."""

    codec: str
    width: int
    height: int
    fps: float
    container: str


@dataclass(frozen=True)
class LiveFrame:
    """`index`: place among the connection's frames, from 0. `stream_s`: seconds since the first, rising. `image`: makes
    the picture (H, W, 3) uint8 RGB, its short side shrunk as asked."""

    index: int
    stream_s: float
    image: Callable[[], np.ndarray]


class LiveStream:
    """An open stream; made by `open_stream`.

    `counts`: frames; corrupt (half ones, left out); repeated (packets sent twice, left out); refused (packets that do
    not decode); jumps and wraps of its clock; resized (changes of the picture's size).
    """

    def __init__(self, container: Any, short_side: int | None, paced: bool) -> None:
        """`paced`: it may arrive faster than it is shown, and is held back to its own speed."""
        self._container, self._short_side, self._paced = container, short_side, paced
        self.stream: Any = container.streams.best("video")
        if self.stream is None or self.stream.codec_context is None:
            raise StreamError("it has no video that can be decoded")
        self.stream.thread_type, self.stream.thread_count = "SLICE", 1  # frame threads would hold frames back
        context = self.stream.codec_context
        fps = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        self.opened = Opened(context.name, context.width, context.height, fps, container.format.name)
        self.time = StreamTime(1 / fps if fps else 1 / 25)
        self.counts: Counter[str] = Counter()
        self._size: tuple[int, int] | None = None
        self._scaler = VideoReformatter()
        self._turn = picture.UPRIGHT
        self._untimed = container.format.name in UNTIMED
        self._last_pts = -1
        self._seen: tuple[int | None, int, int] | None = None  # stamp, size and checksum of the last packet
        self._started: float | None = None

    def __iter__(self) -> Iterator[tuple[Any, list[LiveFrame]]]:
        """Each packet as it came, with the frames that it completed. Ends, or raises StreamError: either is a loss."""
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                raise StreamError(_reason(error)) from None
            if self._untimed and packet.size:
                self._date(packet)
            if self._again(packet):
                continue
            if packet.is_keyframe and packet.pts is not None:
                self.time.seed(float(packet.pts * packet.time_base))
            try:
                decoded = packet.decode() if packet.size else self.stream.decode(None)
            except FFmpegError:
                self.counts["refused"] += 1
                decoded = []
            yield packet, [self._frame(frame) for frame in decoded if self._whole(frame)]

    def _date(self, packet: Any) -> None:
        """Its arrival, by this machine's clock."""
        self._last_pts = max(self._last_pts + 1, round(time.monotonic() / packet.time_base))
        packet.pts = packet.dts = self._last_pts

    def _again(self, packet: Any) -> bool:
        """Whether it is the packet before once more, as servers under load send it: its changes must count once."""
        seen, self._seen = self._seen, (packet.pts, packet.size, crc32(packet) if packet.size else 0)
        if packet.pts is None or seen != self._seen:
            return False
        self.counts["repeated"] += 1
        return True

    def _whole(self, frame: Any) -> bool:
        self.counts["corrupt"] += frame.is_corrupt
        return not frame.is_corrupt

    def _frame(self, frame: Any) -> LiveFrame:
        size = (frame.width, frame.height)
        if size != self._size:
            self.counts["resized"] += self._size is not None
            self._size, self._turn = size, picture.turn(frame)
        stream_s = self.time(None if frame.pts is None else float(frame.pts * self.stream.time_base))
        self.counts["jumps"], self.counts["wraps"] = self.time.jumps, self.time.wraps
        if self._paced:
            self._wait(stream_s)
        index = self.counts["frames"]
        self.counts["frames"] += 1
        return LiveFrame(index, stream_s, partial(self._picture, frame, self._turn))

    def _picture(self, frame: Any, turn: picture.Turn) -> np.ndarray:
        shown = picture.shown_size(frame, self.stream.sample_aspect_ratio, turn)
        return picture.image(frame, video._shrunk(*shown, self._short_side), turn, self._scaler)

    def _wait(self, stream_s: float) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = now - stream_s
        pause = min(self._started + stream_s - now, LONGEST_PAUSE_S)
        if pause > 0:
            time.sleep(pause)
        else:
            self._started -= pause  # late: go on at the stream's speed from here, without catching up


@contextmanager
def open_stream(address: str, *, timeout_s: float = 5.0, short_side: int | None = None) -> Iterator[LiveStream]:
    """Open an address of one of SCHEMES. Raises StreamError."""
    scheme, _, rest = address.partition(":")
    name, format, options = address, None, {"fflags": "discardcorrupt"}
    if scheme == "camera":
        format, pattern = DEVICES.get(sys.platform, DEVICES["linux"])
        if not any(format in names.split(",") for names in av.formats_available):
            raise StreamError(f"this PyAV reads no devices ({format}): build it against an FFmpeg that does")
        name = pattern.format(rest)
    elif scheme in ("rtsp", "rtsps"):
        options |= {"rtsp_transport": "tcp", "timeout": str(round(timeout_s * 1e6)), "fpsprobesize": "0",
                    "allowed_media_types": "video"}
    elif scheme in ("rtmp", "rtmps") or urlsplit(address).path.endswith(".flv"):
        options |= FLV_OPTIONS
    elif scheme in ("udp", "tcp"):
        options |= {"timeout": str(round(timeout_s * 1e6))}
        format = "mpegts"
    try:
        container = av.open(name, format=format, options=options, timeout=None if scheme == "file" else timeout_s,
                            metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        device = f"{name}: " if scheme == "camera" else ""
        raise StreamError(device + _reason(error)) from None
    recorded = scheme in ("http", "https") and container.duration is not None
    try:
        yield LiveStream(container, short_side, scheme == "file" or recorded or container.format.name in SEGMENTED)
    finally:
        with suppress(FFmpegError):
            container.close()


def masked(address: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    if address.partition(":")[0] in ("camera", "file"):
        return address
    parts = urlsplit(address)
    if not parts.netloc:  # no address, but what was to be one may hold secrets all the same
        return address.rpartition("@")[2].partition("?")[0]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _reason(error: Exception) -> str:
    """An error in words, never with the file name that FFmpeg's errors carry."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return {"Immediate exit requested": "it fell silent"}.get(text, text[:1].lower() + text[1:])
