"""The listing of videos: every file below the folder is there, each with its labels or its problem."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engine.config import ConfigError, parse
from pipeline.engine.hashing import HashCache, hash_file
from pipeline.engine.stage import Source
from pipeline.stages.dataset import Dataset, discover, summary


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for name in ("train/normal/a.mp4", "train/fight/a.mp4", "test/fight/ü 1.MKV", "test/normal/b.webm"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> HashCache:
    return HashCache(tmp_path / "artifacts" / "cache.json")


def listed(videos: Path, cache: HashCache) -> dict[str, Source]:
    return {source.video_id: source for source in discover(Dataset(videos=videos), cache).sources}


def problems(videos: Path, cache: HashCache) -> dict[str, str]:
    return {video_id: source.problem.kind for video_id, source in listed(videos, cache).items() if source.problem}


def test_videos_are_named_by_their_paths_and_sorted(videos: Path, cache: HashCache) -> None:
    found = discover(Dataset(videos=videos), cache).sources
    assert [source.video_id for source in found] == [
        "test/fight/ü 1.MKV", "test/normal/b.webm", "train/fight/a.mp4", "train/normal/a.mp4"]
    first = found[0]
    assert (first.hash, first.size, first.facts) == (hash_file(first.path), 19, {"split": "test", "labels": ["fight"]})
    assert summary(found) == "4 videos: train 1 normal + 1 abnormal, test 1 normal + 1 abnormal"


def test_other_files_and_hidden_ones_are_no_videos(videos: Path, cache: HashCache) -> None:
    for name in ("notes.txt", "a.mp4.part", ".hidden.mp4", ".trash/a.mp4", "train/fight/._a.mp4"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).touch()
    assert len(listed(videos, cache)) == 4


def test_what_the_labels_name_and_the_folder_lacks_is_told(videos: Path, cache: HashCache) -> None:
    table = videos.parent / "labels.csv"
    table.write_text("file,class,set\nb.webm,normal,valid\na,fight,training\nnowhere,fight,training\n")
    found = discover(Dataset(videos=videos, labels="csv", labels_file=table), cache)
    assert [str(remark) for remark in found.remarks] == [
        "no split is called test, so the val split is taken for it",
        f"named in {table}, but no such video here (1): nowhere",
        f"a name in {table} is that of several videos here, and holds for each (1): a"]
    assert {source.video_id: source.facts["split"] for source in found.sources if not source.problem} == {
        "test/normal/b.webm": "test", "train/fight/a.mp4": "train", "train/normal/a.mp4": "train"}


def test_a_video_without_label_is_listed_with_its_problem(videos: Path, cache: HashCache) -> None:
    (videos / "lost.mp4").write_text("x")
    source = listed(videos, cache)["lost.mp4"]
    assert source.problem is not None
    assert source.problem.kind == "unlabelled"
    assert "named after its label" in source.problem.remedy
    assert source.facts == {"split": "", "labels": []}
    assert summary(list(listed(videos, cache).values())).endswith(", 1 without labels")


def test_links_lead_into_the_folder_or_are_a_problem(videos: Path, cache: HashCache, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.mp4").write_text("far")
    links = {"out.mp4": outside / "far.mp4", "in.mp4": Path("a.mp4"), "loop.mp4": Path("loop.mp4"),
             "dangling.mp4": Path("none.mp4"), "gone.mp4": outside / "none.mp4", "folder": outside,
             "folder in.mp4": videos / "train"}
    for name, target in links.items():
        (videos / "train" / "fight" / name).symlink_to(target)
    assert {Path(video_id).name: kind for video_id, kind in problems(videos, cache).items()} == {
        "out.mp4": "outside", "gone.mp4": "outside", "folder": "outside", "loop.mp4": "unreadable",
        "dangling.mp4": "unreadable", "folder in.mp4": "unreadable"}
    assert listed(videos, cache)["train/fight/in.mp4"].hash == listed(videos, cache)["train/fight/a.mp4"].hash


def test_another_problem_of_the_same_file_is_looked_at_anew(videos: Path, cache: HashCache, tmp_path: Path) -> None:
    link = videos / "train" / "fight" / "link.mp4"
    link.symlink_to("none.mp4")
    dangling = listed(videos, cache)["train/fight/link.mp4"]
    link.unlink()
    link.symlink_to(tmp_path / "far.mp4")
    assert listed(videos, cache)["train/fight/link.mp4"].hash != dangling.hash


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(videos: Path, cache: HashCache) -> None:
    os.mkfifo(videos / "train" / "fight" / "pipe.mp4")
    assert problems(videos, cache) == {"train/fight/pipe.mp4": "unreadable"}


def test_a_folder_may_be_called_like_a_video(videos: Path, cache: HashCache) -> None:
    (videos / "train" / "fight" / "x.mp4").mkdir()
    (videos / "train" / "fight" / "x.mp4" / "y.mp4").write_text("y")
    assert listed(videos, cache)["train/fight/x.mp4/y.mp4"].facts == {"split": "train", "labels": ["fight"]}


def test_names_that_are_no_text_are_spelt_out(videos: Path, cache: HashCache) -> None:
    with open(os.fsencode(videos / "train" / "fight") + b"/\xff.mp4", "wb") as file:
        file.write(b"odd")
    source = listed(videos, cache)["train/fight/\\xff.mp4"]
    assert source.problem is None
    assert source.path.read_bytes() == b"odd"


def test_only_new_files_are_read_and_counted(videos: Path, cache: HashCache) -> None:
    ticks: list[tuple[int, int]] = []
    discover(Dataset(videos=videos), cache, lambda done, total: ticks.append((done, total)))
    whole = sum(path.stat().st_size for path in videos.rglob("*.*") if path.is_file())
    assert ticks[-1] == (whole, whole)
    (videos / "train" / "fight" / "new.mp4").write_text("12345")
    ticks.clear()
    discover(Dataset(videos=videos), HashCache(cache.path), lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (5, 5)


def test_a_moved_folder_has_the_same_videos(videos: Path, cache: HashCache, tmp_path: Path) -> None:
    before = {video_id: source.hash for video_id, source in listed(videos, cache).items()}
    moved = videos.rename(tmp_path / "moved")
    assert {video_id: source.hash for video_id, source in listed(moved, cache).items()} == before


def test_no_folder_no_video_no_listing(tmp_path: Path, cache: HashCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no videos folder at .*set dataset\.videos"):
        discover(Dataset(videos=tmp_path / "none"), cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no video below .*the folder is empty"):
        discover(Dataset(videos=tmp_path / "empty"), cache)

    def refuse(folder: Path) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"cannot list .*Permission denied; make it readable"):
        discover(Dataset(videos=tmp_path / "empty"), cache)


@pytest.mark.parametrize(("section", "message"), [
    ({"labels": "csv"}, "needs labels_file"),
    ({"labels": "ucf-crime", "train_list": "x"}, "needs train_list and test_list"),
    ({"test_fraction": 2}, "less than or equal to 1"),
    ({"labels": "ucf_crime"}, "'folders', 'csv', 'ucf-crime' or 'xd-violence'"),
])
def test_a_section_that_cannot_be_used_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Dataset, section, "stages.yaml")


def test_labels_come_from_the_file_named(videos: Path, cache: HashCache, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label,split\ntrain/normal/a.mp4,arson,test\n")
    dataset = Dataset(videos=Path("videos"), labels="csv", labels_file=Path("labels.csv")).relative_to(tmp_path)
    found = {source.video_id: source for source in discover(dataset, cache).sources}
    assert found["train/normal/a.mp4"].facts == {"split": "test", "labels": ["arson"]}
    problem = found["train/fight/a.mp4"].problem
    assert problem is not None
    assert problem.remedy == "add a line for it to the CSV: video,label,split"
