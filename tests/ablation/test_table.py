"""The table's figures: means, deviations, differences paired by seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.ablation.grid import choose
from dbvad.ablation.table import cells, ladder_rows, text
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


@pytest.mark.parametrize(("gains", "chosen"), [
    ((0.01, 0.011), "b"), ((0.01, -0.01), "a"), ((-0.01, -0.011), "a"), ((0.03, 0.0), "a")])
def test_an_option_is_chosen_for_a_clear_gain_only(gains, chosen):
    base = {seed: {"holdout_auc": 0.9} for seed in (0, 1)}
    other = {seed: {"holdout_auc": 0.9 + gain} for seed, gain in enumerate(gains)}
    assert choose(ladder_rows({"a": base, "b": other}, "a", {}, {}), "a") == chosen
