"""From the stamps that a file gives its frames to seconds since the first one."""

from fractions import Fraction

# A longer step is no pause but a clock that was set anew (chosen here; 10 s is ffmpeg's for formats that do that).
LEAP_S = 3600.0
RESTARTING = {"mpegts": 10.0, "mpeg": 10.0, "dhav": 10.0, "hxvs": 10.0}  # formats whose clocks wrap and restart
BACK_STEPS = 2  # frames; a step back of no more is a stamp out of place, a longer one a clock that starts again


def leap_s(container: str) -> float:
    """The longest step that a clock in this format is believed."""
    return RESTARTING.get(container, LEAP_S)


class Clock:
    """Stamps in the order in which frames are shown -> seconds since the first, rising strictly.

    Wherever the stamps start, the first is 0; steps between are kept to the tick. A clock that jumps back or leaps by
    more than `leap` goes on one usual step later (`restarts` counts that). A stamp that stands still, or goes back by
    no more than BACK_STEPS, is held back to the least later time (`held`). A frame without a stamp comes a usual step
    after the one before it.
    """

    def __init__(self, tick: Fraction, step: int, leap: int) -> None:
        self.restarts = self.held = 0
        self._up, self._down = tick.numerator, tick.denominator
        self._step, self._leap = max(step, 1), leap
        self._now: int | None = None
        self._offset = 0

    def __call__(self, stamp: int | None) -> float:
        """The time of the next frame. Exact: the rational number of seconds, rounded once."""
        if self._now is None:
            self._now, self._offset = 0, -(stamp or 0)
        elif stamp is None:
            self._now += self._step
        else:
            step = stamp + self._offset - self._now
            if step > self._leap or step < -BACK_STEPS * self._step:
                self.restarts += 1
                self._offset += self._step - step
                self._now += self._step
            elif step <= 0:
                self.held += 1
                self._now += 1
            else:
                self._now += step
        return self._now * self._up / self._down
