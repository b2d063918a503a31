"""Stream time runs forward, whatever the stamps do."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.instruments.stream_time import WRAP_S, StreamTime

STEP = 0.04
steps = st.lists(st.floats(0.001, 20), min_size=1, max_size=30)


def times(stamps: list[float | None]) -> tuple[list[float], StreamTime]:
    clock = StreamTime(STEP)
    return [clock(stamp) for stamp in stamps], clock


def rising(start: float, gaps: list[float]) -> list[float]:
    found = [start]
    for gap in gaps:
        found.append(found[-1] + gap)
    return found


@given(stamps=st.lists(st.none() | st.floats(-1e5, 1e6), min_size=1, max_size=50))
def test_it_rises_strictly_whatever_comes(stamps: list[float | None]) -> None:
    found, _ = times(stamps)
    assert found[0] == pytest.approx(0)
    assert all(later > earlier for earlier, later in pairwise(found))


@given(start=st.floats(-100, 1e5), gaps=steps)
def test_a_good_clock_is_followed(start: float, gaps: list[float]) -> None:
    stamps = rising(start, gaps)
    found, clock = times(list(stamps))
    assert found == pytest.approx([stamp - start for stamp in stamps], abs=1e-6)
    assert (clock.jumps, clock.wraps) == (0, 0)


@given(gaps=steps, cut=st.integers(0, 30))
def test_a_wrap_is_no_event(gaps: list[float], cut: int) -> None:
    straight = rising(WRAP_S - sum(gaps[:cut]) - 0.0005, gaps)
    wrapped = [stamp - WRAP_S if stamp >= WRAP_S else stamp for stamp in straight]
    found, clock = times(list(wrapped))
    assert found == pytest.approx([stamp - straight[0] for stamp in straight], abs=1e-4)
    assert (clock.jumps, clock.wraps) == (0, int(straight[-1] >= WRAP_S))


@given(before=steps, after=steps, back=st.floats(2, 1e4))
def test_a_clock_that_starts_anew_goes_on_one_step_later(before: list[float], after: list[float], back: float) -> None:
    first = rising(0, before)
    found, clock = times([*first, *rising(first[-1] - back, after)])
    assert found[len(first)] == pytest.approx(found[len(first) - 1] + STEP)
    assert found[-1] == pytest.approx(sum(before) + STEP + sum(after), abs=1e-6)
    assert (clock.jumps, clock.wraps) == (1, 0)


def test_the_first_frame_of_rtsp_has_no_stamp_and_a_loop_repeats_one() -> None:
    found, clock = times([None, 0.0, 0.04, 0.08, 0.08, 0.12])
    assert found == pytest.approx([0, 0.04, 0.08, 0.12, 0.1204, 0.16])
    assert clock.jumps == 0
