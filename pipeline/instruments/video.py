"""Video in: probing, and decoding with exact frame indices. The one door to decord and PyAV.

Two decoders give the same frames. decord takes the usual files (mp4, mkv, webm, avi; H.264, HEVC, MPEG-4, VP8, VP9,
MJPEG). PyAV takes what decord gets wrong, all measured on videos whose frames show their number:

- MPEG-TS starts some frames late, AV1 does not open;
- an edit list (an editor's trim), or a start inside a group of pictures: decord counts frames that are never shown and
  silently fills up with duplicates;
- anything large: decord's reader runs ahead of its user without bound, first in packets, then in decoded frames. One
  frame read and 5 s of pause cost 0.8 GB on one minute of 720p scaled to 568x320. No option limits that, and only the
  size of the video does, so `auto` gives decord only videos that fit into PREFETCH_BYTES whole. The rule depends on
  the file alone, never on timing, so the same file is always decoded by the same library.

decord is read with `next()` only: its seeking and batch calls return wrong frames on avi, HEVC and open-GOP H.264.
"""

import importlib.metadata
import importlib.util
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pipeline.instruments import _pyav
from pipeline.instruments._pyav import COPY_AGAIN, RE_ENCODE, Probe, Seen, VideoError, probe

__all__ = ["Decoder", "Decoding", "Frame", "Probe", "VideoError", "decode", "identity", "probe"]

Decoder = Literal["auto", "decord", "pyav"]

RULE = 1  # raised when `auto` decides otherwise or an image comes out otherwise
CONTAINERS = {_pyav.MP4, _pyav.MATROSKA, _pyav.AVI}
CODECS = {"h264", "hevc", "mpeg4", "vp8", "vp9", "mjpeg"}
PREFETCH_BYTES = 160 << 20  # chosen here: with the libraries of a decode process (about 120 MB) well under 400 MB
NO_DUPLICATES = 1e-9  # decord's fault_tol: 0 would mean "fill up with duplicates in silence"

_Frames = Iterator[tuple[float, Callable[[], np.ndarray]]]  # seconds since the first frame, what makes its image


@dataclass(frozen=True)
class Frame:
    """`index`: place in presentation order, from 0. `pts_s`: seconds since the first frame. `image`: (H, W, 3) uint8
    RGB, turned as the video's metadata asks."""

    index: int
    pts_s: float
    image: np.ndarray


class Decoding:
    """The frames 0, stride, 2 x stride, ... of a video; made by `decode`, iterated once or again.

    After the end: `decoded`, frames in the video (all, not only those yielded); `declared`, by the container
    (`Probe.n_frames`); `decoder` that was used; `refused`, packets that could not be decoded; `truncated`.
    The iterator raises VideoError behind the last frame if the file ends early ("truncated") or more than 5 % of it
    cannot be decoded ("decode_error"); less is left out, and an index behind it counts the frames that were decoded.
    """

    def __init__(self, path: Path, stride: int, size: tuple[int, int], probe: Probe, scan: Seen | None,
                 forced: bool) -> None:
        self.path, self.stride, self.size, self.probe = path, stride, size, probe
        self.decoder: Decoder = "decord" if scan else "pyav"
        self.declared, self.decoded, self.refused, self.truncated = probe.n_frames, 0, 0, False
        self._seen, self._forced = scan or Seen(), forced

    def __iter__(self) -> Iterator[Frame]:
        self.decoded = 0
        for pts_s, image in self._decord() if self.decoder == "decord" else self._pyav():
            index, self.decoded = self.decoded, self.decoded + 1
            if index % self.stride == 0:
                yield Frame(index, pts_s, image())
        self._judge()

    def _pyav(self) -> _Frames:
        self._seen = Seen()
        return _pyav.frames(self.path, self.size, self._seen)

    def _decord(self) -> _Frames:
        """Where decord gives up, PyAV goes on from the same frame."""
        done = 0
        try:
            for item in _decord_frames(self.path, self.size, self._seen.times):
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
        seen, name = self._seen, self.path.name
        self.refused, self.truncated = seen.refused, seen.cut
        if seen.cut:
            raise VideoError("truncated", f"{name}: ends at {seen.end_s:.1f} s of {seen.length_s:.1f} s, after "
                                          f"{self.decoded} of about {self.declared} frames", COPY_AGAIN)
        if seen.damaged or not self.decoded:
            raise VideoError("decode_error", f"{name}: {seen.refused} of {seen.packets} packets cannot be decoded",
                             RE_ENCODE)


def decode(path: Path | str, *, stride: int = 1, short_side: int | None = None, decoder: Decoder = "auto") -> Decoding:
    """Open a video. Raises VideoError, and ValueError for arguments that no video could satisfy.

    stride: every how many frames one is yielded. short_side: pixels that larger videos are shrunk to, keeping their
    shape, with even sides; smaller ones stay as they are. decoder: `decord` refuses what it would get wrong, and its
    memory is unbounded; `auto` never gets it wrong and stays small.
    """
    if stride < 1 or (short_side is not None and short_side < 2) or decoder not in get_args(Decoder):
        raise ValueError(f"stride {stride}, short_side {short_side}, decoder {decoder!r}: need stride >= 1, "
                         f"short_side >= 2 and a decoder of {', '.join(get_args(Decoder))}")
    path = Path(path)
    found = probe(path)
    size = _shrunk(found.width, found.height, short_side)
    scan = None
    if decoder != "pyav":
        scan, objection = _suits_decord(path, found, size, bounded=decoder == "auto")
        if objection and decoder == "decord":
            raise VideoError("decode_error", f"{path.name}: not for decord: {objection}", "set `decoder: auto`")
    return Decoding(path, stride, size, found, scan, forced=decoder == "decord")


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


def _suits_decord(path: Path, found: Probe, size: tuple[int, int], bounded: bool) -> tuple[Seen | None, str]:
    """The scan that decord needs, or None and why not. `bounded`: the prefetched video must fit into memory."""
    frame_bytes, file_bytes = size[0] * size[1] * 3, path.stat().st_size
    if importlib.util.find_spec("decord") is None:
        return None, "it is not installed"
    if found.container not in CONTAINERS or found.codec not in CODECS:
        return None, f"{found.codec} in {found.container}"
    if found.rotation:
        return None, "its picture is to be turned"
    if bounded and file_bytes + found.n_frames * frame_bytes > PREFETCH_BYTES:
        return None, "too large"
    seen = _pyav.scan(path)
    if bounded and file_bytes + seen.packets * frame_bytes > PREFETCH_BYTES:
        return None, "too large"
    if seen.cut or seen.hidden or not seen.starts_clean:
        return None, "it is cut, trimmed, or does not start with a key frame"
    return seen, ""


class DecordFault(Exception):
    """decord stopped, or would have filled up with duplicates."""


def _decord_frames(path: Path, size: tuple[int, int], times: Sequence[float]) -> _Frames:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path.absolute()), width=size[0], height=size[1], num_threads=_pyav.THREADS,
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
