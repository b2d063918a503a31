"""`dbvad ablate descriptions`, from the command to the table, and what it says of texts that are not found."""

import json

import pytest

from dbvad.ablation.grid import untaught
from dbvad.ablation.ladder import read_ladder
from dbvad.cli.ablate import ablate
from dbvad.evaluation.evaluate import judge_holdout
from tests.detector.planted import World, plant

QUICK = ["lr=1e-3", "batch=8", "precision=fp32", "device=cpu", "epochs=1", "bins=8", "holdout=0.25"]


def test_five_rows_that_differ_in_descriptions_alone():
    ladder = read_ladder("descriptions")
    configs = [ladder.training(name, {}, seed=0).model_dump() for name in ladder.variants]
    assert ladder.reference == "own"
    assert [config.pop("descriptions") for config in configs] == ["own", "shuffled_in_class", "label_only", "shuffled",
                                                                  "none"]
    assert configs == [configs[0]] * 5


@pytest.mark.parametrize("select", [None, "holdout"])
def test_from_command_to_table(tmp_path, capsys, select):
    plant(tmp_path / "a", World(train=24, test=8, dim=8, text_dim=6, snippets=(3, 9)))
    assert ablate("descriptions", tmp_path / "a", tmp_path / "out", seeds="0-1", settings=QUICK, select=select,
                  annotations=tmp_path / "a" / "events.csv", style="markdown") == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert "own text first of all | first of its label | by chance" in told
    assert "sign-flip test, which with 2 seeds cannot be below 1/2" in told
    assert found["significance"] in (tmp_path / "out" / "ladder.md").read_text()
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows["own"]["difference"]) == set()
    assert "recall_all" not in rows["none"]["metrics"]
    difference = rows["shuffled"]["difference"]["holdout_auc" if select else "auc"]
    assert len(difference["interval"]) == 2
    assert difference["p"] in (0.5, 1)
    run = rows["own"]["runs"]["1"]
    assert run["retrieval"]["among_all"]["videos"] == 6
    judged = judge_holdout(tmp_path / "out" / "own" / "seed-1", tmp_path / "a", device="cpu")
    assert judged["retrieval"] == run["retrieval"]
    assert untaught(found["rows"]) in told


def test_a_text_that_is_not_found_is_said():
    runs = {str(seed): {"retrieval": {"among_all": {"above_chance": True}, "among_label": {"above_chance": seed > 0}}}
            for seed in range(3)}
    none = {"name": "none", "runs": {"0": {"retrieval": None}}}
    assert untaught([{"name": "own", "runs": runs}, none]).endswith("nothing that it says: 'own' (1 of 3 seeds)")
    assert untaught([none]) == ""
