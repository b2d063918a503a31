"""PyAV: what a file is, what is wrong with it, and its frames. The part of `video` that knows containers."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

RE_ENCODE = "re-encode it, e.g. `ffmpeg -i IN -c:v libx264 OUT.mp4`, or leave it out"
RECORD_AGAIN = "record or export it again, or leave it out"
COPY_AGAIN = "copy or download the file again; if the original is like this, leave it out"

# The most of a video that may be missing or refused before it is a fault (chosen here). Containers round their
# lengths, so short videos may lack SLACK_FRAMES whatever share that is.
LOSS = 0.05
SLACK_FRAMES = 3

THREADS = 2  # fixed, not the machine's: how a damaged stream decodes depends on it, and so does memory

MP4, MATROSKA, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"
STORE_LENGTH = {MP4, MATROSKA, AVI, "flv", "asf"}  # their headers keep the whole length when the file is cut


class VideoError(Exception):
    """A video that cannot be used. `kind` is one of missing, unreadable, empty, not_video, truncated, no_video_stream,
    no_frames, decode_error; `remedy` says what to do about it."""

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} ({kind}): {remedy}")
        self.kind, self.reason, self.remedy = kind, reason, remedy

    def __reduce__(self) -> tuple[Any, ...]:  # crosses a process border
        return type(self), (self.kind, self.reason, self.remedy)


@dataclass(frozen=True)
class Probe:
    """What a video says of itself.

    duration_s: of the video stream. fps: mean rate. n_frames: declared, 0 if unknown; an estimate (duration x fps)
    where the container keeps no count, as Matroska and TS do. width, height: pixels as shown, after rotation. rotation:
    degrees counter-clockwise to turn the stored picture by. container: FFmpeg's name of the format.
    """

    duration_s: float
    fps: float
    n_frames: int
    width: int
    height: int
    codec: str
    container: str
    rotation: int = 0


@dataclass
class Seen:
    """What reading a file has met so far.

    packets: of the video; refused: by the decoder; hidden: marked as not to be shown (an editor's trim). end_s: where
    the last stream ends, length_s: where the header says so (0 where the format does not keep it). times: of the
    packets not yet shown, all of them after `scan`. starts_clean: the first packet shown is a key frame.
    """

    fps: float = 25.0
    length_s: float = 0.0
    end_s: float = 0.0
    packets: int = 0
    refused: int = 0
    hidden: int = 0
    starts_clean: bool = False
    times: deque[float] = field(default_factory=deque)

    @property
    def cut(self) -> bool:
        """Whether the file ends early.

        Time is compared, not a count of frames: Matroska keeps no count, AVI counts the frames that the recorder
        dropped, and a variable rate has none to compute. Frames lost in the middle are `refused`.
        """
        return self.length_s - self.end_s > max(LOSS * self.length_s, SLACK_FRAMES / self.fps)

    @property
    def damaged(self) -> bool:
        """Whether more was refused than can be left out."""
        return self.refused > max(LOSS * self.packets, SLACK_FRAMES)


def probe(path: Path | str) -> Probe:
    """Read the header and decode one frame. Raises VideoError."""
    with opened(path) as (container, stream):
        name = Path(path).name
        fps = _fps(stream)
        duration = _duration_s(container, stream)
        declared = _declared(container, stream, duration, fps)
        seen = Seen()
        first = next(_decode(container, stream, seen), None)
        if first is None:
            if seen.packets and not seen.cut:
                raise VideoError("decode_error", f"{name}: none of its frames can be decoded as "
                                                 f"{stream.codec.canonical_name}", RE_ENCODE)
            if declared:
                raise VideoError("truncated", f"{name}: ends before its first of {declared} frames", COPY_AGAIN)
            raise VideoError("no_frames", f"{name}: has a video stream without a frame", RECORD_AGAIN)
        width, height, rotation = first.width, first.height, first.rotation % 360
        if rotation in (90, 270):
            width, height = height, width
        return Probe(duration, fps, declared, width, height, stream.codec.canonical_name, container.format.name,
                     rotation)


def scan(path: Path | str) -> Seen:
    """Read all packets, decode none; `times` are in presentation order, from the first frame's 0. Raises VideoError."""
    seen = Seen()
    with opened(path) as (container, stream):
        for _ in _packets(container, stream, seen):
            pass
    first = min(seen.times, default=0.0)
    seen.starts_clean = seen.starts_clean and seen.times[0] == first
    seen.times = deque(time - first for time in sorted(seen.times))
    return seen


def frames(path: Path | str, size: tuple[int, int], seen: Seen) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
    """Every frame in presentation order: seconds since the first, and a function that makes its image (H, W, 3).

    `size`: (width, height) of the image, after rotation. Raises VideoError where the file cannot be opened.
    """
    with opened(path) as (container, stream):
        step = 1 / (_fps(stream) or seen.fps)
        start, time = None, -step
        for frame in _decode(container, stream, seen):
            slot = seen.times.popleft() if seen.times else None
            # The last frames come without a time base of their own, so the stream's is used.
            shown = None if frame.pts is None else float(frame.pts * stream.time_base)
            stamp = slot if container.format.name == AVI else shown
            if start is None:
                start = stamp or 0.0
            time = max(stamp - start, time + step / 100) if stamp is not None else time + step
            yield time, partial(_image, frame, size)


@contextmanager
def opened(path: Path | str) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, ready to decode. Raises VideoError."""
    path = Path(path)
    _check_file(path)
    try:
        # An absolute path behind `file:`, or FFmpeg takes a name like "cam:1.mp4" for a protocol.
        container = av.open(f"file:{path.absolute()}", metadata_errors="replace")
    except (FFmpegError, UnicodeError) as error:
        if _starts_like_video(path):
            raise VideoError("truncated", f"{path.name}: starts like a video, but its index or its end is missing",
                             COPY_AGAIN) from error
        raise VideoError("not_video", f"{path.name}: is no video in a format that FFmpeg knows",
                         "take it out of the folder, or export it again as mp4") from error
    with container:
        if container.format.name.endswith("_pipe"):  # FFmpeg's name for single pictures
            raise VideoError("not_video", f"{path.name}: is a picture", "take it out of the folder")
        stream: Any = container.streams.best("video")
        if stream is None or stream.disposition & Disposition.attached_pic:
            if len(container.streams) == 0:
                raise VideoError("no_frames", f"{path.name}: holds no stream at all", RECORD_AGAIN)
            raise VideoError("no_video_stream", f"{path.name}: holds sound or data only, no video stream",
                             "take it out of the folder")
        if stream.codec_context is None:
            raise VideoError("decode_error", f"{path.name}: its codec is not supported", RE_ENCODE)
        stream.thread_type, stream.thread_count = "AUTO", THREADS
        yield container, stream


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise VideoError("missing", f"{path}: there is no such file", "check the path and the dataset's root folder")
    if not os.access(path, os.R_OK):
        raise VideoError("unreadable", f"{path}: no permission to read it", "change its permissions (`chmod +r`)")
    if path.stat().st_size == 0:
        raise VideoError("empty", f"{path.name}: the file has 0 bytes", COPY_AGAIN)


def _starts_like_video(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return (head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
            or head.startswith((b"\x1aE\xdf\xa3", b"RIFF", b"FLV", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")))


def _packets(container: Any, stream: Any, seen: Seen) -> Iterator[Any]:
    """The video packets of a file, up to where it can be read."""
    seen.length_s, seen.fps = _length_s(container, stream), _fps(stream) or seen.fps
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            return
        if packet.pts is not None and packet.stream.type in ("video", "audio"):
            seen.end_s = max(seen.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index == stream.index and packet.size:  # size 0: the demuxer's sign to flush
            if not seen.packets:
                seen.starts_clean = packet.is_keyframe
            stamp = packet.pts if packet.pts is not None and container.format.name != AVI else packet.dts
            if stamp is not None:  # AVI keeps no presentation times: the k-th frame is shown in the k-th packet's slot
                seen.times.append(float(stamp * packet.time_base))
            seen.packets += 1
            seen.hidden += packet.is_discard
            yield packet


def _decode(container: Any, stream: Any, seen: Seen) -> Iterator[Any]:
    """Every av.VideoFrame; packets that the decoder refuses are counted and left out."""
    for packet in _packets(container, stream, seen):
        try:
            yield from stream.decode(packet)
        except FFmpegError:
            seen.refused += 1
    try:
        yield from stream.decode(None)
    except FFmpegError:
        seen.refused += 1


def _image(frame: Any, size: tuple[int, int]) -> np.ndarray:
    turns = frame.rotation % 360 // 90
    width, height = size[::-1] if turns % 2 else size
    # Bilinear is nearest to decord's scaling: 0.0 to 0.3 levels of 255 apart on average on real surveillance clips.
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _fps(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _duration_s(container: Any, stream: Any) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "").split(":")  # Matroska: "00:00:12.000000000"
    try:
        return int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2])
    except (ValueError, IndexError):
        return (container.duration or 0) / av.time_base


def _declared(container: Any, stream: Any, duration_s: float, fps: float) -> int:
    if container.format.name == MP4:  # the index leaves out what an edit list trims, stream.frames does not
        shown = sum(not entry.is_discard for entry in stream.index_entries)
        if shown:
            return shown
    return stream.frames or round(duration_s * fps)


def _length_s(container: Any, stream: Any) -> float:
    """How long the whole file says that it is; 0 where its format does not keep that."""
    if container.format.name not in STORE_LENGTH:
        return 0.0
    if container.format.name == AVI and stream.frames and stream.average_rate:  # a cut AVI's duration is a guess
        return float(stream.frames / stream.average_rate)
    return (container.duration or 0) / av.time_base
