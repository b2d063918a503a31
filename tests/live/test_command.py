"""`dbvad watch` from the command line: a whole run on a file, and every wrong use in one message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dbvad.cli import main
from dbvad.demo.build_models import MODELS
from dbvad.detection.live.cameras import read
from dbvad.model.detector import Detector
from dbvad.scoring.events import Thresholds
from dbvad.training.checkpoint import MODEL, Facts, Model, save_model
from dbvad.training.config import TrainConfig
from pipeline.engine.config import ConfigError
from pipeline.engine.hashing import HashCache
from pipeline.stages.decode import DecodeParams
from pipeline.stages.models import identify
from pipeline.stages.score import ScoreParams
from tests.live.faults import camera_video, free_port

CLIP = MODELS / "clip"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, on features of the demo's CLIP."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    config = TrainConfig(bins=16, dbm=False)
    recipe = {"decode": DecodeParams(stride=5, short_side=96).model_dump(mode="json"),
              "score": ScoreParams(precision="fp32").model_dump(mode="json")}
    identity = identify(str(CLIP), None, HashCache(folder / "hashes.json"))
    facts = Facts(("normal", "fighting"), 256, "open_clip", "clip", identity, "data", 1, recipe)
    save_model(folder / MODEL, Model(Detector(256, length=16), None, config, facts))
    return folder


def watch(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dbvad", "watch", *map(str, words)], capture_output=True, text=True,
                          timeout=100, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_file_from_end_to_end(run: Path, tmp_path: Path) -> None:
    video = camera_video(tmp_path / "gate.mp4", 60)
    done = watch(f"file:{video}", "--model", run, "--clip", CLIP, "--out", tmp_path / "out", "--scores",
                 tmp_path / "scores.jsonl", "--on", "0.01", "--min-length", "0.5", "--page",
                 f"127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["kind"] for line in lines} >= {"begin", "end", "update"}
    assert lines == [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert (tmp_path / "out" / "clips" / lines[-1]["clip"]).is_file()
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [score["frame"] for score in scores if score["final"]] == list(range(0, 60, 5))
    assert "12 scores, 1 events, latency" in done.stderr


@pytest.mark.parametrize(("options", "message"), [
    (["--look-ahead", "16"], "error: a look-ahead of 16 snippets: 0 to 15 with this model"),
    (["--on", "0.2", "--off", "0.4"], "error: the options: off is 0.4, above on (0.2)"),
    (["--page", "0.0.0.0:8420"], "error: other machines reach 0.0.0.0: protect the page by --token"),
    (["--page", "127.0.0.1:99999"], "error: no page at 127.0.0.1:99999: "),
    (["--webhook", "example.org"], "error: --webhook: no address: write http://"),
    (["--mqtt", "http://house"], "error: --mqtt: no MQTT address: write mqtt://"),
    (["--model", "nowhere"], "error: no model at nowhere: "),
])
def test_wrong_use_is_one_message(run: Path, tmp_path: Path, options: list[str], message: str,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    video = camera_video(tmp_path / "gate.mp4", 5)
    words = ["watch", f"file:{video}", "--model", run, "--clip", CLIP, "--out", tmp_path / "out", *options]
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


@pytest.mark.parametrize(("sources", "message"), [
    (["rtsp://bob:geheim@cam/1", "ftp://bob:geheim@cam/1"], "'ftp://cam/1' is no source"),
    (["file:nowhere.mp4"], "there is no file nowhere.mp4"),
    (["nowhere.yaml"], "there is no file nowhere.yaml: docs/cameras.md"),
    (["rtsp:///"], "'rtsp:///' is no source"),
])
def test_a_source_that_is_none(sources: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(sources)
    assert "geheim" not in str(caught.value)


def test_cameras_yaml(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras:\n- {name: gate, url: 'rtsp://cam/1', thresholds: {on: 0.8, off: 0.2}}\n"
                    "- {name: yard, url: 'camera:0'}\n")
    gate, yard = read([str(file)]).cameras
    assert (gate.thresholds.on, gate.thresholds.off) == (0.8, 0.2)  # YAML 1.1 reads these keys as true and false
    assert yard.over(gate.thresholds).on == 0.8
    assert gate.over(yard.thresholds).on == 0.8
    with pytest.raises(ConfigError, match=r"the thresholds of gate: off is 0\.2, above on"):
        gate.model_copy(update={"thresholds": Thresholds(on=0.1)}).over(Thresholds(off=0.2))
    for text, message in (("- {name: gate, url: 'rtsp://c/1', stal_s: 3}", ":2: unknown key 'cameras.0.stal_s'"),
                          ("- {name: ../x, url: 'rtsp://c/1'}", ":2: cameras.0.name"),
                          ("- {name: a, url: 'rtsp://c/1'}\n- {name: A, url: 'rtsp://c/2'}", "the name 'a'"),
                          ("  []", "no camera is named")):
        file.write_text(f"cameras:\n{text}\n")
        with pytest.raises(ConfigError, match=message):
            read([str(file)])


def test_addresses_get_names_of_their_own() -> None:
    names = [camera.name for camera in read(["rtsp://bob:geheim@cam.lan/1", "rtsp://cam.lan/1", "camera:0"]).cameras]
    assert names == ["cam.lan-1", "cam.lan-1-2", "camera-0"]
