"""Laws of events: the tracker against a definition over the whole recording, and what its signals promise."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.scoring.events import Event, Kind, Snippet, Thresholds, Tracker, find_events, signals, spans

MODEL = "m" * 32


def snippets_of(scores: list[float], lengths: list[int], gaps: list[int]) -> list[Snippet]:
    """Quarter seconds, so that sums are exact; `gaps`: time lost before each snippet."""
    found, at = [], 0
    for place, (score, length, gap) in enumerate(zip(scores, lengths, gaps, strict=True)):
        at += gap
        found.append(Snippet(at / 4, (at + length) / 4, place * 16, place * 16 + 16, score))
        at += length
    return found


@st.composite
def recordings(draw: st.DrawFn) -> list[Snippet]:
    count = draw(st.integers(0, 40))
    levels = st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0])
    gap = st.sampled_from([0] * 8 + [1, 5, 30])
    return snippets_of(*(draw(st.lists(of, min_size=count, max_size=count)) for of in (levels, st.integers(1, 6), gap)))


@st.composite
def thresholds(draw: st.DrawFn) -> Thresholds:
    low, high = sorted(draw(st.tuples(st.sampled_from([0.125, 0.25, 0.5, 0.75]), st.sampled_from([0.25, 0.5, 1.0]))))
    seconds = st.sampled_from([0.0, 0.25, 1.0, 2.5, 10.0])
    return Thresholds(on=high, off=low, min_length_s=draw(seconds), merge_gap_s=draw(seconds))


def by_definition(snippets: list[Snippet], t: Thresholds) -> list[tuple[float, ...]]:
    """Runs of at least `off` that reach `on`, from where they reach it; merged over short gaps; then the short out."""
    parts: list[list[int]] = []
    for high, group in groupby(range(len(snippets)), key=lambda i: snippets[i].score >= t.off):
        run = list(group)
        while high and run:
            run = run[next((k for k, i in enumerate(run) if snippets[i].score >= t.on), len(run)):]
            breaks = [k for k in range(1, len(run))
                      if snippets[run[k]].start_s - snippets[run[k - 1]].end_s > t.merge_gap_s]
            end = breaks[0] if breaks else len(run)
            parts += [run[:end]] if run[:end] else []
            run = run[end:]
    merged: list[list[int]] = []
    for part in parts:
        if merged and snippets[part[0]].start_s - snippets[merged[-1][-1]].end_s <= t.merge_gap_s:
            merged[-1] = [*range(merged[-1][0], part[-1] + 1)]
        else:
            merged.append(part)
    rows = []
    for part in merged:
        inside = [snippets[i] for i in part]
        top = max(inside, key=lambda s: s.score)
        if inside[-1].end_s - inside[0].start_s >= t.min_length_s:
            rows.append((inside[0].start_s, inside[-1].end_s, inside[0].start_frame, inside[-1].end_frame, top.score,
                         top.start_s, math.fsum(s.score for s in inside) / len(inside)))
    return rows


def row(event: Event) -> tuple[float, ...]:
    return (event.start_s, event.end_s, event.start_frame, event.end_frame, event.peak, event.peak_s, event.mean)


@given(recordings(), thresholds())
def test_snippet_by_snippet_gives_the_events_of_the_whole_recording(snippets: list[Snippet], t: Thresholds) -> None:
    assert [row(event) for event in find_events("v", snippets, t, MODEL)] == by_definition(snippets, t)


@given(recordings(), thresholds())
def test_every_event_begins_once_ends_once_and_keeps_its_id(snippets: list[Snippet], t: Thresholds) -> None:
    said = list(signals("v", snippets, t, MODEL))
    for _, group in groupby(said, key=lambda signal: signal.event.id):
        kinds = [signal.kind for signal in group]
        assert kinds == [Kind.BEGIN, *[Kind.UPDATE] * (len(kinds) - 2), Kind.END]
    ids = Counter(signal.event.id for signal in said if signal.kind is Kind.END)
    assert set(ids.values()) <= {1}
    ends = [signal.event for signal in said if signal.kind is Kind.END]
    assert all(before.end_s + t.merge_gap_s < after.start_s for before, after in pairwise(ends))


@given(recordings(), thresholds())
def test_an_event_is_told_with_the_first_snippet_that_makes_it_certain(snippets: list[Snippet], t: Thresholds) -> None:
    tracker = Tracker("v", t, MODEL)
    for seen, snippet in enumerate(snippets, start=1):
        for signal in tracker.feed(snippet):
            if signal.kind is Kind.BEGIN:
                assert signal.event.end_s == snippet.end_s
                assert not any(e.start_s == signal.event.start_s
                               for e in find_events("v", snippets[:seen - 1], t, MODEL))


def test_defaults_in_one_small_recording() -> None:
    scores = [.1, .6, .9, .4, .2, .2, .5, .1, .1, .1, .1, .7, .1]  # a second each
    found = find_events("cam/a.mp4", snippets_of(scores, [4] * 13, [0] * 13), Thresholds(), MODEL)
    assert [(e.start_s, e.end_s, e.peak, e.peak_s) for e in found] == [(1, 7, .9, 2), (11, 12, .7, 11)]
    assert Thresholds().off == pytest.approx(.3)
    assert Thresholds(pre_roll_s=3).rolled(found[0], 8.5) == (0, 8.5)


def test_id_and_fingerprint_name_video_start_model_and_rule_but_not_the_rolls() -> None:
    snippets = snippets_of([1.0], [8], [0])

    def made(video: str = "v", model: str = MODEL, **given: float) -> Event:
        return find_events(video, snippets, Thresholds(**given), model)[0]

    assert made() == made() == made(pre_roll_s=9)
    different = [made(), made("w"), made(model="n" * 32), made(on=.6), made(off=.2), made(merge_gap_s=1)]
    assert len({event.id for event in different}) == len(different)
    assert made("w").fingerprint == made().fingerprint


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="above on"):
        Thresholds(on=.3, off=.5)
    tracker = Tracker("v", Thresholds(), MODEL)
    tracker.feed(Snippet(5, 6, 0, 1, .2))
    with pytest.raises(ValueError, match="order of time"):
        tracker.feed(Snippet(4, 5, 1, 2, .2))


@given(recordings(), thresholds())
def test_spans_by_arrays_are_those_of_the_tracker(snippets: list[Snippet], chosen: Thresholds) -> None:
    edges, scores = [0.0], []
    for snippet in snippets:  # without lost time, as a recording has it
        edges.append(edges[-1] + snippet.end_s - snippet.start_s)
        scores.append(snippet.score)
    whole = [Snippet(start, end, 0, 0, score) for start, end, score in zip(edges, edges[1:], scores, strict=False)]
    found = [[event.start_s, event.end_s] for event in find_events("v", whole, chosen, MODEL)]
    assert spans(np.array(edges), np.array(scores), chosen).tolist() == found


@given(recordings(), thresholds(), st.sampled_from([1, 10, 25, 30]), st.integers(0, 10**7))
def test_events_do_not_hang_on_the_rounding_of_times(snippets: list[Snippet], t: Thresholds, rate: int, offset: int,
                                                     ) -> None:
    """The events of whole numbers, which are exact, are those of the same times in seconds, which are not."""
    def at(scale: Callable[[float], float], chosen: Thresholds) -> list[tuple[int, int]]:
        moved = [replace(s, start_s=scale(s.start_s), end_s=scale(s.end_s)) for s in snippets]
        return [(e.start_frame, e.end_frame) for e in find_events("v", moved, chosen, MODEL)]

    whole = t.model_copy(update={"min_length_s": 4 * t.min_length_s, "merge_gap_s": 4 * t.merge_gap_s})
    seconds = t.model_copy(update={"min_length_s": whole.min_length_s / rate, "merge_gap_s": whole.merge_gap_s / rate})
    exact = at(lambda s: 4 * s, whole)
    assert at(lambda s: (4 * s + offset) / rate, seconds) == exact
    assert at(lambda s: 4 * s * (1 / rate), seconds) == exact


def test_an_event_of_exactly_the_least_length_is_one() -> None:
    snippets = [Snippet(0.4, 1.4, 0, 16, 0.9)]
    assert 1.4 - 0.4 < 1
    assert len(find_events("v", snippets, Thresholds(), MODEL)) == 1
    assert spans(np.array([0.4, 1.4]), np.array([0.9]), Thresholds()).tolist() == [[0.4, 1.4]]
