"""One managed server, every fault that an answer can have: each request ends as described, or refused with a reason."""

import time
from collections.abc import Iterator

import pytest

from pipeline.instruments.vlm import Answer, EngineError, RequestError
from pipeline.instruments.vlm.vllm_server import GIVEN_UP_IN_A_ROW, VllmEngine
from tests.vlm.fakes import MODEL, Fake, describe_all, own_prompt, request


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VllmEngine, Fake]]:
    fake = Fake(tmp_path_factory.mktemp("client"))
    with fake.engine(request_timeout_s=3.0, attempts=3) as engine:
        yield engine, fake


def test_an_answer_has_every_field_and_the_request_reached_the_server_whole(shared: tuple[VllmEngine, Fake]) -> None:
    engine, _ = shared
    answer = engine.describe(request("whole", images=3, max_tokens=33, temperature=0.7, seed=5))
    assert answer.text.startswith("3 images: whole")
    assert f'"model": "{MODEL}"' in answer.text
    assert '"temperature": 0.7, "seed": 5, "max_tokens": 33, "mm_processor_kwargs": null' in answer.text
    assert (answer.finish_reason, answer.prompt_tokens, answer.output_tokens) == ("stop", 13, 7)
    assert 0 < answer.latency_ms < 5000


@pytest.mark.parametrize("fault", ["500", "503", "429", "html", "badjson", "nochoices", "cut", "slow", "drip"])
def test_a_passing_fault_is_tried_again_and_answered_once(shared: tuple[VllmEngine, Fake], fault: str) -> None:
    engine, fake = shared
    prompts = [f"{fault} {i}" + (f" fault={fault}" if i == 1 else "") for i in range(6)]
    answers = describe_all(engine, prompts)
    assert [own_prompt(answer) for answer in answers] == prompts
    assert all(fake.counts("answered")[prompt] == 1 for prompt in prompts)
    assert fake.counts("seen")[prompts[1]] == 2


@pytest.mark.parametrize(("fault", "kind"), [("400", "rejected"), ("404", "rejected"), ("422", "rejected"),
                                             ("413", "rejected"), ("500*9", "server_error"), ("badjson*9", "garbage")])
def test_a_lasting_fault_costs_its_request_only(shared: tuple[VllmEngine, Fake], fault: str, kind: str) -> None:
    engine, fake = shared
    bad = f"lasting fault={fault.replace('*9', '')}*9"
    good, error = describe_all(engine, [f"beside {fault}", bad])
    assert isinstance(good, Answer)
    assert isinstance(error, RequestError)
    assert error.kind == kind
    assert fault[:3] in error.reason or kind == "garbage"
    assert error.remedy
    assert fake.counts("seen")[bad] == (1 if kind == "rejected" else 3)


def test_retry_after_is_honoured(shared: tuple[VllmEngine, Fake]) -> None:
    engine, _ = shared
    began = time.monotonic()
    engine.describe(request("limited fault=429*3"))  # more often than `attempts`: a 429 is no failure of the request
    assert time.monotonic() - began >= 0.9


def test_servers_that_fail_everyone_stop_the_engine_and_not_every_video(fake: Fake) -> None:
    with fake.engine(attempts=1, backoff_s=0.01) as engine:
        for i in range(GIVEN_UP_IN_A_ROW - 1):
            with pytest.raises(RequestError):
                engine.describe(request(f"{i} fault=500*9"))
        with pytest.raises(EngineError, match="in a row were given up") as stopped:
            engine.describe(request("last fault=500*9"))
        assert str(fake.logs) in str(stopped.value)
        with pytest.raises(EngineError, match="in a row"):
            engine.describe(request("a healthy one"))


def test_a_refused_key_is_the_engines_fault_and_is_not_shown(fake: Fake) -> None:
    with fake.engine() as engine, pytest.raises(EngineError, match="api_key_env") as refused:
        engine.describe(request("fault=401"))
    assert "Bearer" not in str(refused.value)


def test_an_engine_that_is_not_open_says_so(fake: Fake) -> None:
    engine = fake.engine()
    with pytest.raises(EngineError, match="with"):
        engine.describe(request("x"))
    with engine:
        engine.describe(request("x"))
    with pytest.raises(EngineError, match="not open"):
        engine.describe(request("x"))
