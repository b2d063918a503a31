"""The packets of one track while a file is read, and the order in which their frames are shown."""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from av.error import FFmpegError

from pipeline.instruments._pyav.files import AVI

NO_CLOCK_FPS = 25  # assumed where neither container nor codec tells a time
NONE = -(1 << 63)  # a packet without a stamp


@dataclass
class Track:
    """A video stream and what its packets say; stamps and durations are in ticks of its clock.

    frame: the first one decoded. shown: stamps of showing; slots: of decoding, gaps filled by durations; both without
    the `hidden` packets, which an editor's trim leaves out. last: how long the frame is shown that is shown last.
    indexed: how many frames the index of an mp4 has, less those that an edit list trims; known once it is read.
    """

    stream: Any
    frame: Any = None
    shown: "array[int]" = field(default_factory=lambda: array("q"))
    slots: "array[int]" = field(default_factory=lambda: array("q"))
    pieces: list[int] = field(default_factory=lambda: [0])  # where the clock of decoding goes back
    packets: int = 0
    hidden: int = 0
    unstamped: int = 0  # without a time of showing
    untimed: int = 0  # without any time
    starts_clean: bool = False  # with a key frame that is shown first
    last: int = 0
    indexed: int = 0
    _next: int = 0
    _decoded: int = NONE
    _latest: int = NONE

    def add(self, packet: Any) -> None:
        """Count a packet; decode it if no frame has come yet."""
        if not self.packets:
            self.starts_clean = packet.is_keyframe
        self.packets += 1
        duration = packet.duration or 0
        slot = self._next if packet.dts is None else packet.dts
        self._next = slot + duration
        if packet.is_discard:
            self.hidden += 1
        else:
            if packet.dts is not None:
                if packet.dts < self._decoded:
                    self.pieces.append(len(self.slots))
                    self._latest = NONE
                self._decoded = packet.dts
            stamp = NONE if packet.pts is None else packet.pts
            self.slots.append(slot)
            self.shown.append(stamp)
            self.unstamped += packet.pts is None
            self.untimed += packet.pts is None and packet.dts is None
            if stamp >= self._latest:
                self._latest, self.last = stamp, duration
        self.decode(packet)

    def decode(self, packet: Any) -> None:
        """Look for the first frame; `packet` None: there are no more."""
        if self.frame is None:
            try:
                self.frame = next(iter(self.stream.decode(packet)), None)
            except FFmpegError:
                self.frame = None

    def in_order(self, format_: str) -> tuple[np.ndarray, bool]:
        """The stamps in the order of showing, and whether they are slots rather than the frames' own."""
        shown, slots = np.frombuffer(self.shown, np.int64), np.frombuffer(self.slots, np.int64)
        if format_ == AVI or self.unstamped:  # AVI keeps no times of showing: the k-th frame has the k-th slot
            return slots, True
        ends = [*self.pieces[1:], len(shown)]
        ordered = np.concatenate([np.sort(shown[start:end]) for start, end in zip(self.pieces, ends, strict=True)])
        # Stamps that rise in a stream whose frames are reordered are times of decoding under another name (ASF).
        return ordered, bool((np.diff(shown) >= 0).all()) and bool(self.stream.codec_context.has_b_frames)

    def usual_step(self, ordered: np.ndarray, leap: int) -> int:
        """Ticks from a frame to the next: the median of what can be one, else what codec or header say."""
        steps = np.diff(ordered)
        steps = steps[(steps > 0) & (steps <= leap)]
        if len(steps):
            return int(np.median(steps))
        rated = round(1 / (self.stream.average_rate or Fraction(NO_CLOCK_FPS)) / self.stream.time_base)
        assumed = round(1 / (NO_CLOCK_FPS * Fraction(self.stream.time_base)))
        return next((step for step in (self.last, rated, assumed) if 0 < step <= leap), 1)
