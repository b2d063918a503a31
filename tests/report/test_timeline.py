"""What a video's timeline shows."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dbvad.evaluation.groundtruth import Segment
from dbvad.report.frames import WIDTH, shrink, spread, thumbnails
from dbvad.report.inputs import Inputs, Scores, read_inputs
from dbvad.report.judge import judge
from dbvad.report.strategies import Tally, compare, disagreement
from dbvad.report.timeline import MAX_POINTS, SPARK, _clock, _spark, _steps, show
from pipeline.contracts import DECODE
from tests.report.planted import STRIDE, VIDEOS, annotate, evaluated, picture, publish, put


def test_the_clock_follows_the_decoded_frames_then_the_rate_then_nothing():
    slow = _clock(np.array([0, 10, 20]), np.array([0.0, 1.0, 3.0]), 25.0, 30)  # a rate that changes
    assert (slow.unit, *slow.at([5, 15, 20, 30])) == ("s", 0.5, 2.0, 3.0, 4.5)
    steady = _clock(np.array([0]), np.array([0.0]), 25.0, 50)
    assert (steady.unit, *steady.at([25, 50])) == ("s", 1.0, 2.0)
    unknown = _clock(np.zeros(0), np.zeros(0), 0.0, 50)
    assert (unknown.unit, *unknown.at([25, 50])) == ("frame", 25, 50)


def test_a_long_curve_keeps_its_peaks():
    values = np.zeros(50_000, np.float32)
    values[31_234] = 0.9
    clock = _clock(np.zeros(0), np.zeros(0), 10.0, 50_000)
    steps = _steps(Scores(np.arange(50_001), values), clock)
    assert steps is not None
    assert len(steps["y"]) == MAX_POINTS == len(steps["x"]) - 1
    assert max(steps["y"]) == pytest.approx(0.9)
    assert steps["x"][int(np.argmax(steps["y"]))] == pytest.approx(3123.4, abs=5000 / MAX_POINTS + 0.1)
    assert steps["x"][-1] == 5000


@settings(deadline=None)
@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=400), st.floats(0.01, 1e5))
def test_a_rows_curve_stays_in_its_box_and_shows_the_peak(values, end):
    edges = np.linspace(0, end, len(values) + 1)
    path = _spark(edges.tolist(), values, end)
    heights = [int(level) for level in re.findall(r"V(\d+)", path)]
    across = [int(place) for place in re.findall(r"H(\d+)", path)]
    assert across == sorted(across)
    assert across[-1] == SPARK[0]
    assert min(heights) == SPARK[1] - round(min(max(max(values), 0), 1) * SPARK[1])
    assert max(heights) <= SPARK[1]


def test_pictures_are_shrunk_and_unreadable_ones_left_out(tmp_path):
    store = publish(tmp_path, VIDEOS[:1])
    rows = store.read("decode", VIDEOS[0].video_id).to_pylist()
    rows[0]["jpeg"], rows[1]["jpeg"] = picture(9, (1280, 720)), b"no picture"
    put(store, DECODE, VIDEOS[0].video_id, rows)
    with ThreadPoolExecutor(2) as pool:
        found = thumbnails(store, VIDEOS[0].video_id, [0, STRIDE, 2 * STRIDE, 5], pool)
        assert thumbnails(store, "no/such.mp4", [0], pool) == {}
    assert sorted(found) == [0, 2 * STRIDE]
    assert Image.open(io.BytesIO(found[0])).size == (WIDTH, WIDTH * 9 // 16)
    assert shrink(b"") is None


def test_frames_are_spread_over_the_whole_video():
    index, times = np.arange(0, 1600, 16), np.arange(100) * 0.64
    assert len(spread(index, times, 500)) == 64  # one a second
    few = spread(index, times, 5)
    assert (len(few), few[0], few[-1]) == (5, 0, 1584)
    assert len(spread(index[:20], times[:20] / 100, 500)) == 8  # of a short video at least so many
    assert len(spread(index, times, 0)) == len(spread(index[:0], times[:0], 9)) == 0


def test_strategies_are_counted_against_the_truth():
    frames = np.arange(0, 320, STRIDE)
    relevance = np.isin(frames, [80, 88]).astype(float)
    compared = compare(frames, relevance, np.zeros(40), frames / 10, {"frames": 4, "min_gap_s": 0.5, "stand_out": 0.3})
    tally = Tally()
    tally.add(compared, "topm", 320, [Segment(80, 96), Segment(300, 301), Segment(0, 200)])
    row = tally.row("topm")
    at = set(frames[compared.picks["topm"]].tolist())
    assert {80, 88} <= at
    assert row["found"] == pytest.approx(2 / 3)
    assert row["short"] == pytest.approx(1 / 2)  # the third one is long
    assert row["several"] == 0
    assert row["score"] == pytest.approx(0.25)  # relevance alone gives half a point, to two frames of four
    even = Tally()
    even.add(compared, "uniform", 320, [])
    assert even.row("uniform")["gap"] == pytest.approx(0.25, abs=0.02)
    assert np.isnan(even.row("uniform")["found"])


def test_strategies_differ_most_where_they_find_other_events():
    frames = np.arange(0, 320, STRIDE)
    flat = np.zeros(40)
    settings_ = {"frames": 4, "min_gap_s": 0.5, "stand_out": 0.3}
    apart = compare(frames, np.isin(frames, [80, 88]).astype(float), flat, frames / 10, settings_)
    event = [Segment(80, 96)]
    assert disagreement(apart, 320, event)[0] == 2  # uniform alone misses it
    assert disagreement(apart, 320, []) == (0, 2, 0)  # top-m takes two frames that KESS does not
    assert disagreement(apart, 320, [Segment(80, 81)]) > disagreement(apart, 320, event)  # the shorter event


@pytest.fixture
def inputs(tmp_path) -> Inputs:
    publish(tmp_path / "artifacts")
    annotations = annotate(tmp_path / "temporal.txt")
    from pipeline.engine.store import Store

    return read_inputs(Store(tmp_path / "artifacts"), evaluated(tmp_path / "run", annotations), None, "auto")


def shown(inputs: Inputs, number: int, budget: int = 50):
    video = inputs.videos[number]
    scores = inputs.scores.get(video.video_id)
    judged = judge(video.video_id, scores, inputs.truth.get(video.video_id)) if scores else None
    with ThreadPoolExecutor(1) as pool:
        return show(inputs, video, judged, budget, pool)


def test_a_test_video_has_scores_truth_and_frames_and_no_key_frames(inputs):
    found = shown(inputs, 0)
    assert found.data["auc"] == 1
    assert found.data["truth"] == [[2.4, 5.6, "fight"]]
    assert found.data["end"] == 10.0
    assert len(found.data["frames"]["jpeg"]) == len(found.data["frames"]["at"]) >= 8
    assert (found.data["keys"], found.data["picks"], found.data["text"], found.data["missing"]) == ([], None, None, [])


def test_a_training_video_has_key_frames_three_ways_and_its_description(inputs):
    found = shown(inputs, 3)
    assert found.data["text"]["text"].startswith("Two men fight")
    assert found.data["strategy"] == "kess"
    assert set(found.data["picks"]) == {"kess", "topm", "uniform"}
    # The stage and the report choose alike, and every chosen frame has its picture.
    assert sorted(found.data["picks"]["kess"]) == sorted(found.data["keys"])
    assert {at for chosen in found.data["picks"].values() for at in chosen} <= set(found.data["frames"]["at"])
    assert any(4.8 <= at < 6.4 for at in found.data["picks"]["kess"])


def test_a_normal_training_video_is_not_compared(inputs):
    found = shown(inputs, 4)
    assert found.comparison is None
    assert found.data["strategy"] == "uniform"
    assert len(found.data["keys"]) == 4


def test_no_pictures_where_none_are_wanted(inputs):
    found = shown(inputs, 0, budget=0)
    assert found.data["frames"] == {"at": [], "jpeg": []}
    assert found.data["missing"] == []


def test_missing_and_torn_shards_cost_their_part_only(inputs):
    video_id = inputs.videos[3].video_id
    store = inputs.store
    whole = store.path("decode", video_id).read_bytes()
    store.path("decode", video_id).write_bytes(whole[:len(whole) // 2])
    store.path("describe", video_id).unlink()
    store.path("select", video_id).write_bytes(b"PAR1")
    found = shown(inputs, 3)
    assert found.data["event"] is not None
    text = " ".join(found.data["missing"])
    assert "run decode" in text
    assert "run describe" in text
    assert "run select" in text
