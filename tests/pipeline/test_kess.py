"""Key frame selection: its laws on any scores, and what it is for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kess import Strategy, event_score, novelty, rescale, select, uniform

STRATEGIES: tuple[Strategy, ...] = ("kess", "uniform", "topm")
scores = st.lists(st.integers(0, 20), max_size=60).map(lambda found: np.array(found, float) / 20)
counts = st.integers(1, 12)
gaps = st.sampled_from([0.0, 0.5, 2.0, 100.0])


def times_of(score: np.ndarray, step: float = 0.64) -> np.ndarray:
    return np.arange(len(score)) * step


def rank(score: np.ndarray, chosen: np.ndarray) -> list[tuple[float, int]]:
    """What indices are ordered by: the best first, the earlier of equals first."""
    return [(-score[i], i) for i in chosen]


@given(scores, counts, st.sampled_from(STRATEGIES), gaps, st.sampled_from([0.0, 0.3, 1.0]))
def test_any_strategy_keeps_budget_and_range(score: np.ndarray, count: int, strategy: Strategy, gap: float,
                                             stand_out: float) -> None:
    chosen = select(score, times_of(score), count, strategy, min_gap_s=gap, stand_out=stand_out)
    assert chosen.dtype == np.int64
    assert len(chosen) <= count
    assert len(set(chosen.tolist())) == len(chosen)
    assert all(0 <= i < len(score) for i in chosen)
    assert (len(chosen) > 0) == (len(score) > 0)
    assert rank(score, chosen) == sorted(rank(score, chosen))


@given(scores, counts, st.sampled_from(["kess", "topm"]), gaps)
def test_no_two_frames_are_closer_than_the_gap_and_none_is_left_out_that_would_fit(
        score: np.ndarray, count: int, strategy: Strategy, gap: float) -> None:
    times = times_of(score)
    chosen = select(score, times, count, strategy, min_gap_s=gap)
    apart = [abs(times[i] - times[j]) for i in chosen for j in chosen if i != j]
    assert min(apart, default=gap) >= gap
    if len(chosen) < count:
        assert all(min(abs(times[i] - times[j]) for j in chosen) < gap or i in chosen for i in range(len(score)))


@given(scores, counts, st.sampled_from(STRATEGIES))
def test_the_same_scores_give_the_same_frames(score: np.ndarray, count: int, strategy: Strategy) -> None:
    assert select(score, times_of(score), count, strategy).tolist() == select(
        score.copy(), times_of(score), count, strategy).tolist()


@given(scores, counts)
def test_topm_takes_the_best(score: np.ndarray, count: int) -> None:
    chosen = select(score, times_of(score), count, "topm", min_gap_s=0)
    assert sorted(rank(score, chosen)) == sorted(rank(score, np.arange(len(score))))[:count]


@given(st.integers(0, 300), counts)
def test_uniform_covers_time_in_equal_parts(length: int, count: int) -> None:
    chosen = uniform(length, count)
    if length <= count:
        assert chosen == list(range(length))
        return
    assert len(chosen) == count
    assert {after - before for before, after in pairwise(chosen)} <= {length // count, -(-length // count)}
    assert max(chosen[0], length - 1 - chosen[-1]) <= length / count / 2  # the ends lie half a part away


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 50])
def test_a_video_in_which_nothing_stands_out(strategy: Strategy, length: int) -> None:
    score = event_score(np.full(length, 0.2), np.zeros(length))
    chosen = select(score, times_of(score), 8, strategy)
    assert len(chosen) == min(length, 8)
    assert score[chosen].tolist() == [0] * len(chosen)


def test_where_nothing_stands_out_kess_covers_time() -> None:
    chosen = select(np.zeros(64), times_of(np.zeros(64)), 8, "kess")
    assert [i // 8 for i in sorted(chosen)] == list(range(8))


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), max_size=40), st.integers(1, 9),
       st.integers(-99, 99), st.integers(1, 9), st.integers(-99, 99), counts, st.sampled_from(STRATEGIES))
def test_units_and_zero_of_the_scores_do_not_matter(pairs: list[tuple[int, int]], a: int, b: int, c: int, d: int,
                                                   count: int, strategy: Strategy) -> None:
    relevance, evolution = np.array(pairs, float).reshape(-1, 2).T
    score, other = event_score(relevance, evolution), event_score(a * relevance + b, c * evolution + d)
    assert score.tolist() == other.tolist()
    assert select(score, times_of(score), count, strategy).tolist() == select(
        other, times_of(other), count, strategy).tolist()


@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_rescaled_values_fill_the_range_or_are_zero(values: list[float]) -> None:
    scaled = rescale(np.array(values))
    assert len(scaled) == len(values)
    if len(set(values)) > 1:
        assert (scaled.min(), scaled.max()) == (0, 1)
    else:
        assert not scaled.any()


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 99))
def test_novelty_is_bounded_and_zero_where_nothing_changes(length: int, window: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(length, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = novelty(vectors, window)
    assert found.shape == (length,)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 2)).all()
    assert np.allclose(novelty(np.repeat(vectors[:1], length, axis=0), window), 0, atol=1e-6)


def test_novelty_is_greatest_where_the_scene_changes_for_a_moment() -> None:
    vectors = np.tile(np.eye(4)[0], (21, 1))
    vectors[10] = np.eye(4)[1]
    assert novelty(vectors).argmax() == 10
    assert novelty(vectors)[10] == pytest.approx(1)
    assert novelty(np.array([[1.0, 0], [-1.0, 0]])) == pytest.approx([2, 2])  # opposite


def test_novelty_where_neighbours_cancel_out_is_zero() -> None:
    assert novelty(np.array([[1.0, 0], [0, 1.0], [-1.0, 0]]), window=1)[1] == 0


def test_a_short_event_gets_frames_that_uniform_misses() -> None:
    score = np.zeros(200)
    score[131:135] = 1
    inside = {strategy: sum(131 <= i < 135 for i in select(score, times_of(score), 8, strategy))
              for strategy in STRATEGIES}
    assert inside == {"kess": 4, "uniform": 0, "topm": 4}


@given(st.integers(0, 99))
def test_two_long_events_both_get_frames_where_topm_sees_the_stronger_one_only(seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(0, 0.05, 100)
    score = 0.05 + noise
    score[2:46] = 0.95 + noise[2:46]
    score[54:98] = 0.85 + noise[54:98]  # most of the video: no frame stands out from its mean
    hits = {strategy: [any(low <= i < high for i in select(score, times_of(score), 8, strategy))
                       for low, high in ((2, 46), (54, 98))] for strategy in STRATEGIES}
    assert hits["kess"] == [True, True]
    assert hits["topm"] == [True, False]


def test_ties_go_to_the_earlier_frame() -> None:
    score = np.array([0.0, 1, 1, 1, 1, 0])
    assert select(score, times_of(score), 2, "topm").tolist() == [1, 2]
    assert select(score, times_of(score, 0.3), 2, "topm").tolist() == [1, 3]
