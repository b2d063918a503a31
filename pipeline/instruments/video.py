"""Video in: surveying, and decoding with exact frame indices and times. The one door to decord and PyAV.

Both decoders give the same frames. decord makes a picture of every frame that it decodes, PyAV of those that are
wanted: where frames are left out PyAV reads all files, in half of decord's CPU time (bench/decode.py). Where all are
wanted decord, which makes the pictures in a thread beside its user's, takes the usual files (mp4, mkv, webm, avi;
H.264, HEVC, MPEG-4, VP8, VP9, MJPEG). PyAV takes what decord gets wrong, all measured on videos whose frames show their
number:

- MPEG-TS starts some frames late, AV1 does not open;
- an edit list (an editor's trim), or a start inside a group of pictures: decord counts frames that are never shown and
  silently fills up with duplicates;
- several video tracks: decord cannot be told which; a picture to be turned or mirrored;
- pictures of some widths (NO_WIDTHS): decord hands out rows with their padding, as more than three channels;
- counts or rates in the header that no file of this size can have: decord reserves memory for them and dies;
- anything large: decord's reader runs ahead of its user without bound, first in packets, then in decoded frames. One
  frame read and 5 s of pause cost 0.8 GB on one minute of 720p scaled to 568x320. No option limits that, and only the
  size of the video does, so `auto` gives decord only videos that fit into PREFETCH_BYTES whole. The rule depends on
  the file and the stride alone, never on timing, so the same file is always decoded by the same library.

decord is read with `next()` only: its seeking and batch calls return wrong frames on avi, HEVC and open-GOP H.264.
"""

import importlib.metadata
import importlib.util
import itertools
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pipeline.instruments._pyav.faults import COPY_AGAIN, RE_ENCODE, VideoError
from pipeline.instruments._pyav.files import AVI, MATROSKA, MP4, THREADS
from pipeline.instruments._pyav.frames import Picture, Refusals, frames
from pipeline.instruments._pyav.picture import UPRIGHT
from pipeline.instruments._pyav.survey import LOSS, SLACK_FRAMES, Probe, Survey, survey

__all__ = ["Decoder", "Decoding", "Frame", "Probe", "VideoError", "decode", "identity", "probe"]

Decoder = Literal["auto", "decord", "pyav"]

RULE = 3  # raised when `auto` decides otherwise or an image comes out otherwise
CONTAINERS = {MP4, MATROSKA, AVI}
CODECS = {"h264", "hevc", "mpeg4", "vp8", "vp9", "mjpeg"}
PREFETCH_BYTES = 160 << 20  # chosen here: with the libraries of a decode process (about 120 MB) well under 400 MB
NO_DUPLICATES = 1e-9  # decord's fault_tol: 0 would mean "fill up with duplicates in silence"

# decord gives its rows 3 x 32-fold width bytes; where the width divides that, it takes the padding for channels.
NO_WIDTHS = {width for width in range(1, 97) if 96 * -(-width // 32) % width == 0 and width % 32}
UNLIKELY, FEW = 10, 1000  # so many times as many frames in the header as in the file is a broken number


@dataclass(frozen=True)
class Frame:
    """`index`: place in presentation order, from 0. `pts_s`: seconds since the first frame. `image`: (H, W, 3) uint8
    RGB as a player shows it: turned and mirrored as the file asks, its pixels square."""

    index: int
    pts_s: float
    image: np.ndarray


class Decoding:
    """The frames 0, stride, 2 x stride, ... of a video; made by `decode`, iterated once or again.

    After the end: `decoded`, frames in the video (all, not only those yielded); `times`, when each of them is shown,
    in seconds since the first, rising strictly; `duration_s`, to the end of the last; `declared`, by the container
    (`Probe.declared_frames`); `decoder` that was used; `refused`, packets that could not be decoded; `truncated`;
    `remark`, what the user should hear of it.
    The iterator raises VideoError behind the last frame if the file ends early ("truncated") or more than 5 % of it
    cannot be decoded ("decode_error"); less is left out, and an index behind it counts the frames that were decoded.
    """

    def __init__(self, path: Path, stride: int, size: tuple[int, int], survey: Survey, decoder: Decoder,
                 forced: bool) -> None:
        self.path, self.stride, self.size, self.probe = path, stride, size, survey.probe
        self.decoder = decoder
        self.declared, self.refused, self.truncated = survey.probe.declared_frames, 0, survey.cut
        self.times = array("d")
        self._survey, self._met, self._forced = survey, Refusals(), forced

    @property
    def decoded(self) -> int:
        """Frames so far."""
        return len(self.times)

    @property
    def duration_s(self) -> float:
        """Seconds so far, to the end of the last frame."""
        return self.times[-1] + self._survey.last_s if self.times else 0.0

    @property
    def remark(self) -> str:
        """Decoders leave out frames without a fault, some rightly: fields, pictures that repeat the one before."""
        packets = self.probe.n_frames
        few = packets - self.decoded > max(LOSS * packets, SLACK_FRAMES)
        return f"{packets} packets gave {self.decoded} frames" if few else ""

    def __iter__(self) -> Iterator[Frame]:
        self.times, self._met = array("d"), Refusals()
        for pts_s, picture in self._decord() if self.decoder == "decord" else self._pyav():
            index = self.decoded
            self.times.append(pts_s)
            if index % self.stride == 0:
                image = picture()
                assert image.shape == (self.size[1], self.size[0], 3), f"{self.decoder}: a frame of {image.shape}"
                yield Frame(index, pts_s, image)
        self._judge()

    def _pyav(self) -> Iterator[Picture]:
        self._met = Refusals()
        return frames(self.path, self.size, self._survey, self._met)

    def _decord(self) -> Iterator[Picture]:
        """Where decord gives up, PyAV goes on from the same frame."""
        done = 0
        try:
            for item in _decord_frames(self.path, self.size, self._survey.times):
                yield item
                done += 1
        except DecordFault as fault:
            if self._forced:
                raise VideoError("decode_error", f"{self.path.name}: decord: {fault}", "set `decoder: auto`") from fault
        else:
            return
        self.decoder = "pyav"  # outside of the handler: the fault would keep decord's reader and its frames alive
        yield from itertools.islice(self._pyav(), done, None)

    def _judge(self) -> None:
        survey, met, name = self._survey, self._met, self.path.name
        self.refused = met.refused
        if survey.cut:
            raise VideoError("truncated", f"{name}: ends at {survey.end_s:.1f} s of {survey.length_s:.1f} s, after "
                                          f"{self.decoded} of about {self.declared} frames", COPY_AGAIN)
        if met.too_many or not self.decoded:
            raise VideoError("decode_error", f"{name}: {met.refused} of {met.packets} packets cannot be decoded",
                             RE_ENCODE)


def probe(path: Path | str) -> Probe:
    """Read all packets of a video and decode one frame. Raises VideoError."""
    return survey(path).probe


def decode(path: Path | str, *, stride: int = 1, short_side: int | None = None, decoder: Decoder = "auto") -> Decoding:
    """Open a video. Raises VideoError, and ValueError for arguments that no video could satisfy.

    stride: every how many frames one is yielded. short_side: pixels that larger videos are shrunk to, keeping their
    shape, with even sides; smaller ones stay as they are. decoder: `decord` refuses what it would get wrong, or leaves
    it to PyAV where only PyAV can show the right picture, and its memory is unbounded; `auto` stays small.
    """
    if stride < 1 or (short_side is not None and short_side < 2) or decoder not in get_args(Decoder):
        raise ValueError(f"stride {stride}, short_side {short_side}, decoder {decoder!r}: need stride >= 1, "
                         f"short_side >= 2 and a decoder of {', '.join(get_args(Decoder))}")
    path = Path(path)
    found = survey(path)
    size = _shrunk(found.probe.width, found.probe.height, short_side)
    if decoder == "pyav" or (decoder == "auto" and stride > 1) or _beyond_decord(found, size):
        return Decoding(path, stride, size, found, "pyav", forced=False)
    objection = _objection(path, found, size, bounded=decoder == "auto")
    if objection and decoder == "decord":
        raise VideoError("decode_error", f"{path.name}: not for decord: {objection}", "set `decoder: auto`")
    return Decoding(path, stride, size, found, "pyav" if objection else "decord", forced=decoder == "decord")


def identity() -> dict[str, Any]:
    """What decoded frames depend on besides the file: the rule of `auto` and the libraries' versions. Imports none."""
    versions = {package: _version(package) for package in ("av", "decord", "decord2")}
    return {"rule": RULE} | {package: version for package, version in versions.items() if version}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _shrunk(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    short = min(width, height)
    if short_side is None or short <= short_side:
        return width, height
    return (max(2, round(width * short_side / short / 2) * 2), max(2, round(height * short_side / short / 2) * 2))


def _beyond_decord(found: Survey, size: tuple[int, int]) -> bool:
    """Whether decord cannot show this picture, whatever it is asked."""
    return found.n_tracks > 1 or found.turn != UPRIGHT or size[0] in NO_WIDTHS


def _objection(path: Path, found: Survey, size: tuple[int, int], bounded: bool) -> str:
    """Why decord is not to read this file; "" if it may. `bounded`: the prefetched video must fit into memory."""
    probe, frame_bytes = found.probe, size[0] * size[1] * 3
    if importlib.util.find_spec("decord") is None:
        return "it is not installed"
    if probe.container not in CONTAINERS or probe.codec not in CODECS:
        return f"{probe.codec} in {probe.container}"
    if bounded and path.stat().st_size + found.packets * frame_bytes > PREFETCH_BYTES:
        return "too large"
    if found.cut or found.hidden or not found.starts_clean:
        return "it is cut, trimmed, or does not start with a key frame"
    if not found.clock_is_even or found.guess > UNLIKELY * found.packets + FEW:
        return "the times or counts in its header cannot be"
    return ""


class DecordFault(Exception):
    """decord stopped, or would have filled up with duplicates."""


def _decord_frames(path: Path, size: tuple[int, int], times: Sequence[float]) -> Iterator[Picture]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path.absolute()), width=size[0], height=size[1], num_threads=THREADS,
                                    fault_tol=NO_DUPLICATES)
        if len(reader) != len(times):
            raise DecordFault(f"counts {len(reader)} frames, the file has {len(times)}")
        for k, time in enumerate(times):
            try:
                frame = reader.next()
            except StopIteration:
                raise DecordFault(f"ends after {k} of {len(times)} frames") from None
            yield time, frame.asnumpy
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError,
            UnicodeError) as error:
        raise DecordFault(re.sub(r"\[[\d:]+\] \S+:\d+: ", "", str(error).strip().splitlines()[0])) from error
