"""Ladders: the package's own are valid, one's own YAML is checked by name and place."""

import pytest

from dbvad.ablation.cells import trainings
from dbvad.ablation.ladder import Ladder, names, read_ladder, read_seeds
from pipeline.engine.config import ConfigError


@pytest.mark.parametrize("name", names())
def test_ladders_of_the_package(name, tmp_path):
    ladder = read_ladder(name)
    grid = trainings(ladder, [0, 1], tmp_path / "artifacts", tmp_path, train={}, protocol={})
    assert sum(len(training.cells) for training in grid) == 2 * len(ladder.variants)
    assert {cell.variant for training in grid for cell in training.cells} == set(ladder.variants)
    assert [training.config.seed for training in grid] == sorted(training.config.seed for training in grid)


def test_published_figures_stand_in_the_paper_s_order():
    ladder = read_ladder("modules")
    paper = [variant for variant in ladder.variants.values() if variant.published]
    assert [variant.published["auc"] for variant in paper] == [78.91, 85.54, 87.22, 88.08]
    assert (ladder.train["directions"], ladder.train["memory"]) == (0, 0)
    assert not any({"directions", "memory"} & {*variant.train} for variant in paper)
    assert [v.published["auc"] for v in read_ladder("temporal").variants.values()] == [80.12, 85.85, 83.43, 83.06,
                                                                                       88.08]


def test_variants_that_differ_in_the_protocol_share_a_training(tmp_path):
    ladder = Ladder.model_validate({"variants": {"a": {}, "b": {"protocol": {"scale": "windows"}},
                                                 "c": {"train": {"lr": 0.5}}, "d": {"artifacts": "{artifacts}-x"}}})
    grid = trainings(ladder, [3], tmp_path / "art", tmp_path, train={"lr": 0.1}, protocol={"ends": "exclusive"})
    assert [[cell.variant for cell in training.cells] for training in grid] == [["a", "b"], ["c"], ["d"]]
    assert [training.config.lr for training in grid] == [0.1, 0.5, 0.1]
    assert grid[0].folder == tmp_path / "a" / "seed-3"
    assert grid[0].cells[1].folder == tmp_path / "b" / "seed-3"
    assert (grid[0].cells[1].protocol.scale, grid[0].cells[1].protocol.ends) == ("windows", "exclusive")
    assert grid[2].artifacts == tmp_path / "art-x"


@pytest.mark.parametrize(("text", "message"), [
    ("variants: {}", "variants: "), ("variants: {a: {trian: {lr: 1}}}", "unknown key 'variants.a.trian': did you mean"),
    ("base: b\nvariants: {a: {}}", "base is 'b', but the variants are a"), ("variants: {a/b: {}}", "names a folder"),
])
def test_a_ladder_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_ladder(str(tmp_path / "mine.yaml"))


def test_keys_of_variants_are_checked():
    ladder = Ladder.model_validate({"variants": {"a": {"train": {"lrr": 1}, "protocol": {"scale": "huge"}}}})
    with pytest.raises(ConfigError, match="variant 'a': train: unknown key 'lrr': did you mean 'lr'"):
        ladder.training("a", {}, 0)
    with pytest.raises(ConfigError, match="variant 'a': protocol: scale: input should be 'bins'"):
        ladder.judging("a", {})
    with pytest.raises(ConfigError, match="no variant 'b' in this ladder: it has a"):
        ladder.only(["b"])
    with pytest.raises(ConfigError, match="no ladder 'modulse': there are"):
        read_ladder("modulse")


def test_seeds():
    assert read_seeds("0-2,7") == [0, 1, 2, 7]
    for wrong in ("", "x", "1,1", "3-1", "-2"):
        with pytest.raises(ConfigError, match="--seeds"):
            read_seeds(wrong)
