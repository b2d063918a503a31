"""`dbvad detect` on real videos, by the real libraries, against what evaluation says of the same videos."""

import csv
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dbvad.detection.events import Snippet, Thresholds, find_events
from dbvad.detection.stages import read_events, snippets
from pipeline.engine.hashing import hash_file
from pipeline.engine.store import Store
from pipeline.instruments import video
from tests import videos
from tests.damage import flip_column
from tests.detection.conftest import CLIP, STRIDE, TEST, World, detect, moving
from tests.e2e.conftest import call
from tests.tiny import tiny_clip


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def plan(world: World, out: Path, capsys: pytest.CaptureFixture[str], *more: object) -> set[str]:
    """The stages that a run would redo."""
    capsys.readouterr()
    assert call(*detect(world, out, "--dry-run", "--json", *more)) == 0
    return {row["stage"] for row in json.loads(capsys.readouterr().out)}


def test_scores_and_events_are_those_of_evaluation(world: World, searched: Path) -> None:
    table = pq.read_table(world.run / "scores.parquet").to_pylist()
    store, found = Store(searched / "detections"), 0
    thresholds = Thresholds(on=world.on, off=world.on * 0.99, min_length_s=0, merge_gap_s=0.1)
    model = hash_file(world.run / "model.safetensors")
    for name in TEST:
        rows = [row for row in table if row["video_id"] == f"test/{name}"]
        ours = snippets(store.read("detect", name))
        assert [(s.start_frame, s.end_frame) for s in ours] == [(row["start"], row["end"]) for row in rows]
        np.testing.assert_allclose([s.score for s in ours], [row["score"] for row in rows], atol=1e-5)
        theirs = find_events(name, [Snippet(row["start"] / videos.FPS, row["end"] / videos.FPS, row["start"],
                                            row["end"], row["score"]) for row in rows], thresholds, model)
        events = read_events(store, name)
        assert [(e.start_frame, e.end_frame) for e in events] == [(e.start_frame, e.end_frame) for e in theirs]
        assert [e.id for e in events] == [e.id for e in theirs]
        found += len(events)
    assert found


def test_snippets_cover_the_video_in_frames_and_in_seconds(searched: Path) -> None:
    for name, n_frames in TEST.items():
        made = snippets(Store(searched / "detections").read("detect", name))
        assert (made[0].start_frame, made[-1].end_frame) == (0, n_frames)
        assert all(before.end_frame == after.start_frame and before.end_s == after.start_s
                   for before, after in pairwise(made))
        assert [s.start_s for s in made] == pytest.approx([STRIDE * k / videos.FPS for k in range(len(made))])
        assert made[-1].end_s == pytest.approx(n_frames / videos.FPS)


def test_what_changes_redoes_what_depends_on_it(world: World, searched: Path, capsys: pytest.CaptureFixture[str],
                                                ) -> None:
    assert plan(world, searched, capsys) == set()
    assert plan(world, searched, capsys, "--pre-roll", 9) == set()
    assert plan(world, searched, capsys, "--merge-gap", 0.4) == {"events"}
    assert plan(world, searched, capsys, "--classes", "a fire") == {"events"}
    assert plan(world, searched, capsys, "--smooth", 1) == {"detect", "events"}
    assert plan(world, searched, capsys, "--scale", "windows") == {"detect", "events"}


def test_bad_files_go_to_quarantine_and_the_second_run_has_nothing_to_do(
        world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "archive"
    moving(folder / "good" / "v.mp4", 40, 1)
    videos.empty(folder / "empty.mp4")
    videos.text(folder / "letter.mp4")
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "notes.txt").write_text("no video")
    command = ["detect", folder, "-m", world.run, "-a", tmp_path / "d", "--json", "--device", "cpu", "--on", 0.01]
    assert call(*command) == 3
    captured = capsys.readouterr()
    assert {json.loads(line)["video"] for line in captured.out.splitlines()} == {"good/v.mp4"}
    assert "4 videos\nleft out: 1 file that is no video: 1 .txt" in captured.err
    assert call(*command) == 3
    assert "nothing to do" in (told := capsys.readouterr().err)
    assert f"3 in quarantine: `dbvad pipeline failures -a {tmp_path / 'd'}`" in told
    for command in (["pipeline", "failures"], ["sql", "from quarantine"]):
        assert call(*command, "-a", tmp_path / "d", "--json") == 0
        assert {row["video_id"]: row["kind"] for row in json.loads(capsys.readouterr().out)} == {
            "empty.mp4": "empty", "gone.mp4": "unreadable", "letter.mp4": "not_video"}


def test_outputs_read_back(world: World, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    capsys.readouterr()
    files = ("--csv", out / "e.csv", "--vtt", out, "--srt", out, "--png", out, "--clips", out / "clips", "--overlay",
             out / "seen")
    assert call(*detect(world, searched, "--json", "--pre-roll", 0.2, "--post-roll", 0.2, *files)) == 0
    events = lines(capsys)
    assert events
    assert {event["video"] for event in events} <= set(TEST)
    assert all(event["suggestions"][0]["name"] in ("fighting", "road accident") for event in events)
    with open(out / "e.csv", newline="") as file:
        assert [(row["id"], float(row["start_s"])) for row in csv.DictReader(file)] == [
            (event["id"], event["start_s"]) for event in events]
    for name, n_frames in TEST.items():
        mine = [event for event in events if event["video"] == name]
        stem = out / Path(name).with_suffix("")
        vtt, srt = stem.with_suffix(".vtt").read_text(), stem.with_suffix(".srt").read_text()
        assert vtt.startswith("WEBVTT\n")
        for text, point in ((vtt, "."), (srt, ",")):
            times = re.findall(rf"(\d\d):(\d\d):(\d\d)\{point}(\d\d\d) --> ", text)
            assert [int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in times] == pytest.approx(
                [event["start_s"] for event in mine])
        with Image.open(stem.with_suffix(".png")) as picture:
            assert picture.size == (1200, 300)
        overlay = video.decode((out / "seen" / name).with_suffix(".mp4"))
        assert len(list(overlay)) == n_frames
        clips = sorted((out / "clips" / Path(name).parent).glob(f"{Path(name).stem}-*"))
        assert len(clips) == len(mine)
        for event in mine:
            (clip,) = [path for path in clips if event["id"] in path.name]
            frames = len(list(video.decode(clip)))
            assert frames >= event["end_frame"] - event["start_frame"]


def test_words_are_suggested_and_trigger_nothing(world: World, tmp_path: Path, searched: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(searched / "detections", tmp_path / "detections")
    capsys.readouterr()
    assert call(*detect(world, searched, "--json")) == 0
    before = lines(capsys)
    assert call(*detect(world, tmp_path, "--json", "--classes", "a fire, a fight")) == 0
    after = lines(capsys)
    assert [event["id"] for event in after] == [event["id"] for event in before]
    for event in after:
        likeness = [word["likeness"] for word in event["suggestions"]]
        assert {word["name"] for word in event["suggestions"]} == {"a fire", "a fight"}
        assert likeness == sorted(likeness, reverse=True)


def test_exit_code_tells_of_an_event_when_asked(world: World, searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched / "detections", tmp_path / "detections")
    assert call(*detect(world, tmp_path, "--fail-on-event")) == 4
    assert call(*detect(world, tmp_path, "--fail-on-event", "--min-length", 60)) == 0


def test_sql_shows_what_was_detected_and_keeps_what_was_searched_before(
        world: World, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(searched / "detections", tmp_path / "detections")
    moving(tmp_path / "later.mp4", 40, 3)
    assert call("detect", tmp_path / "later.mp4", "-m", world.run, "-a", tmp_path / "detections") == 0
    capsys.readouterr()
    query = "select video_id, count(*) as n from detected group by 1 order by 1"
    assert call("sql", "-a", tmp_path / "detections", "--json", query) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["video_id"]: row["n"] for row in rows} == {
        name: -(-frames // STRIDE) for name, frames in {**TEST, "later.mp4": 40}.items()}
    assert call("sql", "-a", world.root / "artifacts", "--json", "from events") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert call("artifacts", "verify", "-a", tmp_path / "detections") == 0
    capsys.readouterr()
    for stages, more in ((["detect"], ["--stage", "detect"]), (["ingest", "decode", "score", "detect", "events"], [])):
        assert call("artifacts", "show", "later.mp4", "-a", tmp_path / "detections", *more) == 0
        assert re.findall(r"^(\w+): \d+ rows?,", capsys.readouterr().out, re.MULTILINE) == stages


def test_ids_are_paths_below_the_common_folder(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(world.tests)
    for given, ids in ((["*/a.mp4"], {"fighting/a.mp4", "normal/a.mp4"}), (["fighting"], {"a.mp4", "b.mkv"}),
                       (["fighting", "fighting/a.mp4", "normal/a.mp4"],
                        {"fighting/a.mp4", "fighting/b.mkv", "normal/a.mp4"})):
        capsys.readouterr()
        assert call("detect", *given, "-m", world.run, "-a", tmp_path / "d", "--dry-run", "--json") == 0
        assert {row["video"] for row in json.loads(capsys.readouterr().out)} == ids


def test_wrong_use_is_one_clear_message(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    other = tiny_clip(tmp_path / "other")
    place = ["-a", tmp_path / "d"]
    for arguments, said in (
            ([world.tests, "-m", tmp_path / "no"], "no model at"),
            ([tmp_path / "nothing", "-m", world.run], "no video below"),
            ([tmp_path / "*.mp4", "-m", world.run], "nothing at"),
            ([world.tests, "-m", world.run, "--clip", other], "the model was trained on 256-d features of clip"),
            ([world.tests, "-m", world.run, "--onnx"], "dbvad export RUN --out MODEL --onnx"),
            ([world.tests, "-m", world.run, "--on", 0.2, "--off", 0.4], "above on"),
            ([world.tests, "-m", world.run, "--crop", 3], "crop 3 is asked for"),
            ([world.tests, "-m", world.run, "-a", world.root / "artifacts"], "trained and tested on")):
        capsys.readouterr()
        assert call("detect", *place, *arguments) == 1
        told = capsys.readouterr().err
        assert said in told
        assert "Traceback" not in told
    assert CLIP.is_dir()


def test_the_report_shows_scores_of_recordings_and_judges_nothing(world: World, searched: Path, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call("report", "-a", searched / "detections", "--out", tmp_path / "page.html") == 0
    told = capsys.readouterr().out
    assert "recordings that `dbvad detect` searched" in told
    page = (tmp_path / "page.html").read_text()
    assert f"{len(TEST)} recordings." in page
    assert "of them abnormal" not in page
    assert page.count("peak 0.") == len(TEST)


def test_damage_names_a_remedy_that_mends_it(world: World, searched: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(searched / "detections", tmp_path / "detections")
    shard = Store(tmp_path / "detections").path("events", "fighting/a.mp4")
    flip_column(shard, "peak")
    for command in (detect(world, tmp_path), ["sql", "-a", tmp_path / "detections", "from events"],
                    ["artifacts", "verify", "-a", tmp_path / "detections", "--json"]):
        capsys.readouterr()
        assert call(*command) in (1, 3)
        captured = capsys.readouterr()
        assert "delete this file, then run the same `dbvad detect`" in captured.out + captured.err
    shard.unlink()
    assert call(*detect(world, tmp_path, "--retry-failed")) == 0


def test_the_demo_ends_with_events_beside_the_truth(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                    ) -> None:
    from dbvad.cli.demo import _detect

    for split in ("train", "test"):
        moving(tmp_path / "videos" / split / "robbery" / f"robbery_{split}_1.mp4", 60, 4)
    (tmp_path / "temporal.txt").write_text("robbery_train_1.mp4  robbery  1  2  -1  -1\n"
                                           "robbery_test_1.mp4  robbery  20  39  50  54\n")
    assert _detect(tmp_path, world.run) == 0
    told = capsys.readouterr().out
    assert "in 1 of 1 video" in told
    assert told.endswith("the truth: robbery from 2.0 to 4.0 s, robbery from 5.0 to 5.5 s\n")
