"""Laws of the network: padding changes nothing, the batched graphs equal their definition, losses equal theirs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.data.dataset import Batch
from dbvad.model.dbm import DBM
from dbvad.model.detector import Classifier, Detector
from dbvad.model.gcn import GCN, distance_weights, similarity_adjacency
from dbvad.model.packing import GAP, Packing
from dbvad.model.sfp import SFP, LabelTable, PromptedLabels, aggregate
from dbvad.training.config import TrainConfig
from dbvad.training.losses import bag_scores, contrastive_loss, mil_loss
from dbvad.training.network import TrainingNetwork
from tests.tiny import tiny_clip

WIDTH = 8
KINDS = ("none", "gcn", "progressive", "multi", "full")


def mask_of(lengths, total=None):
    return torch.arange(total or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


@pytest.fixture(scope="module")
def detectors():
    torch.manual_seed(0)
    return {kind: Detector(WIDTH, tmm=kind, length=40).eval() for kind in KINDS}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
       padding=st.integers(0, 20), garbage=st.sampled_from([0.0, 1e6, math.inf, math.nan]))
@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_changes_a_valid_score(detectors, kind, seed, lengths, padding, garbage):
    """A video alone, without padding, has the scores that it has in a batch among longer ones, whatever is in it."""
    x = torch.randn(len(lengths), max(lengths) + padding, WIDTH, generator=torch.Generator().manual_seed(seed))
    mask = mask_of(lengths, x.shape[1])
    x[~mask] = garbage
    with torch.no_grad():
        together = detectors[kind](x, mask)
        v = aggregate(together.features, together.logits, mask, "softmax")
        bags = bag_scores(together.logits, mask)
        for row, length in enumerate(lengths):
            whole = torch.ones(1, length, dtype=torch.bool)
            alone = detectors[kind](x[row:row + 1, :length], whole)
            torch.testing.assert_close(together.logits[row, :length], alone.logits[0])
            torch.testing.assert_close(together.features[row, :length], alone.features[0])
            torch.testing.assert_close(v[row], aggregate(alone.features, alone.logits, whole, "softmax")[0])
            torch.testing.assert_close(bags[row], bag_scores(alone.logits, whole)[0])


def test_similarity_adjacency_is_its_definition():
    """Against a loop: softmax over the entries above 0.7 alone, no mass elsewhere."""
    x = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(1))
    mask = mask_of([7, 4, 1])
    found = similarity_adjacency(x, mask)
    expected = torch.zeros(3, 7, 7)
    for b in range(3):
        for i in range(int(mask[b].sum())):
            row = [float(F.cosine_similarity(x[b, i], x[b, j], dim=0)) for j in range(int(mask[b].sum()))]
            mass = [math.exp(value) if value > 0.7 else 0.0 for value in row]
            expected[b, i, :len(row)] = torch.tensor(mass) / sum(mass)
    torch.testing.assert_close(found, expected)
    assert 0 < (found > 0).sum() < mask.sum() * 7


def test_a_zero_feature_keeps_a_finite_row():
    found = similarity_adjacency(torch.zeros(1, 3, 4), mask_of([3]))
    torch.testing.assert_close(found[0], torch.eye(3))


def test_graph_convolutions_are_their_definition():
    """Packed and batched, against a loop over the videos with their adjacency matrices written out."""
    torch.manual_seed(0)
    gcn, mask = GCN(WIDTH, 9), mask_of([7, 2, 1], 8)
    x = torch.randn(3, 8, WIDTH) + 3 * torch.randn(3, 1, WIDTH)
    packing = Packing(mask)
    with torch.no_grad():
        h = gcn.norm(x)
        found = packing.unpack(gcn(packing.pack(x), packing.pack(x), packing))
        similar = similarity_adjacency(x, mask)
        for row, length in enumerate([7, 2, 1]):
            distance = torch.tensor([[math.exp(-abs(i - j) / math.e) for j in range(length)] for i in range(length)])
            paths = []
            for adjacency, graphs in ((similar[row, :length, :length], gcn.similar),
                                      (distance / distance.sum(dim=1, keepdim=True), gcn.near)):
                path = h[row, :length]
                for graph in graphs:
                    path = F.gelu(adjacency @ graph.weight(path) + graph.residual(path))
                paths.append(path)
            torch.testing.assert_close(found[row, :length], gcn.linear(torch.cat(paths, dim=-1)))
    assert similar[0].count_nonzero() > 7  # there are edges besides those of a snippet to itself
    assert torch.equal(distance_weights(3)[0], distance_weights(5)[2, 2:])


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), padding=st.integers(0, 6))
def test_packing_and_unpacking_are_inverse_and_adjoint(lengths, padding):
    mask = mask_of(lengths, max(lengths) + padding)
    packing, generator = Packing(mask), torch.Generator().manual_seed(0)
    x = torch.randn(*mask.shape, 3, generator=generator, requires_grad=True)
    packed = packing.pack(x)
    assert len(packed) <= sum(lengths) + GAP * len(lengths)
    assert torch.equal(packing.unpack(packed), x * mask.unsqueeze(-1))
    assert torch.equal(packed[packing.valid.squeeze(-1)], x[mask])
    assert (packed[~packing.valid.squeeze(-1)] == 0).all()
    (into, back) = torch.randn(packed.shape, generator=generator), torch.randn(x.shape, generator=generator)
    torch.testing.assert_close(torch.autograd.grad(packed, x, into)[0], packing.unpack(into))
    torch.testing.assert_close(torch.autograd.grad(packing.unpack(packed), packed, back)[0], packing.pack(back))


def test_the_classifier_is_its_definition():
    """a = w . (h + FFN(h)) + b, though the FFN's last layer is never run a snippet."""
    torch.manual_seed(0)
    classifier, h = Classifier(WIDTH), torch.randn(5, WIDTH, requires_grad=True)
    expected = classifier.linear(h + classifier.ffn(h)).squeeze(-1)
    torch.testing.assert_close(classifier(h), expected)
    for found, wanted in zip(torch.autograd.grad(classifier(h).sum(), [h, *classifier.parameters()]),
                             torch.autograd.grad(expected.sum(), [h, *classifier.parameters()]), strict=True):
        torch.testing.assert_close(found, wanted)


def test_top_k_is_a_sixteenth_plus_one():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(2))
    lengths = [40, 15, 16]
    found = bag_scores(logits, mask_of(lengths))
    for row, length in enumerate(lengths):
        top = logits[row, :length].sigmoid().sort(descending=True).values[:length // 16 + 1]
        torch.testing.assert_close(found[row], top.mean())
    loss = mil_loss(logits, mask_of(lengths), torch.tensor([True, False, True]))
    torch.testing.assert_close(loss[0], -found[0].log())
    torch.testing.assert_close(loss[1], -(1 - found[1]).log())


def units(count, seed):
    return F.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_contrast_against_the_identity_is_cross_entropy_both_ways():
    v, d, everyone = units(5, 0), units(5, 1), torch.ones(5, dtype=torch.bool)
    s = v @ d.T / 0.07
    expected = (F.cross_entropy(s, torch.arange(5)) + F.cross_entropy(s.T, torch.arange(5))) / 2
    torch.testing.assert_close(contrastive_loss(v, d, torch.tensor(1 / 0.07), torch.arange(5), everyone), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=6, max_size=6).filter(any))
def test_videos_without_description_drop_out(seed, described):
    v, d, has = units(6, seed), units(6, seed + 1), torch.tensor(described)
    scale, video = torch.tensor(10.0), torch.arange(6)
    d[~has] = math.nan if seed % 2 else 0.0
    found = contrastive_loss(v, d.nan_to_num(0), scale, video, has)
    torch.testing.assert_close(found, contrastive_loss(v[has], d[has], scale, video[has], has[has]))


def test_no_description_at_all_costs_nothing():
    v = units(4, 0).requires_grad_()
    loss = contrastive_loss(v, torch.zeros(4, 6), torch.tensor(10.0), torch.arange(4), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert torch.isfinite(v.grad).all()


def test_crops_of_one_video_are_no_false_negatives():
    """Two rows of one video: as good as it gets, the loss is the log 2 of the choice between equals, not more."""
    d = torch.eye(6)[torch.tensor([0, 0, 1, 2])]
    video, everyone = torch.tensor([0, 0, 1, 2]), torch.ones(4, dtype=torch.bool)
    one_hot = contrastive_loss(d, d, torch.tensor(50.0), torch.arange(4), everyone)
    multi = contrastive_loss(d, d, torch.tensor(50.0), video, everyone)
    torch.testing.assert_close(multi, torch.tensor(math.log(2) / 2))
    torch.testing.assert_close(one_hot, multi)  # equal rows cannot be told apart either way, but their gradients can
    d = F.normalize(d + 0.1 * units(4, 3), dim=-1).requires_grad_()
    grads = [torch.autograd.grad(contrastive_loss(d, d.detach(), torch.tensor(50.0), ids, everyone), d)[0]
             for ids in (torch.arange(4), video)]
    assert not torch.allclose(*grads)


@pytest.mark.parametrize(("skip", "expected"), [("residual", lambda v, t, f: v + f(v + t)),
                                                ("vadclip", lambda v, t, f: (v + t) + f(v + t))])
def test_sfp_sums(skip, expected):
    sfp, v, texts = SFP(WIDTH, WIDTH, skip), torch.randn(2, WIDTH), torch.randn(3, WIDTH)
    labels = torch.tensor([[0.0, 1, 0], [0, 1, 1]])  # the second video has two labels: the mean of their texts
    t = torch.stack([texts[1], texts[1:].mean(dim=0)])
    torch.testing.assert_close(sfp(v, texts, labels), expected(v, t, sfp.ffn))


def test_widths_may_differ():
    assert SFP(WIDTH, 5)(torch.randn(2, WIDTH), torch.randn(3, 5), torch.eye(3)[:2]).shape == (2, WIDTH)
    dbm = DBM(WIDTH, 5, tau=0.07)
    assert dbm.text(torch.randn(2, 5)).shape == dbm.video(torch.randn(2, WIDTH)).shape == (2, WIDTH)
    assert dbm.scale.item() == pytest.approx(1 / 0.07)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from pipeline.instruments import clip

    return clip.load(str(tiny_clip(tmp_path_factory.mktemp("clip"))), device="cpu")


def test_prompt_without_context_is_clips_own_text(clip):
    """With an empty context, running just the tokens gives what open_clip gives over all 77."""
    labels = ["fire", "a road accident at night"]
    prompts = PromptedLabels(clip.text_tower(), labels, context=0)
    np.testing.assert_allclose(prompts().detach().numpy(), clip.encode_texts(labels), atol=1e-5)


def test_only_the_context_learns(clip):
    prompts = PromptedLabels(clip.text_tower(), ["fire", "fight"], context=4)
    prompts().sum().backward()
    assert [name for name, _ in prompts.named_parameters()] == ["context"]
    assert list(prompts.state_dict()) == ["context"]
    assert prompts.context.grad.abs().sum() > 0


def training_batch(seed=0, size=6):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.eye(3)[torch.arange(size) % 3]
    return Batch(torch.randn(size, 12, WIDTH, generator=generator), mask_of([12, 5, 9, 12, 1, 7]), labels,
                 torch.randn(size, 5, generator=generator), torch.tensor([True, True, False, True, True, False]),
                 torch.arange(size))


@pytest.mark.parametrize("sfp", ["off", "residual", "vadclip"])
def test_every_parameter_learns(sfp):
    torch.manual_seed(0)
    texts = None if sfp == "off" else LabelTable(torch.randn(3, 4))
    network = TrainingNetwork(TrainConfig(sfp=sfp, bins=16), WIDTH, 5, texts)
    network(training_batch()).total.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_detached_labels_do_not_learn_but_count():
    torch.manual_seed(0)
    config = TrainConfig(bins=16, detach_labels=True, dropout=0)
    network = TrainingNetwork(config, WIDTH, 5, LabelTable(torch.randn(3, 4)))
    losses = network(training_batch())
    losses.total.backward()
    assert network.label_texts.learned.grad is None
    network.label_texts.frozen.neg_()
    assert network(training_batch()).db != losses.db


def test_without_descriptions_the_loss_is_the_mil_loss():
    torch.manual_seed(0)
    network = TrainingNetwork(TrainConfig(dbm=False, bins=16), WIDTH, 0, None)
    batch = training_batch()
    losses = network(batch)
    assert losses.db == 0
    assert losses.total == losses.bce.mean()
    assert network.class_head(torch.zeros(1, 0), batch.labels[:1]) is None
