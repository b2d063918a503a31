"""Lists name videos in their own ways; each is understood, or the line is named."""

from pathlib import Path

import pytest

from dbvad import presets
from dbvad.importing import ImportFault
from dbvad.importing.lists import Entry, Labels, labels_in_names, read_frame_counts, read_labels, read_list
from dbvad.importing.sources import match
from pipeline.lists.names import AmbiguousName, Names, video_name

UCF, XD = (Labels(preset.labels, preset.event_classes) for preset in map(presets.load, ("ucf-crime", "xd-violence")))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def facts(entries: list[Entry]) -> list[tuple[str, str, tuple[str, ...], int | None]]:
    return [(entry.name, entry.split, entry.labels, entry.crop) for entry in entries]


def test_vadclips_list(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "path,label\n/home/x/F/Abuse/Abuse001_x264__3.npy,Abuse\n"
                                       "/home/x/F/Training_Normal_Videos_Anomaly/N_x264__0.npy,Normal\n")
    assert facts(read_list(path, "train", UCF)) == [
        ("/home/x/F/Abuse/Abuse001_x264__3.npy", "train", ("Abuse",), 3),
        ("/home/x/F/Training_Normal_Videos_Anomaly/N_x264__0.npy", "train", (), 0)]


def test_official_ucf_crime_list(tmp_path: Path) -> None:
    path = written(tmp_path / "l.txt", "RoadAccidents/RoadAccidents001_x264.mp4\n\n"
                                       "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4\n")
    assert [entry.labels for entry in read_list(path, "test", UCF)] == [("RoadAccidents",), ()]


def test_xd_violence_labels_are_codes(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "path,label\na__0.npy,B2-G-0\nb__0.npy,A\nc__0.npy,B6-0-0\n")
    assert [entry.labels for entry in read_list(path, "train", XD)] == [("shooting", "explosion"), (),
                                                                        ("car accident",)]


def test_xd_violence_labels_stand_in_names(tmp_path: Path) -> None:
    ids = ["train/Bad.Boys.1995__#01-44-40_01-49-20_label_B2-G-B6", "XDTest/v=S__#1_label_A", "train/no label"]
    assert facts(labels_in_names(ids, None, XD)) == [
        (ids[0], "train", ("shooting", "explosion", "car accident"), None), (ids[1], "test", (), None)]
    tests = written(tmp_path / "annotations.txt", "Bad.Boys.1995__#01-44-40_01-49-20_label_B2-G-B6 3 5 7 9\n")
    assert [entry.split for entry in labels_in_names(ids, tests, XD)] == ["test", "test"]


def test_labels_file(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "Video,Label,Split\na,fire,test\nb.npy,normal,\nc, fire | smoke ,train\nd,,\n")
    assert facts(read_labels(path, Labels())) == [("a", "test", ("fire",), None), ("b.npy", "train", (), None),
                                                  ("c", "train", ("fire", "smoke"), None), ("d", "train", (), None)]


MISTAKES = {
    "video,lable\na,b\n": r"l.csv:1: no column 'label'; the first line must name the columns video, label; it is 'v",
    "video,label,split\n\na,fire,tset\n": r"l.csv:3: split 'tset', expected train or test",
    "video,label\n,fire\n": r"l.csv:2: no video named",
    "video,label\na,b,c\n": r"l.csv:2: 3 values for 2 columns",
    "video,label\na,Abbuse\n": r"l.csv:2: no class 'Abbuse': did you mean 'Abuse'\?",
    "": "the first line must name",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImportFault, match=MISTAKES[text]):
        read_labels(written(tmp_path / "l.csv", text), UCF)


def test_a_text_list_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match=r"l\.txt:1: 'a\.mp4' says no label"):
        read_list(written(tmp_path / "l.txt", "a.mp4\n"), "train", UCF)


def test_frame_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", "dataset,video,split,frames\nucf-crime,a,train,20\nxd-violence,a,train,30\n")
    assert read_frame_counts(path, "xd-violence") == {"a": 30}
    with pytest.raises(ImportFault, match=r"f.csv:3: 'a' was given another count above.*--preset"):
        read_frame_counts(path, None)
    with pytest.raises(ImportFault, match="expected a whole number"):
        read_frame_counts(written(tmp_path / "g.csv", "video,frames\na,12.5\n"), None)


def test_names() -> None:
    assert video_name("A/B__7.npy") == ("A/B", 7)
    assert video_name("A/B__#1_label_G-0-0__0.npy") == ("A/B__#1_label_G-0-0", 0)
    assert video_name("Casino.Royale.2006__#1") == ("Casino.Royale.2006__#1", None)
    names = Names(["train/a", "test/b", "one/c", "two/c", "clips/d.mp4"])
    assert names.find("/home/x/features/train/a__3.npy") == "train/a"
    assert names.find("b.mp4") == "test/b"
    assert names.find("two/c") == "two/c"
    assert names.find("d") == "clips/d.mp4"
    assert names.find("D:\\features\\train\\a__3.npy") == "train/a"
    assert names.find("e") is None
    with pytest.raises(AmbiguousName, match="fits 2 videos"):
        names.find("c")


def test_a_video_in_both_splits_is_refused() -> None:
    """Its label would be trained on and tested on."""
    entries = [Entry("train.csv:2", "a", "train", ("fire",)), Entry("test.csv:9", "x/a.npy", "test", ("fire",))]
    with pytest.raises(ImportFault, match=r"test.csv:9: 'a' is test, fire here and train, fire at train.csv:2"):
        match(entries, {"a": {None: Path("a.npy")}}, Path("."), only_listed=False)


def test_a_list_of_another_folder_is_refused() -> None:
    with pytest.raises(ImportFault, match="none of the 1 videos of the lists is below elsewhere: the first is 'b'"):
        match([Entry("l:1", "b.npy", "train", ())], {"a": {None: Path("a.npy")}}, Path("elsewhere"), only_listed=False)
