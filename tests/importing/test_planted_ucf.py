"""The generated UCF-Crime: official lists, lengths and times, a signal where it should be, figures of known scores."""

import csv
from pathlib import Path

import numpy as np
import pytest

from dbvad import presets
from dbvad.ablation.ladder import read_ladder
from dbvad.evaluation.evaluate import evaluate
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from pipeline.engine.store import Store
from tests.importing.published import imported, run
from tools import check_metrics
from tools.planted_ucf import NORMAL, SNIPPET, Difficulty, World, read_videos, write

CLASSES = presets.load("ucf-crime").event_classes
FRAMES = 645  # 41 snippets, the last of 5 frames
EVENT = (160, 319)


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the official formats: two training videos and one test video a class, as many normal ones."""
    root = tmp_path_factory.mktemp("annotations")
    counts = ["dataset,video,split,frames"]
    for split, each in (("train", 2), ("test", 1)):
        normal = "Training_Normal_Videos_Anomaly" if split == "train" else "Testing_Normal_Videos_Anomaly"
        lines = [f"{name}/{name}{split}{number}_x264.mp4" for name in CLASSES for number in range(each)]
        lines += [f"{normal}/Normal_Videos_{split}{number}_x264.mp4" for number in range(each * len(CLASSES))]
        counts += [f"ucf-crime,{Path(line).stem},{split},{FRAMES}" for line in lines]
        (root / f"ucf_crime_{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "ucf_crime_temporal.txt").write_text("".join(
        f"{name}test0_x264  {name}  {EVENT[0]}  {EVENT[1]}  -1  -1  \n" for name in CLASSES) + "".join(
        f"Normal_Videos_test{number}_x264  Normal  -1  -1  -1  -1  \n" for number in range(len(CLASSES))))
    (root / "frame_counts.csv").write_text("\n".join(counts) + "\n")
    return root


def test_a_user_imports_trains_and_evaluates_it(annotations: Path, tmp_path: Path) -> None:
    assert write(annotations, tmp_path / "set", dim=8, crops=2) == 6 * len(CLASSES)
    artifacts, files = tmp_path / "artifacts", tmp_path / "set"
    assert run("features", files / "features", "--train", files / "train.csv", "--test", files / "test.csv", "--preset",
               "ucf-crime", "--frames", annotations / "frame_counts.csv", "--artifacts", artifacts) == 0
    assert run("descriptions", "--embeddings", files / "descriptions.npz", "--artifacts", artifacts) == 0
    config = TrainConfig(epochs=1, batch=16, bins=32, device="cpu", precision="fp32",
                         label_embeddings=files / "label_embeddings.npz")
    trained = train(config, artifacts, tmp_path / "run")
    assert (trained.videos, trained.abnormal, trained.described) == (52, 26, 52)
    found = evaluate(tmp_path / "run", artifacts, files / "temporal.txt", device="cpu")
    assert (found["videos"], found["frames"]) == (26, 26 * FRAMES)
    assert found["abnormal_frames"] == 13 * (EVENT[1] - EVENT[0] + 1)


def test_the_same_arguments_make_the_same_files(annotations: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert write(annotations, tmp_path / name, videos=20, dim=8, seed=seed) == 20
    one, same, other = ({path.relative_to(root): path.read_bytes() for path in root.rglob("*.npy")}
                        for root in (tmp_path / name for name in "abc"))
    assert one == same
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())


def test_events_are_where_they_are_said_to_be(annotations: Path, tmp_path: Path) -> None:
    """Without noise, scenes and other parts nothing is left of a test video but its event."""
    hard = Difficulty(event=50.0, flash=0.0, setting=0.0, activity=0.0, scene=0.0, kinds=1)
    write(annotations, tmp_path, dim=16, hard=hard)
    world = World(16, hard, 0)
    first, last = EVENT[0] // SNIPPET, EVENT[1] // SNIPPET
    for video in read_videos(annotations):
        if video.split == "test":
            rows = np.load(tmp_path / "features" / f"{video.video_id}__0.npy").astype(np.float32)
            assert rows.shape == (41, 16)
            alike = rows @ world.kinds[0]
            inside = np.zeros(41, bool)
            if video.label != NORMAL:
                inside[first:last + 1] = True
            assert (alike > 0.99).tolist() == inside.tolist()


def test_only_training_videos_are_described(annotations: Path, tmp_path: Path) -> None:
    write(annotations, tmp_path, dim=8)
    with open(tmp_path / "train.csv", newline="") as file:
        trained = {Path(row["path"]).stem.removesuffix("__0") for row in csv.DictReader(file)}
    with np.load(tmp_path / "descriptions.npz") as told:
        assert {Path(name).name for name in told["videos"].tolist()} == trained
    with np.load(tmp_path / "label_embeddings.npz") as labels:
        assert set(labels["labels"].tolist()) == {*CLASSES, NORMAL}


def test_crops_differ_in_noise_only(annotations: Path, tmp_path: Path) -> None:
    write(annotations, tmp_path / "set", videos=4, dim=64, crops=2)
    run("features", tmp_path / "set" / "features", "--train", tmp_path / "set" / "train.csv", "--test",
        tmp_path / "set" / "test.csv", "--preset", "ucf-crime", "--artifacts", tmp_path / "artifacts")
    store = Store(tmp_path / "artifacts")
    for video_id in store.videos("score"):
        one, other = imported(store, video_id).transpose(1, 0, 2)
        assert not np.array_equal(one, other)
        assert (one.mean(axis=0) * other.mean(axis=0)).sum() > 0


def test_the_ladder_for_it_can_be_used() -> None:
    ladder = read_ladder(str(Path(__file__).parents[2] / "examples" / "ladders" / "planted.yaml"))
    configs = [ladder.training(name, {}, 0) for name in ladder.variants]
    assert ladder.reference == "TMM + DBM"
    assert [config.descriptions for config in configs] == ["own"] * 6 + ["shuffled"]


def test_known_scores_have_known_figures(annotations: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["check_metrics.py", str(annotations)])
    assert check_metrics.main() == 0
    rows = {line.rsplit(maxsplit=4)[0]: [float(cell) for cell in line.rsplit(maxsplit=4)[1:]]
            for line in capsys.readouterr().out.splitlines()[2:]}
    assert [rows[name][0] for name in ("auc", "ap", "ano_auc", "macro_auc", "mAP")] == [100.0] * 5
    assert rows["mAP compatible"][0] == 92.857
    assert [rows[name][1] for name in ("auc", "ano_auc", "macro_auc")] == [50.0] * 3
    assert rows["auc"][2] == pytest.approx(50, abs=3)
    calm = FRAMES - 160  # of an abnormal video: a tie with its event, where normal videos lie below it
    assert rows["auc"][3] == pytest.approx(100 * (FRAMES + calm / 2) / (FRAMES + calm), abs=1e-3)
    assert rows["macro_auc"][3] == 50
    assert rows["mAP"][1] < 1
