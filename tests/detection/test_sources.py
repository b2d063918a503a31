"""What a user points at: each video once, whatever else lies there counted, and nothing lost in silence."""

from pathlib import Path

import pytest

from dbvad.detection.contracts import SPLIT
from dbvad.detection.sources import NoVideos, find_videos, read_sources
from pipeline.engine.hashing import HashCache
from tests.videos import barcode


def test_a_folder_gives_what_is_a_video_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a" / ".cache").mkdir(parents=True)
    recorder = barcode(tmp_path / "a" / "rec.mp4", 2).rename(tmp_path / "a" / "rec.dav")  # told by its first bytes
    (tmp_path / "b.MP4").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.mp4").write_text("")
    found, others = find_videos([str(tmp_path), str(tmp_path / "b.MP4"), str(tmp_path / "notes.txt")])
    assert found == [recorder, tmp_path / "b.MP4", tmp_path / "notes.txt"]  # named itself: taken whatever it is
    assert others == {".txt": 1, "hidden": 2}
    (tmp_path / "texts").mkdir()
    for name in "xy":
        (tmp_path / "texts" / f"{name}.txt").write_text("")
    with pytest.raises(NoVideos, match=r"2 files that are no videos: 2 \.txt"):
        find_videos([str(tmp_path / "texts")])


def test_two_names_that_differ_in_unicode_alone_are_told_and_a_hash_is_read_once(tmp_path: Path) -> None:
    for name, text in (("\u00fc.mp4", "1"), ("u\u0308.mp4", "2"), ("v.mp4", "3")):
        (tmp_path / name).write_text(text)
    paths, _ = find_videos([str(tmp_path)])
    cache, ticks = HashCache(tmp_path / "hashes.json"), list[tuple[int, int]]()
    sources = {source.video_id: source for source in read_sources(paths, cache, lambda *tick: ticks.append(tick))}
    assert set(sources) == {"\u00fc.mp4", "v.mp4"}
    problem = sources["\u00fc.mp4"].problem
    assert problem is not None
    assert problem.kind == "same_name"
    assert sources["v.mp4"].facts == {"split": SPLIT, "labels": []}
    assert ticks[-1][1] > 0
    ticks.clear()
    read_sources([tmp_path / "v.mp4"], HashCache(tmp_path / "hashes.json"), lambda *tick: ticks.append(tick))
    assert ticks == [(0, 0)]
