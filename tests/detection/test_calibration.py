"""Calibration: the promise holds as often as it says, grows with footage, and is refused where nothing can show it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.detection import calibration, feedback
from dbvad.detection.calibration import Promise, Promises, Thumb, TooLittle, hours_needed, make_footage, promise
from dbvad.detection.detector import Detector
from dbvad.detection.stages import read_events
from dbvad.evaluation.event_metrics import garwood
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from pipeline.engine.files import Damaged
from pipeline.engine.store import Store
from pipeline.instruments import video
from tests.detection.conftest import BINS, CLIP, World, detect
from tests.e2e.conftest import call

RULE = Thresholds(min_length_s=0, merge_gap_s=0)
SNIPPET_S = 60.0
PER_HOUR = 0.5  # planted alarms, whose peaks are even between 0 and 1


def planted(rng: np.random.Generator, hours: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Footage with alarms at a known rate: at a threshold t there are PER_HOUR (1 - t) an hour."""
    count = round(hours * 3600 / SNIPPET_S)
    alarm = rng.random(count) < PER_HOUR * SNIPPET_S / 3600
    return {"v": (np.arange(count + 1) * SNIPPET_S, np.where(alarm, rng.random(count), 0))}


def test_the_promise_holds_as_often_as_it_says() -> None:
    """200 cameras of a known rate: at the thresholds chosen it is above N for no more than 5 in a hundred."""
    broken = below = 0
    for seed in range(200):
        made = promise(make_footage(planted(np.random.default_rng(seed), 200)), 4, RULE)
        true = PER_HOUR * (1 - made.on) * 24
        broken += true > made.per_day
        below += true < made.low
    assert broken <= 10
    assert below <= 10


@given(st.integers(0, 50), st.floats(1, 1e4), st.floats(1.01, 10))
def test_more_footage_never_widens_the_interval(count: int, hours: float, more: float) -> None:
    (low, high), (lower, higher) = garwood(count, hours, 0.95), garwood(count, more * hours, 0.95)
    assert low <= high
    assert higher - lower <= high - low


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1, 20), st.floats(1, 3))
def test_who_bears_more_alarms_gets_no_higher_threshold(seed: int, per_day: float, more: float) -> None:
    footage = make_footage(planted(np.random.default_rng(seed), 150))
    assert promise(footage, more * per_day, RULE).on <= promise(footage, per_day, RULE).on


@given(st.floats(0.5, 200), st.floats(0.2, 30))
def test_refused_exactly_where_a_footage_without_alarms_would_not_show_it(hours: float, per_day: float) -> None:
    footage = make_footage({"v": (np.array([0, hours * 3600]), np.zeros(1))})
    if garwood(0, footage.hours, 0.95)[1] * 24 > per_day * (1 + 1e-9):
        with pytest.raises(TooLittle, match=re.escape(f"{hours_needed(per_day):.1f} hours are needed")):
            promise(footage, per_day, RULE)
    elif hours > hours_needed(per_day) * (1 + 1e-9):
        assert promise(footage, per_day, RULE).high <= per_day


def test_thumbs_down_elsewhere_count_thumbs_up_are_no_footage_and_the_last_counts() -> None:
    scores = np.zeros(6000)
    scores[100:110], scores[500:505] = 0.9, 0.7
    rows = {"v": (np.arange(6001) * SNIPPET_S, scores)}
    at = Thresholds(on=0.5, off=0.5, min_length_s=0, merge_gap_s=0)
    span = {"peak": 0.9, "video": "v", "start_s": 6000.0, "end_s": 6600.0}
    plain, up = make_footage(rows), make_footage(rows, [Thumb("a", True, **span), Thumb("a", False, **span)])
    assert (plain.events(at), up.events(at)) == (2, 1)
    assert up.hours == pytest.approx(plain.hours - 600 / 3600)
    down = make_footage(rows, [Thumb("b", True, 0.95, "door"), Thumb("a", True, **span)])
    assert (down.events(at), down.marked) == (2, (0.95,))
    few, many = promise(plain, 2, RULE), promise(down, 2, RULE)
    assert many.on >= few.on
    told = promise(make_footage(rows, [Thumb(str(k), True, 0.99) for k in range(3)]), 2, RULE).told()
    assert "exact Poisson bounds" in told


def test_feedback_is_read_as_the_page_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text('{"at": "x", "id": "a", "verdict": "false", "camera": "door", "start": {}, "peak": 0.9}\n'
                    '{"id": "b", "verdict": "tr')
    assert feedback.read(path) == [Thumb("a", True, 0.9, "door")]
    path.write_text('{"id": "a", "verdict": "false", "peak": 0.9}\n{"id": "b", "verdict": "maybe", "peak": 1}\n')
    with pytest.raises(feedback.FeedbackError, match=r"feedback\.jsonl:2: no thumb"):
        feedback.read(path)


@pytest.fixture
def model(world: World, tmp_path: Path) -> Path:
    shutil.copytree(world.run, tmp_path / "run")
    return tmp_path / "run"


def calibrate(model: Path, searched: Path, *more: object) -> int:
    """On the few seconds that the tests have, so for many alarms a day."""
    return call("calibrate", model, "--normal", searched / "detections", "--scale", "bins", "--per-day", 100_000,
                "--min-length", 0, "--merge-gap", 0.1, "--device", "cpu", *more)


def promised(model: Path, scale: str = "bins", look_ahead: int | None = None) -> Promises:
    """What the model is known to keep under a protocol."""
    kept = calibration.read(model)
    assert kept is not None
    return kept.by(Protocol(scale=scale, look_ahead=look_ahead))


def common(model: Path) -> Promise:
    found = promised(model).common
    assert found is not None
    return found


def test_from_footage_to_events_and_into_the_bundle(world: World, searched: Path, model: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(model, searched) == 0
    kept = common(model)
    assert kept.high <= 100_000
    assert f"on {kept.on:g}" in capsys.readouterr().out
    assert call("export", model, "--out", tmp_path / "bundle") == 0
    assert calibration.read(tmp_path / "bundle") == calibration.read(model)
    plain = ["detect", world.tests, "-m", tmp_path / "bundle", "-a", tmp_path / "out", "--scale", "bins", "--device",
             "cpu", "--clip", CLIP]
    assert call(*plain) == 0
    out = capsys.readouterr().out
    assert f"calibrated for all cameras: {kept.told()}" in out
    store = Store(tmp_path / "out")
    rule, events = Thresholds(**kept.rule), [e for name in store.videos("events")
                                                    for e in read_events(store, name)]
    assert len(events) == kept.events
    detector = Detector.load(model, scale="bins", device="cpu", clip=str(CLIP))
    assert (detector.thresholds.rule, detector.promise) == (rule.rule, kept)
    assert {event.fingerprint for event in events} <= {rule.fingerprint(detector.loaded.fingerprint)}
    assert call(*plain, "--on", 0.9, "--dry-run") == 0
    assert "no rate of false alarms is promised; those that the model is calibrated to are not used" in (
        capsys.readouterr().out)
    assert call(*plain, "--smooth", 1, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "thresholds by default: no rate of false alarms is promised; the model is calibrated for scale bins" in said
    assert "--normal FOOTAGE --scale bins --smooth 1` makes a promise" in said
    smoothed = Detector.load(model, scale="bins", smooth=1, device="cpu", clip=str(CLIP))
    assert (smoothed.thresholds, smoothed.promise) == (Thresholds(), None)


def test_a_camera_has_its_own_or_goes_with_all(searched: Path, model: Path, world: World, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(model, searched, "--per-day", 1, "--camera", "door") == 1
    assert "hours are needed" in capsys.readouterr().err
    assert calibrate(model, searched) == 0
    assert calibrate(model, searched, "--per-day", 1, "--camera", "door") == 0
    assert "door goes with what holds for all cameras" in capsys.readouterr().out
    assert calibrate(model, searched, "--per-day", 200_000, "--camera", "door") == 0
    kept = promised(model)
    assert (kept.common is not None, list(kept.cameras)) == (True, ["door"])
    for camera, told in (("door", "calibrated for camera door"), ("yard", "all cameras, as yard has none of its own")):
        assert call("detect", world.tests, "-m", model, "-a", tmp_path / "out", "--scale", "bins", "--device", "cpu",
                    "--camera", camera, "--dry-run") == 0
        assert told in capsys.readouterr().out


def test_a_live_promise_is_of_live_scores_and_stands_beside_the_archives(
        world: World, model: Path, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(model, searched) == 0
    before = common(model)
    rest = ["--per-day", 100_000, "--min-length", 0, "--merge-gap", 0.1, "--device", "cpu"]
    footage = ["calibrate", model, "--normal", world.tests, "-a", tmp_path / "normal"]
    assert call(*footage, "--live", "--look-ahead", 2, *rest) == 0
    said = capsys.readouterr().out
    assert "for scale windows, live with a look-ahead of 2; `dbvad watch --look-ahead 2` uses it" in said
    assert common(model) == before
    assert (promised(model, "windows").common, promised(model, "windows", 0).common) == (None, None)
    made = promised(model, "windows", 2).common
    assert made is not None
    live = Detector.load(model, look_ahead=2, device="cpu", clip=str(CLIP))
    assert (live.thresholds.rule, live.promise) == (made.rule, made)
    found = live.detect(world.tests / "fighting" / "a.mp4")
    frames = ((frame.pts_s, frame.image) for frame in video.decode(world.tests / "fighting" / "a.mp4"))
    streamed = list(live.stream(frames))
    assert len(streamed) == len(found.scores) > BINS  # the window is full
    # Not to a hair: these frames went through no JPEG, and whitened directions enlarge such small differences.
    np.testing.assert_allclose([s.score for s in streamed], [s.score for s in found.scores], atol=0.1)
    given = Thresholds(pre_roll_s=7)
    weights = live.loaded.fingerprint
    chosen = calibration.choose(model, weights, live.protocol, given, "gate")
    assert (chosen.promise, chosen.thresholds.pre_roll_s) == (made, 7)
    assert chosen.told() == f"calibrated for all cameras, as gate has none of its own: {made.told()}"
    other = calibration.choose(model, weights, Protocol(scale="windows", look_ahead=0), given, "gate")
    assert other.promise is None
    assert "and for scale windows, live with a look-ahead of 2; `dbvad calibrate" in other.told()
    assert "--normal FOOTAGE --live` makes a promise" in other.told()
    assert calibration.choose(model, weights, live.protocol, Thresholds(merge_gap_s=2)).as_row() == {
        **Thresholds().rule, "whose": "as given", "per_day": None}
    for options, told in ((["--look-ahead", 2], "add --live"), (["--live", "--smooth", 1], "need the whole recording"),
                          (["--live", "--look-ahead", BINS], f"0 to {BINS - 1} with this model")):
        assert call(*footage, *options, *rest) == 1
        assert told in re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().err)


def test_footage_that_was_trained_on_is_refused_or_told_of(world: World, model: Path, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    """A copy under another name is the same footage."""
    (tmp_path / "footage").mkdir()
    trained = next((world.root / "videos" / "train" / "normal").iterdir())
    for video_file, name in ((trained, "quiet.mp4"), (world.tests / "normal" / "a.mp4", "other.mp4")):
        shutil.copyfile(video_file, tmp_path / "footage" / name)
    words = ["calibrate", model, "--normal", tmp_path / "footage", "-a", tmp_path / "normal", "--per-day", 100_000,
             "--min-length", 0, "--device", "cpu"]
    assert call(*words) == 1
    assert "the model was trained on 1 recording of the footage (quiet.mp4)" in capsys.readouterr().err
    assert not (tmp_path / "normal" / "detect").exists()  # said before hours are spent on it
    assert call(*words, "--allow-seen") == 0
    assert "too good, as the model was trained on 1 recording of the footage" in capsys.readouterr().out
    made = promised(model, "windows").common
    assert made is not None
    assert made.seen == 1


def test_videos_are_scored_as_detect_scores_them(world: World, searched: Path, model: Path, tmp_path: Path) -> None:
    assert calibrate(model, searched) == 0
    ours = calibration.read(model)
    assert call("calibrate", model, "--normal", world.tests, "-a", tmp_path / "normal", "--scale", "bins", "--per-day",
                100_000, "--min-length", 0, "--merge-gap", 0.1, "--device", "cpu") == 0
    assert calibration.read(model) == ours


def test_a_thumb_of_the_terminal_changes_what_is_promised(world: World, model: Path, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*detect(world, tmp_path, "--json")) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    folder = tmp_path / "detections"
    assert call("events", "true", first["id"], "-a", folder) == 0
    assert call("events", "false", "0123", "-a", folder) == 1
    assert "no event '0123'" in capsys.readouterr().err
    assert calibrate(model, tmp_path) == 0
    before = common(model)
    assert calibrate(model, tmp_path, "--feedback", folder / feedback.FILE) == 0
    assert common(model).hours == pytest.approx(before.hours - (first["end_s"] - first["start_s"]) / 3600)
    assert [thumb.false for thumb in feedback.read(folder / feedback.FILE)] == [False]


def test_what_was_changed_or_is_of_other_weights_promises_nothing(searched: Path, model: Path, world: World,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(model, searched) == 0
    path = model / calibration.CALIBRATION
    text = path.read_text()
    path.write_text(text.replace('"per_day": 100000.0', '"per_day": 1.0'))
    with pytest.raises(Damaged, match="not what was written"):
        calibration.read(model)
    path.write_text(text)
    kept = calibration.read(model)
    assert kept is not None
    calibration.write(model, kept.model_copy(update={"model": "0" * 32}))
    assert call("detect", world.tests, "-m", model, "--scale", "bins", "--device", "cpu", "--dry-run") == 1
    assert "it is of other weights: calibrate again" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "name footage in which nothing happens by --normal"),
    (["--normal", "{tests}", "--per-day", "0"], "give a number above 0"),
    (["--normal", "{root}/artifacts"], "holds a dataset that is trained and tested on"),
    (["--normal", "{searched}"], "searched with another model or another --scale"),
    (["--normal", "{root}/nowhere"], "nothing at"),
    (["--normal", "{searched}", "--scale", "bins"], "hours of footage cannot show at most 1 false alarms a day"),
    (["--normal", "{searched}", "--feedback", "{root}/none.jsonl"], "cannot read"),
])
def test_wrong_use_is_one_message(world: World, searched: Path, model: Path, arguments: list[str], told: str,
                                  tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled = [text.format(tests=world.tests, root=world.root, searched=searched / "detections") for text in arguments]
    assert call("calibrate", model, *filled, "-a", tmp_path / "normal", "--device", "cpu") == 1
    lines = re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().err)
    assert told in lines
    assert "Traceback" not in lines
    assert not (model / calibration.CALIBRATION).exists()


def test_a_camera_without_calibration_is_told_how_to_be_calibrated(world: World, capsys: pytest.CaptureFixture[str],
                                                                   ) -> None:
    assert call("detect", world.tests, "-m", world.run, "--device", "cpu", "--camera", "door", "--dry-run") == 1
    assert "is not calibrated for door by scale windows: `dbvad calibrate" in capsys.readouterr().err
