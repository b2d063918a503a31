"""tools/check_demo.py: its verdicts follow from frames, spans and figures."""

import pytest

from tools.check_demo import Shown, Verdicts, clearly_less, judge_frames, judge_seeds, share, spread, truth


def shown(frames, named="arson", spans=((50, 59),), n_frames=200):
    return Shown("arson", n_frames, spans, frames, named)


TWO = ((20, 60), (120, 160))
GOOD = {
    "kess": [shown((10, 55)), shown((30, 130), spans=TWO)],
    "uniform": [shown((25, 75), "normal"), shown((30, 130), spans=TWO)],
    "topm": [shown((52, 55)), shown((30, 40), spans=TWO)],
}


def judged(videos):
    verdicts = Verdicts()
    judge_frames(videos, verdicts, "demo")
    return {what: (figure, good) for what, figure, good in verdicts.rows}


def test_every_row_counts_what_it_says():
    rows = judged(GOOD)
    assert list(rows.values()) == [
        ("kess 100.0 % (2), uniform 50.0 % (1), topm 100.0 % (2) of 2", True),
        ("kess 100.0 % (2), uniform 50.0 % (1), topm 100.0 % (2) of 2", True),
        ("kess 100.0 % (1), uniform 0.0 % (0), topm 100.0 % (1) of 1", True),
        ("kess 100.0 % (1), uniform 100.0 % (1), topm 0.0 % (0) of 1", True),
    ]


@pytest.mark.parametrize(
    ("spoilt", "row"),
    [
        (shown((10, 55), "normal"), 0),  # not named
        (shown((10, 45)), 1),  # no frame inside
        (shown((49, 60)), 2),  # just beside it
    ],
)
def test_a_miss_is_called_one(spoilt, row):
    rows = judged(GOOD | {"kess": [spoilt, GOOD["kess"][1]]})
    assert list(rows.values())[row][1] is False


def test_equal_to_uniform_is_not_better():
    _, good = next(iter(judged(GOOD | {"uniform": GOOD["kess"]}).values()))
    assert good is False


def test_an_event_of_a_tenth_is_not_short():
    videos = {name: [shown((55,), spans=((50, 69),))] for name in GOOD}
    figure, good = list(judged(videos).values())[2]
    assert good is None
    assert figure.endswith("of 0")


def row(name, auc, difference):
    figures = {metric: {"mean": auc, "std": 0.01} for metric in ("auc", "ap", "ano_auc")}
    spreads = {metric: {"mean": d, "std": 0.01, "clear": abs(d) > 0.01} for metric, d in difference.items()}
    return {"name": name, "seeds": [0, 1], "metrics": figures, "difference": spreads}


@pytest.mark.parametrize(("drop", "good"), [(-0.02, True), (-0.005, False), (0.02, False)])
def test_a_part_left_out_must_cost_more_than_a_deviation(drop, good):
    verdicts = Verdicts()
    judge_seeds([row("as in the demo", 0.96, {}), row("no DBM", 0.9, dict.fromkeys(("auc", "ap", "ano_auc"), drop))],
                verdicts)
    assert [verdict for _, _, verdict in verdicts.rows] == [True, True, None, None, good]
    assert verdicts.missed is not good
    assert ("MISSED" in str(verdicts)) is not good


def test_figures_in_words():
    assert spread({"mean": 0.9612, "std": 0.004}) == "96.12 (0.40)"
    assert spread({"mean": -0.012, "std": None}, sign=True) == "-1.20"
    assert clearly_less({"mean": -0.02, "std": 0.01, "clear": True})
    assert not clearly_less({"mean": 0.02, "std": 0.01, "clear": True})
    assert share([True, False]) == 50


def test_truth_keeps_training_videos_with_their_events(tmp_path):
    (tmp_path / "truth.csv").write_text(
        "video_id,split,label,place,night,fps,n_frames,event,start_frame,end_frame\n"
        "train/arson/a.mp4,train,arson,shop,False,10,300,0,10,40\n"
        "train/arson/a.mp4,train,arson,shop,False,10,300,1,100,140\n"
        "train/normal/b.mp4,train,normal,shop,False,10,300,-1,-1,-1\n"
        "test/arson/c.mp4,test,arson,shop,False,10,300,0,10,40\n"
    )
    assert truth(tmp_path / "truth.csv") == {"train/arson/a.mp4": ("arson", 300, ((10, 40), (100, 140)))}
