"""The transformers engine on a small Qwen2.5-VL with random weights."""

import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from pipeline.instruments.vlm import Answer, Engine, EngineError, Request, RequestError
from pipeline.instruments.vlm.transformers_local import TransformersEngine, quiet
from tests.tiny import tiny_qwen

PROMPT = "Describe what happens in these surveillance frames."


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with TransformersEngine(str(folder), precision="fp32") as opened:
        yield opened


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def frame(seed: int, height: int = 112, width: int = 140) -> bytes:
    """A JPEG of coarse coloured noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(data, "JPEG")
    return data.getvalue()


ASKED = Request((frame(0), frame(1)), PROMPT, max_tokens=24)


def untimed(answer: Answer) -> Answer:
    return replace(answer, latency_ms=0)


def plain(folder: Path) -> tuple[int, list[int], str]:
    """What transformers makes of ASKED without the engine: tokens read, tokens written, their text."""
    with quiet():
        processor = AutoProcessor.from_pretrained(folder)
        net = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    inputs = processor(
        text=[f"<|im_start|>user\n{image}{image}{PROMPT}<|im_end|>\n<|im_start|>assistant\n"],
        images=[Image.open(io.BytesIO(data)) for data in ASKED.images], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    written = net.generate(**inputs, max_new_tokens=24)[0, length:].tolist()
    return length, written, processor.decode(written, skip_special_tokens=True).strip()


def test_the_model_reads_the_images_and_then_the_prompt(engine: Engine, folder: Path) -> None:
    length, written, text = plain(folder)
    answer = engine.describe(ASKED)
    assert answer.text == text != ""
    assert (answer.prompt_tokens, answer.output_tokens, answer.finish_reason) == (length, len(written), "length")
    assert length > 2 * (112 // 28) * (140 // 28)  # a token an area of 28 x 28 pixels
    assert answer.latency_ms > 0


def test_answers_are_repeatable_and_depend_on_the_images(engine: Engine) -> None:
    first = untimed(engine.describe(ASKED))
    swapped = engine.describe(replace(ASKED, images=ASKED.images[::-1]))
    assert untimed(engine.describe(ASKED)) == first
    assert engine.describe(replace(ASKED, seed=5)).text == first.text  # greedy: no draw
    assert swapped.text != first.text
    assert swapped.prompt_tokens == first.prompt_tokens


def test_sampling_follows_the_seed_and_leaves_torchs_own_alone(engine: Engine) -> None:
    warm = replace(ASKED, temperature=0.9)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    texts = [engine.describe(replace(warm, seed=seed)).text for seed in (1, 2, 1)]
    assert torch.equal(torch.rand(2), expected)
    assert texts[0] == texts[2] != texts[1]


def test_an_answer_that_ends_by_itself_is_marked_so(folder: Path, copied: Path) -> None:
    _, written, _ = plain(folder)
    config = json.loads((copied / "generation_config.json").read_text())
    config["eos_token_id"] = written[5]
    (copied / "generation_config.json").write_text(json.dumps(config))
    count = written.index(written[5]) + 1
    with TransformersEngine(str(copied), precision="fp32") as engine:
        for limit, reason in ((24, "stop"), (count, "stop"), (count - 1, "length")):
            answer = engine.describe(replace(ASKED, max_tokens=limit))
            assert (answer.finish_reason, answer.output_tokens) == (reason, min(limit, count))


def test_threads_take_turns(engine: Engine) -> None:
    requests = [replace(ASKED, images=(frame(seed),), max_tokens=6) for seed in range(6)]
    alone = [untimed(engine.describe(request)) for request in requests]
    with ThreadPoolExecutor(6) as pool:
        assert [untimed(answer) for answer in pool.map(engine.describe, requests)] == alone
    assert len({answer.text for answer in alone}) > 3


def test_a_pixel_budget_makes_fewer_tokens(engine: Engine, folder: Path) -> None:
    with TransformersEngine(str(folder), precision="bf16", max_pixels=56 * 56) as small:
        answer = small.describe(ASKED)
    assert engine.describe(ASKED).prompt_tokens - answer.prompt_tokens == 2 * (4 * 5 - answer_tokens(56 * 56))


def answer_tokens(pixels: int) -> int:
    """Image tokens of a 112 x 140 frame within a budget: the largest multiple of 28 on each side that fits."""
    shrink = (112 * 140 / pixels) ** 0.5
    return int(112 / shrink // 28) * int(140 / shrink // 28)


@pytest.mark.parametrize(("request_", "kind"), [
    (replace(ASKED, images=(frame(0), b"not a picture")), "bad_image"),
    (replace(ASKED, images=(frame(0)[:400],)), "bad_image"),
    (replace(ASKED, images=(b"",)), "bad_image"),
    (replace(ASKED, images=(frame(0, 1, 300),)), "bad_image"),  # aspect ratio above 200
    (replace(ASKED, images=()), "no_images"),
    (replace(ASKED, prompt="word " * 2000), "too_long"),
    (replace(ASKED, max_tokens=2048), "too_long"),
])
def test_a_bad_request_costs_only_itself(engine: Engine, request_: Request, kind: str) -> None:
    expected = untimed(engine.describe(ASKED))
    with pytest.raises(RequestError) as caught:
        engine.describe(request_)
    assert caught.value.kind == kind
    assert caught.value.remedy
    assert " at 0x" not in caught.value.reason
    assert untimed(engine.describe(ASKED)) == expected


@pytest.mark.filterwarnings("error")
def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with TransformersEngine(str(folder), precision="bf16") as opened:
        opened.describe(ASKED)
        opened.describe(replace(ASKED, temperature=0.7))
        with pytest.raises(RequestError):
            opened.describe(replace(ASKED, prompt="word " * 3000))
    assert capfd.readouterr() == ("", "")


def test_a_closed_engine_says_so(folder: Path) -> None:
    engine = TransformersEngine(str(folder))
    with pytest.raises(EngineError, match="not open"):
        engine.describe(ASKED)
    with engine:
        pass
    with pytest.raises(EngineError, match="not open"):
        engine.describe(ASKED)


def test_a_hub_model_is_taken_from_the_cache_at_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ("c0ffee" * 7)[:40]
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for revision in (None, commit):
        with TransformersEngine("org/tiny", revision) as engine:
            assert (engine.model, engine.revision) == ("org/tiny", commit)
    for name, revision in (("org/tiny", "0" * 40), ("Qwen/Qwen2.5-VL-7B-Instruct", None)):
        with pytest.raises(EngineError, match=f"{name} cannot be fetched: .* download it on a connected machine"):
            TransformersEngine(name, revision).__enter__()


def fails(folder: Path, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        TransformersEngine(str(folder)).__enter__()


def test_a_checkpoint_that_cannot_be_used_says_why(copied: Path, tmp_path: Path) -> None:
    fails(tmp_path / "nowhere", "no such folder; give a folder, or a hub model")
    fails(tmp_path, r"no config\.json in it")
    weights = load_file(copied / "model.safetensors")
    lacking = {key: value for key, value in weights.items() if "layers.1.mlp" not in key}
    save_file(lacking, copied / "model.safetensors", metadata={"format": "pt"})
    fails(copied, r"3 weights are missing .*layers\.1\.mlp.* download is incomplete")
    (copied / "model.safetensors").write_bytes(b"not weights at all")
    fails(copied, "the model cannot be loaded")
    (copied / "chat_template.jinja").unlink()
    fails(copied, "no chat template")
    (copied / "tokenizer.json").unlink()
    fails(copied, "processor cannot be loaded|no chat template")


def test_a_device_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(EngineError, match="'abacus' is not known"):
        TransformersEngine(str(folder), device="abacus").__enter__()


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tiny_qwen(tmp_path)
    assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in folder.iterdir())
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in again.iterdir())
    assert sum(path.stat().st_size for path in again.iterdir()) < 10_000_000
