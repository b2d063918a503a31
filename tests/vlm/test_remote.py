"""Servers that run elsewhere: balanced, taken out when dead, probed again, checked for what they serve."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.instruments.vlm import EngineError
from pipeline.instruments.vlm.endpoints import Endpoint, Pool
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.vllm_server import VllmEngine
from tests.vlm.fakes import MODEL, Remote, describe_all, own_prompt, remotes, request


def engine(*given: Remote, model: str = MODEL, revision: str | None = None, max_pixels: int | None = None,
           told: list[str] | None = None, **options: object) -> VllmEngine:
    defaults: dict[str, object] = {"backoff_s": 0.05, "request_timeout_s": 5.0}
    return VllmEngine(model, revision, VllmOptions.model_validate(
        defaults | {"base_urls": [remote.url for remote in given]} | options), max_pixels=max_pixels,
        progress=None if told is None else told.append)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_the_server_with_the_fewest_requests_outstanding_takes_the_next_one(outstanding: list[int],
                                                                            data: st.DataObject) -> None:
    async def never(endpoint: Endpoint) -> Any:
        raise AssertionError("no server failed")

    async def next_one() -> Endpoint:
        pool = Pool([Endpoint(client, outstanding=n, up=up) for n, up in zip(outstanding, ups, strict=True)],
                    never, never)
        return await pool.acquire()

    client: Any = None
    ups = data.draw(st.lists(st.booleans(), min_size=len(outstanding), max_size=len(outstanding)).filter(any))
    taken = asyncio.run(next_one())
    assert taken.up
    assert taken.outstanding - 1 == min(n for n, up in zip(outstanding, ups, strict=True) if up)


def test_requests_are_balanced_a_dead_server_is_left_out_and_taken_back(tmp_path: Path) -> None:
    one, two = (Remote(tmp_path / name, env={"FAKE_LATENCY": "0.03"}) for name in "ab")
    prompts = [str(i) for i in range(20)]
    told: list[str] = []
    with remotes(one, two), engine(one, two, told=told) as both:
        assert [own_prompt(answer) for answer in describe_all(both, prompts)] == prompts
        assert 0 < one.answered().total() < 20
        two.stop()
        assert [own_prompt(answer) for answer in describe_all(both, prompts)] == prompts
        before = two.answered().total()
        two.start()
        deadline = time.monotonic() + 60
        while two.answered().total() == before and time.monotonic() < deadline:
            describe_all(both, prompts)
        assert two.answered().total() > before
    assert [two.url in told[0], "left out" in told[0], "is back" in told[1], len(told)] == [True, True, True, 2]


def test_one_that_is_dead_at_the_start_does_not_stop_the_others(tmp_path: Path) -> None:
    one, two = Remote(tmp_path / "a"), Remote(tmp_path / "b")
    with remotes(one), engine(one, two) as both:
        assert both.describe(request("x")).text


def test_when_none_answers_it_says_so_at_once_and_names_them(tmp_path: Path) -> None:
    one, two = Remote(tmp_path / "a"), Remote(tmp_path / "b")
    with pytest.raises(EngineError, match="no server answers") as silent, engine(one, two):
        pass
    assert one.url in str(silent.value)
    assert two.url in str(silent.value)


def test_an_outage_is_waited_out_but_not_for_ever(tmp_path: Path) -> None:
    one = Remote(tmp_path / "a")
    with remotes(one), engine(one, outage_timeout_s=0.5) as alone:
        alone.describe(request("before"))
        one.stop()
        with pytest.raises(EngineError, match=r"no server has answered for .*what is described stays described"):
            alone.describe(request("during"))


def test_the_model_and_its_revision_are_checked_against_what_is_served(tmp_path: Path) -> None:
    plain = Remote(tmp_path / "plain", ["other/model", MODEL])
    named = Remote(tmp_path / "named", [MODEL, f"{MODEL}@abc"])
    cached = Remote(tmp_path / "cached", env={"FAKE_ROOT": "/cache/models--org--model/snapshots/abc"})
    with remotes(plain, named, cached):
        with pytest.raises(EngineError, match="serves org/model, other/model, not org/none"), \
                engine(plain, model="org/none"):
            pass
        with pytest.raises(EngineError, match="does not say that this is revision abc"), engine(plain, revision="abc"):
            pass
        with engine(named, cached, revision="abc") as checked:
            answers = describe_all(checked, [str(i) for i in range(8)], threads=4)
        texts = [answer.text for answer in answers if not isinstance(answer, Exception)]
        assert any(f'"model": "{MODEL}@abc"' in text for text in texts)
        assert len(texts) == 8


def test_the_key_comes_from_the_environment_and_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Remote(tmp_path / "a", env={"VLLM_API_KEY": "sesame-open"})
    with remotes(guarded):
        with pytest.raises(EngineError, match="DBVAD_TEST_KEY, which is not set"):
            engine(guarded, api_key_env="DBVAD_TEST_KEY")
        monkeypatch.setenv("DBVAD_TEST_KEY", "sesame-shut")
        with pytest.raises(EngineError, match="refuses the API key") as refused, \
                engine(guarded, api_key_env="DBVAD_TEST_KEY"):
            pass
        assert "sesame" not in str(refused.value)
        assert refused.value.__cause__ is None
        monkeypatch.setenv("DBVAD_TEST_KEY", "sesame-open")
        with engine(guarded, api_key_env="DBVAD_TEST_KEY") as entered:
            assert entered.describe(request("x")).text


def test_max_pixels_goes_with_every_request_to_a_server_that_allows_it(tmp_path: Path) -> None:
    open_minded, strict = Remote(tmp_path / "a"), Remote(tmp_path / "b", env={"FAKE_STRICT": "1"})
    with remotes(open_minded, strict):
        with engine(open_minded, max_pixels=50176) as entered:
            assert '"mm_processor_kwargs": {"max_pixels": 50176}' in entered.describe(request("x")).text
        with engine(strict, max_pixels=50176) as entered, pytest.raises(EngineError, match="leave max_pixels out"):
            entered.describe(request("x"))


def test_an_address_without_v1_is_explained(tmp_path: Path) -> None:
    one = Remote(tmp_path / "a")
    one.url = one.url.removesuffix("/v1") + "/missing"
    with remotes(one), pytest.raises(EngineError, match="end in /v1"), engine(one):
        pass
