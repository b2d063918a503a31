"""Presets hold what the training configuration takes and what the protocol says of the datasets."""

import pytest

from dbvad import presets
from dbvad.training.config import TrainConfig


@pytest.mark.parametrize(("name", "classes", "metric"), [("ucf-crime", 13, "auc"), ("xd-violence", 6, "ap")])
def test_a_preset_fits_the_trainer(name: str, classes: int, metric: str) -> None:
    preset = presets.load(name)
    config = TrainConfig.model_validate(preset.training)
    assert len(preset.event_classes) == classes
    assert preset.metric == metric
    assert set(config.prompts) == {"normal", *preset.event_classes}
    assert set(preset.labels.codes.values()) <= set(preset.event_classes)
    assert config.schedule == "step"


def test_the_schedules_differ_and_are_chosen_by_name() -> None:
    step, cosine = presets.load("ucf-crime").training, presets.load("ucf-crime:cosine").training
    assert (step["lr"], step["milestones"], step["batch"]) == (2e-5, (4, 8), 128)
    assert cosine["schedule"] == "cosine"
    assert "milestones" not in cosine
    assert presets.load("xd-violence").training["lr"] == 1e-5


@pytest.mark.parametrize(("name", "message"), [
    ("ufc-crime", "no preset 'ufc-crime': did you mean 'ucf-crime'"),
    ("shanghai", "no preset 'shanghai': there are ucf-crime, xd-violence"),
    ("ucf-crime:cosin", "has no schedule 'cosin': did you mean 'cosine'"),
])
def test_the_nearest_name_is_told(name: str, message: str) -> None:
    with pytest.raises(presets.PresetError, match=message):
        presets.load(name)


def test_labels_are_read_by_the_datasets_rule() -> None:
    ucf, xd = presets.load("ucf-crime").labels, presets.load("xd-violence").labels
    assert ucf.parse("Training_Normal_Videos_Anomaly") == ()
    assert ucf.parse("Arson") == ("Arson",)
    assert xd.parse("B1-B2-G") == ("fighting", "shooting", "explosion")
    assert xd.parse("A") == ()
    assert xd.parse("B1-B1-0") == ("fighting",)
    assert xd.from_name("v=S__#1_label_B4-0-0") == "B4-0-0"
    with pytest.raises(presets.PresetError, match="no class 'B3'"):
        xd.parse("B3-0-0", presets.load("xd-violence").event_classes)


def test_a_preset_knows_its_classes_in_any_folder_and_name() -> None:
    preset = presets.load("ucf-crime")
    rule, classes = preset.labels, preset.event_classes
    for name, labels in {"dataset/Abuse/Abuse001_x264__3.npy": ("Abuse",), "road accidents/x.mp4": ("RoadAccidents",),
                         "/home/x/Stealing062_x264_i3d.npy": ("Stealing",), "abnormal/Arson001_x264": ("Arson",),
                         "Testing-Normal-Videos-Part-2/a.mp4": (), "Normal_Videos_003_x264.mp4": ()}.items():
        assert rule.parse(rule.class_of(name, classes) or "nothing", classes) == labels
    assert rule.class_of("somewhere/clip.mp4", classes) is None
    xd = presets.load("xd-violence").labels
    assert xd.from_name("/home/x/v=cuUK-3MNqtw__#1_label_B1-0-0_i3d.npy") == "B1-0-0"
