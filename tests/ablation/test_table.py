"""The table's figures: means, deviations, differences paired by seed."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.ablation.significance import least_p, paired, sign_flip, what_seeds_can_show
from dbvad.ablation.table import cells, comparisons, ladder_rows, seeds_compared, text
from dbvad.report.ladder import read_ladder

FIGURE = st.floats(0, 1)


@given(st.dictionaries(st.integers(0, 9), st.tuples(FIGURE, FIGURE), min_size=2))
def test_differences_are_paired_by_seed(figures):
    base, other = ({seed: {"auc": pair[place]} for seed, pair in figures.items()} for place in (0, 1))
    first, second = ladder_rows({"base": base, "other": other}, "base", {}, {})
    assert first["difference"] == {}
    gains = np.array([pair[1] - pair[0] for pair in figures.values()])
    found = second["difference"]["auc"]
    assert found["mean"] == pytest.approx(gains.mean())
    assert found["std"] == pytest.approx(gains.std(ddof=1), abs=1e-12)
    assert second["metrics"]["auc"]["std"] == pytest.approx(np.std([p[1] for p in figures.values()], ddof=1), abs=1e-12)


def test_what_seeds_share_alone_is_compared():
    """A base that varies by 10 points hides a gain of one point, unless seeds are paired."""
    base = {seed: {"auc": 0.6 + 0.1 * seed} for seed in range(3)}
    better = {seed: {"auc": 0.61 + 0.1 * seed} for seed in range(2)}
    rows = ladder_rows({"a": base, "b": better}, "a", {"b": {"auc": 88.08}}, {"b": {2: "died"}})
    assert rows[1]["difference"]["auc"]["mean"] == pytest.approx(0.01)
    assert rows[1]["difference"]["auc"]["clear"]
    head, (first, second) = cells(rows)
    assert head == ["variant", "seeds", "AUC", "AUC, published"]
    assert first == ["a", "3", "70.00 ± 10.00", ""]
    assert second == ["b", "2, 1 failed", "66.00 ± 7.07 (+1.00 ± 0.00*)", "88.08"]
    assert "| b | 2, 1 failed | 66.00 ± 7.07 (+1.00 ± 0.00*) | 88.08 |" in text(rows, "markdown")
    assert r"66.00 $\pm$ 7.07" in text(rows, "latex")
    assert read_ladder({"rows": rows})["body"] == cells(rows)[1]


def test_a_figure_that_is_not_defined_is_left_out():
    rows = ladder_rows({"a": {0: {"auc": None, "video_auc": 0.5}}}, "a", {}, {})
    assert rows[0]["metrics"] == {"video_auc": {"mean": 0.5, "std": None}}
    assert cells(rows)[1] == [["a", "1", "50.00"]]
    assert read_ladder({"rows": rows})["body"] == [["a", "1", "50.00"]]


@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=8))
def test_sign_flips_as_they_are_defined(differences):
    reached = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= abs(sum(differences)) - 1e-9
               for signs in product((1, -1), repeat=len(differences))]
    assert sign_flip(differences) == pytest.approx(np.mean(reached), abs=2 / len(reached))
    assert sign_flip([abs(d) for d in differences]) == least_p(len(differences)) <= sign_flip(differences)
    assert sign_flip([-d for d in differences]) == sign_flip(differences)


def test_what_seeds_can_show():
    assert least_p(5) == 1 / 16
    assert least_p(6) < 0.05
    assert "5 seeds cannot be below 1/16, so not under 0.05" in what_seeds_can_show(5)
    assert "6 seeds cannot be below 1/32" in what_seeds_can_show(6)
    assert what_seeds_can_show(1) == "one seed: no test of significance"
    assert sign_flip([0.0, 0.0]) == 1
    assert paired([0.01] * 20)["p"] is None
    assert paired([0.01])["interval"] is None


@given(st.lists(FIGURE, min_size=2, max_size=6))
def test_the_interval_is_students(differences):
    from scipy.stats import t

    low, high = paired(differences)["interval"]
    expected = t.interval(0.95, len(differences) - 1, np.mean(differences), np.std(differences, ddof=1) / np.sqrt(
        len(differences))) if np.std(differences) else (differences[0],) * 2
    assert (low, high) == pytest.approx(expected, abs=1e-9)


def test_every_ladder_states_its_tests():
    base = {seed: {"auc": 0.6 + 0.1 * seed} for seed in range(3)}
    other = {seed: {"auc": 0.61 + 0.1 * seed + 0.001 * seed, "recall_all": 0.5} for seed in range(3)}
    rows = ladder_rows({"a": base, "b": other}, "a", {}, {})
    assert comparisons(rows) == (["difference", "AUC"], [["b", "+1.10 [0.85, 1.35] p 0.25"]])
    assert seeds_compared(rows, "a") == 3
    assert cells(rows)[0] == ["variant", "seeds", "AUC", "own text first of all"]
    assert comparisons(ladder_rows({"a": base}, "a", {}, {}))[1] == []
