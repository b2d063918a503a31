"""`dbvad choose`: a variant is kept if it gains on one set and loses on none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.ablation.choice import choose, verdicts
from dbvad.ablation.table import ladder_rows
from dbvad.cli.choose import choose as command
from pipeline.engine.config import ConfigError
from pipeline.engine.files import write_record

GAIN, LOSS, NEUTRAL = (0.010, 0.011), (-0.010, -0.011), (0.01, -0.01)


def rows(metric="auc", **gains):
    """A ladder with base `a`; of each other variant its gain by seed."""
    results = {"a": {seed: {metric: 0.5} for seed in range(2)}}
    results |= {name: {seed: {metric: 0.5 + gain} for seed, gain in enumerate(of)} for name, of in gains.items()}
    return ladder_rows(results, "a", {}, {})


@pytest.mark.parametrize(("first", "second", "kept"), [
    (GAIN, GAIN, True), (GAIN, NEUTRAL, True), (NEUTRAL, GAIN, True), (GAIN, LOSS, False), (LOSS, GAIN, False),
    (NEUTRAL, NEUTRAL, False), (GAIN, GAIN[:1], False)])
def test_a_variant_gains_somewhere_and_loses_nowhere(first, second, kept):
    found = verdicts([rows(b=first), rows(b=second)], ["auc"])
    assert [one.kept for one in found] == [kept]
    assert choose(found, "a") == ("b" if kept else "a")


def test_a_variant_that_one_set_lacks_is_not_chosen():
    found = verdicts([rows(b=(0.2, 0.21), c=GAIN), rows(c=GAIN)], ["auc"])
    assert {one.name: one.unknown for one in found} == {"b": 1, "c": 0}
    assert choose(found, "a") == "c"


@given(st.lists(st.tuples(*[st.sampled_from([GAIN, LOSS, NEUTRAL])] * 3), min_size=1, max_size=4))
def test_the_order_of_sets_does_not_matter_and_a_loss_is_never_chosen(sets):
    ladders = [rows(b=one, c=two, d=three) for one, two, three in sets]
    assert choose(verdicts(ladders, ["auc"]), "a") == choose(verdicts(ladders[::-1], ["auc"]), "a")
    chosen = choose(verdicts(ladders, ["auc"]), "a")
    assert chosen == "a" or LOSS not in [one["bcd".index(chosen)] for one in sets]


def outcome(folder, rows, base="a"):
    folder.mkdir()
    write_record(folder / "ladder.json", {"base": base, "judged": "held-out training videos", "rows": rows})
    return folder


def test_the_command_says_what_each_set_says(tmp_path, capsys):
    one, other = outcome(tmp_path / "one", rows(b=GAIN, c=GAIN)), outcome(tmp_path / "other", rows(b=LOSS, c=NEUTRAL))
    assert command([one, other], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["chosen"], told["metrics"]) == ("c", ["auc"])
    assert [(one["name"], one["kept"]) for one in told["variants"]] == [("b", False), ("c", True)]
    assert command([one, other]) == 0
    shown = capsys.readouterr().out
    assert "no: it loses" in shown
    assert "chosen: 'c'" in shown
    assert command([other]) == 0
    assert "chosen: 'a', for no variant is kept" in capsys.readouterr().out


def test_ladders_that_cannot_be_compared_are_refused(tmp_path):
    one, other = outcome(tmp_path / "one", rows(b=GAIN)), outcome(tmp_path / "other", rows(b=GAIN), base="b")
    with pytest.raises(ConfigError, match=r"different variants \(a, b\)"):
        command([one, other])
    with pytest.raises(ConfigError, match=r"no ladder.json in .*nowhere"):
        command([one, tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"not every set has auc: .*judged by \(nothing\)"):
        command([one, outcome(tmp_path / "third", rows("holdout_auc", b=GAIN))])
    (tmp_path / "third" / "ladder.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"ladder\.json"):
        command([tmp_path / "third"])
