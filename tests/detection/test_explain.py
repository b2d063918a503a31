"""What a model says of an event: the form however it is wrapped, the frames it was shown, and nothing for others."""

import io
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dbvad.detection.contracts import EXPLAIN
from dbvad.detection.explain import FRAMES, Explain, key_snippets
from dbvad.detection.form import Verdict, prompt, read_form, read_verdict
from dbvad.detection.stages import read_events
from dbvad.scoring.events import Thresholds
from pipeline.engine.stage import BadVideo, Source
from pipeline.engine.store import Store
from pipeline.instruments.vlm import Answer, Request, RequestError
from pipeline.stages.describe import Describe, DescribeParams
from tests.detection.conftest import STRIDE, TEST

FORM = {"what": "a man runs", "who": "one man", "where": "a street", "outcome": "he leaves", "against": "he may jog"}


class Engine(AbstractContextManager["Engine"]):
    """Answers with what it was told to, and keeps what it was asked."""

    model, revision = "org/model", "abc"

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer, self.asked, self.open = answer, list[Request](), 0

    def __enter__(self) -> "Engine":
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1

    def describe(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answer(request)


def answer(text: str, finish: str = "stop") -> Answer:
    return Answer(text, finish, 10, 20, 5.0)


def explain(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Explain:
    describe = Describe(DescribeParams(model="org/model"), {"name": "org/model", "revision": "abc"}, Path("logs"))
    monkeypatch.setattr(describe, "engine", lambda note: engine)
    return Explain(describe, Thresholds())


def test_every_event_is_explained_from_the_frames_named_beside_it(searched: Path, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(shutil.copytree(searched / "detections", tmp_path / "d"))
    engine = Engine(lambda request: answer(f"```json\n{json.dumps(FORM)}\n```"))
    with explain(engine, monkeypatch).open(lambda note: None) as worker:
        for name in TEST:
            events = read_events(store, name)
            asked = len(engine.asked)
            table = worker(Source(name, Path(name), "h"), store).rows
            EXPLAIN.check(table)
            rows = table.to_pylist()
            assert [row["event_id"] for row in rows] == [event.id for event in events]
            decoded = {row["frame_idx"]: row for row in store.read("decode", name).to_pylist()}
            for row, event, request in zip(rows, events, engine.asked[asked:], strict=True):
                assert 1 <= len(row["frames"]) <= FRAMES
                assert list(request.images) == [decoded[frame]["jpeg"] for frame in row["frames"]]
                assert row["times_s"] == [decoded[frame]["pts_s"] for frame in row["frames"]]
                # Of every snippet that the event or its rolls reach into.
                first, last = event.start_s - 2 - STRIDE / 25, event.end_s + 2
                assert first <= row["times_s"][0] <= row["times_s"][-1] <= last
                assert (row["what"], row["place"], row["against"], row["flags"]) == (
                    "a man runs", "a street", "he may jog", [])
                assert Image.open(io.BytesIO(request.images[0])).size[0] > 0
        assert engine.asked
        assert engine.open == 1
    assert engine.open == 0


def test_no_event_starts_no_engine(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(shutil.copytree(searched / "detections", tmp_path / "d"))
    name = next(iter(TEST))
    from dbvad.detection.contracts import EVENTS

    store.publish(EVENTS, name, EVENTS.schema.empty_table(), fingerprint="f", basis={})
    engine = Engine(lambda request: answer("{}"))
    with explain(engine, monkeypatch).open(lambda note: None) as worker:
        assert worker(Source(name, Path(name), "h"), store).rows.num_rows == 0
        assert engine.open == 0


def test_a_request_that_cannot_be_answered_costs_its_video_alone(searched: Path, monkeypatch: pytest.MonkeyPatch,
                                                                 ) -> None:
    def refuse(request: Request) -> Answer:
        raise RequestError("too_long", "the prompt is too long", "fewer frames")

    store = Store(searched / "detections")
    name = next(name for name in TEST if read_events(store, name))
    with explain(Engine(refuse), monkeypatch).open(lambda note: None) as worker, pytest.raises(BadVideo) as fault:
        worker(Source(name, Path(name), "h"), store)
    assert fault.value.kind == "too_long"


@given(st.dictionaries(st.sampled_from(list(FORM)), st.text("abc {}\"'\n", min_size=1), min_size=1),
       st.sampled_from(["%s", "```json\n%s\n```", "Here it is:\n%s", "%s\nThat is all."]))
def test_the_form_is_read_however_it_is_wrapped(said: dict[str, str], wrapping: str) -> None:
    form = read_form(wrapping % json.dumps(said))
    assert (form.what, form.place) == (said.get("what", "").strip(), said.get("where", "").strip())
    assert set(form.flags) == {f"no_{key}" for key in FORM if key not in said}


@pytest.mark.parametrize("text", ["A man runs.", "{not json}", "[1, 2]", "{\"else\": 1}", "", "{\"what\": "])
def test_an_answer_that_is_no_form_is_kept_whole_and_flagged(text: str) -> None:
    form = read_form(text)
    assert (form.what, form.flags) == (text.strip(), ("no_form",))
    assert read_form(text, "length").flags == ("not_finished", "no_form")


def test_what_is_not_a_sentence_is_kept_as_it_was_said() -> None:
    said: dict[str, Any] = {"what": ["runs", "falls"], "who": 2, "where": None, "outcome": "", "against": "none"}
    form = read_form(json.dumps(said))
    assert (form.what, form.who, form.flags) == ('["runs", "falls"]', "2", ("no_where", "no_outcome"))


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60))
def test_frames_come_in_order_and_hold_the_peak(scores: list[float]) -> None:
    chosen = key_snippets(np.array(scores, np.float32), np.arange(len(scores)) * 0.64)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(FRAMES, len(scores))
    assert max(scores) in [np.float32(scores[place]) for place in chosen]


def test_a_cameras_own_words_go_into_the_prompt_as_a_quotation() -> None:
    assert prompt("people jog\nhere \x1b[31m\u202e").endswith(r'"people jog\nhere \\u001b[31m\\u202e"')
    assert "normal there" not in prompt()
    assert prompt(verify=True).startswith(prompt())


def test_other_words_on_what_is_normal_redo_the_explanations(monkeypatch: pytest.MonkeyPatch) -> None:
    describe = Describe(DescribeParams(model="org/model"), {"name": "org/model", "revision": "abc"}, Path("logs"))
    plain, told = Explain(describe, Thresholds()), Explain(describe, Thresholds(), "people jog here")
    assert "people jog here" in told.identity()["prompt"]["text"]
    assert plain.identity() != told.identity()


@pytest.mark.parametrize(("event", "against", "verdict"), [
    ("yes", "", Verdict.CONFIRMED), ("Yes.", "he may jog", Verdict.CONFIRMED), (True, "", Verdict.CONFIRMED),
    ("no", "he jogs", Verdict.REFUTED), (" NO! ", "he jogs", Verdict.REFUTED), (False, "he jogs", Verdict.REFUTED),
    ("no", "", Verdict.UNSURE), ("no", "Not visible.", Verdict.UNSURE), ("no", None, Verdict.UNSURE),
    ("unsure", "he jogs", Verdict.UNSURE), (None, "he jogs", Verdict.UNSURE), ({"no": 1}, "he jogs", Verdict.UNSURE),
])
def test_a_verdict_refutes_only_with_a_reason(event: Any, against: str | None, verdict: Verdict) -> None:
    assert read_verdict(f"Here: {json.dumps(FORM | {'event': event, 'against': against})}") is verdict


@pytest.mark.parametrize("text", ["", "no", "{\"event\": \"no\"", "[" * 100_000, "{" + "[" * 100_000 + "}"])
def test_what_is_no_form_is_no_verdict(text: str) -> None:
    assert read_verdict(text) is Verdict.UNSURE
