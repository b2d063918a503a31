"""Video out, through PyAV: cutting a recording without re-encoding, and writing pictures as a film."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from pipeline.instruments.video import VideoError

MP4_CODECS = {"h264", "hevc", "av1", "mpeg4", "vp9"}
CLOCK = 90_000  # ticks a second of what is written
OPTIONS = {"crf": "23", "preset": "veryfast"}
COPY = "give another folder, or convert the video first, e.g. `ffmpeg -i IN -c:v libx264 OUT.mp4`"


@dataclass(frozen=True)
class Span:
    """What is wanted, in seconds from the first frame. `path` has no suffix: the container decides on it."""

    start_s: float
    end_s: float
    path: Path


@dataclass(frozen=True)
class Cut:
    """What was cut: from the key frame at `start_s`, to `end_s`, the end of its last picture."""

    path: Path
    start_s: float
    end_s: float


@dataclass
class _Writer:
    """A cut in progress; times in ticks of the source."""

    span: Span
    path: Path
    container: Any
    stream: Any
    first: int  # the key frame it begins with
    top: int = 0  # the latest picture
    end: int = 0  # of the latest picture


class _Timed(NamedTuple):
    """A packet, and when it is shown and decoded, in ticks."""

    packet: Any
    pts: int
    dts: int


def cut(source: Path, spans: Sequence[Span]) -> list[Cut]:
    """Copy the packets of each span, from the last key frame before it, in one pass over the file; picture only.

    The result is an mp4 where that holds the codec, else of the source's own kind. A span behind the last picture gives
    nothing. Raises VideoError.
    """
    waiting, writers = sorted(spans, key=lambda span: span.start_s), list[_Writer]()
    done: dict[Path, Cut] = {}
    try:
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            base = stream.time_base
            assert base is not None
            origin: int | None = None
            before: list[_Timed] = []  # a key frame and what follows it, as far as the one before the latest
            group: list[_Timed] = []  # the same from the latest
            for timed in _packets(container, stream):
                if timed.packet.is_keyframe:
                    before, group = group, []
                elif not group:
                    continue  # nothing to begin with yet
                group.append(timed)
                origin = timed.pts if origin is None else origin
                while waiting and (timed.pts + (timed.packet.duration or 1) - origin) * base > waiting[0].start_s:
                    span = waiting.pop(0)
                    # Pictures that are shown before the latest key frame may come behind it.
                    late = before and (group[0].pts - origin) * base > span.start_s
                    chosen = before + group if late else group
                    writers.append(_open(span, source, stream, chosen[0]))
                    for earlier in chosen[:-1]:
                        _write(writers[-1], earlier)
                for writer in list(writers):
                    if (timed.dts - origin) * base < writer.span.end_s or timed.pts < writer.top:
                        _write(writer, timed)
                    elif timed.dts >= writer.top:
                        writers.remove(writer)
                        done[writer.span.path] = _close(writer, origin, base)
            for writer in list(writers):
                writers.remove(writer)
                done[writer.span.path] = _close(writer, origin or 0, base)
    except (FFmpegError, ValueError, IndexError) as error:
        raise VideoError("not_cut", f"{source.name}: cannot be cut without re-encoding ({error})", COPY) from error
    finally:
        for writer in writers:
            writer.container.close()
            writer.path.unlink(missing_ok=True)
    return [done[span.path] for span in spans if span.path in done]


def write(path: Path, frames: Iterable[tuple[float, np.ndarray]], fps: float) -> int:
    """Pictures (seconds, (H, W, 3) uint8 RGB) as an H.264 mp4; odd sides lose a row or column. Returns how many."""
    count = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=OPTIONS)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        for seconds, image in frames:
            image = image[:image.shape[0] // 2 * 2, :image.shape[1] // 2 * 2]
            if not count:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.pts, frame.time_base = round(seconds * CLOCK), Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def _packets(container: Any, stream: Any) -> Iterator[_Timed]:
    """The packets that can be copied. Matroska leaves the first times of decoding out: they are counted back."""
    early: list[Any] = []
    for packet in container.demux(stream):
        if not packet.size or packet.is_corrupt or packet.pts is packet.dts is None:
            continue
        if packet.dts is None:
            early.append(packet)
            continue
        for place, earlier in enumerate(early):
            yield _Timed(earlier, earlier.pts, packet.dts - (len(early) - place) * (earlier.duration or 1))
        early = []
        yield _Timed(packet, packet.dts if packet.pts is None else packet.pts, packet.dts)
    for packet in early:
        yield _Timed(packet, packet.pts, packet.pts)


def _open(span: Span, source: Path, stream: Any, first: _Timed) -> _Writer:
    # AVI may keep the order of decoding only, which is no order of pictures to an mp4.
    plain = first.packet.pts is None or stream.codec.canonical_name not in MP4_CODECS
    path = span.path.with_name(span.path.name + (source.suffix.lower() if plain else ".mp4"))
    container = av.open(str(path), "w")
    return _Writer(span, path, container, container.add_stream_from_template(stream, opaque=True), first.pts)


def _write(writer: _Writer, timed: _Timed) -> None:
    packet, again = timed.packet, av.Packet(bytes(timed.packet))
    again.pts, again.dts, again.duration = timed.pts - writer.first, timed.dts - writer.first, packet.duration
    again.time_base, again.is_keyframe, again.stream = packet.time_base, packet.is_keyframe, writer.stream
    writer.container.mux(again)
    writer.top, writer.end = max(writer.top, timed.pts), max(writer.end, timed.pts + (packet.duration or 0))


def _close(writer: _Writer, origin: int, base: Fraction) -> Cut:
    writer.container.close()
    return Cut(writer.path, float((writer.first - origin) * base), float((writer.end - origin) * base))
