"""What is missing or broken is said in one sentence; only what the user named himself is an error."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dbvad.evaluation.groundtruth import AnnotationError, Segment
from dbvad.report.inputs import ReportError, read_inputs
from dbvad.report.ladder import LadderError, read_ladder
from pipeline.engine.files import write_record
from pipeline.engine.sealed import seal
from pipeline.engine.store import Store
from tests.damage import flip
from tests.report.planted import VIDEOS, Planted, annotate, evaluated, publish


@pytest.fixture
def store(tmp_path) -> Store:
    return publish(tmp_path / "artifacts")


def test_everything_is_read(tmp_path, store):
    annotations = annotate(tmp_path / "temporal.txt")
    found = read_inputs(store, evaluated(tmp_path / "run", annotations), None, "auto")
    assert [video.video_id for video in found.videos] == sorted(video.video_id for video in VIDEOS)
    assert set(found.scores) == {video.video_id for video in VIDEOS if video.split == "test"}
    assert found.truth["test/fight/a.mp4"] == (Segment(24, 56, "fight"),)
    assert found.truth["train/fight/d.mp4"] == (Segment(48, 64, "fight"),)
    assert found.truth["train/normal/e.mp4"] == ()
    assert set(found.missing) == {"ladder"}


def test_a_normal_video_that_the_file_does_not_name_holds_no_event(tmp_path, store):
    annotations = annotate(tmp_path / "temporal.txt", VIDEOS[:2])
    found = read_inputs(store, evaluated(tmp_path / "run", annotations), None, "auto")
    assert found.truth["test/normal/c.mp4"] == ()
    assert "train/fight/d.mp4" not in found.truth


def test_nothing_at_all_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(ReportError, match="dbvad pipeline run"):
        read_inputs(Store(tmp_path), None, None, "auto")
    with pytest.raises(ReportError, match="dbvad train"):
        read_inputs(Store(tmp_path), tmp_path / "no-run", None, "auto")


def test_a_run_without_evaluation(tmp_path, store):
    (tmp_path / "run").mkdir()
    found = read_inputs(store, tmp_path / "run", None, "auto")
    assert all("dbvad evaluate" in found.missing[part] for part in ("result", "scores", "truth"))
    assert found.scores == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"metrics": 3}'])
def test_a_broken_result(tmp_path, store, content):
    run = evaluated(tmp_path / "run", None)
    (run / "result.json").write_text(content)
    found = read_inputs(store, run, None, "auto")
    assert found.result is None
    assert "evaluate" in found.missing["result"]
    assert found.scores


@pytest.mark.parametrize("rows", [
    {"video_id": ["a", "b", "a"], "start": [0, 0, 8], "end": [8, 8, 16]},  # a's rows apart
    {"video_id": ["a", "a"], "start": [0, 16], "end": [8, 24]},  # a gap
    {"video_id": ["a", "a"], "start": [8, 0], "end": [16, 8]},  # backwards
    {"video_id": ["a"], "start": [0]},  # a column is missing
])
def test_broken_scores(tmp_path, store, rows):
    run = evaluated(tmp_path / "run", None)
    pq.write_table(pa.table(rows | {"score": np.zeros(len(rows["start"]), np.float32)}), run / "scores.parquet")
    seal(run / "scores.parquet")
    found = read_inputs(store, run, None, "auto")
    assert found.scores == {}
    assert "evaluate" in found.missing["scores"]
    (run / "scores.parquet").write_bytes(b"torn")
    assert "cannot be read" in read_inputs(store, run, None, "auto").missing["scores"]


def test_scores_of_videos_that_the_artifacts_lack(tmp_path):
    run = evaluated(tmp_path / "run", None)
    found = read_inputs(Store(tmp_path / "none"), run, annotate(tmp_path / "temporal.txt", VIDEOS[:3]), "auto")
    assert [(video.split, video.labels) for video in found.videos] == [("test", None)] * 3
    assert found.truth["test/fight/a.mp4"]


def test_annotations_that_moved_are_a_sentence_and_those_named_an_error(tmp_path, store):
    run = evaluated(tmp_path / "run", tmp_path / "gone.txt")
    found = read_inputs(store, run, None, "auto")
    assert "--annotations" in found.missing["truth"]
    assert found.truth == {}
    with pytest.raises(AnnotationError):
        read_inputs(store, run, tmp_path / "gone.txt", "auto")


def test_names_that_fit_several_training_videos_cost_only_their_truth(tmp_path):
    videos = (*VIDEOS[:3], Planted("train/one/x.mp4", "train", "fight"), Planted("train/two/x.mp4", "train", "fight"))
    store = publish(tmp_path / "artifacts", videos)
    annotations = annotate(tmp_path / "temporal.txt", VIDEOS[:3])
    annotations.write_text(annotations.read_text() + "x.mp4 fight 1 2\n")
    found = read_inputs(store, None, annotations, "auto")
    assert found.truth["test/fight/a.mp4"]
    assert "x.mp4" in found.missing["train_truth"]


def test_ladders_lie_in_the_run_or_are_named(tmp_path, store):
    run = evaluated(tmp_path / "run", None)
    write_record(run / "ladder.json", {"rows": []})
    assert read_inputs(store, run, None, "auto").ladders == ({"rows": []},)
    named = read_inputs(store, run, None, "auto", [run / "ladder.json", tmp_path / "no.json", run / "ladder.json"])
    assert len(named.ladders) == 2
    assert "no file" in named.missing["ladder"]
    for content in ("{", '{"rows": []}'):
        (run / "ladder.json").write_text(content)
        assert "is damaged" in read_inputs(store, run, None, "auto").missing["ladder"]


@pytest.mark.parametrize(("name", "part"), [("result.json", "result"), ("scores.parquet", "scores")])
def test_a_flipped_bit_in_what_was_evaluated_is_a_sentence(tmp_path, store, name, part):
    run = evaluated(tmp_path / "run", None)
    place = (run / name).read_bytes().index(b"0.9123") + 3 if part == "result" else 60
    flip(run / name, place)
    found = read_inputs(store, run, None, "auto")
    assert not getattr(found, part)
    assert "not what was written" in found.missing[part]
    assert "dbvad evaluate" in found.missing[part]


def test_a_ladder_becomes_a_table():
    content = json.loads("""{"title": "Modules", "base": "plain", "judged": "test videos", "made": "now", "rows": [
        {"name": "plain", "seeds": [0, 1], "metrics": {"ap": {"mean": 0.5}, "auc": {"mean": 0.801, "std": 0.006}}},
        {"name": "+ TMM", "seeds": [0], "metrics": {"auc": {"mean": 0.861}}, "failed": {"1": "no memory"},
         "difference": {"auc": {"mean": 0.06, "std": null, "clear": false}}, "published": {"auc": 85.54}}]}""")
    table = read_ladder(content)
    assert table["head"] == ["variant", "seeds", "AUC", "AP", "AUC, published"]
    assert table["body"] == [["plain", "2", "80.10 ± 0.60", "50.00", ""],
                             ["+ TMM", "1, 1 failed", "86.10 (+6.00)", "", "85.54"]]
    assert (table["title"], table["base"], table["judged"]) == ("Modules", "plain", "test videos")


@pytest.mark.parametrize("content", [3, [], {"rows": None}, {"rows": [{"metrics": {}}]},
                                     {"rows": [{"name": "a", "metrics": {"auc": 0.8}}]}])
def test_what_is_no_ladder_is_refused(content):
    with pytest.raises(LadderError):
        read_ladder(content)
