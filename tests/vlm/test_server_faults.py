"""A managed server that is killed, hangs, cannot start or finds its port taken: nothing is lost, nothing is left."""

import json
import socket
import sys
from pathlib import Path

import pytest

from pipeline.instruments.vlm import EngineError, RequestError
from pipeline.instruments.vlm.managed import VllmServer, find_python
from pipeline.instruments.vlm.options import VllmOptions
from tests.vlm.fakes import MODEL, Fake, alive, describe_all, own_prompt, request, token_in


@pytest.mark.parametrize("fault", ["kill", "worker", "hang"])
def test_a_lost_server_is_restarted_and_what_was_in_flight_is_asked_again(fake: Fake, fault: str) -> None:
    prompts = [f"{i} fault={fault}" if i in (3, 17) else str(i) for i in range(24)]
    with fake.engine({"FAKE_LATENCY": "0.02"}, request_timeout_s=3.0 if fault == "hang" else 60.0) as engine:
        token = token_in(fake.logs)
        answers = describe_all(engine, prompts)
    assert [own_prompt(answer) for answer in answers] == prompts
    assert fake.counts("starts")["start"] >= 2
    assert not alive(token)
    assert not list(fake.logs.glob("*.json"))


def test_a_request_that_kills_every_server_is_given_up_and_the_others_are_answered(fake: Fake) -> None:
    prompts = [f"{i} fault=kill*99" if i == 2 else str(i) for i in range(12)]
    with fake.engine({"FAKE_LATENCY": "0.02"}) as engine:
        answers = describe_all(engine, prompts, threads=4)
    poison = answers.pop(2)
    assert isinstance(poison, RequestError)
    assert poison.kind == "server_lost"
    assert "--retry-failed" in poison.remedy
    assert [own_prompt(answer) for answer in answers] == prompts[:2] + prompts[3:]


def test_restarts_are_bounded_and_the_message_says_where_to_look(fake: Fake) -> None:
    with fake.engine(max_restarts=0) as engine:
        with pytest.raises(EngineError, match="restarted 0 times without one answer") as lost:
            engine.describe(request("fault=kill*99"))
        assert str(fake.logs) in str(lost.value)


def test_the_server_is_started_with_the_options_given(fake: Fake) -> None:
    options = fake.options(dtype="float16", quantization="awq", tensor_parallel_size=2, data_parallel_size=4,
                           gpu_memory_utilization=0.8, max_model_len=4096, max_num_seqs=64, max_images=8,
                           extra_args=("--seed", "7"))
    with VllmServer(MODEL, "abc123", options, logs=fake.logs, max_pixels=3136):
        command = (fake.state / "command").read_text()
        environment = json.loads((fake.state / "environment").read_text())
    for words in (f"--model {MODEL}", f"--served-model-name {MODEL} {MODEL}@abc123", "--revision abc123",
                  "--dtype float16", "--quantization awq", "--tensor-parallel-size 2", "--data-parallel-size 4",
                  "--gpu-memory-utilization 0.8", "--max-model-len 4096", "--max-num-seqs 64",
                  '--limit-mm-per-prompt {"image": 8, "video": 0}', '--mm-processor-kwargs {"max_pixels": 3136}',
                  "--enforce-eager", "--host 127.0.0.1"):
        assert words in command
    assert command.endswith("--seed 7")
    assert environment["VLLM_API_KEY"] not in command
    assert environment["VLLM_NO_USAGE_STATS"] == environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment


def test_a_local_folder_is_served_offline(fake: Fake, tmp_path: Path) -> None:
    (folder := tmp_path / "a model").mkdir()
    with VllmServer(str(folder), options=fake.options(), logs=fake.logs):
        assert json.loads((fake.state / "environment").read_text())["HF_HUB_OFFLINE"] == "1"


def test_a_port_taken_between_choice_and_start_is_chosen_anew(fake: Fake) -> None:
    with fake.engine({"FAKE_START": "port*1"}) as engine:
        assert engine.describe(request("x")).text
    assert fake.counts("starts")["start"] == 2


def test_a_named_port_that_is_taken_is_reported(fake: Fake) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken") as taken, fake.engine(port=port):
            pass
    assert "leave `port` out" in str(taken.value)


def test_a_server_that_cannot_start_is_reported_with_reason_remedy_and_log(fake: Fake) -> None:
    with pytest.raises(EngineError) as failed, fake.engine({"FAKE_START": "oom"}):
        pass
    assert "did not start: out of memory" in str(failed.value)
    assert "Remedy: lower max_model_len" in str(failed.value)
    assert "Tried to allocate 2.00 GiB" in str(failed.value)
    assert not list(fake.logs.glob("*.json"))


def test_a_wrong_flag_is_named(fake: Fake) -> None:
    with pytest.raises(EngineError, match="unrecognized arguments: --no-such-flag") as failed, \
            fake.engine(extra_args=("--no-such-flag",)):
        pass
    assert "correct extra_args" in str(failed.value)


def test_a_server_that_never_answers_is_ended_at_the_startup_deadline(fake: Fake) -> None:
    with pytest.raises(EngineError, match="raise startup_timeout_s"), \
            fake.engine({"FAKE_START": "silent"}, startup_timeout_s=1.0):
        pass
    assert fake.counts("starts")["start"] == 1


def test_a_python_without_vllm_or_no_python_is_reported() -> None:
    with pytest.raises(EngineError, match=r"has no vLLM.*make vllm"), \
            VllmServer(MODEL, options=VllmOptions(python=sys.executable), logs="."):
        pass
    with pytest.raises(EngineError, match=r"not an executable file.*make vllm"):
        find_python("/nowhere/python")
