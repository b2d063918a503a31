"""What the commands say of a dataset: what is no video, what comes twice, what has changed since the last run."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from typer import BadParameter

from dbvad.cli import main
from dbvad.cli.dataset import chosen
from pipeline.engine.place import ORIGIN
from tests import videos


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, listed in a CSV, with an ingest run behind them."""
    root = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("videos").mkdir()
        for number, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
            videos.barcode(Path("videos") / name, 5 + number, size=(64, 48))
        label(a="fight,train", b="normal,train", c="fight,test")
        Path("stages.yaml").write_text("dataset: {labels: csv, labels_file: labels.csv}\n")
        assert call("pipeline", "run", "ingest") == 0
    return root


@pytest.fixture
def here(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; commands run in there."""
    folder = shutil.copytree(once, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


def label(**rows: str) -> None:
    Path("labels.csv").write_text("video,label,split\n" + "".join(f"{name}.mp4,{row}\n" for name, row in rows.items()))


def copy(name: str, other: str) -> None:
    (Path("videos") / other).write_bytes((Path("videos") / name).read_bytes())


@pytest.mark.parametrize(("change", "said"), [
    (lambda: copy("a.mp4", "d.mp4"), "1 new (d.mp4)"),
    (lambda: Path("videos/a.mp4").unlink(), "1 gone (a.mp4)"),
    (lambda: label(a="fight,test", b="normal,train", c="fight,test"), "relabelled (a.mp4)"),
    (lambda: label(a="arson,train", b="normal,train", c="fight,test"), "relabelled (a.mp4)"),
    (lambda: copy("b.mp4", "a.mp4"), "1 with another content (a.mp4)"),
    (lambda: Path("videos/a.mp4").write_bytes(b""), "1 with another content (a.mp4)"),
    (lambda: label(b="normal,train", c="fight,test"), "relabelled (a.mp4)"),
    (lambda: Path("labels.csv").write_text("nonsense"), "the dataset cannot be read any more"),
])
@pytest.mark.parametrize("command", ["train", "evaluate", "report"])
def test_artifacts_of_a_dataset_that_changed_are_refused(here, capsys, change, said, command) -> None:
    change()
    capsys.readouterr()
    assert call(command) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "dbvad pipeline run" in error or "labels.csv" in error


def test_where_the_videos_are_not_at_hand_the_last_runs_word_holds(here, capsys) -> None:
    Path("videos").rename("elsewhere")
    assert call("train") == 1
    error = capsys.readouterr().err
    assert "the videos are not at hand" in error
    assert "no features of today's making" in error


def test_files_that_are_no_videos_and_copies_are_told(here, capsys) -> None:
    for name in ("notes.txt", "more.txt", ".hidden", "archive.zip", "README"):
        (Path("videos") / name).write_text("x")
    copy("a.mp4", "leak.mp4")
    copy("b.mp4", "twin.mp4")
    label(a="fight,train", b="normal,train", c="fight,test", leak="fight,test", twin="normal,train")
    capsys.readouterr()
    assert call("pipeline", "run", "ingest") == 0
    told = capsys.readouterr().out
    assert "5 files that are no videos: 2 .txt, 1" in told
    assert "taken out of one split (1): leak.mp4 = a.mp4" in told
    assert "each counts as a video (1): b.mp4 = twin.mp4" in told
    assert call("pipeline", "run", "ingest", "--strict") == 1
    call("pipeline", "status")
    assert "leak.mp4 = a.mp4" in capsys.readouterr().err


def test_sql_and_gc_speak_of_what_is_left_over(here, capsys) -> None:
    Path("videos/a.mp4").unlink()
    label(b="normal,train", c="fight,test")
    call("pipeline", "run", "ingest")
    capsys.readouterr()
    assert call("sql", "select video_id from ingest order by 1", "--json") == 0
    told = capsys.readouterr()
    assert [row["video_id"] for row in json.loads(told.out)] == ["b.mp4", "c.mp4"]
    assert "left out: 1 shard of videos that are not in the dataset" in told.err
    call("artifacts", "gc")
    assert "1 shard, 0.0 MB of no video in the dataset (--delete removes them)" in capsys.readouterr().out
    assert Path("artifacts/ingest/a.mp4.parquet").exists()
    call("artifacts", "gc", "--delete")
    assert not Path("artifacts/ingest/a.mp4.parquet").exists()


def test_compacted_shards_answer_until_they_change(here, capsys) -> None:
    time.sleep(0.1)
    capsys.readouterr()
    assert call("artifacts", "compact") == 0
    assert capsys.readouterr().out.startswith("ingest: 3 shards -> 1 file, ")
    call("artifacts", "ls", "--json")
    assert '{"stage": "compact", "shards": 2' in capsys.readouterr().out
    label(b="normal,test", c="fight,test")
    Path("videos/a.mp4").unlink()
    call("pipeline", "run", "ingest")
    capsys.readouterr()
    assert call("sql", "select video_id, split from ingest order by 1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"video_id": "b.mp4", "split": "test"},
                                                   {"video_id": "c.mp4", "split": "test"}]
    call("artifacts", "gc", "--delete")
    assert "2 files, 0.0 MB of compacted shards, some of such videos" in capsys.readouterr().out
    assert list(Path("artifacts/compact").glob("*/*")) == []


@pytest.mark.parametrize(("given", "said"), [
    (["scor"], "no stage 'scor': stages: ingest,"), (["-a", "s3://bucket/x"], "only shards in a folder are compacted"),
    (["-a", "nowhere"], "no artifacts at nowhere"), (["-a", "mirror"], "only shards in a folder are compacted"),
])
def test_what_cannot_be_compacted_is_said(here, capsys, given, said) -> None:
    Path("mirror").mkdir()
    (Path("mirror") / ORIGIN).touch()
    assert call("artifacts", "compact", *given) == 1
    assert said in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_a_video_that_comes_back_costs_nothing(here, capsys) -> None:
    Path("videos/a.mp4").rename("a.mp4")
    call("pipeline", "run", "ingest")
    Path("a.mp4").rename("videos/a.mp4")
    capsys.readouterr()
    call("pipeline", "run", "ingest")
    assert "nothing to do" in capsys.readouterr().out


def test_a_name_is_taken_as_it_is_written_before_it_is_a_pattern() -> None:
    ids = ["a[1].mp4", "a1.mp4", "b/it's $5.mp4"]
    assert chosen(ids, ["a[1].mp4"]) == {"a[1].mp4"}
    assert chosen(ids, ["a[12].mp4"]) == {"a1.mp4"}
    assert chosen(ids, ["b/*", "a1.mp4"]) == {"b/it's $5.mp4", "a1.mp4"}
    assert chosen(ids, None) is None
    with pytest.raises(BadParameter, match="no video matches x"):
        chosen(ids, ["x"])


def test_status_of_imported_artifacts_needs_no_stages_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("features").mkdir()
    for name, rows in (("a", 3), ("b", 4), ("c", 0)):
        np.save(Path("features") / f"{name}.npy", np.ones((rows, 4), np.float32))
    label(a="fire,train", b="normal,test", c="fire,train")
    assert call("import", "features", "features", "--labels", "labels.csv") == 3
    capsys.readouterr()
    call("pipeline", "status", "--json")
    rows = {row["stage"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["score"]["done"], rows["score"]["quarantined"], rows["embed"]["missing"]) == (2, 1, 1)
    call("pipeline", "status", "--why", "a")
    assert "not imported" in capsys.readouterr().out
