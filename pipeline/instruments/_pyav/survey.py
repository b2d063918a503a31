"""What a file holds: all its packets are read and one frame is decoded, so that nothing rests on what headers guess."""

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from pipeline.instruments._pyav import picture
from pipeline.instruments._pyav.clock import Clock, leap_s
from pipeline.instruments._pyav.faults import COPY_AGAIN, RE_ENCODE, RECORD_AGAIN, VideoError
from pipeline.instruments._pyav.files import AVI, MATROSKA, MP4, WHOLE_EDIT, opened, tracks
from pipeline.instruments._pyav.packets import Track

# The most of a video that may be missing or refused before it is a fault (chosen here). Containers round their
# lengths, so short videos may lack SLACK_FRAMES whatever share that is.
LOSS = 0.05
SLACK_FRAMES = 3

STILL = 0.1  # a track with less than this share of the frames of the longest holds pictures, no film (chosen here)
RATE_SLACK = 0.01  # how far the rate in the header may be from the frames' own and still be given
KEEP_LENGTH = {MATROSKA, "flv", "asf"}  # besides MP4 and AVI: their headers keep the whole length when the file is cut


@dataclass(frozen=True)
class Probe:
    """What a video is, by its own packets.

    duration_s: from the first frame to the end of the last. fps: mean rate. n_frames: packets that are to be shown, one
    frame each; what the decoder refuses is known after decoding. width, height: pixels as a player shows them.
    container: FFmpeg's name of the format. declared_frames: what the header says or lets guess, 0 for nothing. track:
    index of the stream that is the film. remarks: what was chosen, assumed or mended, for the user.
    """

    duration_s: float
    fps: float
    n_frames: int
    width: int
    height: int
    codec: str
    container: str
    declared_frames: int = 0
    track: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """A probe, and what decoding needs to know besides.

    times: of all frames that are to be shown, in order. by_slot: the k-th frame is shown at times[k], as the packets
    carry no times of showing; else each frame carries a stamp of its own, for `clock`. last_s: how long the last frame
    is shown. end_s, length_s: where the video ends, and where it should by its header (0 where that is not kept).
    guess: the most frames that its header speaks of. options: for `opened`.
    """

    probe: Probe
    times: "array[float]"
    by_slot: bool
    tick: Fraction
    step: int
    last_s: float
    end_s: float
    length_s: float
    packets: int
    guess: int
    hidden: int
    starts_clean: bool
    clock_is_even: bool
    upright: bool
    n_tracks: int
    options: dict[str, str]

    def clock(self) -> Clock:
        """A new clock for the stamps of this file's frames."""
        return Clock(self.tick, self.step, _leap(self.probe.container, self.tick))

    def slot(self, number: int) -> float:
        """When the frame in a slot is shown; slots behind the last follow at the usual step."""
        beyond = number - len(self.times) + 1
        return self.times[number] if beyond <= 0 else self.times[-1] + float(beyond * self.step * self.tick)

    @property
    def cut(self) -> bool:
        """Whether the file ends early, by the video's own length where the header keeps it, wherever its clock starts.

        Time is compared, not a count of frames: Matroska keeps no count, AVI counts the frames that the recorder
        dropped, and a variable rate has none to compute. Frames lost in the middle are the decoder's to refuse.
        """
        return self.length_s - self.end_s > max(LOSS * self.length_s, SLACK_FRAMES / self.probe.fps)


def survey(path: Path | str, options: dict[str, str] | None = None) -> Survey:
    """Read a file. Raises VideoError."""
    name = Path(path).name
    with opened(path, options) as container:
        read = {stream.index: Track(stream) for stream in tracks(container, name)}
        begin_s, end_s = _read(container, read)
        track = _film(list(read.values()))
        _check_frames(container, track, name)
        leap = _leap(container.format.name, Fraction(track.stream.time_base))
        if track.last <= leap or not track.hidden or options:
            return _judge(container, track, leap, end_s - begin_s, begin_s, options or {})
    return survey(path, WHOLE_EDIT)  # frames that last for hours: the edit list leaves out all that come later


def _leap(format_: str, tick: Fraction) -> int:
    return round(leap_s(format_) / tick)


def _read(container: Any, read: dict[int, Track]) -> tuple[float, float]:
    """Read up to where the file can be read. Returns where its streams begin and end, in seconds."""
    begin, end = float("inf"), float("-inf")
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            break
        if not packet.size:  # the demuxer's sign to flush
            continue
        if packet.pts is not None:
            begin = min(begin, packet.pts * packet.time_base)
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index in read:
            read[packet.stream.index].add(packet)
    for track in read.values():
        track.decode(None)
    return float(begin), float(end)


def _film(read: list[Track]) -> Track:
    """The track that a person means: a film before pictures, then the one marked default, the larger, the first."""
    longest = max(track.packets for track in read)

    def rank(track: Track) -> tuple[bool, bool, int]:
        context = track.stream.codec_context
        return (track.packets > 1 and track.packets >= STILL * longest,
                bool(track.stream.disposition & Disposition.default), context.width * context.height)

    return max(read, key=rank)  # of equals the first


def _check_frames(container: Any, track: Track, name: str) -> None:
    if track.frame is not None and track.slots:
        return
    declared = _declared(container, track.stream)
    if track.packets and not track.packets < _indexed(container, track.stream):
        raise VideoError("decode_error", f"{name}: none of its frames can be decoded as "
                                         f"{track.stream.codec.canonical_name}", RE_ENCODE)
    if declared:
        raise VideoError("truncated", f"{name}: ends before its first of {declared} frames", COPY_AGAIN)
    raise VideoError("no_frames", f"{name}: has a video stream without a frame", RECORD_AGAIN)


def _judge(container: Any, track: Track, leap: int, span_s: float, begin_s: float, options: dict[str, str]) -> Survey:
    stream, format_, tick = track.stream, container.format.name, Fraction(track.stream.time_base)
    ordered, by_slot = track.in_order(format_)
    step = track.usual_step(ordered, leap)
    clock = Clock(tick, step, leap)
    times = array("d", (clock(stamp) for stamp in ordered.tolist()))
    last_s = float((track.last if 0 < track.last <= leap else step) * tick)
    duration = times[-1] + last_s
    end_s, length_s = _extent(container, track, ordered, duration, span_s, begin_s)
    mean, rated = len(times) / duration, float(stream.average_rate or 0)
    width, height = picture.shown_size(track.frame, stream.sample_aspect_ratio)
    probe = Probe(duration, rated if abs(rated - mean) <= RATE_SLACK * mean else mean, len(times), width, height,
                  stream.codec.canonical_name, format_, _declared(container, stream), stream.index,
                  (*_choice(container, stream), *_times(track, clock, float(1 / (step * tick)))))
    return Survey(probe, times, by_slot, tick, step, last_s, end_s, length_s, track.packets,
                  max(stream.frames, _rated(container, stream)), track.hidden,
                  track.starts_clean and (by_slot or track.shown[0] == ordered[0]),
                  not (clock.restarts or clock.held), picture.turn(track.frame) == picture.UPRIGHT,
                  len(container.streams.video), options)


def _extent(container: Any, track: Track, ordered: np.ndarray, duration: float, span_s: float, begin_s: float,
            ) -> tuple[float, float]:
    """Where the video ends and where its header says that it does, in seconds from its start; (0, 0): not kept."""
    stream, format_, tick = track.stream, container.format.name, float(track.stream.time_base)
    if format_ == MP4 and (indexed := _indexed(container, stream)):
        return duration, duration * indexed / len(ordered)
    if format_ == AVI and stream.frames and stream.average_rate:  # a cut AVI's duration is a guess
        return (int(ordered[-1] - ordered[0]) + track.last) * tick, float(stream.frames / stream.average_rate)
    if format_ not in KEEP_LENGTH:
        return 0.0, 0.0
    length = _tagged_s(stream)
    if length:
        begin_s, span_s = int(ordered.min()) * tick, (int(ordered.max() - ordered.min()) + track.last) * tick
    else:  # of the longest stream, whichever that is
        length = (container.duration or 0) / av.time_base
    # Some writers give the length, others the stamp of the end.
    return span_s, length - begin_s if length > begin_s else length


def _tagged_s(stream: Any) -> float:
    """The length of a Matroska track by its tag, "00:00:12.000000000"; 0 without."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (ValueError, IndexError):
        return 0.0


def _indexed(container: Any, stream: Any) -> int:
    """How many frames the index of an mp4 has; it leaves out what an edit list trims."""
    return sum(not entry.is_discard for entry in stream.index_entries) if container.format.name == MP4 else 0


def _declared(container: Any, stream: Any) -> int:
    return _indexed(container, stream) or stream.frames or _rated(container, stream)


def _rated(container: Any, stream: Any) -> int:
    length = float(stream.duration * stream.time_base) if stream.duration else (
        _tagged_s(stream) or (container.duration or 0) / av.time_base)
    return round(length * float(stream.average_rate or 0))


def _choice(container: Any, film: Any) -> list[str]:
    others = [f"track {stream.index} ({_kind(stream)})" for stream in container.streams.video if stream is not film]
    return [f"track {film.index} ({_kind(film)}) is the film; left out: {', '.join(others)}"] if others else []


def _kind(stream: Any) -> str:
    context = stream.codec_context
    what = f"{context.codec.canonical_name} {context.width}x{context.height}" if context else "of an unknown codec"
    return what + (", a cover" if stream.disposition & Disposition.attached_pic else "")


def _times(track: Track, clock: Clock, fps: float) -> list[str]:
    said = []
    if track.untimed == len(track.slots):
        said.append(f"it keeps no times: {fps:.5g} frames a second, as its codec says, or assumed")
    if clock.restarts:
        said.append(f"its clock jumps {clock.restarts} times: each time it goes on after a frame's usual time")
    if clock.held:
        said.append(f"{clock.held} of its frames are stamped no later than the frame before")
    return said
