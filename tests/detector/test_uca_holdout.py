"""The hold-out of the UCA set is drawn from its training videos alone, with the times that were marked."""

from tools import uca_holdout
from tools.uca_holdout import read, write


def test_lists_and_events(tmp_path, capsys):
    write(tmp_path / "marks.csv", ("video", "start_s", "end_s"),
          [("Robbery1", 3, 7), ("Robbery1", 20, 31), ("Robbery9", 1, 2)])
    videos = [("Robbery1", "Robbery", "dev_train"), ("Robbery2", "Robbery", "dev_train"),
              ("Robbery9", "Robbery", "dev_test"), *((f"Normal{i}", "Normal", "dev_train") for i in range(8))]
    write(tmp_path / "videos.csv", ("video", "label", "split"), videos)
    write(tmp_path / "train.csv", ("path", "label"),
          [(f"features/train/{video}.npy", label) for video, label, split in videos if split == "dev_train"])
    uca_holdout.main([str(tmp_path), str(tmp_path), str(tmp_path / "out"), "--marks", str(tmp_path / "marks.csv")])
    assert capsys.readouterr().out == "7 videos to train on, 3 held out\n"

    train, test, events = (read(tmp_path / "out" / f"{name}.csv") for name in ("train", "test", "events"))
    assert (len(train), len(test)) == (7, 3)
    assert not {row["path"] for row in train} & {row["path"] for row in test}
    assert [row["path"] for row in test if row["label"] == "Robbery"] == ["features/train/Robbery1.npy"]
    assert events == [{"video": "Robbery1", "start": start, "end": end, "label": "Robbery"}
                      for start, end in (("90", "210"), ("600", "930"))]


def test_marks_are_spans_in_order_of_different_videos():
    marks, acts = (read(uca_holdout.MARKS.with_name(name)) for name in ("uca_marks.csv", "uca_acts.csv"))
    assert (len({mark["video"] for mark in marks}), len({act["video"] for act in acts})) == (72, 59)
    assert not {mark["video"] for mark in marks} & {act["video"] for act in acts}
    assert all(0 <= int(mark["start_s"]) < int(mark["end_s"]) for mark in [*marks, *acts])
