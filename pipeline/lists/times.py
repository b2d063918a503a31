"""Times as people and tools write them, exactly; and the frames that an event covers.

An event [start, end) covers a frame when the frame is shown during it: frame k, shown in [t_k, t_k+1), is covered when
both meet. So a moment covers the frame it falls into, and no float makes it the next.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

MICROSECONDS = 1_000_000
NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE)
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)")
UNIT = re.compile(r"\s*(s|sec|secs|second|seconds)\Z", re.IGNORECASE)


def parse_time(text: str) -> Fraction:
    """Seconds: `4.1`, `1,5`, `1.5s`, `02:03.5`, `00:01:02,500`. Raises ValueError, saying what is wrong with it."""
    plain = UNIT.sub("", text.strip())
    if clock := CLOCK.fullmatch(plain):
        hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), Fraction(clock[3].replace(",", "."))
        if seconds >= 60 or (clock[1] and minutes >= 60):
            raise ValueError(f"{text!r} is no time of a clock: minutes and seconds go to 59")
        return 3600 * hours + 60 * minutes + seconds
    if plain.count(":") == 3:
        raise ValueError(f"{text!r} counts frames in its last part: write seconds, as in 00:01:02.5")
    if re.fullmatch(r"\d{1,3},\d{3}", plain):
        raise ValueError(f"{text!r} is either {plain.replace(',', '.')} or {plain.replace(',', '')} seconds: write it "
                         f"with a point, or without the comma")
    if NUMBER.fullmatch(number := plain.replace(",", ".", 1)):
        return Fraction(number)
    raise ValueError(f"{text!r} is no time: expected seconds or hh:mm:ss")


def parse_frame(text: str) -> int:
    """A frame's number, a whole one (`12`, `12.0`, `-1`). Raises ValueError."""
    plain = text.strip()
    if not re.fullmatch(r"-?\d+(\.0*)?", plain):
        raise ValueError(f"{text!r} is no whole frame number")
    return int(plain.split(".")[0])


def rate_of(fps: float) -> Fraction:
    """Frames a second as the fraction that is meant: 29.97002997 is 30000/1001, 29.97 is 2997/100."""
    return Fraction(fps).limit_denominator(1001)


def frames_at_rate(start: Fraction, end: Fraction, rate: Fraction) -> tuple[int, int]:
    """[first, last) of the frames that an event covers where frame k is shown from k / rate on."""
    first = floor(start * rate)
    return first, max(first + 1, ceil(end * rate))


def frames_at_times(start: Fraction, end: Fraction, times: Sequence[int]) -> tuple[int, int]:
    """[first, last) of the frames that an event covers. `times`: when each is shown, in microseconds, rising.

    The last frame is shown as long as the one before it, an only frame for ever (chosen here). What is beyond the last
    frame has numbers from len(times) on: as many as that frame lasts would be.
    """
    begin, stop, frames = floor(start * MICROSECONDS), ceil(end * MICROSECONDS), len(times)
    if frames < 2:
        return 0, 1
    step = max(1, times[-1] - times[-2])
    over = times[-1] + step

    def after(moment: int) -> int:
        """Frames whose showing is over at a moment."""
        return bisect_right(times, moment, 1) - 1 if moment < over else frames + (moment - over) // step

    def begun(moment: int) -> int:
        """Frames whose showing has begun before a moment."""
        return bisect_left(times, moment) if moment <= over else frames - (over - moment) // step

    first = after(begin)
    return first, max(first + 1, begun(stop))
