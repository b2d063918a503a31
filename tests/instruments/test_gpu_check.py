"""`make gpu-check`: its parts work (here on the CPU, on small models), and without a GPU it says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dbvad.demo.tiny_clip import clip_config
from tools import gpu_check

SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1,
         "num_key_value_heads": 1, "vocab_size": 2048}


@pytest.fixture(autouse=True)
def _one_core() -> None:
    torch.set_num_threads(1)


def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run([sys.executable, gpu_check.__file__], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "finds no CUDA GPU here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_any_shape_describes(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu_check.SHAPES, "small", (SMALL, tied))
    monkeypatch.setattr(gpu_check, "VISION", gpu_check.VISION | {"depth": 2, "hidden_size": 64, "num_heads": 2,
                                                                 "fullatt_block_indexes": [1]})
    monkeypatch.setattr(gpu_check, "MAX_PIXELS", 28 * 28 * 12)
    figures = gpu_check.describing("cpu", "small", videos=1, max_tokens=4)
    assert figures["prompt tokens"] > 8 * 12
    assert figures["tokens/s"] > figures["videos/s"] > 0


def test_the_trained_models_texts_are_compared() -> None:
    figures = gpu_check.texts("cpu", videos=1)
    assert figures["videos"] == 1
    assert figures["equal to float32 on the CPU"] in (0, 1)


def test_features_are_near_those_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.get_model_config", lambda name: clip_config()["model_cfg"])
    figures = gpu_check.features("cpu", frames=10)
    assert 0.99 < figures["least cosine to float32 on the CPU"] <= 1.001
    assert all(value > 0 for name, value in figures.items() if "/s" in name)


def test_a_part_that_cannot_run_says_why_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> dict[str, object]:
        raise ModuleNotFoundError("No module named 'open_clip'")

    def broken() -> dict[str, object]:
        raise RuntimeError("CUDA error")

    found = gpu_check.measure({"one": missing, "two": broken, "three": lambda: {"frames/s": 12345.678}})
    assert "No module named 'open_clip': install it" in found["one"]["skipped"]
    assert found["two"] == {"failed": "RuntimeError: CUDA error"}
    assert json.loads(json.dumps(found)) == found
    assert "1.235e+04" in gpu_check.table(found)


def test_the_training_step_is_that_of_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"side": "dbvad", "precision": "bf16", "lengths": "UCF-Crime", "videos_s": 50.0, "peak_bytes": 2e9}]
    command: list[str] = []

    def run(words: list[str], **given: object) -> subprocess.CompletedProcess[str]:
        command.extend(words)
        return subprocess.CompletedProcess(words, 0, f"a table\n{json.dumps({'results': rows})}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert gpu_check.training("cuda") == {
        "videos/s, dbvad bf16, UCF-Crime": 50.0, "peak GB, dbvad bf16, UCF-Crime": 2.0}
    assert command[1:] == ["-m", "bench.train", "--device", "cuda"]
    assert (Path(gpu_check.ROOT) / "bench" / "train.py").exists()
