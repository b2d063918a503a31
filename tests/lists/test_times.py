"""Times as people write them, exactly, and the frames that an event covers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lists.times import frames_at_rate, frames_at_times, parse_frame, parse_time, rate_of

MILLISECONDS = st.integers(0, 20_000).map(lambda ms: Fraction(ms, 1000))


@pytest.mark.parametrize(("text", "seconds"), [
    ("4.1", "4.1"), ("1,5", "1.5"), ("1.5s", "1.5"), (" 93.10 sec", "93.1"), ("12", "12"), (".5", "0.5"),
    ("9.31e+01", "93.1"), ("02:03", "123"), ("02:03.5", "123.5"), ("00:01:02.5", "62.5"), ("00:01:02,500", "62.5"),
    ("1:00:00", "3600"), ("90:00", "5400"), ("1,5000", "1.5"), ("٣", "3"),
])
def test_times(text: str, seconds: str) -> None:
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize(("text", "message"), [
    ("1,500", "either 1.500 or 1500 seconds"), ("00:01:02:15", "counts frames in its last part"),
    ("00:61:00", "minutes and seconds go to 59"), ("02:75", "go to 59"), ("soon", "no time"), ("-1", "no time"),
    ("1.2.3", "no time"), ("", "no time"), ("nan", "no time"),
])
def test_what_is_no_time_or_two(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_time(text)


def test_frame_numbers_are_whole() -> None:
    assert [parse_frame(text) for text in ("12", "12.0", "-1", " 7. ")] == [12, 12, -1, 7]
    for text in ("12.5", "x", "", "1e3", "1:02"):
        with pytest.raises(ValueError, match="no whole frame number"):
            parse_frame(text)


def test_rates_are_what_is_meant() -> None:
    assert rate_of(30000 / 1001) == rate_of(29.97002997) == Fraction(30000, 1001)
    assert rate_of(29.97) == Fraction(2997, 100)
    assert (rate_of(25.0), rate_of(12.5)) == (25, Fraction(25, 2))


def test_tenths_of_a_second_at_30_frames_a_second() -> None:
    """In floats 4.1 * 30 is 122.99999999999999 and 8.3 * 30 is 249.00000000000003."""
    assert frames_at_rate(Fraction("4.1"), Fraction("8.3"), Fraction(30)) == (123, 249)
    shown = [round(1e6 * frame / 30) for frame in range(300)]
    assert frames_at_times(Fraction("4.1"), Fraction("8.3"), shown) == (123, 249)


@given(MILLISECONDS, MILLISECONDS, st.sampled_from([20, 25, 50]), st.integers(2, 300))
def test_times_of_a_steady_video_say_what_its_rate_says(one: Fraction, other: Fraction, rate: int, frames: int) -> None:
    """At rates whose frames begin on whole microseconds."""
    start, end = sorted((one, other))
    found = frames_at_times(start, end, [1_000_000 * frame // rate for frame in range(frames)])
    assert found == frames_at_rate(start, end, Fraction(rate))  # beyond the end too, so that it can be said


@given(st.lists(st.integers(1, 500_000), min_size=2, max_size=40), MILLISECONDS, MILLISECONDS)
def test_a_frame_is_covered_when_it_is_shown_during_the_event(gaps: list[int], one: Fraction, other: Fraction) -> None:
    shown = [sum(gaps[:place]) for place in range(len(gaps))]
    start, end = sorted((one, other))
    edges = [*shown, shown[-1] + gaps[len(gaps) - 2]]
    covered = {frame for frame in range(len(shown)) if edges[frame] < 1_000_000 * end
               and edges[frame + 1] > 1_000_000 * start}
    if start == end:
        covered = {frame for frame in range(len(shown)) if edges[frame] <= 1_000_000 * start < edges[frame + 1]}
    first, last = frames_at_times(start, end, shown)
    assert set(range(first, min(last, len(shown)))) == covered
    assert last > first


def test_a_clock_that_jumps() -> None:
    """One frame stands for nine seconds."""
    shown = [0, 40_000, 80_000, 9_080_000, 9_120_000]
    assert frames_at_times(Fraction(1), Fraction(2), shown) == (2, 3)
    assert frames_at_times(Fraction("0.08"), Fraction("9.1"), shown) == (2, 4)
    assert frames_at_times(Fraction(0), Fraction(0), shown) == (0, 1)
    assert frames_at_times(Fraction(10), Fraction(11), shown)[0] >= len(shown)
    assert frames_at_times(Fraction(7), Fraction(8), [0]) == (0, 1)
