"""Anybody's scores under our protocol: the figures of a run where they are a run's, and what lacks is said."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dbvad.cli.evaluate import evaluate as command
from dbvad.data.dataset import read_index
from dbvad.evaluation.beside import judge_scores
from dbvad.evaluation.evaluate import EvaluateError, evaluate
from dbvad.evaluation.groundtruth import frame_truth, match, read_annotations
from dbvad.scoring.protocol import Protocol
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from pipeline.engine.store import Store
from tests.detector.planted import World, plant

FIGURES = ("metrics", "intervals", "videos", "abnormal_videos", "frames", "abnormal_frames", "annotations", "dropped")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Artifacts, two runs and annotations of barely trained detectors."""
    root = tmp_path_factory.mktemp("beside")
    events = plant(root, World(train=16, test=10, dim=8, text_dim=6, snippets=(3, 20)))
    for name, epochs in (("run", 2), ("other", 1)):
        train(TrainConfig(epochs=epochs, lr=1e-3, batch=8, precision="fp32", device="cpu"), root, root / name)
    return root, root / "run", events


def truths(root, events):
    index = read_index(Store(root), "test")
    found = match(read_annotations(events), {video.video_id: (video.frames, video.fps) for video in index.videos})
    return {video.video_id: frame_truth(found.segments.get(video.video_id, ()), video.frames).astype(float)
            for video in index.videos}


def test_a_runs_own_scores_have_its_figures(trained):
    root, run, events = trained
    ours = evaluate(run, root, events, device="cpu")
    found = judge_scores(run / "scores.parquet", root, events)
    assert {name: found[name] for name in FIGURES} == {name: ours[name] for name in FIGURES}
    assert found["scores"]["smoothing"] is None
    assert "scores alone" in found["localization"]


def test_smoothing_is_that_of_a_run_and_named_in_frames(trained, tmp_path):
    root, run, events = trained
    smoothed = evaluate(run, root, events, device="cpu", protocol=Protocol(smooth=4), out=tmp_path)
    evaluate(run, root, events, device="cpu")
    found = judge_scores(run / "scores.parquet", root, events, protocol=Protocol(smooth=4))
    assert found["metrics"] == pytest.approx(smoothed["metrics"], abs=1e-6)
    assert found["scores"]["smoothing"] == {"kernel": "gaussian", "sd_frames": 64}


def test_the_truth_scores_100_and_a_constant_50(trained, tmp_path):
    root, _, events = trained
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({name: truth.tolist() for name, truth in truths(root, events).items()}))
    found = judge_scores(path, root, events)["metrics"]
    assert [found[name] for name in ("auc", "ap", "ano_auc", "macro_auc", "video_auc")] == [1.0] * 5
    path.write_text(json.dumps({name: [0.5] * len(truth) for name, truth in truths(root, events).items()}))
    found = judge_scores(path, root, events)["metrics"]
    assert [found[name] for name in ("auc", "ano_auc", "macro_auc", "video_auc")] == [0.5] * 4


def test_beside_runs_on_the_same_videos(trained):
    root, run, events = trained
    evaluate(run, root, events, device="cpu")
    theirs = evaluate(root / "other", root, events, device="cpu")
    same, other = judge_scores(run / "scores.parquet", root, events, runs=[run, root / "other"])["beside"]
    assert set(map(tuple, same["difference_intervals"].values())) == {(0.0, 0.0)}
    assert other["metrics"] == theirs["metrics"]
    low, high = other["difference_intervals"]["auc"]
    assert low < high


def test_lacking_videos_are_refused_or_left_out_of_every_row(trained, tmp_path):
    root, run, events = trained
    evaluate(run, root, events, device="cpu")
    kept = pq.read_table(run / "scores.parquet").to_pylist()
    some = [row for row in kept if row["video_id"] != "test/video 017.mp4"]
    path = tmp_path / "some.json"
    path.write_text(json.dumps([*some, {"video_id": "train/video 003.mp4", "start": 0, "end": 5, "score": 1}]))
    with pytest.raises(EvaluateError, match=r"no scores of 1 test video of 10 \(test/video 017\.mp4\).*--allow-m"):
        judge_scores(path, root, events)
    found = judge_scores(path, root, events, allow_missing=True, runs=[run])
    assert (found["videos"], found["scores"]["lacking"]) == (9, ["test/video 017.mp4"])
    assert found["scores"]["unknown_names"] == ["train/video 003.mp4"]
    assert found["beside"][0]["metrics"] == found["metrics"]
    path.write_text(json.dumps({"elsewhere": [1.0]}))
    with pytest.raises(EvaluateError, match=r"scores of none of the 10 test videos .* but of elsewhere"):
        judge_scores(path, root, events, allow_missing=True)


def test_the_command_shows_both_rows_and_what_was_left_out(trained, tmp_path, capsys):
    root, run, events = trained
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "about.md").write_text("")
    for video_id, truth in list(truths(root, events).items())[:-1]:
        np.save(folder / f"{video_id.split('/')[1].removesuffix('.mp4')}.npy", 3 * truth[::16])
    command([run], root, events, scores=folder, snippet=16, allow_missing=True, smooth=2, device="cpu",
            out=tmp_path / "r.json")
    told = " ".join(capsys.readouterr().out.split())
    assert "theirs %" in told
    assert f"{run} %" in told
    assert "9 test videos" in told
    assert "Gaussian, standard deviation 32 frames" in told
    assert "left out, so this is no figure of the whole test set: test/video 025.mp4" in told
    assert f"files in {folder} that hold no scores: 1 .md" in told
    assert "scores reach from 0 to" in told
    assert json.loads((tmp_path / "r.json").read_text())["videos"] == 9
    command(None, root, events, scores=run / "scores.parquet", row="markdown")
    assert capsys.readouterr().out.splitlines()[-1].startswith("| scores.parquet | ")


@pytest.mark.parametrize("wrong", [{"scores": "x.json", "names": 10.0}, {"scores": "x.json", "oracle": True},
                                   {"snippet": 16}, {"allow_missing": True}])
def test_options_that_would_do_nothing_are_refused(wrong):
    with pytest.raises(Exception, match="--scores"):
        command(None, **wrong)
