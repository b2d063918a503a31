"""`dbvad train` and `dbvad evaluate` as a user types them."""

import json

import numpy as np
import pytest
import yaml

from dbvad.cli.evaluate import evaluate
from dbvad.cli.train import train
from dbvad.evaluation.summary import SummaryError, summarise
from dbvad.training.config import TrainConfig
from dbvad.training.label_texts import words
from pipeline.engine.config import ConfigError
from pipeline.engine.files import read_record
from tests.detector.planted import World, plant

WORLD = World(train=12, test=4, dim=8, text_dim=6, snippets=(3, 9))
QUICK = ["lr=1e-3", "batch=4", "precision=fp32", "device=cpu"]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("commands")
    plant(root, WORLD)
    return root


def test_from_artifacts_to_figures(artifacts, tmp_path, capsys):
    run = tmp_path / "run"
    train(artifacts, run, settings=[*QUICK, "prompts.fire=a fire"], epochs=2, seed=3)
    told = capsys.readouterr().out
    assert "trained on 12 videos (6 abnormal, 12 described), 3 classes, 2 epochs" in told
    assert f"next: dbvad evaluate {run} --artifacts {artifacts}" in told
    kept = TrainConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    assert (kept.lr, kept.seed, kept.epochs, kept.prompts) == (1e-3, 3, 2, {"fire": "a fire"})

    train(artifacts, run, resume=True, as_json=True)  # nothing left to do, and the same result
    assert json.loads(capsys.readouterr().out)["steps"] == 2 * 3

    evaluate([run], artifacts, artifacts / "events.csv", device="cpu")
    table = capsys.readouterr().out
    assert all(name in table for name in ("AUC", "Ano-AUC", "mAP@IoU, compat", "95 % interval"))
    evaluate([run], artifacts, artifacts / "events.csv", device="cpu", as_json=True)
    assert json.loads(capsys.readouterr().out) == read_record(run / "result.json", "")

    evaluate([run], artifacts, artifacts / "events.csv", device="cpu", variation=True)
    assert "variation inside abnormal videos, as a share of all: features 0." in capsys.readouterr().out
    assert [*read_record(run / "result.json", "")["variation"]] == ["features", "convolutions", "gcn", "TMM", "logits"]


def test_what_does_not_fit_is_said_and_strict_makes_it_an_error(artifacts, tmp_path, capsys):
    run, lines = tmp_path / "run", (artifacts / "events.csv").read_text().splitlines()
    train(artifacts, run, settings=QUICK, epochs=1)
    quiet = [f"test/video {number:03d}.mp4,,," for number in (12, 14)]  # normal ones
    whole, odd = tmp_path / "whole.csv", tmp_path / "odd.csv"
    whole.write_text("\n".join([*lines, *quiet, "train/video 001.mp4,0,1,"]) + "\n")
    odd.write_text("\n".join([*lines, *quiet, "typo_here,1,2,"]) + "\n")
    capsys.readouterr()
    assert evaluate([run], artifacts, whole, device="cpu", strict=True) == 0
    assert capsys.readouterr().err == ""
    assert evaluate([run], artifacts, odd, device="cpu", as_json=True) == 0
    told = capsys.readouterr()
    assert told.err == "warning: odd.csv names what is no video here (1): typo_here\n"
    assert json.loads(told.out)["warnings"] == [{"kind": "unknown_name", "text": "odd.csv names what is no video here",
                                                 "names": ["typo_here"]}]
    assert evaluate([run, run], artifacts, odd, device="cpu", strict=True) == 1
    assert capsys.readouterr().err.count("typo_here") == 1


def test_several_seeds(artifacts, tmp_path, capsys):
    runs = [tmp_path / f"seed{seed}" for seed in range(3)]
    for seed, run in enumerate(runs):
        train(artifacts, run, settings=QUICK, epochs=1, seed=seed)
    capsys.readouterr()
    evaluate(runs, artifacts, artifacts / "events.csv", device="cpu", as_json=True)
    found = json.loads(capsys.readouterr().out)
    each = [json.loads((run / "result.json").read_text())["metrics"]["auc"] for run in runs]
    assert found["metrics"]["auc"] == pytest.approx({"mean": np.mean(each), "std": np.std(each, ddof=1)})
    assert (found["seeds"], found["varied"]) == ([0, 1, 2], ["seed"])
    evaluate(runs, artifacts, artifacts / "events.csv", device="cpu", row="markdown")
    assert f"| 3 runs | {100 * np.mean(each):.2f} ± {100 * np.std(each, ddof=1):.2f} |" in capsys.readouterr().out
    evaluate(runs[:1], artifacts, artifacts / "events.csv", device="cpu", row="latex")
    assert f"seed0 & {100 * each[0]:.2f} & " in capsys.readouterr().out


def test_results_of_two_protocols_are_not_averaged():
    one = {"metrics": {"auc": 0.5}, "protocol": {"scale": "bins"}, "annotations": None,
           "provenance": {"run": "a", "test_data": "x", "config": {"seed": 0}}}
    with pytest.raises(SummaryError, match="a and a differ in protocol"):
        summarise([one, one | {"protocol": {"scale": "windows"}}])


def test_a_file_of_keys_and_what_overrides_it(artifacts, tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("epochs: 1\nlr: 0.001\nbatch: 4\ndevice: cpu\nprecision: fp32\n")
    train(artifacts, tmp_path / "run", config=file, settings=["lr=0.002"], as_json=True)
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (kept["epochs"], kept["lr"]) == (1, 0.002)


@pytest.mark.parametrize(("settings", "message"), [
    (["epoch=3"], "unknown key 'epoch': did you mean 'epochs'"),
    (["lr"], "expected KEY=VALUE"),
    (["tmm=gnc"], "tmm: input should be 'none', 'gcn'"),
    (["batch=5"], "batch: "),
    (["select=holdout"], "set holdout, say to 0.1"),
])
def test_wrong_settings(artifacts, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        train(artifacts, tmp_path / "run", settings=settings)


def test_wrong_file(artifacts, tmp_path):
    with pytest.raises(ConfigError, match="no configuration at"):
        train(artifacts, tmp_path / "run", config=tmp_path / "none.yaml")
    (tmp_path / "train.yaml").write_text("epochs: 1\nlearning_rate: 3\n")
    with pytest.raises(ConfigError, match=r"train.yaml:2: unknown key 'learning_rate'"):
        train(artifacts, tmp_path / "run", config=tmp_path / "train.yaml")


@pytest.mark.parametrize(("label", "said"), [
    ("RoadAccidents", "road accidents"), ("road_accidents", "road accidents"), ("B1", "fighting"), ("fire", "fire")])
def test_labels_in_words(label, said):
    assert words(label, {"B1": "fighting"}) == said
