"""Evaluation: truth that fits each video, figures with their provenance, and what does not fit is refused."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from dbvad.data.dataset import DataError, read_index
from dbvad.evaluation.evaluate import EvaluateError, Scored, _class_scores, evaluate, save_result
from dbvad.evaluation.groundtruth import frame_truth, match, read_annotations
from dbvad.scoring.protocol import Protocol
from dbvad.training.checkpoint import CheckpointError, load_model, save_model
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from pipeline.engine.files import Damaged, read_record
from pipeline.engine.store import Store
from tests.damage import flip, flip_column
from tests.detector.planted import World, plant

WORLD = World(train=16, test=10, crops=2, dim=8, text_dim=6, snippets=(3, 20))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Artifacts, run and annotations of a barely trained detector."""
    root = tmp_path_factory.mktemp("evaluated")
    events = plant(root, WORLD)
    config = TrainConfig(epochs=2, lr=1e-3, batch=8, precision="fp32", device="cpu", keep_epochs=True)
    train(config, root, root / "run")
    return root, root / "run", events


def judge(trained, **kw):
    root, run, events = trained
    return evaluate(run, root, events, device="cpu", **kw)


def test_result_says_how_it_was_come_by(trained):
    root, run, _ = trained
    found = judge(trained, protocol=Protocol(repeats=20), oracle=True)
    assert (found["videos"], found["abnormal_videos"]) == (10, 5)
    about = found["provenance"]
    assert about["training_data"] == load_model(run).facts.data
    assert about["test_data"] != about["training_data"]
    assert (about["feature_source"], about["feature_model"], about["crops"]) == ("import", "planted", 2)
    assert about["config"]["epochs"] == about["epoch"] == 2
    assert about["versions"]["torch"]
    assert found["protocol"] == {"scale": "bins", "crop": None, "smooth": 0, "names": 0, "look_ahead": None,
                                 "ends": "inclusive", "threshold": 0.5, "repeats": 20, "selection": "last"}
    assert found["annotations"]["file"] == "events.csv"
    assert found["oracle"]["auc"]["value"] >= found["metrics"]["auc"]
    save_result(root / "r.json", found)
    assert read_record(root / "r.json", "") == found
    assert judge(trained, protocol=Protocol(repeats=20), oracle=True) == found


def test_scores_are_saved_a_snippet_a_row(trained):
    _, run, _ = trained
    found = judge(trained)
    table = pq.read_table(run / "scores.parquet")
    assert [str(t) for t in table.schema.types] == ["string", "int64", "int64", "float"]
    assert len(table["video_id"].unique()) == 10
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    assert (end > start).all()
    assert (end - start).sum() == found["frames"]


@pytest.mark.parametrize("known", ["truth", "constant", "random"])
def test_known_scores_have_known_figures(trained, monkeypatch, known):
    """The whole way of an evaluation with another detector's place taken by the truth, by nothing, by chance."""
    root, run, events = trained
    index = read_index(Store(root), "test")
    names, rng = load_model(run).facts.classes, np.random.default_rng(0)
    truth = match(read_annotations(events), {video.video_id: (video.frames, video.fps) for video in index.videos})

    def scored(video):
        edges = np.append(np.arange(0, video.frames, 16), video.frames)
        classes = np.zeros((len(edges) - 1, len(names)))
        for segment in truth.segments.get(video.video_id, ()):
            classes[:, names.index(segment.label)] = frame_truth([segment], video.frames)[edges[:-1]]
        scores = {"truth": classes.max(axis=1), "constant": np.full(len(classes), 0.5),
                  "random": rng.random(len(classes))}[known]
        return Scored(video, edges, scores, classes)

    monkeypatch.setattr("dbvad.evaluation.evaluate.score_videos", lambda *_: [scored(video) for video in index.videos])
    found = judge(trained, protocol=Protocol(repeats=0))
    figures = [found["metrics"][name] for name in ("auc", "ano_auc", "macro_auc", "video_auc")]
    if known == "truth":
        assert figures == [found["metrics"]["ap"]] * 4 == [1.0] * 4
        located = found["localization"]
        assert (located["average"], located["average_compat"]) == (1.0, 0.75)  # compatible: 3 of 4 columns
    elif known == "constant":
        assert figures == [0.5] * 4
    else:
        assert figures[0] == pytest.approx(0.5, abs=0.2)


def test_without_annotations_only_whole_videos_are_judged(trained):
    root, run, _ = trained
    found = evaluate(run, root, device="cpu")
    assert list(found["metrics"]) == ["video_auc"]
    assert found["annotations"] is found["localization"] is None


def test_the_end_convention_moves_the_truth(trained):
    inclusive = judge(trained, protocol=Protocol(ends="inclusive", repeats=1))
    exclusive = judge(trained, protocol=Protocol(ends="exclusive", repeats=1))
    assert inclusive["abnormal_frames"] - exclusive["abnormal_frames"] == 5  # one frame an event


def test_one_crop(trained):
    both, one = (judge(trained, protocol=Protocol(crop=crop, repeats=1))["metrics"]["auc"] for crop in (None, 1))
    assert both != one
    with pytest.raises(EvaluateError, match="crop 2 is asked for, the features have crops 0 to 1"):
        judge(trained, protocol=Protocol(crop=2))


def test_class_scores_share_the_confidence():
    columns = np.array([[0.8, 0.5, 0.2, 0.3], [0.4, 1.0, 0.0, 0.0]], np.float32)  # confidence, normal, two classes
    np.testing.assert_allclose(_class_scores(columns), [[0.2, 0.32, 0.48], [0.6, 0, 0]], rtol=1e-6)


def test_video_score_is_the_bag_score():
    scores = np.linspace(0, 1, 40)
    assert Scored(None, np.arange(41), scores, None).video_score == pytest.approx(scores[-3:].mean())


@pytest.mark.parametrize(("edit", "message"), [
    (lambda lines: lines[:1] + lines[2:], r"does not name 1 abnormal test videos \(test/video 017.mp4\)"),
    (lambda lines: [*lines, "test/video 016.mp4,3,9,fire"], r"videos that are labelled normal \(test/video 016.mp4\)"),
    (lambda lines: [lines[0], "nowhere,1,2,fire"], "names none of the 10 test videos"),
])
def test_annotations_that_do_not_fit(trained, tmp_path, edit, message):
    root, run, events = trained
    other = tmp_path / "events.csv"
    other.write_text("\n".join(edit(events.read_text().splitlines())) + "\n")
    with pytest.raises(EvaluateError, match=message):
        evaluate(run, root, other, device="cpu")


def test_classes_that_training_did_not_know(trained, tmp_path):
    root, run, events = trained
    other = tmp_path / "events.csv"
    other.write_text(events.read_text().replace("fire", "flood"))
    found = evaluate(run, root, other, device="cpu")
    assert "not trained on flood, it knows normal, Fighting, fire, theft" in found["localization"]
    assert {"kind": "unknown_class", "text": "events.csv has events of classes that no video was trained on",
            "names": ["flood"]} in found["warnings"]
    assert found["metrics"]["auc"] == judge(trained)["metrics"]["auc"]


def test_classes_of_other_writing_systems_are_told_apart(tmp_path):
    classes = ("火災", "打架", "盗窃")
    events = plant(tmp_path, World(**vars(WORLD) | {"classes": classes, "crops": 1}))
    config = TrainConfig(epochs=1, batch=8, precision="fp32", device="cpu")
    train(config, tmp_path, tmp_path / "run")
    found = evaluate(tmp_path / "run", tmp_path, events, device="cpu", protocol=Protocol(repeats=0))
    assert set(found["localization"]["classes"]) == {"normal", *classes}
    np.savez(tmp_path / "labels.npz", labels=np.array(["normal", "火災"]), embeddings=np.eye(2, 6))
    with pytest.raises(DataError, match="no row for 打架, 盗窃"):
        train(config.model_copy(update={"label_embeddings": tmp_path / "labels.npz"}), tmp_path, tmp_path / "other")


@pytest.mark.parametrize("label", ["FIRE", "fi-re", "ｆｉｒｅ"])
def test_classes_that_are_spelt_another_way(trained, tmp_path, label):
    root, run, events = trained
    other = tmp_path / "events.csv"
    other.write_text(events.read_text().replace("fire", label))
    assert evaluate(run, root, other, device="cpu")["localization"] == judge(trained)["localization"]


def test_features_of_another_model_are_refused(trained, tmp_path):
    _, run, _ = trained
    plant(tmp_path, World(**vars(WORLD) | {"source": "open_clip"}))
    with pytest.raises(EvaluateError, match=r"trained on 8-d features of planted \(import\).*of planted \(open_clip\)"):
        evaluate(run, tmp_path, device="cpu")


def test_features_longer_than_the_video_are_refused(trained, tmp_path):
    _, run, _ = trained
    plant(tmp_path, World(**vars(WORLD) | {"changed": {"test/video 018.mp4": {"frames": 20}}}))
    with pytest.raises(EvaluateError, match=r"test/video 018.mp4: snippet at frame \d+ in a video of 20 frames"):
        evaluate(run, tmp_path, device="cpu")


def test_no_run_and_a_broken_one(trained, tmp_path):
    root, _, _ = trained
    with pytest.raises(CheckpointError, match=r"no trained model at .*dbvad train --out"):
        evaluate(tmp_path, root)
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=r"damaged, or no model .*dbvad train --overwrite --out"):
        evaluate(tmp_path, root)


def _tampered(run, out, tensors=lambda values: values, **about):
    """The run's model, written by other means with something changed."""
    with safe_open(run / "model.safetensors", "pt") as file:
        metadata, values = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    out.mkdir(exist_ok=True)
    save_file(tensors(values), out / "model.safetensors", {**metadata, **about})
    return out


def test_a_model_is_believed_only_as_it_was_written(trained, tmp_path):
    root, run, _ = trained
    config = load_model(run).config.model_copy(update={"bins": 9}).model_dump_json()
    for changed in (_tampered(run, tmp_path / "a", config=config), _tampered(run, tmp_path / "b", digest="0" * 64)):
        with pytest.raises(CheckpointError, match=r"not what was written; train it again: dbvad train --overwrite"):
            evaluate(changed, root)
    assert load_model(_tampered(run, tmp_path / "c")).facts == load_model(run).facts


def test_every_flip_in_a_model_is_refused_or_changes_nothing(trained, tmp_path):
    _, run, _ = trained
    whole, before = (run / "model.safetensors").read_bytes(), load_model(run)
    for place in np.random.default_rng(0).integers(len(whole), size=60).tolist() + list(range(0, 400, 9)):
        (tmp_path / "model.safetensors").write_bytes(whole)
        flip(tmp_path / "model.safetensors", place, 4)
        try:
            after = load_model(tmp_path)
        except CheckpointError:
            continue
        assert after.facts == before.facts
        assert all(a.equal(b) for a, b in zip(after.detector.state_dict().values(),
                                              before.detector.state_dict().values(), strict=True))


def test_weights_that_are_no_numbers_are_refused(trained, tmp_path):
    root, run, _ = trained
    model = load_model(run)
    next(iter(model.detector.parameters())).data.fill_(float("nan"))
    save_model(tmp_path / "model.safetensors", model)
    with pytest.raises(CheckpointError, match=r"its weights hold NaN or infinity \(in detector\..*train --overwrite"):
        evaluate(tmp_path, root)
    with pytest.raises(EvaluateError, match=r"test/video \d+.mp4: the model gives it scores that are not finite"):
        evaluate(run, root, device="cpu", out=tmp_path, model=model)


def test_a_flipped_bit_in_features_is_not_evaluated(trained, tmp_path):
    root, run, _ = trained
    shutil.copytree(root / "score", tmp_path / "score")
    shutil.copytree(root / "ingest", tmp_path / "ingest")
    shutil.copy(root / "manifest.parquet", tmp_path)
    video_id = "test/video 018.mp4"
    flip_column(Store(tmp_path).path("score", video_id), "embedding")
    with pytest.raises(Damaged, match=r"018\.mp4\.parquet is damaged: column embedding .*video 018\.mp4' --force"):
        evaluate(run, tmp_path, device="cpu", out=tmp_path)
