"""Scores in the forms that people keep them in, laid onto the frames of their videos, or refused with both numbers."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvad.evaluation.given_scores import Given, ScoresError, read_scores

FRAMES = 40
STEP = [0.1, 0.9, 0.4]  # of 16, 16 and 8 frames
WHOLE = np.repeat(STEP, [16, 16, 8])


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def frames_of(path: Path, snippet: int | None = None, video: str = "a/one.mp4") -> np.ndarray:
    """Scores of every frame of a video, which must be found by its name."""
    found, strange = read_scores(path).match([video, "b/two.mp4"])
    assert strange == []
    edges, scores = found[video].edges(FRAMES, snippet)
    return np.repeat(scores, np.diff(edges))


def rows(head: str, *lines: object) -> str:
    return "\n".join([head, *map(str, lines)]) + "\n"


PARQUET = pa.table({"video_id": ["a/one.mp4"] * 3, "start": [0, 16, 32], "end": [16, 32, 40], "score": STEP})
FORMS = {
    "ours.parquet": PARQUET,
    "shuffled.parquet": PARQUET.take([2, 0, 1]),
    "exclusive.csv": rows("video,start,end,score", "one,0,16,.1", "one,16,32,.9", "one,32,40,.4"),
    "inclusive.csv": rows("Video; Start; End; Score", "one;0;15;.1", "one;16;31;.9", "one;32;39;.4"),
    "sparse.csv": rows("video,frame,score", "one.mp4,0,.1", "one.mp4,16,.9", "one.mp4,32,.4"),
    "frames.csv": rows("video,frame,score", *(f"x/a/one.mp4,{k},{s}" for k, s in enumerate(WHOLE))),
    "in order.csv": rows("video,score", *(f"one,{s}" for s in WHOLE)),
    "one.csv": rows("frame,score", "0,.1", "16,.9", "32,.4"),
    "one.txt": "\ufeff" + rows(str(WHOLE[0]), *WHOLE[1:]),
    "lists.json": {"one": WHOLE.tolist()},
    "maps.json": {"a/one.mp4": {"0": 0.1, "16": 0.9, "32": 0.4}},
    "one.json": {"16": 0.9, "0": 0.1, "32": 0.4},
    "records.json": [{"video": "one", "frame": k, "score": s} for k, s in zip((0, 16, 32), STEP, strict=True)],
    "one.npy": WHOLE,
    "a/one.npy": WHOLE[:, None].astype(np.float16),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_comes_to_the_same_score_a_frame(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, FORMS[name])
    assert frames_of(path) == pytest.approx(WHOLE, abs=1e-3)


@pytest.mark.parametrize("content", [np.array(STEP), np.array(STEP[:2])])  # with and without the last, not full one
def test_snippets_that_the_user_counts(tmp_path: Path, content: np.ndarray) -> None:
    path = write(tmp_path, "one.npy", content)
    assert frames_of(path, 16) == pytest.approx(np.repeat(content, [16, 24] if len(content) == 2 else [16, 16, 8]))
    with pytest.raises(ScoresError, match=f"one.npy: {len(content)} scores, one a frame would be 40, they fit"):
        frames_of(path)
    with pytest.raises(ScoresError, match=r"one a snippet of 8 frames would be 5$"):
        frames_of(path, 8)


def test_a_folder_holds_files_of_any_form_and_counts_the_rest(tmp_path: Path) -> None:
    write(tmp_path, "a/one.npy", WHOLE)
    write(tmp_path, "b/two.mp4.json", {"0": 1, "20": 0})
    write(tmp_path, "README.md", "about")
    write(tmp_path, "a/plot.png", "")
    write(tmp_path, "notes", "")
    found = read_scores(tmp_path)
    assert found.others == {".md": 1, ".png": 1, "no suffix": 1}
    matched, _ = found.match(["a/one.mp4", "b/two.mp4"])
    assert matched.keys() == {"a/one.mp4", "b/two.mp4"}


@pytest.mark.parametrize(("name", "content", "message"), [
    ("one.csv", rows("frame,score", "0,.1", "16,.9", "24,.4"), "every 8 frames, but after frame 0 comes 16"),
    ("one.csv", rows("frame,score", "0,.1", "8,.9"), "every 8 frames from 0 to 8 do not cover the video's 40 frames"),
    ("one.csv", rows("frame,score", "0,.1", "0,.9"), "two scores at frame 0"),
    ("one.csv", rows("frame,score", *(f"{k},1" for k in range(1, 41))), "frame 1 to 40, the video has frames 0 to 39"),
    ("one.csv", rows("start,end,score", "0,16,.1", "20,40,.9"), "after frames 0 to 16 comes 20: .* every frame, once"),
    ("one.csv", rows("start,end,score", "0,20,.1", "16,40,.9"), "after frames 0 to 20 comes 16"),
    ("one.csv", rows("start,end,score", "0,16,.1", "16,38,.9"), "from frame 0 to 38, the video has frames 0 to 39"),
    ("one.csv", rows("start,end,score", "0,16,.1", "16,48,.9"), "from frame 0 to 48"),
    ("one.csv", rows("frame,score", "0,.1", "16,much"), "one.csv:3: score is 'much', expected a number"),
    ("one.csv", rows("frame,score", "0,.1", "1.5,.2"), "one.csv:3: frame is 1.5, expected a whole frame number"),
    ("one.csv", rows("frame,score", "0,.1", "16"), "one.csv:3: 1 values, expected 2: frame,score"),
    ("one.csv", rows("frame,score", "0,.1", "16,nan"), "one.csv: score 1 of 2 is nan"),
    ("one.csv", rows("0.5,0.7", "0,.1"), "the columns are '0.5,0.7'; needed are video, score"),
    ("one.csv", rows("video,video_id,score", "one,one,1"), "each once"),
    ("one.csv", "frame,score\n", "no scores in this file"),
    ("one.csv", "", "no scores in this file"),
    ("one.json", {}, "no scores in it"),
    ("one.json", '{"one": [1], "one": [2]}', "'one' stands twice in one object"),
    ("one.json", {"one": {"a": 1}}, "'one', row 0: frame is 'a', expected a number"),
    ("one.json", '[0.1, null]', "score 1 of 2 is nan"),
    ("one.json", '{"one"', "cannot be read as scores"),
    ("one.npy", np.ones((10, 40)), r"float64 of shape \(10, 40\), expected \(N,\) scores of one video"),
    ("one.npy", "torn", "cannot be read as scores"),
    ("one.parquet", "torn", "is damaged: its end is not that of a Parquet file"),
    ("one.mat", "", "no form of scores that is known here"),
    ("one.npy", np.ones(41), "41 scores, one a frame would be 40, and"),
])
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, content: object, message: str) -> None:
    with pytest.raises(ScoresError, match=message):
        frames_of(write(tmp_path, name, content))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match="no such file or folder"):
        read_scores(tmp_path / "scores.json")
    with pytest.raises(ScoresError, match="no scores in this folder"):
        read_scores(tmp_path)


def test_names_that_fit_several_videos_or_one_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "s.json", {"one": [1], "a/one.mp4": [1]})
    with pytest.raises(ScoresError, match=r"'one' and 'a/one\.mp4' both fit 'a/one\.mp4'"):
        read_scores(path).match(["a/one.mp4"])
    with pytest.raises(ScoresError, match="'one' fits 2 videos"):
        read_scores(write(tmp_path, "t.json", {"one": [1]})).match(["a/one.mp4", "b/one.mp4"])
    write(tmp_path / "f", "one.npy", WHOLE)
    write(tmp_path / "f", "one.csv", rows("score", *WHOLE))
    with pytest.raises(ScoresError, match="scores of 'one' twice"):
        read_scores(tmp_path / "f")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.randoms())
def test_spans_cover_the_video_whatever_their_order_and_whether_ends_belong_to_them(lengths, random) -> None:
    edges = np.cumsum([0, *lengths])
    order = np.array(random.sample(range(len(lengths)), len(lengths)))
    for ends in (edges[1:], edges[1:] - 1):
        found, scores = Given("x", order.astype(float), edges[:-1][order], ends[order]).edges(int(edges[-1]))
        assert found.tolist() == edges.tolist()
        assert scores.tolist() == list(range(len(lengths)))


@given(st.integers(1, 200), st.integers(1, 20))
def test_a_score_a_snippet_covers_every_frame_once(frames: int, snippet: int) -> None:
    count = -(-frames // snippet)
    edges, _ = Given("x", np.zeros(count)).edges(frames, snippet)
    assert (edges[0], edges[-1], len(edges)) == (0, frames, count + 1)
    assert (np.diff(edges) > 0).all()
