"""Published folders become artifacts: whole, once, and a bad file costs its video only."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.importing import BadInput, ImportFault
from dbvad.importing.features import Rules, measure
from pipeline.contracts import INGEST, SCORE
from pipeline.engine.store import Store
from tests.importing.published import DIM, ages, imported, rows, run, save, unit, write_crops


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """VadCLIP's way: ten crops a video, and a list with the paths of somebody else's machine."""
    lines = ["path,label"]
    for number, (folder, label) in enumerate([("Abuse", "Abuse"), ("Arson", "Arson"), ("Normal", "Normal")]):
        write_crops(tmp_path / "features", f"{folder}/{folder}00{number}_x264", 5 + number, seed=number)
        lines += [f"/home/x/UCF/{folder}/{folder}00{number}_x264__{crop}.npy,{label}" for crop in range(10)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def bring_in(root: Path, *options: object) -> int:
    return run("features", root / "features", "--train", root / "train.csv", "--preset", "ucf-crime", "--artifacts",
               root / "artifacts", *options)


def test_crops_become_shards_that_keep_the_contract(published: Path) -> None:
    assert bring_in(published) == 0
    store = Store(published / "artifacts")
    assert store.videos("score") == ["Abuse/Abuse000_x264", "Arson/Arson001_x264", "Normal/Normal002_x264"]
    for video_id in store.videos("score"):
        assert store.fault_of(store.path("score", video_id), SCORE) is None
        assert store.fault_of(store.path("ingest", video_id), INGEST) is None
    assert np.allclose(imported(store, "Arson/Arson001_x264"), unit(rows(6, 10, seed=1)), atol=1e-3)
    table = store.read("score", "Arson/Arson001_x264")
    assert table["frame_idx"].to_pylist()[::10] == [0, 16, 32, 48, 64, 80]
    [row] = store.read("ingest", "Arson/Arson001_x264").to_pylist()
    assert (row["split"], row["labels"], row["n_frames"], row["fps"]) == ("train", ["Arson"], 96, 30)
    assert store.read("ingest", "Normal/Normal002_x264")["labels"].to_pylist() == [[]]
    footer = store.footer("score", "Arson/Arson001_x264")
    assert footer.meta["published_norms"] == {"low": pytest.approx(10, abs=0.1), "high": pytest.approx(10, abs=0.1),
                                              "now": 1}
    assert {key: footer.meta[key] for key in ("feature_source", "crops", "dim", "n_frames", "snippet_frames")} == {
        "feature_source": "import", "crops": 10, "dim": DIM, "n_frames": 96, "snippet_frames": 16}


def test_a_second_run_does_what_changed_and_nothing_else(published: Path) -> None:
    bring_in(published)
    store = Store(published / "artifacts")
    before = ages(store)
    for path in (published / "features").rglob("*.npy"):
        os.utime(path)
    assert bring_in(published) == 0
    assert ages(store) == before
    changed = save(published / "features" / "Arson" / "Arson001_x264__4.npy", rows(6, seed=9))
    bring_in(published)
    redone = {name for name, age in ages(store).items() if age != before[name]}
    assert redone == {"score/Arson/Arson001_x264.parquet"}
    assert np.allclose(imported(store, "Arson/Arson001_x264")[:, 4], unit(np.load(changed)), atol=1e-3)


def test_a_moved_folder_is_not_imported_again(published: Path) -> None:
    bring_in(published)
    before = ages(Store(published / "artifacts"))
    (published / "features").rename(published / "elsewhere")
    assert run("features", published / "elsewhere", "--train", published / "train.csv", "--preset", "ucf-crime",
               "--artifacts", published / "artifacts") == 0
    assert ages(Store(published / "artifacts")) == before


def spoil(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
    elif how == "not_finite":
        array = np.load(path)
        array[2, 3] = np.nan
        np.save(path, array)
    elif how == "width":
        for crop in path.parent.glob("Arson*"):
            np.save(crop, np.load(crop)[:, :-1])
    elif how == "pickled":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "crops":
        path.unlink()
    elif how == "crop_lengths":
        np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize("how", ["truncated", "not_finite", "width", "pickled", "crops", "crop_lengths"])
def test_a_bad_file_costs_its_video_only_and_is_taken_when_mended(published: Path, how: str,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    store, bad = Store(published / "artifacts"), "Arson/Arson001_x264"
    bring_in(published)
    spoil(published / "features" / f"{bad}__3.npy", how)
    assert bring_in(published) == 3
    row = store.quarantined("score", bad)
    assert row["kind"] == how
    assert row["remedy"]
    assert "1 in quarantine" in capsys.readouterr().out
    assert store.footer("score", bad) is None  # what it held before is gone: it is not what the files hold
    assert store.footer("ingest", bad) is not None  # so that training reports it
    assert store.videos("score") == ["Abuse/Abuse000_x264", "Normal/Normal002_x264"]
    write_crops(published / "features", bad, 6, seed=1)
    assert bring_in(published) == 0
    assert store.quarantined("score", bad) is None
    assert np.allclose(imported(store, bad), unit(rows(6, 10, seed=1)), atol=1e-3)


def test_a_file_that_lacks_is_listed_until_it_is_there(published: Path) -> None:
    store = Store(published / "artifacts")
    (published / "features" / "Arson").rename(published / "Arson")
    assert bring_in(published) == 3
    assert store.quarantined("score", "Arson001_x264")["kind"] == "missing"
    (published / "Arson").rename(published / "features" / "Arson")
    assert bring_in(published) == 0
    assert store.quarantined("score", "Arson001_x264") is None


def test_one_crop_of_the_list_stands_for_all_unless_only_listed(published: Path) -> None:
    (published / "train.csv").write_text("path,label\nAbuse/Abuse000_x264__5.npy,Abuse\n")
    store = Store(published / "artifacts")
    bring_in(published)
    assert imported(store, "Abuse/Abuse000_x264").shape == (5, 10, DIM)
    bring_in(published, "--only-listed")
    assert np.allclose(imported(store, "Abuse/Abuse000_x264"), unit(rows(5, 10, seed=0))[:, [5]], atol=1e-3)
    assert store.footer("score", "Abuse/Abuse000_x264").meta["crop_numbers"] == [5]


@pytest.mark.parametrize("layout", ["tcd", "ctd"])
def test_one_file_a_video_with_a_labels_csv(tmp_path: Path, layout: str) -> None:
    """A file of 10 snippets and 10 crops can be read both ways: the other files of its split decide."""
    arrays = {"a": rows(7, 10, seed=1), "b": rows(10, 10, seed=2)}
    for name, array in arrays.items():
        save(tmp_path / "features" / f"{name}.npy", array if layout == "tcd" else array.transpose(1, 0, 2))
    (tmp_path / "labels.csv").write_text("video,label,split\na,fire,test\nb,normal,test\n")
    command = ["features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "a"]
    assert run(*command) == 0
    for name, array in arrays.items():
        assert np.allclose(imported(Store(tmp_path / "a"), name), unit(array), atol=1e-3)
    (tmp_path / "features" / "a.npy").unlink()
    (tmp_path / "labels.csv").write_text("video,label,split\nb,normal,test\n")
    assert run(*command[:-1], tmp_path / "alone") == 3
    assert Store(tmp_path / "alone").quarantined("score", "b")["kind"] == "layout"
    assert run(*command[:-1], tmp_path / "alone", "--layout", layout) == 0
    assert np.allclose(imported(Store(tmp_path / "alone"), "b"), unit(arrays["b"]), atol=1e-3)


@pytest.mark.parametrize(("test_shapes", "kind"), [
    ([(20, 10), (35, 10), (10, 10)], None),  # as the others of its split are, not as those of the other split
    ([(20, 10), (10, 35), (10, 10)], "layout"),  # the others of its split differ
    ([(10, 10)], "layout"),  # there is no other
])
def test_each_split_has_its_own_layout(tmp_path: Path, test_shapes: list[tuple[int, int]], kind: str | None) -> None:
    lines = ["video,label,split"]
    for number in range(6):
        save(tmp_path / "features" / f"train{number}.npy", rows(10, 32, seed=number))  # (crops, T, D)
        lines.append(f"train{number},{'fire' if number % 2 else 'normal'},train")
    for number, shape in enumerate(test_shapes):
        save(tmp_path / "features" / f"test{number}.npy", rows(*shape, seed=number))
        lines.append(f"test{number},fire,test")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    run("features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "a")
    store, last = Store(tmp_path / "a"), f"test{len(test_shapes) - 1}"
    row = store.quarantined("score", last)
    assert (row and row["kind"]) == kind
    if not kind:
        assert np.allclose(imported(store, last), unit(rows(10, 10, seed=2)), atol=1e-3)
    assert len(imported(store, "train0")) == 32


def test_crops_with_one_underscore(tmp_path: Path) -> None:
    """PEL4VAD's: read where the list names the videos, asked about where it names the files."""
    videos = {"01_0014": write_crops(tmp_path / "x", "a", 4, seed=1), "01_002": write_crops(tmp_path / "x", "b", 3)}
    for name, features in videos.items():
        for crop in range(10):
            save(tmp_path / "features" / f"{name}_{crop}.npy", features[:, crop])
    by_video, by_file = tmp_path / "video.txt", tmp_path / "file.csv"
    by_video.write_text("01_0014 cycling\n01_002 normal\n")
    by_file.write_text("path,label\n" + "".join(f"x/{name}_{crop}.npy,{label}\n" for name, label in
                                                (("01_0014", "cycling"), ("01_002", "normal")) for crop in range(10)))
    command = ["features", tmp_path / "features", "--train"]
    assert run(*command, by_video, "--artifacts", tmp_path / "a") == 0
    with pytest.raises(ImportFault, match=r"are 2 videos of 10 crops each \(then add --crop-mark _\), or 20 videos"):
        run(*command, by_file, "--artifacts", tmp_path / "b")
    assert run(*command, by_file, "--crop-mark", "_", "--artifacts", tmp_path / "b") == 0
    assert run(*command, by_file, "--crop-mark", "__", "--artifacts", tmp_path / "c") == 0
    for name in "ab":
        assert np.allclose(imported(Store(tmp_path / name), "01_0014"), unit(videos["01_0014"]), atol=1e-3)
    assert len(Store(tmp_path / "c").videos("score")) == 20


def test_what_is_left_out_is_said_and_strict_makes_it_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                               ) -> None:
    for name in ("a", "b", "c", "extra"):
        save(tmp_path / "features" / f"{name}.npy", rows(4, seed=ord(name[0])))
    (tmp_path / "labels.csv").write_text("video,label,split\na,Fight,train\nb,NonFight,val\nc,Fight,val\n")
    (tmp_path / "frames.csv").write_text("video,frames\na,64\nb,64\nc,64\nnowhere,9\n")
    command = ["features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "out",
               "--normal", "NonFight", "--frames", tmp_path / "frames.csv"]
    assert run(*command) == 0
    told = capsys.readouterr().out
    assert "warning: no split is called test, so the val split is taken for it" in told
    assert "warning: videos of the folder are in no list and were left out (1): extra" in told
    assert "warning: frame counts of no video here (1): nowhere" in told
    [row] = Store(tmp_path / "out").read("ingest", "b").to_pylist()
    assert (row["split"], row["labels"]) == ("test", [])
    assert run(*command, "--strict") == 1
    (tmp_path / "features" / "extra.npy").unlink()
    (tmp_path / "labels.csv").write_text("video,label,split\na,Fight,train\nb,NonFight,test\nc,Fight,test\n")
    (tmp_path / "frames.csv").write_text("video,frames\na,64\nb,64\nc,64\n")
    assert run(*command, "--strict") == 0


def test_odd_names(tmp_path: Path) -> None:
    """A name that is no UTF-8, one with spaces, one with a dot, one too long for a shard."""
    odd = [os.fsdecode(b"caf\xe9"), "ein Überfall, 2", "Casino.Royale.2006__#1", "v" * 240]
    (tmp_path / "features").mkdir()
    for name in odd:
        save(tmp_path / "features" / f"{name}.npy", rows(3))
    shown = ["caf\\xe9", *odd[1:]]
    lines = "\n".join(f'"{name}",fire' for name in shown)
    (tmp_path / "labels.csv").write_text(f"video,label\n{lines}\n")
    assert run("features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts",
               tmp_path / "a") == 0
    assert Store(tmp_path / "a").videos("score") == sorted(shown)


def test_a_layout_that_cannot_be_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "features" / "a.npy", rows(10, 300))
    (tmp_path / "labels.csv").write_text("video,label\na,fire\n")
    command = ["features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "a"]
    assert run(*command, "--layout", "tcd") == 3
    assert "has 300 crops" in Store(tmp_path / "a").quarantined("score", "a")["reason"]
    assert run(*command) == 0


def test_frames_are_averaged_and_lengths_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, length in (("right", 40), ("one_more", 33), ("another", 90)):
        save(tmp_path / "features" / f"{name}.npy", rows(length, seed=length))
    (tmp_path / "labels.csv").write_text("video,label\nright,normal\none_more,fire\nanother,fire\n")
    (tmp_path / "frames.csv").write_text("video,frames\nright.mp4,40\none_more,32\nanother,40\n")
    assert run("features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--frames",
               tmp_path / "frames.csv", "--per-frame", "--artifacts", tmp_path / "a") == 3
    store = Store(tmp_path / "a")
    means = [unit(rows(40, seed=40))[start:start + 16].mean(axis=0) for start in (0, 16, 32)]
    assert np.allclose(imported(store, "right")[:, 0], unit(np.array(means)), atol=1e-3)
    assert store.footer("score", "right").meta["n_frames"] == 40
    assert len(imported(store, "one_more")) == 2  # the 33rd row belongs to no frame
    assert store.quarantined("score", "another")["kind"] == "length"
    assert "33 rows cover 33 frames, counted are 32; 1 snippet after the end left out" in " ".join(
        capsys.readouterr().out.split())


@given(rows=st.integers(1, 400), frames=st.integers(1, 6400), per_frame=st.booleans(), tolerance=st.integers(0, 3))
def test_a_length_that_passes_leaves_every_snippet_a_frame(rows: int, frames: int, per_frame: bool, tolerance: int,
                                                           ) -> None:
    covered = rows if per_frame else 16 * rows
    try:
        length = measure(rows, frames, Rules(per_frame=per_frame, tolerance=tolerance))
    except BadInput:
        assert abs(covered - frames) > 16 * tolerance
        return
    assert abs(covered - frames) <= 16 * tolerance
    assert length.frames == frames
    assert 1 <= length.snippets <= -(-covered // 16)
    assert 16 * (length.snippets - 1) < frames
    fits = covered == frames if per_frame else rows in (frames // 16, -(-frames // 16))
    assert bool(length.note) != fits


def test_a_test_video_with_a_training_videos_features_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                              ) -> None:
    for name in ("a", "b"):
        save(tmp_path / "features" / f"{name}.npy", rows(4))
    (tmp_path / "labels.csv").write_text("video,label,split\na,fire,train\nb,fire,test\n")
    run("features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "artifacts")
    told = " ".join(capsys.readouterr().out.split())
    assert "leak: test videos with the content of a training video, to be taken out of one split (1): b = a" in told


KILLED = """
import os, signal
from dbvad.cli.importing import app
replace, published = os.replace, []
def killed(old, new):
    published.append(new)
    if len(published) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)
os.replace = killed
app(args={command!r})
"""


def test_killed_and_run_again(tmp_path: Path) -> None:
    """The tables equal those of an import that was not killed, and nothing is left over."""
    for number in range(12):
        write_crops(tmp_path / "features", f"v{number:02d}", 40, seed=number)
    lines = "\n".join(f"v{number:02d},{'fire' if number % 2 else 'normal'}" for number in range(12))
    (tmp_path / "labels.csv").write_text(f"video,label\n{lines}\n")
    command = ["features", str(tmp_path / "features"), "--labels", str(tmp_path / "labels.csv"), "--artifacts"]
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    assert run(*command, whole.root) == 0
    done = []
    for number in (4, 14, 5):  # among the ingest shards, and twice among the score shards
        script = KILLED.format(number=number, command=[*command, str(store.root)])
        assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
        assert [path for path in store.root.rglob("*") if ".tmp-" in path.name]
        done.append(len(ages(store)))
    assert done[0] < done[1] < done[2] < 24
    assert run(*command, store.root) == 0
    for video_id in whole.videos("score"):
        assert store.read("score", video_id).equals(whole.read("score", video_id))
        assert store.footer("score", video_id) == whole.footer("score", video_id)
    assert [path for path in store.root.rglob("*") if ".tmp-" in path.name] == []


MISTAKES = {
    "no folder": (["elsewhere", "--train", "train.csv"], "no folder at elsewhere"),
    "no features in it": (["artifacts", "--train", "train.csv"], "no .npy file below artifacts"),
    "no labels": (["features"], "no labels: give --labels FILE.csv"),
    "both": (["features", "--labels", "train.csv", "--test", "train.csv"], "either --labels, or --train and --test"),
    "no list": (["features", "--train", "trian.csv"], "cannot read the list trian.csv"),
    "wrong class": (["features", "--train", "train.csv", "--preset", "xd-violence"], "train.csv:12: no class 'Arson'"),
    "other counts": (["features", "--train", "train.csv", "--frames", "frames.csv"], "name none of the 3 videos"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(published: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(published)
    Path("artifacts").mkdir()
    Path("frames.csv").write_text("video,frames\nx,10\n")
    arguments, message = MISTAKES[name]
    with pytest.raises(ImportFault, match=message):
        run("features", *arguments)


def test_artifacts_that_cannot_be_written_are_the_users_matter(published: Path) -> None:
    (published / "artifacts").write_text("a file")
    with pytest.raises(ImportFault, match="cannot write to"):
        bring_in(published)
