"""What a model says of events: it comes as an update, it delays no alert, and what it refutes is told to nobody."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dbvad.detection.explain import key_snippets
from dbvad.detection.live import review as reviews
from dbvad.detection.live.album import PICTURES, Album
from dbvad.detection.live.apart import Apart, engine_apart
from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.clips import Clips
from dbvad.detection.live.explaining import QUEUE, Explainer, Question, State
from dbvad.detection.live.journal import Journal, told
from dbvad.detection.live.metrics import metrics
from dbvad.detection.live.reader import Shot
from dbvad.detection.live.review import Review
from dbvad.detection.live.watch import Watch
from dbvad.scoring.events import Event, Kind, Signal, Snippet, Thresholds
from pipeline import stages
from pipeline.instruments.clip import Clip
from pipeline.instruments.vlm import EngineError, Request
from tests.live.faults import camera_video, until
from tests.live.models import FORM, NAME, Model, describing
from tests.live.test_watch import SAMPLING, Said
from tests.videos import read_barcode


@pytest.fixture(scope="module")
def server() -> Iterator[Model]:
    with describing() as model:
        yield model


@pytest.fixture
def model(server: Model) -> Iterator[Model]:
    server.mode, server.says = "answer", FORM
    server.asked.clear()
    yield server
    server.mode = "answer"


class Desk:
    """A camera, its journal and its review; `happen` makes signals of an event, `heard` is what others were told."""

    def __init__(self, folder: Path, model: Model, camera: Camera, within_s: float) -> None:
        (folder / "stages.yaml").write_text(model.stages())
        params = stages.read(folder / "stages.yaml").describe
        self.said: list[str] = []
        self.camera, self.journal = camera, Journal(folder)
        self.explainer = Explainer(partial(engine_apart, params, folder), self.said.append, first_pause_s=0.1)
        self.review = Review(Cameras(cameras=(camera,)), True, "off", self.journal, self.explainer, within_s=within_s)
        self.heard: list[dict[str, Any]] = []
        self.journal.hear.append(lambda line: self.heard.append(line) if told(line) else None)
        self.album = self.review.album(camera)
        assert self.album is not None
        for k in range(8):
            self.album.see(Shot(k * 16, k * 0.64, 0.0, 1000 + k * 0.64, b"\xff\xd8%d" % k))
            self.album.take(Snippet(k * 0.64, (k + 1) * 0.64, k * 16, k * 16 + 16, 0.9 if k in (3, 4) else 0.1))

    def happen(self, id: str, *kinds: Kind, end_s: float = 3.2) -> float:
        """Seconds that it took to tell."""
        assert self.album is not None
        event = Event(id, "gate@1", 1.92, end_s, 48, 80, 0.9, 1.92, 0.9, "print")
        before = time.monotonic()
        for kind in kinds:
            self.review.tell(self.camera, Signal(kind, event), {"kind": str(kind), "id": id, "camera": "gate"},
                             self.album, Thresholds(pre_roll_s=1, post_roll_s=1))
        return time.monotonic() - before

    def until(self, true: Callable[[], Any]) -> Any:
        return until(true, 30, lambda: (self.review.turn(), time.sleep(0.01)))

    def kinds(self, id: str) -> list[tuple[str, str | None]]:
        return [(line["kind"], line.get("verified")) for line in self.heard if line["id"] == id]

    def update(self, id: str) -> Any:
        """The explanation of an event, once it has been told."""
        return next((line for line in self.journal.since(0) if line["id"] == id and "explanation" in line), None)


@contextmanager
def desk(folder: Path, model: Model, *, up: bool = True, within_s: float = 20.0, **camera: Any) -> Iterator[Desk]:
    made = Desk(folder, model, Camera(**{"name": "gate", "url": "rtsp://cam.lan/1"} | camera), within_s)
    try:
        if up:
            made.until(lambda: made.explainer.state is State.UP)
        yield made
    finally:
        made.review.stop(lambda: False)


def test_an_explanation_is_an_update_that_names_its_frames(tmp_path: Path, model: Model) -> None:
    model.says = "Here \ud800:\n" + json.dumps(FORM | {"who": "\x1b[31m\ud800"})
    with desk(tmp_path, model, normal_here="people run\nfor the bus") as at:
        at.happen("a", Kind.BEGIN, Kind.UPDATE)
        time.sleep(0.1)
        assert model.asked == []  # it is shown once it is over, or long
        at.happen("a", Kind.END)
        line = at.until(lambda: at.update("a"))
        assert at.kinds("a") == [("begin", None), ("update", None), ("end", None), ("update", None)]
        found = line["explanation"]
        assert (found["what"], found["who"], found["place"], found["flags"]) == (
            "a man runs", "\\u001b[31m\\ud800", "a street", [])
        assert (found["model"], found["prompt_id"]) == (NAME, "event-v1")
        [(words, pictures)] = model.asked
        assert words.endswith('"people run\\nfor the bus"')
        assert "\"event\"" not in words
        assert [frame["frame"] for frame in found["frames"]] == [int(picture[2:]) * 16 for picture in pictures]
        assert {48, 64} < {frame["frame"] for frame in found["frames"]} <= {16 * k for k in range(1, 7)}
        assert found["frames"][0]["wall"].startswith("1970-01-01T00:16:40.6")


@pytest.mark.parametrize(("per", "look_ahead"), [(1, 0), (3, 0), (1, 200), (3, 200)])
def test_pictures_are_those_that_an_archive_would_show(per: int, look_ahead: int) -> None:
    count = 260
    scores, album = np.random.default_rng(0).random(count), Album(look_ahead)
    for k in range(count + look_ahead):
        album.see(Shot(k * 5 * per, k * 0.2 * per, 0.0, 0.0, b""))
        if (place := k - look_ahead) >= 0:
            start, frame = place * 0.2 * per, place * 5 * per
            album.take(Snippet(start, start + 0.2 * per, frame, frame + 5 * per, scores[place]))
    starts = np.arange(count) * 0.2 * per
    inside = np.flatnonzero((starts + 0.2 * per > starts[180]) & (starts < starts[250]))
    expected = inside[key_snippets(scores[inside], starts[inside])]
    assert [shot.index for shot in album.key(starts[180], starts[250])] == (expected * 5 * per).tolist()


def test_an_album_is_bounded_and_a_snippet_without_its_picture_is_left_out() -> None:
    album = Album()
    for k in range(10 * PICTURES):
        if k % 7:
            album.see(Shot(k, float(k), 0.0, 0.0, b""))
        if k < 9 * PICTURES:
            album.take(Snippet(k, k + 1, k, k + 1, 0.5))
    assert len(album._seen) + len(album._scored) <= 2 * PICTURES
    assert all(shot.index % 7 for shot in album.key(0, 1e9))


def test_an_event_that_goes_on_is_shown_before_it_ends_and_only_once(tmp_path: Path, model: Model) -> None:
    with desk(tmp_path, model) as at:
        at.happen("a", Kind.BEGIN, Kind.UPDATE)
        at.happen("a", Kind.UPDATE, end_s=20)
        at.until(lambda: at.update("a"))
        at.happen("a", Kind.UPDATE, Kind.END, end_s=60)
        at.happen("b", Kind.BEGIN, Kind.END)
        at.until(lambda: at.update("b"))
        assert len(model.asked) == 2


@pytest.mark.parametrize(("mode", "verify"), [
    ("slow", "off"), ("slow", "annotate"), ("slow", "suppress"), ("garbage", "suppress"), ("error", "suppress")])
def test_a_model_that_fails_delays_nothing(tmp_path: Path, model: Model, mode: str, verify: Any) -> None:
    with desk(tmp_path, model, within_s=0.5, verify=verify) as at:
        model.mode = mode
        assert at.happen("a", Kind.BEGIN, Kind.END) < 1.5  # the model would take 2 s to fail
        began = time.monotonic()
        at.until(lambda: at.kinds("a"))
        assert time.monotonic() - began < 1.5
        told = "unverified" if verify == "suppress" else None
        assert at.kinds("a") == [("begin", told), ("end", told)]
        at.until(lambda: at.explainer.waiting == 0 or at.explainer.state is State.DOWN)
        model.mode = "answer"
        at.happen("b", Kind.BEGIN, Kind.END)
        at.until(lambda: at.update("b"))
        assert any("not explained" in line for line in at.said)
        assert len([line for line in at.said if line.startswith("gate: event")]) <= 1
        assert at.explainer.counts["answered"] >= 1


def test_a_model_that_is_down_is_tried_again_and_nothing_is_held_for_it(tmp_path: Path) -> None:
    with describing() as model:
        model.stop()
        with desk(tmp_path, model, up=False, verify="suppress") as at:
            assert at.happen("a", Kind.BEGIN, Kind.END) < 1.5
            assert at.kinds("a") == [("begin", "unverified"), ("end", None)]  # it starts
            at.until(lambda: at.explainer.state is State.DOWN)
            at.happen("b", Kind.BEGIN, Kind.END)
            assert at.kinds("b") == [("begin", "unverified"), ("end", None)]
            model.start()
            at.until(lambda: at.update("a") and at.update("b"))
            assert [line.partition(" (")[0] for line in at.said][:2] == [
                "events are not explained for now", f"{NAME} explains events again"]


def test_what_is_refuted_is_told_to_nobody_and_stays_in_the_log(tmp_path: Path, model: Model) -> None:
    with desk(tmp_path, model, verify="suppress") as at:
        model.mode = "slow"
        at.happen("a", Kind.BEGIN)
        at.until(lambda: model.asked)
        at.journal.add(kind="update", id="a", camera="gate", clip="a.mp4")  # as the clips' thread does
        model.says, model.mode = FORM | {"event": "no", "against": "it is a jogger"}, "answer"
        at.until(lambda: at.update("a"))
        at.happen("a", Kind.END)
        assert at.heard == []
        lines = list(at.journal.since(0))
        assert [(line["kind"], line["withheld"], line.get("verified")) for line in lines] == [
            ("begin", "held", None), ("update", "held", None), ("update", "suppressed", "refuted"),
            ("end", "suppressed", None)]
        assert at.review.suppressed == 1
        model.says = FORM
        at.happen("b", Kind.BEGIN, Kind.END)
        at.until(lambda: at.update("b"))
        assert at.kinds("b") == [("begin", "confirmed"), ("end", "confirmed"), ("update", "confirmed")]
        assert "\"event\"" in model.asked[0][0]


def test_a_refusal_without_a_reason_or_after_the_deadline_suppresses_nothing(tmp_path: Path, model: Model) -> None:
    with desk(tmp_path, model, within_s=0.3, verify="suppress") as at:
        model.says = {"event": "no"}
        at.happen("a", Kind.BEGIN, Kind.END)
        at.until(lambda: at.update("a"))
        assert at.kinds("a")[0] in [("begin", "unsure"), ("begin", "unverified")]
        model.mode, model.says = "slow", FORM | {"event": "no"}
        at.happen("b", Kind.BEGIN)
        at.until(lambda: at.kinds("b"))
        model.mode = "answer"
        at.until(lambda: at.update("b"))
        assert at.kinds("b") == [("begin", "unverified"), ("update", "refuted")]
        assert at.review.suppressed == 0


def test_annotated_events_keep_their_alert(tmp_path: Path, model: Model) -> None:
    model.says = FORM | {"event": "no"}
    with desk(tmp_path, model, verify="annotate") as at:
        at.happen("a", Kind.BEGIN, Kind.END)
        at.until(lambda: at.update("a"))
        assert at.kinds("a") == [("begin", None), ("end", None), ("update", "refuted")]


def test_the_queue_drops_the_oldest_that_is_not_in_hand(tmp_path: Path, model: Model) -> None:
    with desk(tmp_path, model) as at:
        model.mode = "slow"
        at.happen("first", Kind.BEGIN, Kind.END)
        at.until(lambda: model.asked)
        for k in range(QUEUE + 5):
            at.happen(f"{k}", Kind.BEGIN, Kind.END)
        model.mode = "answer"
        at.until(lambda: at.update(f"{QUEUE + 4}"))
        explained = [line["id"] for line in at.journal.since(0) if "explanation" in line]
        assert explained == ["first", *(f"{k}" for k in range(5, QUEUE + 5))]
        assert at.explainer.counts == {"answered": QUEUE + 1, "dropped": 5}
        figures = metrics(SimpleNamespace(feeds=[], review=at.review), []).splitlines()  # type: ignore[arg-type]
        assert {"dbvad_explaining_up 1", 'dbvad_explanations_total{outcome="dropped"} 5'} <= set(figures)
        assert len([line for line in at.said if "dropped" in line]) == 1


def test_the_end_of_a_watch_tells_what_is_held(tmp_path: Path, model: Model,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "PATIENCE_S", 0.2)
    with desk(tmp_path, model, verify="suppress") as at:
        model.mode = "slow"
        at.happen("a", Kind.BEGIN, Kind.END)
        at.until(lambda: model.asked)
        began = time.monotonic()
        at.review.stop(lambda: False)
        assert time.monotonic() - began < 2
        assert at.kinds("a") == [("begin", "unverified"), ("end", "unverified")]


@pytest.mark.parametrize(("per", "look_ahead"), [(1, 0), (3, 2)])
def test_a_whole_watch_withholds_what_is_refuted(tmp_path: Path, model: Model, clip: Clip, per: int,
                                                 look_ahead: int) -> None:
    path = camera_video(tmp_path / "gate.mp4", 150)
    model.says = FORM | {"event": "no", "against": "he jogs"}
    camera = {"url": f"file:{path}", "queue": 500, "verify": "suppress", "thresholds": Thresholds(merge_gap_s=0.5)}
    with desk(tmp_path, model, **camera) as at:
        scorer = Said(clip, lambda frame: 0.9 if 40 <= frame < 80 else 0.1, per=per, look_ahead=look_ahead)
        cutting = Clips(tmp_path, at.journal, print, 1 << 30)
        watch = Watch(Cameras(cameras=(at.camera,)), scorer, "print", Thresholds(), SAMPLING, at.journal, print,
                      cutting, review=at.review)
        watch.run(lambda: True)
        at.review.stop(lambda: True)
        cutting.stop()
        assert at.heard == []
        lines = list(at.journal.since(0))
        assert sorted(line["kind"] for line in lines) == ["begin", "end", "update", "update"]
        assert {line["withheld"] for line in lines} <= {"held", "suppressed"}
        assert len({line["id"] for line in lines}) == 1
        [line] = [line for line in lines if "explanation" in line]
        start = lines[0]["start"]["stream_s"]
        assert start == {1: 1.6, 3: 1.68}[per]
        shown = line["explanation"]["frames"]
        assert all(start - 2 <= frame["stream_s"] <= lines[0]["end"]["stream_s"] for frame in shown)
        assert [frame["frame"] for frame in shown] == [round(frame["stream_s"] * 25) for frame in shown]
        for frame, picture in zip(shown, model.asked[0][1], strict=True):
            assert read_barcode(np.asarray(Image.open(io.BytesIO(picture)))) == frame["frame"]


class Mad:
    """An engine that does what its model's name says."""

    revision = ""

    def __init__(self, model: str) -> None:
        self.model = model

    def __enter__(self) -> "Mad":
        if self.model == "sleeps":
            time.sleep(60)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self, request: Request) -> Any:
        import os

        if self.model == "dies":
            os._exit(3)
        if self.model == "raises":
            raise MemoryError("no room")
        time.sleep(60)


@pytest.mark.parametrize(("what", "message"), [
    ("dies", "its process ended with exit code 3"), ("raises", "MemoryError: no room"),
    ("hangs", "no answer within 0.5 s"), ("sleeps", "no answer within 0.5 s")])
def test_an_engine_that_goes_mad_is_an_error_in_time(what: str, message: str) -> None:
    start_s = 0.5 if what == "sleeps" else 60
    with pytest.raises(EngineError, match=message), Apart(partial(Mad, what), start_s=start_s, answer_s=0.5) as apart:
        apart.describe(Request((b"",), "?"))


def test_a_question_at_which_the_engine_dies_is_given_up(tmp_path: Path) -> None:
    said: list[str] = []
    explainer = Explainer(lambda: Apart(partial(Mad, "dies"), start_s=60, answer_s=5), said.append, first_pause_s=0.05)
    try:
        explainer.ask(Question("a", "gate", (), Request((b"",), "?"), False))
        until(lambda: explainer.counts["lost"])
        assert [told.answer for told in explainer.answers()] == [None]
        assert explainer.waiting == 0
    finally:
        explainer.stop()
