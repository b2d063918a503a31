"""Options of the vLLM engine, and what a failed start is explained by."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.startup_faults import explain


@pytest.mark.parametrize(("given", "message"), [
    ({"base_urls": ["http://a/v1"], "tensor_parallel_size": 2}, "tensor_parallel_size belong to a server started here"),
    ({"base_urls": ["http://a/v1"], "python": "/usr/bin/python"}, "leave out one or the other"),
    ({"base_urls": ["a:8000"]}, "must start with http"),
    ({"base_urls": ["http://a/v1", "http://a/v1"]}, "twice"),
    ({"api_key_env": "KEY"}, "api_key_env is for base_urls"),
    ({"gpu_memory_utilization": 1.5}, "less than or equal to 1"),
    ({"tensor_parallel": 2}, "Extra inputs"),
])
def test_options_that_cannot_be_meant_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VllmOptions.model_validate(given)


def test_only_what_changes_the_texts_is_in_the_identity() -> None:
    plain = VllmOptions()
    served = VllmOptions(base_urls=("http://a/v1",), request_timeout_s=7)
    assert served.identity() == plain.identity() == VllmOptions(port=8000, data_parallel_size=8).identity()
    assert VllmOptions(quantization="awq").identity() != plain.identity()
    assert VllmOptions(dtype="float16").identity() != plain.identity()


@pytest.mark.parametrize(("output", "code", "reason", "remedy"), [
    ("RuntimeError: CUDA out of memory. Tried", 1, "out of memory", "max_model_len"),
    ("ValueError: No available memory for the cache blocks.", 1, "out of memory", "gpu_memory_utilization"),
    ("loading", 137, "most likely for want of memory", "max_model_len"),
    ("OSError: x/y is not a local folder and is not a valid model identifier", 1, "the model org/m cannot", "name and"),
    ("api_server.py: error: unrecognized arguments: --odd", 2, "a flag", "extra_args"),
    ("OSError: [Errno 98] Address already in use", 1, "port 8123 is taken", "leave `port` out"),
    ("RuntimeError: Failed to infer device type", 1, "no GPU", "nvidia-smi"),
    ("ModuleNotFoundError: No module named 'vllm._C'", 1, "environment is broken", "make vllm"),
    ("nobody knows", 3, "exit code 3", "the log's end"),
    # An early warning about a module must not hide what went wrong in the end.
    ("WARNING ImportError: no flash_attn\nINFO loading\nCUDA out of memory", 1, "out of memory", "max_model_len"),
])
def test_a_failed_start_is_explained(output: str, code: int, reason: str, remedy: str) -> None:
    message = explain(output, code, model="org/m", port=8123, log=Path("logs/vllm.log"))
    assert reason in message
    assert remedy in message.split("Remedy:")[1].split("\n")[0]
    assert output.splitlines()[-1] in message
    assert "logs/vllm.log" in message
