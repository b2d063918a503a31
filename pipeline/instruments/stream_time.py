"""Time of a live stream: forward only, whatever its stamps do.

Cameras restart their clock in mid stream, MPEG-TS wraps after 26.5 hours, RTSP servers send the first frame without a
stamp and repeat one where they loop.
"""

WRAP_S = 2**33 / 90_000  # MPEG-TS counts 90,000 a second in 33 bits
JUMP_S = 30.0  # chosen here: a longer gap would have been a stall, so it is the clock that moved
BACK_S = 1.0  # chosen here: less is disorder of single frames


class StreamTime:
    """Stamps in seconds to seconds since the first frame, rising strictly.

    A stamp that lies a little behind comes a hundredth of a step after its predecessor, as in a decoded file. A clock
    that jumps back more than BACK_S or forward more than JUMP_S goes on one `step` after the last frame: `jumps` counts
    it; a 33-bit wrap goes on as if nothing had happened: `wraps`.
    """

    def __init__(self, step: float) -> None:
        self.step, self.jumps, self.wraps = step, 0, 0
        self.now = -step
        self._zero: float | None = None  # the stamp that is second 0

    def __call__(self, stamp: float | None) -> float:
        """The time of the next frame in the order shown; None: it has no stamp."""
        if stamp is None:
            self.now += self.step
            return self.now
        if self._zero is None:
            self._zero = stamp - (self.now + self.step)
        ahead = stamp - self._zero - self.now
        for turn in (WRAP_S, -WRAP_S):
            if not self._plain(ahead) and self._plain(ahead + turn):
                self._zero, ahead = self._zero - turn, ahead + turn
                self.wraps += 1
        if not self._plain(ahead):
            self._zero, ahead = stamp - (self.now + self.step), self.step
            self.jumps += 1
        self.now += max(ahead, self.step / 100)
        return self.now

    def seed(self, stamp: float) -> None:
        """The stamp of the key frame that the stream opens with: second 0, though its picture may come later."""
        if self._zero is None and self.now < 0:
            self._zero = stamp

    def at(self, stamp: float) -> float:
        """The time of a stamp by the clock as it stands; 0 before there is one."""
        return 0.0 if self._zero is None else stamp - self._zero

    @staticmethod
    def _plain(ahead: float) -> bool:
        return -BACK_S <= ahead <= JUMP_S
