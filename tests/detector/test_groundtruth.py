"""Published annotation formats and a plain CSV become the truth of each frame; what does not fit is said."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.evaluation.groundtruth import (
    AnnotationError,
    Segment,
    decoded_times,
    frame_truth,
    match,
    read_annotations,
    remarks,
)
from pipeline.contracts import Contract
from pipeline.engine.store import Store
from pipeline.manifest import Entry

UCF = """Abuse028_x264  Abuse  165  240  -1  -1
Arson011_x264.mp4  Arson  150  420  680  1267
Normal_Videos_317_x264  Normal  -1  -1  -1  -1
"""
XD = """v=S-7rRLrxnVQ__#1_label_B4-0-0 0 151 197 303
Casino.Royale.2006__#00-26-00_label_B2-0-0 77 143
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="annotations.txt"):
        path = tmp_path / name
        path.write_text(text)
        return path
    return write


def test_ucf_crime(file):
    found = read_annotations(file(UCF))
    assert found.format == "ucf-crime"
    videos = {"Abuse/Abuse028_x264.mp4": (1000, 30.0), "Arson/Arson011_x264.mp4": (1200, 30.0),
              "Normal/Normal_Videos_317_x264.mp4": (100, 30.0), "Normal/other.mp4": (100, 30.0)}
    matched = match(found, videos)
    assert matched.segments["Abuse/Abuse028_x264.mp4"] == (Segment(165, 241, "Abuse"),)
    assert matched.segments["Arson/Arson011_x264.mp4"] == (Segment(150, 421, "Arson"), Segment(680, 1200, "Arson"))
    assert matched.segments["Normal/Normal_Videos_317_x264.mp4"] == ()
    assert matched.clipped == ("Arson/Arson011_x264.mp4",)
    assert matched.unannotated == ("Normal/other.mp4",)
    assert match(found, videos, ends="exclusive").segments["Abuse/Abuse028_x264.mp4"] == (Segment(165, 240, "Abuse"),)


def test_xd_violence_with_dots_in_names(file):
    found = read_annotations(file(XD))
    assert found.format == "xd-violence"
    matched = match(found, {"Casino.Royale.2006__#00-26-00_label_B2-0-0.mp4": (2000, 24.0)})
    assert matched.segments == {"Casino.Royale.2006__#00-26-00_label_B2-0-0.mp4": (Segment(77, 144),)}
    assert matched.unknown_names == ("v=S-7rRLrxnVQ__#1_label_B4-0-0",)


def test_csv_in_frames_and_in_seconds(file):
    frames = read_annotations(file("video,start,end,label\na.mp4,10,19,fire\na.mp4,30,39,\nquiet.mp4,,\n", "a.csv"))
    videos = {"x/a.mp4": (100, 10.0), "quiet.mp4": (50, 10.0)}
    assert match(frames, videos).segments == {"x/a.mp4": (Segment(10, 20, "fire"), Segment(30, 40)), "quiet.mp4": ()}
    seconds = read_annotations(file("Video, start_s, end_s\nx/a,1.05,1.95\n", "b.csv"))
    assert match(seconds, videos).segments == {"x/a.mp4": (Segment(10, 20),)}
    with pytest.raises(AnnotationError, match="frame rate is unknown"):
        match(seconds, {"x/a.mp4": (100, 0.0)})


def test_an_event_of_two_classes(file):
    found = read_annotations(file("video,start,end,label\na,1,2,fire | theft\n", "a.csv"))
    assert match(found, {"a": (9, 0.0)}).segments["a"] == (Segment(1, 3, "fire"), Segment(1, 3, "theft"))


def test_full_id_wins_over_file_name(file):
    found = read_annotations(file("video,start,end\none/a.mp4,0,1\ntwo/a.mp4,2,3\n", "a.csv"))
    matched = match(found, {"one/a.mp4": (9, 30.0), "two/a.mp4": (9, 30.0)})
    assert matched.segments["two/a.mp4"] == (Segment(2, 4),)


def test_ambiguous_name(file):
    found = read_annotations(file("video,start,end\na,0,1\n", "a.csv"))
    with pytest.raises(AnnotationError, match=r"'a' fits 2 videos \(one/a.mp4, two/a.mkv\).*by its path"):
        match(found, {"one/a.mp4": (9, 30.0), "two/a.mkv": (9, 30.0)})


def test_two_names_of_one_video(file):
    found = read_annotations(file("video,start,end\na,0,1\na.mp4,2,3\n", "a.csv"))
    with pytest.raises(AnnotationError, match=r"'a' and 'a.mp4' both fit 'a.mp4'"):
        match(found, {"a.mp4": (9, 30.0)})


@pytest.mark.parametrize(("text", "name", "message"), [
    ("", "a.txt", "no annotations"),
    ("Abuse028 Abuse 165 240 -1\n", "a.txt", r"a.txt:1: expected pairs"),
    ("Abuse028 Abuse 1 2\nb Abuse x y\n", "a.txt", r"a.txt:2:9: expected pairs"),
    ("Abuse028 Abuse 240 165\n", "a.txt", "from 240 to 165"),
    ("a Abuse 1 2\na Abuse 3 4\n", "a.txt", r"a.txt:2: 'a' is annotated twice"),
    ("name,from,to\na,1,2\n", "a.csv", "needed are video, start, end"),
    ("video,start,end\na,1,x\n", "a.csv", r"a.csv:2: start and end are '1' and 'x'"),
    ("video,start,end\na,-5,2\n", "a.csv", "expected 0 <= start <= end"),
])
def test_faults_name_the_line(file, text, name, message):
    with pytest.raises(AnnotationError, match=message):
        read_annotations(file(text, name))


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match="cannot read"):
        read_annotations(tmp_path / "none.txt")


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted), max_size=5), st.integers(0, 100))
def test_truth_has_every_frame_of_every_segment(pairs, frames):
    truth = frame_truth([Segment(start, end) for start, end in pairs], frames)
    assert len(truth) == frames
    expected = {frame for start, end in pairs for frame in range(start, end) if frame < frames}
    assert set(np.flatnonzero(truth)) == expected


def test_seconds_by_the_frames_own_times(file):
    """The picture stands still for a while: its mean rate would put the event elsewhere."""
    found = read_annotations(file("video,start_s,end_s\na,4.0,4.5\n", "a.csv"))
    shown = np.concatenate([np.arange(50) / 25, 4 + np.arange(50) / 25])
    videos = {"a": (100, 16.667)}
    assert match(found, videos, times=lambda _: shown).segments["a"] == (Segment(50, 63),)
    assert match(found, videos).segments["a"] == (Segment(66, 76),)
    assert match(found, videos, times=lambda _: shown[:-1]).segments["a"] == (Segment(66, 76),)  # of another video
    assert match(found, {"a": (100, 0.0)}, times=lambda _: shown).segments["a"] == (Segment(50, 63),)


def test_times_that_decode_kept(tmp_path):
    """They are read from today's shard, and only where it has them."""
    store = Store(tmp_path)
    entries = {"a": Entry("a", "test", (), "", 0, "", {"decode": "today"})}
    times = decoded_times(store, entries)
    assert times("a") is None
    rows = {"video_id": ["a", "a"], "frame_idx": [0, 2]}
    for kept, mark, expected in (({}, "today", None), ({"times_s": [[0.0, 0.04], [0.5]]}, "today", [0.0, 0.04, 0.5]),
                                 ({"times_s": [[0.0], [1.0]]}, "yesterday", None)):
        table = pa.table(rows | kept)
        store.publish(Contract("decode", table.schema), "a", table, fingerprint=mark, basis={})
        found = times("a")
        assert (found if found is None else found.tolist()) == expected
    assert decoded_times(store, {})("a") is None


def test_what_does_not_fit_is_said(file):
    found = read_annotations(file("video,start,end,label\na,10,90000,fire\nb,200,300,fire\nc,5,50,fire\ntypo,1,5,\n"
                                  "trained,1,2,\nquiet,,,\n", "e.csv"))
    videos = {name: (50 if name == "c" else 100, 0.0) for name in ("a", "b", "c", "quiet", "m", "n", "o", "p")}
    matched = match(found, videos, others=["train/trained.mp4"])
    assert (matched.clipped, matched.outside, matched.unknown_names) == (("a", "b"), ("b",), ("typo",))
    assert matched.segments["c"] == (Segment(5, 50, "fire"),)  # its last frame may be counted from 1
    assert [str(remark) for remark in remarks(found, matched, ["smoke"])] == [
        "e.csv names what is no video here (1): typo",
        "events of e.csv begin beyond the end of their videos and are left out (1): b",
        "events of e.csv reach beyond the end of their videos and are clipped (1): a",
        "e.csv has events of classes that no video was trained on (1): fire",
        "e.csv does not name these test videos, so all their frames count as normal (4): m, n, o and 1 more"]


def test_files_that_name_abnormal_videos_only_say_nothing_of_others(file):
    found = read_annotations(file(XD))
    matched = match(found, {"v=x__#1_label_A": (9, 0.0)})
    assert [remark.kind for remark in remarks(found, matched)] == ["unknown_name"]


def test_masks_end_where_they_end(tmp_path):
    np.save(tmp_path / "01_0014.npy", np.array([0, 1, 1, 0]))
    found = read_annotations(tmp_path)
    for ends in ("inclusive", "exclusive"):
        assert match(found, {"01_0014": (4, 0.0)}, ends=ends).segments == {"01_0014": (Segment(1, 3),)}


def test_training_videos_of_the_file_itself_are_not_unknown(file):
    content = {"a": {"subset": "training", "annotations": []}, "b": {"subset": "testing", "annotations": []},
               "c": {"annotations": [{"segment": [1, 2], "label": "x"}]}}
    found = read_annotations(file(json.dumps({"database": content}), "gt.json"))
    assert match(found, {"c": (100, 25.0)}).unknown_names == ("b",)
    assert match(found, {"c": (100, 25.0)}).segments["c"] == (Segment(25, 50, "x"),)
