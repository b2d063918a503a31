"""What the ablations of descriptions teach, whether texts are found again, and the contrast that leaves normals out."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.data.dataset import read_training
from dbvad.data.descriptions import deal
from dbvad.training.checkpoint import load_model
from dbvad.training.config import TrainConfig
from dbvad.training.loop import description_weight, train
from dbvad.training.losses import contrastive_loss
from dbvad.training.retrieval import lowest, retrieval, verdict
from pipeline.engine.store import Store
from tests.detector.planted import World, plant

QUICK = {"epochs": 2, "batch": 8, "bins": 8, "precision": "fp32", "device": "cpu", "sfp": "off"}
SMALL = World(train=24, test=4, dim=8, text_dim=6, snippets=(3, 9))


@st.composite
def described(draw):
    """Texts (V, 3), all different; labels (V, 4), sometimes two a video; the indices that take part; a seed."""
    kinds = draw(st.lists(st.integers(0, 4), min_size=1, max_size=30))
    labels = np.array([[*np.eye(4)[kind]] if kind < 4 else [0, 1, 1, 0] for kind in kinds], np.float32)
    texts = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((len(kinds), 3)).astype(np.float32)
    videos = np.flatnonzero(draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds))))
    return texts, labels, videos, draw(st.integers(0, 999))


def own(texts, taught):
    """Whose text each video is taught."""
    return np.array([np.flatnonzero((texts == text).all(axis=1))[0] for text in taught])


@settings(max_examples=100)
@given(described(), st.sampled_from(["own", "shuffled", "shuffled_in_class", "label_only", "none"]))
def test_held_out_videos_keep_and_lend_nothing(world, how):
    texts, labels, videos, seed = world
    taught, alone = deal(how, texts, labels, videos, seed)
    rest = np.setdiff1d(np.arange(len(texts)), videos)
    np.testing.assert_array_equal(taught[rest], texts[rest])
    assert set(alone) <= set(videos)
    poisoned = texts.copy()
    poisoned[rest] = 1e6
    np.testing.assert_array_equal(deal(how, poisoned, labels, videos, seed)[0][videos], taught[videos])
    np.testing.assert_array_equal(deal(how, texts, labels, videos, seed)[0], taught)


@settings(max_examples=100)
@given(described(), st.sampled_from(["shuffled", "shuffled_in_class"]))
def test_each_text_is_used_once_and_by_another(world, how):
    texts, labels, videos, seed = world
    taught, alone = deal(how, texts, labels, videos, seed)
    of = own(texts, taught)
    assert sorted(of) == list(range(len(texts)))
    assert [video for video in videos if of[video] == video] == alone.tolist()
    if how == "shuffled":
        assert len(alone) == (len(videos) == 1)
    else:
        np.testing.assert_array_equal(labels[of], labels)
        kinds = [labels[video].tolist() for video in videos]
        assert alone.tolist() == [video for video in videos if kinds.count(labels[video].tolist()) == 1]


@settings(max_examples=100)
@given(described())
def test_label_only_is_the_mean_of_its_label_set(world):
    texts, labels, videos, seed = world
    taught, _ = deal("label_only", texts, labels, videos, seed)
    for video in videos:
        alike = videos[(labels[videos] == labels[video]).all(axis=1)]
        np.testing.assert_allclose(taught[video], texts[alike].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_who_is_alone_with_its_label_is_said(tmp_path):
    changed = {"train/video 003.mp4": {"labels": ["meteor"]}, "train/video 005.mp4": {"text": None}}
    plant(tmp_path, World(**vars(SMALL) | {"changed": changed}))
    data = read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)
    dealt = data.taught("shuffled_in_class", np.arange(24), seed=0)
    assert dealt.remarks[-1].names == ("train/video 003.mp4",)
    assert data.taught("shuffled", np.arange(24), seed=0).remarks == data.remarks
    assert not dealt.descriptions[5].any()
    assert not dealt.described[5]


def test_without_descriptions_is_without_dbm(tmp_path):
    """Bit for bit, and no other text than the training videos' is read."""
    plant(tmp_path / "a", SMALL)
    weights = []
    for name, keys in (("none", {"descriptions": "none"}), ("off", {"dbm": False})):
        train(TrainConfig(**QUICK | keys), tmp_path / "a", tmp_path / name, quiet=True)
        model = load_model(tmp_path / name)
        assert model.head is None
        weights.append(model.detector.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_what_is_taught_makes_another_model(tmp_path):
    plant(tmp_path / "a", SMALL)
    seen = []
    for how in ("own", "shuffled", "shuffled_in_class", "label_only"):
        train(TrainConfig(**QUICK | {"descriptions": how}), tmp_path / "a", tmp_path / how, quiet=True)
        seen.append(load_model(tmp_path / how).detector.classifier.linear.weight)
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=25), st.integers(0, 99))
def test_ranks_against_sorting(kinds, seed):
    labels, rng = np.eye(4)[kinds], np.random.default_rng(seed)
    likeness = rng.integers(0, 6, (len(kinds), len(kinds))).astype(float)  # many ties
    found = retrieval(likeness, labels)
    for name, alike in (("among_all", np.ones((len(kinds), len(kinds)), bool)),
                        ("among_label", np.equal.outer(kinds, kinds))):
        asked = [i for i in range(len(kinds)) if alike[i].sum() > 1]
        if len(asked) < 2:
            assert found is None or found[name] is None
            continue
        first, ranks = [], []
        for i in asked:
            values = likeness[i, alike[i]]
            best = np.flatnonzero(np.isclose(likeness[i] * alike[i] - 1e9 * ~alike[i], values.max()))
            first.append((i in best) / len(best))
            ranks.append((values > likeness[i, i]).sum() + (1 + (values == likeness[i, i]).sum()) / 2)
        assert found[name]["recall_1"] == pytest.approx(np.mean(first))
        assert found[name]["median_rank"] == np.median(ranks)
        assert found[name]["chance_1"] == pytest.approx(np.mean([1 / alike[i].sum() for i in asked]))


def test_perfect_constant_and_random_likeness():
    labels = np.repeat(np.eye(3), 20, axis=0)
    perfect, constant = retrieval(np.eye(60), labels), retrieval(np.zeros((60, 60)), labels)
    assert perfect["among_label"]["recall_1"] == perfect["among_all"]["recall_1"] == 1
    assert perfect["among_all"]["median_rank"] == 1
    assert verdict(perfect)
    assert constant["among_label"]["recall_1"] == pytest.approx(constant["among_label"]["chance_1"]) == 1 / 20
    assert constant["among_label"]["median_rank"] == constant["among_label"]["chance_rank"] == 10.5
    assert not verdict(constant)
    labels = np.repeat(np.eye(20), 6, axis=0)
    label_alone = retrieval(labels @ labels.T, labels)  # knows the class, and nothing else
    assert label_alone["among_all"]["above_chance"]
    assert not verdict(label_alone)
    assert retrieval(np.eye(1), labels[:1]) is None
    assert verdict(None) is None


def test_the_exact_interval():
    """Clopper and Pearson: below the lower end, so many hits or more have a chance of 2.5 %."""
    from scipy.stats import binom

    for hits, of in ((1, 10), (7, 20), (30, 30)):
        assert binom.sf(hits - 1, of, lowest(hits, of)) == pytest.approx(0.025)
    assert lowest(0, 10) == 0


def test_retrieval_of_a_run(tmp_path):
    plant(tmp_path / "a", SMALL)
    result = train(TrainConfig(**QUICK | {"holdout": 0.25}), tmp_path / "a", tmp_path / "run", quiet=True)
    assert result.retrieval["among_all"]["videos"] == result.held_out == 6
    assert json.loads((tmp_path / "run" / "train.json").read_text())["retrieval"] == result.retrieval
    for keys in ({}, {"holdout": 0.25, "dbm": False}):
        assert train(TrainConfig(**QUICK | keys), tmp_path / "a", tmp_path / "other", quiet=True,
                     overwrite=True).retrieval is None


def test_normal_texts_are_left_out_and_normal_videos_are_rivals():
    """Written out: rows of texts 0 and 1 against all four videos, and videos 0 and 1 against the two texts."""
    rng = torch.Generator().manual_seed(0)
    v, d = (torch.nn.functional.normalize(torch.randn(4, 6, generator=rng), dim=-1) for _ in range(2))
    texts, scale = torch.tensor([True, True, False, False]), torch.tensor(5.0)
    s = scale * v @ d.T
    expected = (-s[:2, :2].log_softmax(1).diagonal().sum() - s[:, :2].T.log_softmax(1)[:, :2].diagonal().sum()) / 4
    everyone = torch.ones(4, dtype=torch.bool)
    found = contrastive_loss(v, d, scale, torch.arange(4), texts, everyone)
    torch.testing.assert_close(found, expected)
    d[2:] = torch.nan_to_num(d[2:] * 0)  # what normal texts say does not matter
    torch.testing.assert_close(contrastive_loss(v, d, scale, torch.arange(4), texts, everyone), expected)


def test_asymmetric_contrast_and_ramp_train(tmp_path):
    plant(tmp_path / "a", SMALL)
    seen = []
    for number, keys in enumerate(({}, {"contrast": "abnormal_rows"}, {"lambda_schedule": "ramp"})):
        train(TrainConfig(**QUICK | keys), tmp_path / "a", tmp_path / str(number), quiet=True)
        seen.append(load_model(tmp_path / str(number)).detector.classifier.linear.weight)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_ramp():
    ramp = TrainConfig(lambda_db=0.5, lambda_schedule="ramp")
    assert [description_weight(ramp, step, 8) for step in (0, 1, 2, 4, 7)] == [0, 0.125, 0.25, 0.5, 0.5]
    assert {description_weight(TrainConfig(lambda_db=0.5), step, 8) for step in range(8)} == {0.5}
