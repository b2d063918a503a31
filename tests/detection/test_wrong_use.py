"""Wrong use of a model: one message that names thing and remedy, the same from every command and from Python."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbvad import Detector
from dbvad.cli.errors import for_user
from dbvad.detection import calibration
from dbvad.detection.bundle import weights_of
from dbvad.detection.calibration import Promise
from dbvad.scoring.protocol import Protocol
from tests import videos
from tests.e2e.conftest import call
from tests.untrained import CLIP, LENGTH, untrained_run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle")
    untrained_run(root / "run")
    assert call("export", root / "run", "--out", root / "model") == 0
    videos.write_video(root / "a.mp4", (videos.barcode_image(k) for k in range(5)))
    return root / "model"


def newer(model: Path) -> None:
    path = model / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bundle": 99, "dbvad": "9.0"}))


def half_a_manifest(model: Path) -> None:
    path = model / "bundle.json"
    path.write_text(path.read_text()[:40])


def without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def half_the_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def weights_of_another(model: Path) -> None:
    untrained_run(model, seed=1)


def gone(model: Path) -> None:
    shutil.rmtree(model)


def a_text(model: Path) -> None:
    shutil.rmtree(model)
    model.write_text("weights")


def empty(model: Path) -> None:
    shutil.rmtree(model)
    model.mkdir()


def run_half_trained(model: Path) -> None:
    empty(model)
    (model / "checkpoint.pt").write_bytes(b"")


def calibration_by_hand(model: Path) -> None:
    (model / calibration.CALIBRATION).write_text("{}")


MODELS = {
    newer: "is a bundle of format 99, made by dbvad 9.0",
    half_a_manifest: "bundle.json cannot be read",
    without_weights: "is a bundle without its model.safetensors: export it again",
    half_the_weights: "is not the file that was exported into this bundle: export it again",
    weights_of_another: "is not the file that was exported into this bundle: export it again",
    gone: "no model at",
    a_text: "is damaged, or no model",
    empty: "no trained model at",
    run_half_trained: "its training has not ended: go on with",
    calibration_by_hand: "calibration.json is damaged: it has no digest",
}


@pytest.mark.parametrize(("break_it", "told"), MODELS.items(), ids=[f.__name__ for f in MODELS])
def test_a_model_that_cannot_be_used(break_it: Callable[[Path], None], told: str, bundle: Path, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    model, video = shutil.copytree(bundle, tmp_path / "model"), bundle.parent / "a.mp4"
    break_it(model)
    commands = [["detect", video, "-m", model, "-a", tmp_path / "out", "--clip", CLIP, "--dry-run"],
                ["watch", f"file:{video}", "-m", model, "-o", tmp_path / "watch", "--clip", CLIP, "--disk-gb", 0],
                ["calibrate", model, "--normal", video, "-a", tmp_path / "normal", "--clip", CLIP],
                ["export", model, "--out", tmp_path / "bundle"]]
    for words in commands[:2] if break_it is a_text else commands:  # a calibration lies beside no single file
        assert call(*words) == 1, words
        assert_one(capsys.readouterr().err, told)
    with pytest.raises(Exception, match=re.escape(told)) as caught:
        Detector.load(model, clip=str(CLIP), device="cpu")
    assert for_user(caught.value)


def assert_one(err: str, told: str) -> None:
    """One message, no traceback; a wrong option is shown in a box, with the command's usage."""
    plain = re.sub(r"[│╭╮╰╯─\s]+", " ", err)
    assert told in plain
    assert "Traceback" not in plain
    assert len(re.findall("[Ee]rror: ", plain)) == 1


@pytest.mark.parametrize(("options", "told"), [
    (["--clip", "ViT-B-32"], "name the CLIP it was trained with by --clip"),
    (["--onnx"], "holds no detector.onnx: make it by `dbvad export RUN --out MODEL --onnx`"),
    (["--device", "cuda:99"], "use auto or cpu"),
    (["--on", 0.2, "--off", 0.4], "off is 0.4, above on (0.2)"),
    (["--classes", " , "], "--classes names no word"),
])
def test_options_that_detect_and_watch_share(options: list[object], told: str, bundle: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    video, clip = bundle.parent / "a.mp4", [] if "--clip" in options else ["--clip", CLIP]
    for words in (["detect", video, "-a", tmp_path / "out", "--dry-run"],
                  ["watch", f"file:{video}", "-o", tmp_path / "watch", "--disk-gb", 0]):
        assert call(*words, "-m", bundle, *clip, *options) == 1
        assert_one(capsys.readouterr().err, told)


@pytest.mark.parametrize(("options", "told"), [
    (["{empty}"], "no video below"),
    (["{empty}/nothing.mp4"], "nothing at"),
    (["{empty}/*.mp4"], "nothing at"),
    (["{video}", "--look-ahead", 1], "--look-ahead is of live scores: add --live"),
    (["{video}", "--live", "--look-ahead", LENGTH], f"0 to {LENGTH - 1} with this model"),
    (["{video}", "--live", "--scale", "bins"], "need the whole recording"),
    (["{video}", "--crop", 3], "crop 3 is asked for, the features have crops 0 to 0"),
    (["{video}", "--camera", "door", "--on", 0.5], "--camera chooses calibrated thresholds"),
    (["{video}", "--camera", "door"], "is not calibrated for door by scale windows"),
])
def test_what_detect_cannot_do(options: list[object], told: str, bundle: Path, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    words = [str(word).format(empty=tmp_path / "empty", video=bundle.parent / "a.mp4") for word in options]
    assert call("detect", *words, "-m", bundle, "--clip", CLIP, "-a", tmp_path / "out", "--dry-run") == 1
    assert_one(capsys.readouterr().err, told)


def test_an_onnx_form_that_is_none(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    model = shutil.copytree(bundle, tmp_path / "model")
    (model / "detector.onnx").write_bytes(b"nonsense")
    assert call("detect", bundle.parent / "a.mp4", "-m", model, "--onnx", "--dry-run") == 1
    assert "detector.onnx cannot be loaded by onnxruntime" in capsys.readouterr().err


def test_a_calibration_of_other_weights_is_not_used_and_not_exported(bundle: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    run, other = untrained_run(tmp_path / "run"), untrained_run(tmp_path / "other", seed=1)
    made = Promise(on=0.5, off=0.3, min_length_s=1, merge_gap_s=2, per_day=1, events=0, marked=0, hours=80, low=0,
                   high=0.9)
    for model in (run, other):
        calibration.write(model, calibration.take_in(None, weights_of(run)[1], Protocol(scale="windows"), None, made))
    assert call("export", run, "--out", tmp_path / "good") == 0
    assert calibration.read(tmp_path / "good") == calibration.read(run)
    capsys.readouterr()
    assert call("export", other, "--out", tmp_path / "bad") == 0
    assert "is left out, as it is of other weights: `dbvad calibrate" in capsys.readouterr().out
    assert calibration.read(tmp_path / "bad") is None
    video = bundle.parent / "a.mp4"
    for words in (["detect", video, "-a", tmp_path / "out", "--dry-run"],
                  ["watch", f"file:{video}", "-o", tmp_path / "watch", "--disk-gb", 0]):
        assert call(*words, "-m", other, "--clip", CLIP) == 1
        assert_one(capsys.readouterr().err, "promises nothing here, as it is of other weights: calibrate again")


def test_a_result_that_was_changed_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = untrained_run(tmp_path / "run")
    (run / "result.json").write_text('{"protocol"')
    assert call("export", run, "--out", tmp_path / "bundle") == 1
    assert_one(capsys.readouterr().err.replace("JSON that", ""), "result.json is damaged")


def test_an_event_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("events", "false", "0123", "-a", tmp_path) == 1
    assert_one(capsys.readouterr().err, "no list of videos")
