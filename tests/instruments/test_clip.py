"""CLIP on small checkpoints with random weights, in open_clip's own formats."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg
from PIL import Image

from pipeline.instruments import clip
from pipeline.instruments.clip import Clip, ClipError, encoder
from pipeline.instruments.clip.pictures import Views
from tests.tiny import tiny_clip

SIDE, LARGE = 64, 73  # the model's input, and the short side that 5 and 10 crops are cut from


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Clip:
    return clip.load(str(folder), precision="fp32")


@pytest.fixture
def variant(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a checkpoint whose configuration differs from the plain one."""

    def make(text: dict[str, Any] | None = None, preprocess: dict[str, Any] | None = None, **model_cfg: Any) -> Path:
        made = tmp_path / "variant"
        made.mkdir()
        config = json.loads((folder / clip.CONFIG).read_text())
        config["model_cfg"] |= model_cfg
        config["model_cfg"]["text_cfg"] |= text or {}
        config["preprocess_cfg"] |= preprocess or {}
        (made / clip.CONFIG).write_text(json.dumps(config))
        clip.initialise(made, seed=1)
        return made

    return make


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coarse coloured noise, (height, width, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def reference(folder: Path, images: list[np.ndarray]) -> np.ndarray:
    """What open_clip's own road gives."""
    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        return net.eval().encode_image(pixels, normalize=True).numpy()


# Pictures


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=4), st.sampled_from([1, 5, 10]))
def test_features_have_length_1_whatever_the_size(model: Clip, sizes: list[tuple[int, int]], crops: int) -> None:
    features = model.encode_images([picture(*size) for size in sizes], crops=crops)
    assert features.shape == (len(sizes), crops, model.dim)
    assert features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_one_crop_is_the_models_own_preprocessing(variant: Callable[..., Path], resize_mode: str) -> None:
    made = variant(preprocess={"resize_mode": resize_mode, "mean": [0.5] * 3, "std": [0.4] * 3,
                               "interpolation": "bilinear"})
    images = [picture(120, 160), picture(200, 90, 1)]
    features = clip.load(str(made), precision="fp32").encode_images(images)[:, 0]
    assert np.allclose(features, reference(made, images), atol=1e-5)


def test_crops_come_in_vadclips_order(model: Clip) -> None:
    image = picture(LARGE, 97)  # of a size that the resizing leaves alone
    top, left = (LARGE - SIDE) // 2, (97 - SIDE) // 2
    places = [(top, left), (0, 0), (0, 97 - SIDE), (LARGE - SIDE, 0), (LARGE - SIDE, 97 - SIDE)]
    cut = [image[y:y + SIDE, x:x + SIDE] for y, x in places]
    expected = model.encode_images([*cut, *(view[:, ::-1] for view in cut)])[:, 0]
    assert np.allclose(model.encode_images([image], crops=10)[0], expected, atol=1e-5)
    assert np.allclose(model.encode_images([image], crops=5)[0], expected[:5], atol=1e-5)
    assert (expected @ expected.T - 2 * np.eye(10)).max() < 0.9999  # all ten differ


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 200), st.integers(20, 200), st.integers(0, 99))
def test_a_mirrored_picture_has_the_same_ten_crops_in_another_order(
    model: Clip, height: int, width: int, seed: int
) -> None:
    image = picture(height, width, seed)
    one, other = model.encode_images([image, image[:, ::-1]], crops=10)
    swapped = [7, 6, 9, 8]  # the mirror image of the top right corner is the top left corner of the mirror image
    assert ((other[1:5] * one[swapped]).sum(-1) > 0.999).all()
    assert ((one[1:5] * other[swapped]).sum(-1) > 0.999).all()


def test_batching_changes_nothing(model: Clip) -> None:
    images = [picture(40 + n % 5, 60, n) for n in range(clip.BATCH + 6)]
    together = model.encode_images(images)
    alone = np.concatenate([model.encode_images([image]) for image in images[-8:]])
    assert np.allclose(together[-8:], alone, atol=1e-5)
    assert np.array_equal(together, model.encode_images(images))


def test_bfloat16_moves_features_a_little_and_texts_not_at_all(folder: Path, model: Clip) -> None:
    half = clip.load(str(folder), precision="bf16")
    images = [picture(80, 100, seed) for seed in range(4)]
    assert (half.encode_images(images) * model.encode_images(images)).sum(-1).min() > 0.999
    assert half.encode_images(images).dtype == np.float32
    assert np.array_equal(half.encode_texts(["a fight"]), model.encode_texts(["a fight"]))
    assert (half.precision, half.provenance["precision"]) == ("bf16", "bf16")


@pytest.mark.parametrize("image", [
    np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32),
    np.zeros((0, 8, 3), np.uint8)])
def test_what_is_no_picture_is_named(model: Clip, image: np.ndarray) -> None:
    with pytest.raises(ClipError, match=r"picture 1: .* expected uint8 \(H, W, 3\)"):
        model.encode_images([picture(8, 8), image])
    with pytest.raises(ClipError, match="use 1, 5 or 10"):
        model.encode_images([picture(8, 8)], crops=3)


def test_batches_of_anything_are_read_in_order_and_not_far_ahead(model: Clip) -> None:
    images = [picture(40 + n % 3, 60, n) for n in range(20)]
    drawn = 0

    def batches() -> Iterator[list[int]]:
        nonlocal drawn
        for start in range(0, 20, 2):
            drawn += 1
            yield [start, start + 1]

    found = []
    for features in model.encode_batches(batches(), lambda place: images[place]):
        found.append(features)
        assert drawn <= len(found) + encoder.AHEAD
    assert np.allclose(np.concatenate(found), model.encode_images(images), atol=1e-5)


def test_what_reading_raises_ends_it_and_its_threads(model: Clip) -> None:
    def read(place: int) -> np.ndarray:
        if place == 5:
            raise ValueError("picture 5 is torn")
        return picture(40, 60, place)

    before = threading.active_count()
    with pytest.raises(ValueError, match="picture 5 is torn"):
        list(model.encode_batches(([n, n + 1] for n in range(0, 20, 2)), read))
    features = model.encode_batches(([n] for n in range(20)), lambda n: picture(40, 60, n))
    next(features)
    features.close()  # a user who has enough
    assert threading.active_count() == before


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([1, 5, 10]), st.sampled_from(["bilinear", "bicubic"]),
       st.sampled_from([(64, 64), (48, 64)]))
def test_a_card_cuts_pictures_as_pillow_does(
    height: int, width: int, crops: int, interpolation: str, size: tuple[int, int]
) -> None:
    views = Views(PreprocessCfg(size=size, interpolation=interpolation))
    images = np.stack([picture(height, width, seed) for seed in range(2)])
    if not views.for_card(images[0], crops):
        assert crops == 1
        assert size == (48, 64)  # open_clip has another rule where the input is no square
        return
    ours = views.cut_on_card(torch.from_numpy(images), crops).permute(0, 2, 3, 1).numpy()
    pillows = np.concatenate([views.cut(image, crops) for image in images])
    apart = np.abs(ours - pillows)
    assert apart.max() <= 2  # a half may be rounded the other way, in each of two passes
    assert (apart > 0).mean() < 0.02


# Texts


def test_texts_equal_open_clips(folder: Path, model: Clip) -> None:
    texts = ["a man runs", "Two cars collide at night.", "x"]
    net = open_clip.create_model(f"local-dir:{folder}")
    with torch.no_grad():
        expected = net.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts), normalize=True).numpy()
    assert np.allclose(model.encode_texts(texts), expected, atol=1e-5)
    assert model.encode_texts([]).shape == (0, model.dim)


def test_a_long_text_is_the_mean_of_its_sentences(model: Clip) -> None:
    parts = [f"Person {n} walks slowly past the shop and looks into the window." for n in range(12)]
    feature, count = model.encode_long_text(" ".join(parts))
    mean = model.encode_texts(parts).mean(axis=0)
    assert count == 12
    assert np.allclose(feature, mean / np.linalg.norm(mean), atol=1e-6)
    short, count = model.encode_long_text(parts[0])
    assert count == 1
    assert np.allclose(short, model.encode_texts(parts[:1])[0], atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(80, 300), st.sampled_from(["word ", "x9", "人", "a, "]))
def test_a_text_without_sentences_is_read_to_its_end(model: Clip, count: int, word: str) -> None:
    text = word * count
    feature, pieces = model.encode_long_text(text)
    changed, _ = model.encode_long_text(text + " fire")
    assert pieces > 1
    assert np.isclose(np.linalg.norm(feature), 1, atol=1e-5)
    assert not np.allclose(feature, changed, atol=1e-6)  # the last word counts


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_text_without_words_is_refused(model: Clip, text: str) -> None:
    with pytest.raises(ClipError, match="no words"):
        model.encode_long_text(text)
    with pytest.raises(ClipError, match="no words"):
        model.encode_texts(["a man", text])


def test_a_short_text_is_never_cut(model: Clip) -> None:
    model.encode_texts(["word " * 75])
    with pytest.raises(ClipError, match=r"78 tokens, .* reads 77"):
        model.encode_texts(["word " * 76])


# The text tower


@pytest.mark.parametrize("config", [
    {}, {"custom_text": True}, {"quick_gelu": True}, {"text": {"proj_bias": True}, "custom_text": True}])
def test_text_tower_equals_encode_text(variant: Callable[..., Path], config: dict[str, Any]) -> None:
    made = variant(**config)
    model = clip.load(str(made), precision="fp32")
    tower = model.text_tower()
    texts = ["a fight", "two people rob a shop at night and then they run away", "fire"]
    ids = tower.tokenize(texts)
    eot = torch.tensor([len(each) - 1 for each in ids])
    padded = torch.zeros(len(ids), int(eot.max()) + 1, dtype=torch.long)
    for row, each in zip(padded, ids, strict=True):
        row[:len(each)] = torch.tensor(each)
    features = tower(tower.token_embedding(padded), eot)
    with torch.no_grad():
        expected = model.net.encode_text(open_clip.get_tokenizer(f"local-dir:{made}")(texts))
    assert features.shape == (3, tower.dim) == (3, model.dim)
    assert torch.allclose(features, expected, atol=1e-5)


def test_gradients_reach_the_prompt_and_nothing_else(model: Clip) -> None:
    tower = model.text_tower()
    before = {key: value.clone() for key, value in tower.state_dict().items()}
    ids = torch.tensor(tower.tokenize(["a b c"]))
    embeddings = tower.token_embedding(ids).clone().requires_grad_()
    longer = torch.cat([embeddings, torch.randn(1, 4, tower.width)], dim=1)
    eot = torch.tensor([ids.shape[1] - 1])
    feature = tower(embeddings, eot)
    assert torch.allclose(tower(longer, eot), feature, atol=1e-5)  # what stands behind the end is not read
    feature.sum().backward()
    assert embeddings.grad is not None
    assert (embeddings.grad.abs().sum(-1) > 0).all()
    assert all(value.grad is None and not value.requires_grad for value in tower.parameters())
    with torch.no_grad():
        for value in tower.parameters():
            value.add_(1)
    assert np.allclose(np.linalg.norm(model.encode_texts(["a b c"]), axis=-1), 1, atol=1e-5)
    assert all(torch.equal(model.text_tower().state_dict()[key], value) for key, value in before.items())  # a copy


def test_a_prompt_that_is_too_long_is_refused(model: Clip) -> None:
    with pytest.raises(ValueError, match="prompt has 82 tokens, CLIP reads 77"):
        model.text_tower().tokenize(["word " * 80])


@pytest.mark.parametrize(("text", "why"), [
    ({"no_causal_mask": True}, "not causal"), ({"pool_type": "last"}, "pools 'last'"),
    ({"embed_cls": True}, "class token")])
def test_towers_that_cannot_be_shortened_are_refused(
    variant: Callable[..., Path], text: dict[str, Any], why: str
) -> None:
    model = clip.load(str(variant(text=text, custom_text=True)), precision="fp32")
    assert model.encode_texts(["a fight"]).shape == (1, model.dim)
    with pytest.raises(ClipError, match=f"{why}.*ViT-B-16"):
        model.text_tower()


# Loading


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    again, other = tiny_clip(tmp_path / "again"), tiny_clip(tmp_path / "other", seed=1)
    weights = (folder / clip.WEIGHTS).read_bytes()
    assert (again / clip.WEIGHTS).read_bytes() == weights
    assert (other / clip.WEIGHTS).read_bytes() != weights
    assert len(weights) < 10_000_000


def test_loading_says_nothing_and_leaves_logging_alone(
    folder: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    clip.load(str(folder), precision="bf16").encode_images([picture(80, 90)])
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert (logging.root.handlers, logging.root.manager.disable) == (handlers, disabled)


@pytest.fixture
def _as_builtin(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the small model one that open_clip knows by the name Tiny-16, with a tag trained with QuickGELU."""
    config = json.loads((folder / clip.CONFIG).read_text())["model_cfg"]
    tag = {"file": str(folder / clip.WEIGHTS), "quick_gelu": True, "mean": [0.5] * 3}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-16", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-16", {"quick": tag})


@pytest.mark.usefixtures("_as_builtin")
def test_a_name_with_a_weights_file(folder: Path, model: Clip) -> None:
    named = clip.load("Tiny/16", str(folder / clip.WEIGHTS), precision="fp32")
    assert np.array_equal(named.encode_images([picture(70, 70)]), model.encode_images([picture(70, 70)]))


@pytest.mark.usefixtures("_as_builtin")
@pytest.mark.filterwarnings("error")
def test_weights_trained_with_quickgelu_run_with_it(folder: Path, variant: Callable[..., Path]) -> None:
    made = variant(quick_gelu=True, preprocess={"mean": [0.5] * 3})
    shutil.copy(folder / clip.WEIGHTS, made)
    named = clip.load("Tiny-16", "quick", precision="fp32")
    expected = clip.load(str(made), precision="fp32")
    assert np.array_equal(named.encode_images([picture(70, 70)]), expected.encode_images([picture(70, 70)]))


@pytest.fixture
def _offline_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub cache that holds org/tiny at one commit, and no network."""
    repository = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / ("c0ffee" * 7)[:40])
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(("c0ffee" * 7)[:40])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("_offline_hub")
def test_a_hub_model_is_taken_from_the_cache(model: Clip) -> None:
    for name in ("hf-hub:org/tiny", f"hf-hub:org/tiny@{('c0ffee' * 7)[:40]}"):
        hub = clip.load(name, precision="fp32")
        assert hub.name == name
        assert np.array_equal(hub.encode_images([picture(70, 70)]), model.encode_images([picture(70, 70)]))


@pytest.mark.usefixtures("_offline_hub")
@pytest.mark.parametrize(("name", "tag"), [
    ("hf-hub:org/other", None), ("hf-hub:org/tiny@another", None), ("ViT-B-16", "openai")])
def test_without_a_network_the_remedy_is_named(name: str, tag: str | None) -> None:
    with pytest.raises(ClipError, match=rf"{name}.* cannot be fetched: .*connected machine.*local folder"):
        clip.load(name, tag)


@pytest.mark.parametrize(("name", "tag", "message"), [
    ("ViT-B16", "openai", "no CLIP model 'ViT-B16'; near it: ViT-B-16"),
    ("openai/clip-vit-base-patch16", None, "hf-hub:org/name"),
    ("ViT-B-16", "opnai", "no weights 'opnai' .* openai, laion400m"),
    ("ViT-B-16", None, "no weights named .* openai, laion400m"),
    ("local-dir:/nowhere/at/all", None, "no such folder"),
])
def test_a_wrong_name_is_answered_with_the_right_ones(name: str, tag: str | None, message: str) -> None:
    with pytest.raises(ClipError, match=message):
        clip.load(name, tag)


def test_a_folder_that_is_no_model_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"no open_clip_config\.json"):
        clip.load(str(tmp_path))
    shutil.copy(folder / clip.CONFIG, tmp_path)
    with pytest.raises(ClipError, match="no weights in it"):
        clip.load(str(tmp_path))
    (tmp_path / clip.WEIGHTS).write_bytes((folder / clip.WEIGHTS).read_bytes()[:5000])
    with pytest.raises(ClipError, match=r"cannot be loaded: .*belong together"):
        clip.load(str(tmp_path))
    shutil.copy(folder / clip.WEIGHTS, tmp_path)
    wider = (folder / clip.CONFIG).read_text().replace('"embed_dim": 32', '"embed_dim": 40')
    (tmp_path / clip.CONFIG).write_text(wider)
    with pytest.raises(ClipError, match=r"cannot be loaded: .*belong together"):
        clip.load(str(tmp_path))


def test_a_device_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ClipError, match="'abacus' is not known; use auto"):
        clip.load(str(folder), device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ClipError, match=r"no CUDA GPU .* use auto or cpu"):
            clip.load(str(folder), device="cuda")
