"""What a file holds: all its packets are read and one frame is decoded, so that nothing rests on what headers guess."""

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.stream import Disposition

from pipeline.instruments._pyav import header, picture
from pipeline.instruments._pyav.clock import Clock, leap_s
from pipeline.instruments._pyav.faults import COPY_AGAIN, RE_ENCODE, RECORD_AGAIN, VideoError
from pipeline.instruments._pyav.files import MP4, WHOLE_EDIT, opened, packets, tracks
from pipeline.instruments._pyav.packets import Track

# The most of a video that may be missing or refused before it is a fault (chosen here). Containers round their
# lengths, so short videos may lack SLACK_FRAMES whatever share that is.
LOSS = 0.05
SLACK_FRAMES = 3

STILL = 0.1  # a track with less than this share of the frames of the longest holds pictures, no film (chosen here)
SHORT = 10  # a last frame of less than a tenth of the usual step has a duration that nobody counted
RATE_SLACK = 0.01  # how far the rate in the header may be from the frames' own and still be given


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
    guess: the most frames that its header speaks of. turn: how the picture is turned. options: for `opened`.
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
    turn: picture.Turn
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
        reading = _read(Path(path), container, read)
        track = _film(list(read.values()))
        if container.format.name == MP4:
            track.indexed = sum(not entry.is_discard for entry in track.stream.index_entries)
        _check_frames(container, track, name)
        leap = _leap(container.format.name, Fraction(track.stream.time_base))
        if track.last <= leap or not track.hidden or options:
            return _judge(container, track, leap, reading, options or {})
    return survey(path, WHOLE_EDIT)  # frames that last for hours: the edit list leaves out all that come later


def _leap(format_: str, tick: Fraction) -> int:
    return round(leap_s(format_) / tick)


def _read(path: Path, container: Any, read: dict[int, Track]) -> header.Reading:
    spans: dict[int, tuple[int, int]] = {}  # by stream, in ticks
    count = last_byte = 0
    for packet in packets(container):
        count += 1
        index, pts = packet.stream_index, packet.pts
        if pts is not None:
            begin, end = spans.get(index, (pts, pts))
            spans[index] = min(begin, pts), max(end, pts + (packet.duration or 0))
        if packet.pos is not None:
            last_byte = max(last_byte, packet.pos + packet.size)
        if index in read:
            read[index].add(packet)
    for track in read.values():
        track.decode(None)
    seconds = [[float(tick * container.streams[index].time_base) for tick in span] for index, span in spans.items()]
    return header.Reading(path, min((begin for begin, _ in seconds), default=0.0),
                          max((end for _, end in seconds), default=0.0), count, last_byte)


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
    declared = header.declared(container, track)
    if track.packets and track.packets >= track.indexed:
        raise VideoError("decode_error", f"{name}: none of its frames can be decoded as "
                                         f"{track.stream.codec.canonical_name}", RE_ENCODE)
    if declared:
        raise VideoError("truncated", f"{name}: ends before its first of {declared} frames", COPY_AGAIN)
    raise VideoError("no_frames", f"{name}: has a video stream without a frame", RECORD_AGAIN)


def _judge(container: Any, track: Track, leap: int, reading: header.Reading, options: dict[str, str]) -> Survey:
    stream, format_, tick = track.stream, container.format.name, Fraction(track.stream.time_base)
    ordered, by_slot = track.in_order(format_)
    step = track.usual_step(ordered, leap)
    clock = Clock(tick, step, leap)
    times = array("d", (clock(stamp) for stamp in ordered.tolist()))
    last_s = float((track.last if step < SHORT * track.last and track.last <= leap else step) * tick)
    duration = times[-1] + last_s
    end_s, length_s = header.extent(container, track, ordered, duration, reading)
    mean, rated = len(times) / duration, float(stream.average_rate or 0)
    turned = picture.turn(track.frame)
    width, height = picture.shown_size(track.frame, stream.sample_aspect_ratio, turned)
    probe = Probe(
        duration_s=duration, fps=rated if abs(rated - mean) <= RATE_SLACK * mean else mean, n_frames=len(times),
        width=width, height=height, codec=stream.codec.canonical_name, container=format_,
        declared_frames=header.declared(container, track), track=stream.index,
        remarks=(*_choice(container, stream), *_times(track, clock, float(1 / (step * tick)))))
    return Survey(
        probe, times, by_slot, tick, step, last_s, end_s, length_s, packets=track.packets, hidden=track.hidden,
        guess=max(stream.frames, header.rated(container, stream)),
        starts_clean=track.starts_clean and (by_slot or track.shown[0] == ordered[0]),
        clock_is_even=not (clock.restarts or clock.held), turn=turned,
        n_tracks=len(container.streams.video), options=options)


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
        said.append(f"its clock jumps ({clock.restarts} x), and is taken to go on a frame later")
    if clock.held:
        said.append(f"frames stamped no later than the one before: {clock.held}")
    return said
