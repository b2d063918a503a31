"""The memory of descriptions: what it finds, what it cannot be moved by, and that a model carries it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.data.dataset import read_training
from dbvad.evaluation.evaluate import evaluate
from dbvad.model.detector import Detector
from dbvad.model.memory import NEIGHBOURS, TEMPERATURE, WIDTH, Alignment, DescriptionMemory, whiten
from dbvad.model.memory import align as align_whitened
from dbvad.training.checkpoint import load_model
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from dbvad.training.remember import SHARES, judged, remember, video_means
from pipeline.engine.store import Store
from pipeline.lists.remarks import Remark
from tests.detector.planted import World, plant

QUICK = {"epochs": 2, "batch": 8, "bins": 8, "precision": "fp32", "device": "cpu", "sfp": "off"}
SMALL = World(train=24, test=8, dim=8, text_dim=6, snippets=(3, 9))


def told(seed, videos=60, width=12, text_width=10, shared=4):
    """Videos and texts that share `shared` hidden causes, and labels of three classes that one of them decides."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((videos, shared))
    x = causes @ rng.standard_normal((shared, width)) + 0.3 * rng.standard_normal((videos, width)) + 5
    texts = causes @ rng.standard_normal((shared, text_width)) + 0.3 * rng.standard_normal((videos, text_width)) - 3
    labels = np.eye(3)[(causes[:, 0] > -0.4).astype(int) + (causes[:, 0] > 0.4)]
    return tuple(torch.from_numpy(part.astype(np.float32)) for part in (x, texts, labels))


def align(x, texts, labels, share=2.0) -> Alignment:
    return align_whitened(whiten(x), texts, labels, share)


def memory_of(seed=0, length=20):
    x, texts, labels = told(seed)
    return DescriptionMemory.of(align(x, texts, labels), texts, labels, length)


def test_unseen_pairs_find_each_other():
    """The causes beyond the class, too: among unseen videos of one class the own text comes first."""
    x, texts, labels = told(1, videos=240)
    alignment = align(x[:200], texts[:200], labels[:200])
    z, said = F.normalize(alignment.video(x[200:]), dim=-1), alignment.text(texts[200:])
    alike = (labels[200:, None] == labels[None, 200:]).all(dim=-1)
    first = (z @ said.T).masked_fill(~alike, -2).argmax(dim=1) == torch.arange(40)
    assert first.float().mean() > 0.6
    wrong = align(x[:200], texts[:200].roll(7, 0), labels[:200])
    lost = (F.normalize(wrong.video(x[200:]), dim=-1) @ wrong.text(texts[200:]).T).masked_fill(~alike, -2)
    assert (lost.argmax(dim=1) == torch.arange(40)).float().mean() < 0.3


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_what_an_encoder_adds_to_all_texts_changes_nothing(seed, shift, scale):
    """Neither a common mean, nor a common length, nor the order of the videos, nor a rotation of the text space."""
    x, texts, labels = told(seed)
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(seed))).Q
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    likeness = []
    for said, places in ((texts, torch.arange(len(x))), ((texts @ rotation + shift) * scale, order)):
        alignment = align(x[places], said[places], labels[places])
        likeness.append(F.normalize(alignment.video(x), dim=-1) @ alignment.text(said, labels).T)
    torch.testing.assert_close(likeness[1], likeness[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize(("width", "text_width"), [(3, 50), (50, 3), (100, 384)])
def test_any_widths_and_few_videos(width, text_width):
    x, texts, labels = told(2, videos=9, width=width, text_width=text_width)
    memory = DescriptionMemory.of(align(x, texts, labels), texts, labels, 4)
    assert memory.video_map.shape == (width, min(WIDTH, width, text_width + 3))
    assert memory(torch.randn(2, 4, width), torch.ones(2, 4, dtype=torch.bool)).isfinite().all()


def test_texts_that_say_nothing_leave_the_label():
    """All equal: finite, and abnormal videos are still told from normal ones by their labels."""
    x, texts, labels = told(3)
    same = torch.ones_like(texts)
    memory = DescriptionMemory.of(align(x, same, labels), same, labels, 1)
    found = memory(x.unsqueeze(1), torch.ones(len(x), 1, dtype=torch.bool)).squeeze(1)
    assert found[labels[:, 0] == 0].mean() > found[labels[:, 0] == 1].mean()


def test_the_label_weighs_as_much_as_the_texts_need():
    """Little where only texts tell which kinds of events look how, much where they speak of the scene alone."""
    rng = np.random.default_rng(0)
    kinds, scene, noise = rng.choice([-1, 1], (300, 2)), rng.standard_normal((300, 6)), rng.standard_normal((300, 8))
    abnormal = kinds[:, 0] == kinds[:, 1]  # two kinds of events between two of normal life: no direction tells them
    telling = (kinds, kinds + 0.3 * noise[:, :2])
    scenic = (np.column_stack([abnormal + 0.5 * noise[:, 0], scene]), scene + 0.1 * noise[:, :6])
    chosen = []
    for seen, said in (telling, scenic):
        x = np.column_stack([seen, 0.3 * noise])
        chosen.append(judged(*(torch.tensor(part, dtype=torch.float32) for part in
                                    (x, said, np.eye(2)[abnormal.astype(int)])), np.random.default_rng(0))[0])
    assert chosen[0] <= 2 < max(SHARES) == chosen[1]


@pytest.mark.parametrize("abnormal", [1, 2, 7])
def test_few_videos_have_a_share_too(abnormal):
    x, texts, _ = told(6, videos=8)
    labels = torch.eye(2)[(torch.arange(8) < abnormal).long()]
    share, worth = judged(x, texts, labels, np.random.default_rng(0))
    assert worth >= 0
    assert share in SHARES if abnormal == 2 else (share, worth) == (SHARES[0], 1)


def test_evidence_is_its_definition():
    memory, x = memory_of(), torch.randn(1, 7, 12, generator=torch.Generator().manual_seed(0)) + 5
    memory.calibrate(0.5, 2.0, 3.0)
    found = memory(x, torch.ones(1, 7, dtype=torch.bool))[0]
    z = [(snippet - memory.video_mean) @ memory.video_map for snippet in x[0]]
    for t in range(7):
        weights = [math.exp(-((t - other) / NEIGHBOURS) ** 2 / 2) for other in range(7)]
        mean = sum(w * each for w, each in zip(weights, z, strict=True)) / sum(weights)
        sums = [sum(math.exp(float(F.cosine_similarity(mean, d, dim=0)) / TEMPERATURE) for d in side)
                for side in (memory.events, memory.ordinary)]
        resembled = math.log(sums[0]) - math.log(sums[1])
        assert float(found[t]) == pytest.approx(3 * math.tanh(2 * (resembled - 0.5) / 3), abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), padding=st.integers(0, 8),
       garbage=st.sampled_from([0.0, 1e6, math.inf, math.nan]))
def test_padding_changes_no_evidence(lengths, padding, garbage):
    memory, total = memory_of(), max(lengths) + padding
    x = torch.randn(len(lengths), total, 12, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(total) < torch.tensor(lengths).unsqueeze(1)
    x[~mask] = garbage
    found = memory(x, mask)
    for row, length in enumerate(lengths):
        alone = memory(x[row:row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(found[row, :length], alone[0], atol=1e-4, rtol=1e-4)


def test_calibrated_evidence_follows_what_was_found_up_to_its_bound():
    memory, x = memory_of(), torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(0)) + 5
    mask = torch.ones(3, 5, dtype=torch.bool)
    found = memory.find(x, mask)
    for usual, worth, bound in ((1.0, 2.0, 1e4), (-3.0, 0.0, 1.0)):  # once more replaces what was there
        memory.calibrate(usual, worth, bound)
        torch.testing.assert_close(memory(x, mask), (found - usual) * worth, atol=1e-3, rtol=1e-3)
    memory.calibrate(0.0, 1e6, 0.5)
    torch.testing.assert_close(memory(x, mask), 0.5 * found.sign())


def test_evidence_that_tells_nothing_is_worth_nothing():
    """Of unseen videos: pictures that have nothing to do with their labels, however many numbers they have."""
    rng = np.random.default_rng(0)
    x, texts = (torch.tensor(rng.standard_normal((200, 40)), dtype=torch.float32) for _ in range(2))
    clear, labels = torch.arange(200) % 2, torch.eye(2)[torch.arange(200) % 2]
    assert judged(x, texts, labels, np.random.default_rng(0))[1] < 0.15
    x[:, 0] += 4 * clear
    assert judged(x, texts, labels, np.random.default_rng(0))[1] > 0.5


def test_training_sees_no_memory():
    torch.manual_seed(0)
    memory, plain = memory_of(length=20), Detector(12, length=20, dropout=0)
    detector = Detector(12, length=20, dropout=0, memory=memory)
    detector.load_state_dict(plain.state_dict(), strict=False)
    x, mask = torch.randn(2, 9, 12), torch.ones(2, 9, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(detector.train()(x, mask).logits, plain.train()(x, mask).logits)
        torch.testing.assert_close(detector.eval()(x, mask).logits, plain.eval()(x, mask).logits + memory(x, mask))
    assert all(parameter is not memory.events for parameter in detector.parameters())


def test_a_model_carries_its_memory(tmp_path):
    """Saved and read again it says the same; what is trained is not touched by it."""
    events = plant(tmp_path, SMALL)
    for name, keys in (("with", {}), ("without", {"memory": 0})):
        train(TrainConfig(**QUICK | keys), tmp_path, tmp_path / name, quiet=True)
    model, plain = load_model(tmp_path / "with"), load_model(tmp_path / "without")
    assert plain.detector.memory is None
    kept = model.detector.state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in plain.detector.state_dict().items())
    data = read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)
    _, memory = remember(model.config, data, np.arange(24), video_means(data, np.arange(24)))
    batch = data.batch(np.arange(4), np.zeros(4, int))
    torch.testing.assert_close(model.detector.memory(batch.x, batch.mask), memory(batch.x, batch.mask))
    one, other = (evaluate(tmp_path / name, tmp_path, events, device="cpu")["metrics"] for name in ("with", "without"))
    assert one["auc"] != other["auc"]


def test_what_is_taught_is_remembered(tmp_path):
    """Other texts make another memory, and the text of a held-out video is in none."""
    plant(tmp_path, SMALL)
    data = read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)
    videos, config = np.arange(2, 24), TrainConfig(**QUICK)
    means = video_means(data, videos)
    own = remember(config, data, videos, means).memory
    shuffled = remember(config, data.taught("shuffled_in_class", videos, 0), videos, means).memory
    assert not torch.allclose(own.video_map.abs(), shuffled.video_map.abs(), atol=1e-3)
    data.descriptions[:2] = 1e6
    again = remember(config, data, videos, means).memory
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in own.state_dict().items())
    assert len(own.events) + len(own.ordinary) == 22


def test_video_means_are_over_all_crops(tmp_path):
    plant(tmp_path, World(**vars(SMALL) | {"crops": 3}))
    data = read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)
    crops = [data.batch(np.array([5]), np.array([crop])) for crop in range(3)]
    mean = torch.cat([shown.x[shown.mask] for shown in crops]).mean(dim=0)
    torch.testing.assert_close(video_means(data, np.array([5]))[0], mean, atol=1e-3, rtol=1e-3)


def test_without_texts_of_both_kinds_it_says_why_there_is_none(tmp_path):
    normal = {f"train/video {number:03d}.mp4": {"text": None} for number in range(0, 24, 2)}
    plant(tmp_path, World(**vars(SMALL) | {"changed": normal}))
    data = read_training(Store(tmp_path), bins=8, cache=tmp_path / "cache", descriptions=True)
    told = remember(TrainConfig(**QUICK), data, np.arange(24), video_means(data, np.arange(24)))
    assert isinstance(told, Remark)
    result = train(TrainConfig(**QUICK), tmp_path, tmp_path / "run", quiet=True)
    assert any("no normal video has one" in remark["text"] and "--set memory=0" in remark["text"]
               for remark in result.warnings)
    assert load_model(tmp_path / "run").detector.memory is None
