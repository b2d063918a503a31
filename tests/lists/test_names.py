"""Which video a name in a list means, whatever form of its path the list uses."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lists.names import VIDEO_SUFFIXES, AmbiguousName, Names, video_name

PART = st.text(st.characters(exclude_characters="/\\\0\n", exclude_categories=("Cs",)), min_size=1, max_size=8).map(
    str.strip).filter(lambda part: part not in ("", ".", "..") and not part.endswith("."))


@given(st.lists(PART, min_size=1, max_size=3), st.sampled_from(["", *sorted(VIDEO_SUFFIXES), ".npy", ".MP4"]),
       st.sampled_from(["", "/home/x/", "C:\\data\\", "./", "path/to/"]), st.sampled_from(["NFC", "NFD"]),
       st.sampled_from(["NFC", "NFD"]))
def test_every_spelling_of_a_path_is_found(parts: list[str], suffix: str, before: str, one: str, other: str) -> None:
    video_id = unicodedata.normalize(one, "/".join(parts))
    name = unicodedata.normalize(other, before + "/".join(parts) + suffix)
    if "\\" in before:
        name = name.replace("/", "\\")
    assert Names([video_id, "elsewhere/another one"]).find(name) == video_id
    assert Names([video_id + suffix]).find(unicodedata.normalize(other, parts[-1])) == video_id + suffix


@given(st.lists(PART.map(lambda part: unicodedata.normalize("NFC", part)), min_size=2, max_size=6, unique=True))
def test_a_name_never_means_a_video_of_another_name(parts: list[str]) -> None:
    known, strange = parts[:-1], parts[-1]
    found = Names(known).find(strange)
    assert found is None or Names([strange]).find(found) == strange  # such as "a.mp4" for "a"


@pytest.mark.parametrize(("name", "video_id"), [
    ("a.mp4", "a.mp4"),  # spelt the same, before cam/a.mp4
    ("x/cam/a.avi", "cam/a.mp4"),  # the longest path at its end
    ("cam/deep/b", "cam/deep/b.mkv"),
    ("deep/b", "cam/deep/b.mkv"),  # an id that ends with it
    ("other/c.mp4", "one/c.mp4"),  # the same file name in another folder
    ("Abuse001_x264", "Abuse001_x264_i3d"),  # what an extractor added
    ("Abuse/Abuse001_x264__7.npy", "Abuse001_x264_i3d"),
    ("ch01.dav", "ch01.dav.mp4"),  # converted
    ("ch02.dav.mp4", "ch02.dav"),
    ("walk", "walk.mp4"),  # not walk_i3d
    ("", None),
    ("nothing", None),
])
def test_the_nearest_wins(name: str, video_id: str | None) -> None:
    ids = ["a.mp4", "cam/a.mp4", "cam/deep/b.mkv", "one/c.mp4", "Abuse001_x264_i3d", "walk.mp4", "walk_i3d.mp4",
           "ch01.dav.mp4", "ch02.dav"]
    assert Names(ids).find(name) == video_id


def test_a_name_of_two_videos_is_refused_with_both() -> None:
    with pytest.raises(AmbiguousName, match=r"'a' fits 2 videos \(one/a.mp4, two/a.mp4\): name it by its path below"):
        Names(["two/a.mp4", "one/a.mp4"]).find("a")
    assert Names(["one/a.mp4", "two/a.avi"]).find("three/a.avi") == "two/a.avi"


@pytest.mark.parametrize(("known", "video_id", "fits"), [
    ("cam 1/a.mp4", "cam 2/a.mp4", False),  # two cameras write the same names
    ("cam 1/a.mp4", "a.mp4", False),
    ("a.mp4", "cam 1/a.mp4", True),
    ("/data/videos/cam 1/a.mp4", "cam 1/a.mp4", True),  # an absolute path, of another machine
    ("D:\\videos\\cam 1\\a.mp4", "cam 1/a.mp4", True),
])
def test_folders_that_count(known: str, video_id: str, fits: bool) -> None:
    assert bool(Names([known]).matches(video_id, anywhere=False)) is fits


@pytest.mark.parametrize(("name", "mark", "expected"), [
    ("A/B__7.npy", "__", ("A/B", 7)),
    ("test/05_0019_3.npy", "__", ("test/05_0019_3", None)),
    ("test/05_0019_3.npy", "_", ("test/05_0019", 3)),
    ("A/B__7.npy", "_", ("A/B__7", None)),
    ("A/B__7.mp4", "__", ("A/B__7", None)),
    ("recorder/ch01.DAV", "__", ("recorder/ch01", None)),
])
def test_crops(name: str, mark: str, expected: tuple[str, int | None]) -> None:
    assert video_name(name, mark) == expected
