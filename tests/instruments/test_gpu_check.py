"""`make gpu-check`: its parts work (here on the CPU, on small models), and without a GPU it says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dbvad.demo.tiny_clip import clip_config
from tools import gpu_check, gpu_clip, gpu_texts
from tools.gpu_common import Figures

SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1,
         "num_key_value_heads": 1, "vocab_size": 2048}


@pytest.fixture(autouse=True)
def _one_core() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def _small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.get_model_config", lambda name: clip_config()["model_cfg"])


def last(part: Iterator[Figures]) -> Figures:
    """What a part has found in the end, which holds all that it said before."""
    found: Figures = {}
    for figures in part:
        assert found.keys() <= figures.keys()
        found = dict(figures)
    assert json.loads(json.dumps(found)) == found
    return found


def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run([sys.executable, gpu_check.__file__], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "finds no CUDA GPU here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_any_shape_describes(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu_texts.SHAPES, "small", (SMALL, tied))
    monkeypatch.setattr(gpu_texts, "VISION", gpu_texts.VISION | {"depth": 2, "hidden_size": 64, "num_heads": 2,
                                                                 "fullatt_block_indexes": [1]})
    monkeypatch.setattr(gpu_texts, "MAX_PIXELS", 28 * 28 * 12)
    figures = last(gpu_texts.describing("cpu", "small", videos=1, max_tokens=4, copied=1 << 20))
    assert figures["prompt tokens"] > 8 * 12
    assert figures["tokens/s"] > figures["videos/s"] > 0
    parameters = 2048 * 128 * (1 if tied else 2) + 2 * (128 * 128 * 4 + 3 * 128 * 256 + 5 * 128) + 128
    assert figures["GB read for a token"] == pytest.approx(2 * parameters / 1e9)  # bfloat16
    assert figures["of that"] == pytest.approx(figures["tokens/s"] / figures["tokens/s at most, one at a time"])


def test_the_trained_models_texts_are_compared() -> None:
    figures = last(gpu_texts.texts("cpu", videos=1))
    assert figures["videos"] == 1
    assert figures["equal to float32 on the CPU"] in (0, 1)


def test_the_limits_are_numbers() -> None:
    figures = last(gpu_clip.limits("cpu", side=64, copied=1 << 20))
    assert len(figures) == 4
    assert all(value > 0 for value in figures.values())


@pytest.mark.usefixtures("_small_clip")
def test_the_image_tower_is_near_that_in_float32_and_measured_by_batch() -> None:
    figures = last(gpu_clip.clip("cpu", batches=(1, 3), side=64))
    assert 0.99 < figures["least cosine to float32 on the CPU"] <= 1.001
    assert figures["of the limit, batch 3"] == pytest.approx(
        figures["crops/s, batch 3"] * figures["GFLOP a crop"] / 1e3 / figures["matrix limit, TFLOP/s"])
    vision = clip_config()["model_cfg"]["vision_cfg"]
    width, patch = vision["width"], vision["patch_size"]
    tokens = (vision["image_size"] // patch) ** 2 + 1
    layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    ends = 2 * (tokens - 1) * 3 * patch**2 * width + 2 * width * clip_config()["model_cfg"]["embed_dim"]
    assert figures["GFLOP a crop"] * 1e9 == pytest.approx(vision["layers"] * layer + ends)


@pytest.mark.usefixtures("_small_clip")
def test_compiling_is_weighed_against_what_it_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda net, **given: net)
    figures = last(gpu_clip.compiled("cpu", batch=2, side=64))
    assert figures["times eager"] == pytest.approx(figures["crops/s, batch 2"] / figures["crops/s, eager"])
    assert ("crops after which it pays" in figures) == (figures["times eager"] > 1)


@pytest.mark.usefixtures("_small_clip")
def test_the_score_stage_is_measured_with_its_parts() -> None:
    figures = last(gpu_clip.score("cpu", frames=16, videos=2))
    assert figures["cosine of card-cut to Pillow-cut, least"] > 0.999
    rates = [value for name, value in figures.items() if "frames/s" in name]
    assert len(rates) == 8
    assert min(rates) > 0


def test_the_training_step_is_that_of_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"side": "dbvad", "precision": "bf16", "lengths": "UCF-Crime", "videos_s": 50.0, "peak_bytes": 2e9}]
    command: list[str] = []

    def run(words: list[str], **given: object) -> subprocess.CompletedProcess[str]:
        command.extend(words)
        return subprocess.CompletedProcess(words, 0, f"a table\n{json.dumps({'results': rows})}\n", "")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", run)
        assert last(gpu_check.training("cuda")) == {
            "videos/s, dbvad bf16, UCF-Crime": 50.0, "peak GB, dbvad bf16, UCF-Crime": 2.0}
    assert command[2:4] == ["--device", "cuda"]
    assert "usage:" in subprocess.run([*command[:2], "--help"], capture_output=True, text=True, check=True).stdout


PARTS = """
import os, sys, time
sys.argv[0] = {file!r}
sys.path.insert(0, {root!r})
from tools import gpu_check
def whole(device): yield {{"a": 1}}; print("a library's word"); yield {{"a": 1, "device": device}}
def missing(device): import no_such_package; yield {{}}
def broken(device): yield {{"a": 1}}; raise RuntimeError("CUDA error")
def dead(device): yield {{"a": 1}}; os._exit(7)
def slow(device): yield {{"a": 1}}; time.sleep(60)
gpu_check.PARTS.update({{part.__name__: (part, 1) for part in (whole, missing, broken, dead, slow)}})
sys.exit(gpu_check.main())
"""


@pytest.mark.parametrize(("part", "expected"), [
    ("whole", {"a": 1, "device": "cpu"}),
    ("missing", {"skipped": "No module named 'no_such_package': install it to have this part"}),
    ("broken", {"a": 1, "failed": "RuntimeError: CUDA error"}),
    ("dead", {"a": 1, "failed": "its process ended with exit code 7"}),
])
def test_a_part_is_its_own_process_and_what_it_found_is_kept(
    part: str, expected: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "SCRIPT", parts(tmp_path))
    assert gpu_check.measure(part, "cpu", "3B", 100) == expected


def test_a_part_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "SCRIPT", parts(tmp_path))
    assert gpu_check.measure("slow", "cpu", "3B", 5)["failed"] == "not done in 5 s"


def parts(folder: Path) -> str:
    """The command with parts that fail."""
    script = folder / "gpu_check.py"
    script.write_text(PARTS.format(file=gpu_check.__file__, root=str(gpu_check.ROOT)))
    return str(script)


def test_a_table_has_a_line_for_each_figure() -> None:
    lines = gpu_check.table("clip", {"crops/s": 12345.678, "model": "ViT"}).splitlines()
    assert [line.split()[-1] for line in lines] == ["1.235e+04", "ViT"]
    assert lines[0].startswith("clip ")
