"""`dbvad watch` from the command line: a whole run on a file, and every wrong use in one message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from dbvad.cli import app, main
from dbvad.detection import calibration
from dbvad.detection.bundle import weights_of
from dbvad.detection.calibration import Promise
from dbvad.detection.live.cameras import read
from dbvad.detection.live.journal import Journal
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from pipeline.engine.config import ConfigError
from tests.live.faults import camera_video, free_port
from tests.untrained import CLIP, untrained_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, on features of the demo's CLIP."""
    return untrained_run(tmp_path_factory.mktemp("run"))


def watch(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dbvad", "watch", *map(str, words)], capture_output=True, text=True,
                          timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_file_from_end_to_end(run: Path, tmp_path: Path) -> None:
    video = camera_video(tmp_path / "gate.mp4", 60)
    before = Journal(tmp_path / "out")  # of a watch that was killed while it held an event back
    before.hold("before")
    before.add(kind="begin", id="before")
    done = watch(f"file:{video}", "--model", run, "--clip", CLIP, "--out", tmp_path / "out", "--scores",
                 tmp_path / "scores.jsonl", "--on", "0.01", "--min-length", "0.5", "--page",
                 f"127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["id"], lines[0]["verified"]) == ("before", "unverified")
    assert {line["kind"] for line in lines[1:]} >= {"begin", "end", "update"}
    assert lines == list(before.since(1))
    assert (tmp_path / "out" / "clips" / lines[-1]["clip"]).is_file()
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [score["frame"] for score in scores if score["final"]] == list(range(0, 60, 5))
    assert "12 scores, 1 events, latency" in done.stderr


def test_each_camera_has_the_thresholds_it_is_calibrated_to_or_is_given(tmp_path: Path) -> None:
    run, video = untrained_run(tmp_path / "run"), camera_video(tmp_path / "gate.mp4", 60)
    (tmp_path / "cameras.yaml").write_text("cameras:\n" + "".join(
        f"- {{name: {name}, url: 'file:{video}'{more}}}\n"
        for name, more in (("gate", ""), ("yard", ""), ("door", ", thresholds: {on: 0.02}"))))
    kept = None
    for camera, look_ahead, on in (("gate", 1, 0.01), (None, 1, 0.015), (None, 0, 0.9)):
        protocol = Protocol(scale="windows", look_ahead=look_ahead)
        made = Promise(on=on, off=on / 2, min_length_s=0.5, merge_gap_s=2, per_day=3, events=0, marked=0, hours=24,
                       low=0, high=3)
        kept = calibration.take_in(kept, weights_of(run)[1], protocol, camera, made)
    calibration.write(run, kept)
    done = watch(tmp_path / "cameras.yaml", "--model", run, "--clip", CLIP, "--out", tmp_path / "out", "--disk-gb", 0,
                 "--look-ahead", 1, "--classes", "a fire,a fall")
    assert done.returncode == 0, done.stderr
    for told in ("gate: calibrated for camera gate: on 0.01, off 0.005: at most 3 false alarms a day",
                 "yard: calibrated for all cameras, as yard has none of its own: on 0.015",
                 "door: thresholds as given: no rate of false alarms is promised; those that the model is calibrated"):
        assert told in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    begins = {line["camera"]: line["thresholds"] for line in lines if line["kind"] == "begin"}
    assert {name: (row["on"], row["whose"], row["per_day"]) for name, row in begins.items()} == {
        "gate": (0.01, "camera gate", 3), "yard": (0.015, "all cameras, as yard has none of its own", 3),
        "door": (0.02, "as given", None)}
    suggested = [line["suggestions"] for line in lines if line["kind"] == "end"]
    assert len(suggested) == 3
    for words in suggested:
        assert sorted(word["name"] for word in words) == ["a fall", "a fire"]
        assert words[0]["likeness"] >= words[1]["likeness"]
    other = watch(f"file:{video}", "--model", run, "--clip", CLIP, "--out", tmp_path / "other", "--disk-gb", 0,
                  "--look-ahead", 3, "--for", 0)
    assert "by default: no rate of false alarms is promised; the model is calibrated for scale windows" in other.stderr
    assert f"`dbvad calibrate {run} --normal FOOTAGE --live --look-ahead 3` makes a promise" in other.stderr


@pytest.mark.parametrize("words", [["--page", "rtsp://cam.lan/1"], ["rtsp://cam.lan/1", "--page"],
                                   ["--page", "127.0.0.1:8420", "rtsp://cam.lan/1"],
                                   ["--page", "--model", "nowhere", "rtsp://cam.lan/1"]])
def test_the_page_has_its_usual_address_unless_one_follows(words: list[str]) -> None:
    arguments = list(words)
    ctx = get_command(app).get_command(None, "watch").make_context("watch", arguments)  # type: ignore[attr-defined]
    assert (ctx.params["page"], ctx.params["sources"]) == ("127.0.0.1:8420", ["rtsp://cam.lan/1"])


def test_a_model_explains_what_it_was_shown(run: Path, tmp_path: Path) -> None:
    video, config = camera_video(tmp_path / "gate.mp4", 60), tmp_path / "stages.yaml"
    config.write_text(json.dumps({"describe": {"model": str(CLIP.parent / "qwen"), "device": "cpu"}}))
    done = watch(f"file:{video}", "--model", run, "--clip", CLIP, "--out", tmp_path / "out", "--on", "0.01",
                 "--verify", "annotate", "--config", config, "--disk-gb", 0)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    begin, [update] = lines[0], [line for line in lines if "explanation" in line]
    assert (update["kind"], update["id"], update["verified"]) == ("update", begin["id"], "unsure")  # it knows no form
    found = update["explanation"]
    assert (found["model"], found["flags"]) == ("qwen", ["no_form"])
    assert found["what"]
    assert [frame["frame"] for frame in found["frames"]] == sorted({frame["frame"] for frame in found["frames"]})
    assert 1 < len(found["frames"]) <= 6
    assert "qwen explains events" in done.stderr
    assert "1 events explained; 0 suppressed" in done.stderr


@pytest.mark.parametrize(("options", "message"), [
    (["--look-ahead", "16"], "error: a look-ahead of 16 snippets: 0 to 15 with this model"),
    (["--on", "0.2", "--off", "0.4"], "error: the options: off is 0.4, above on (0.2)"),
    (["--page", "0.0.0.0:8420"], "error: other machines reach 0.0.0.0: protect the page by --token"),
    (["--page", "127.0.0.1:99999"], "error: no page at 127.0.0.1:99999: "),
    (["--webhook", "example.org"], "error: --webhook: no address: write http://"),
    (["--mqtt", "http://house"], "error: --mqtt: no MQTT address: write mqtt://"),
    (["--model", "nowhere"], "error: no model at nowhere: "),
    (["--explain", "--config", "nowhere.yaml"], "error: no configuration at nowhere.yaml: "),
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
    (["bob:geheim@cam/1"], "'cam/1' is no source"),
    (["a.yaml", "rtsp://cam/1"], "a.yaml stands beside other sources"),
    ([str(CLIP)], "is no source: write file:"),
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
                          ("- {name: a, url: 'rtsp://c/1', verify: yes}", "verify: "),
                          ("- {name: a, url: 'rtsp://c/1', verify: suppress, explain: no}", "leave out one of them"),
                          (f"- {{name: a, url: 'rtsp://c/1', normal_here: {'x' * 1001}}}", ":2: cameras.0.normal_here"),
                          ("  []", "no camera is named")):
        file.write_text(f"cameras:\n{text}\n")
        with pytest.raises(ConfigError, match=message):
            read([str(file)])


def test_who_is_explained_and_verified(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras:\n- {name: a, url: 'rtsp://c/1'}\n- {name: b, url: 'rtsp://c/2', explain: false}\n"
                    "- {name: c, url: 'rtsp://c/3', verify: off}\n- {name: d, url: 'rtsp://c/4', verify: suppress}\n"
                    "- {name: e, url: 'rtsp://c/5', explain: true}\n")
    cameras = read([str(file)]).cameras
    for explain, verify, expected in (
            (False, "off", [(False, "off"), (False, "off"), (False, "off"), (True, "suppress"), (True, "off")]),
            (True, "off", [(True, "off"), (False, "off"), (True, "off"), (True, "suppress"), (True, "off")]),
            (False, "annotate", [(True, "annotate"), (False, "off"), (False, "off"), (True, "suppress"),
                                 (True, "annotate")])):
        found = [(camera.explained(explain, verify), camera.verified(verify)) for camera in cameras]  # type: ignore[arg-type]
        assert found == expected


def test_events_of_a_watch_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["events", "list", *map(str, words)])
        assert ended.value.code == (1 if words == (tmp_path / "nowhere",) else 0)
        return "".join(capsys.readouterr())

    assert listed(tmp_path / "nowhere").startswith("error: no log of a watch in ")
    journal = Journal(tmp_path)
    assert listed(tmp_path) == "no events\n"
    for id in ("told", "refuted", "held"):
        if id != "told":
            journal.hold(id)
        journal.add(kind="begin", id=id, camera="gate", start={"wall": "2026-11-27T16:00:58.430Z", "stream_s": 6.2},
                    end={"wall": "2026-11-27T16:00:59.430Z", "stream_s": 7.2}, peak=0.9)
    journal.add(kind="end", id="told", camera="gate")
    assert listed(tmp_path, "--suppressed") == "no event of 3 was suppressed\n"
    journal.suppress("refuted")
    journal.add(kind="update", id="refuted", verified="refuted", explanation={"what": "a man jogs\x1b[31m"})
    rows = [line.split() for line in listed(tmp_path).splitlines()[2:]]
    assert [row[-1] for row in rows] == ["told", "refuted", "held"]
    assert ["over" in rows[0], "suppressed" in rows[1], "held" in rows[2]] == [True] * 3
    only = listed(tmp_path, "--suppressed")
    assert "a man jogs\\u001b[31m" in only
    assert "told" not in only
    [line] = [json.loads(line) for line in listed(tmp_path, "--suppressed", "--json").splitlines()]
    assert (line["id"], line["camera"], line["verified"]) == ("refuted", "gate", "refuted")


def test_addresses_get_names_of_their_own() -> None:
    names = [camera.name for camera in read(["rtsp://bob:geheim@cam.lan/1", "rtsp://cam.lan/1", "camera:0"]).cameras]
    assert names == ["cam.lan-1", "cam.lan-1-2", "camera-0"]


@pytest.mark.parametrize("length", range(36, 46))
def test_an_address_of_any_length_has_a_name(length: int) -> None:
    assert read([f"rtsp://cam.lan/{'x' * 3}/{'y' * (length - 1)}"]).cameras[0].name[0] in "xyc"
