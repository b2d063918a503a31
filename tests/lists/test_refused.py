"""What is nearly a known form is refused with the place that differs; what can be read two ways, with both readings."""

from pathlib import Path

import pytest

from dbvad import presets
from dbvad.importing import ImportFault
from dbvad.importing.lists import Labels, read_frame_counts, read_labels, read_list
from pipeline.lists import ListError
from pipeline.lists.annotations import read_annotations

UCF = Labels(presets.load("ucf-crime").labels, presets.load("ucf-crime").event_classes)
JSON = '{"database": {"a": {"annotations": [%s]}}}'
VIA = "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"


def written(folder: Path, text: str, name: str = "a.txt") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(("text", "message"), [
    ("  Abuse028 Abuse 165 Arson 1 2\n", r"a.txt:1:22: expected pairs of start and end frame, found 'Arson'"),
    ("Abuse028 Abuse 165 240\nAbuse029 Abuse 165 240 9\n", r"a.txt:2: expected pairs .*a number too few or too many"),
    ("Traffic_accident_3 road 719 35 250\n", r"a.txt:1: an event from 719 to 35"),
    ("Abuse028 1 165 240\n", r"a.txt:1: expected pairs .*'1 165 240'"),
    ("Abuse028_x264 Abuse 1 2\nAbuse029_x264 1 2\n", r"a.txt:2: expected 'name class start end ...'"),
    ("Abuse/a.mp4|12|[1, 2, 3]\n", r"a.txt:1:17: expected pairs"),
    ("Abuse/a.mp4|12|[1, 2]\nAbuse/b.mp4 3 4\n", r"a.txt:2: expected name\|frames\|\[start, end\]"),
    ("video,start,end,start_s,end_s\na,1,2,3,4\n", "in frames and in seconds: keep one of the two"),
    ("video,start,end\na,4.5,6\n", r"a.txt:2: .*'4.5' and '6', .*seconds go into columns start_s and end_s"),
    ("video,start_s,end_s\na,1,\"1,500\"\n", r"a.txt:2: .*either 1.500 or 1500 seconds"),
    ("video,start_s,end_s\na,5,4\n", "a.txt:2: an event from 5 to 4"),
    ("video,start,end\na,5,\n", "a.txt:2: start and end are '5' and ''"),
    ("a,1,2\n", "the header is 'a,1,2'; needed are video, start, end"),
    (JSON % '{"segment": [1], "label": "x"}', r"a.txt: 'a': expected an event with a \"segment\" of two times"),
    (JSON % '{"segment": ["1:75", 9]}', "a.txt: 'a': '1:75' is no time of a clock"),
    ('{"Abuse001_x264": {"duration": 9, "timestamps": [[0, 2]], "sentences": ["A man walks."]}}', "of no known form"),
    ('{"a": [[1, 2]]}', "of no known form; read is ActivityNet's"),
    ("[1, 2", "cannot read annotations"),
    ("{}", "no annotations in this file"),
    (VIA + '"1","[""a.mp4""]",0,"[1,2]","[]","{""1"":""x"",""2"":""y""}"\n', "attributes 'x' and 'y' could both be"),
    (VIA + '"1",a.mp4,0,"[1,2]","[]","{}"\n', "a.txt:2: no row of a VIA export"),
])
def test_annotations(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ListError, match=message):
        read_annotations(written(tmp_path, text))


def test_annotations_of_another_form_than_was_said(tmp_path: Path) -> None:
    path = written(tmp_path, "Abuse028_x264 Abuse 1 2\n")
    with pytest.raises(ListError, match=r"a.txt:1:15: 'Abuse' is no code of XD-Violence"):
        read_annotations(path, "xd-violence")
    with pytest.raises(ListError, match=r"a.txt:1: expected 'name class start end ...'"):
        read_annotations(written(tmp_path, "a 1 2\n"), "ucf-crime")
    for form in ("json", "csv", "via", "masks"):
        with pytest.raises(ListError):
            read_annotations(path, form)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.csv", "0\n1\n2\n", r"a.csv:3: '2'; expected 0 or 1, a line a frame"),
    ("a.npy", "no array", r"cannot read annotations .*a.npy"),
    ("a.md", "", "no .npy, .csv, .txt file"),
])
def test_masks(tmp_path: Path, name: str, content: str, message: str) -> None:
    written(tmp_path, content, name)
    with pytest.raises(ListError, match=message):
        read_annotations(tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    ("A/Odd/a.mp4\nB/Even/b.mp4\n", r"l.txt:1: which folder of 'A/Odd/a.mp4' is the class, 'A' or 'Odd'\? None is one "
                                    r"that is known"),
    ("SHANGHAI_TRAIN/frames/01_0014 0 265 1\n", r"which folder .*'SHANGHAI_TRAIN' or 'frames'"),
    ("test/05_0019_3.npy\n", r"l.txt:1: 'test/05_0019_3.npy' says no label"),
    ("a.mp4\n", "says no label"),
    ("path,label\na.npy,0\nb.npy,1\n", r"l.txt:2: the labels are 0 and 1: either 1 is an anomaly, .* or they are two"),
    ('path,label\na.npy,"fight,arson"\n', r"l.txt:2: the label 'fight,arson' is one class or several: join several by"),
    ("path;label\na.npy;['fight']\n", r"the label \"\['fight'\]\" is one class or several"),
    ("path,anomaly\na.npy,maybe\n", r"l.txt:2: anomaly is 'maybe', expected 0 or 1"),
])
def test_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImportFault, match=message):
        read_list(written(tmp_path, text, "l.txt"), "train", Labels())


def test_zeros_and_ones_where_the_normal_class_is_stated(tmp_path: Path) -> None:
    stated = Labels(presets.LabelRule(normal=("0",)))
    path = written(tmp_path, "video,label\na,0\nb,1\n", "l.csv")
    assert [entry.labels for entry in read_labels(path, stated)] == [(), ("1",)]


def test_the_nearest_class_is_told_for_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match=r"l.txt:1: no class 'Abbuse': did you mean 'Abuse'\?"):
        read_list(written(tmp_path, "Abbuse/clip.mp4\n", "l.txt"), "train", UCF)


def test_a_word_behind_a_path_is_no_class(tmp_path: Path) -> None:
    """A file's name may hold a blank."""
    for line, name in (("fire/my video\n", "fire/my"), ("fire/my video.mp4\n", "fire/my video.mp4")):
        [entry] = read_list(written(tmp_path, line, "l.txt"), "train", Labels())
        assert (entry.name, entry.labels) == (name, ("fire",))


def test_folders_that_all_lines_share_are_no_classes(tmp_path: Path) -> None:
    path = written(tmp_path, "data/set/fire/a.mp4\ndata/set/normal/b.mp4\n", "l.txt")
    assert [entry.labels for entry in read_list(path, "train", Labels())] == [("fire",), ()]


@pytest.mark.parametrize("text", ["Abuse/Abuse028_x264.mp4 1412 Abuse 165 240 -1 -1\n",
                                  "Abuse/Abuse028_x264.mp4 1412\n",
                                  "Abuse/Abuse028_x264.mp4\tAbuse\t165\t240\t-1\t-1\t1412\n",
                                  "Abuse/Abuse028_x264.mp4|1412|[165, 240]\n",
                                  "Filename;Total Frames\nAbuse/Abuse028_x264.mp4;1412\n",
                                  "video,frames\nAbuse/Abuse028_x264.mp4,1412.0\n"])
def test_frame_counts_of_every_form_that_has_them(tmp_path: Path, text: str) -> None:
    assert read_frame_counts(written(tmp_path, text), None) == {"Abuse/Abuse028_x264.mp4": 1412}
