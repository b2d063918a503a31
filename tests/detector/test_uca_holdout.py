"""The hold-out of a UCA set: drawn from its training videos, with the spans of the sentences that name the deed."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq

from tools import uca_holdout

SAID = {"robs": (30.0, 35.0, "A man threatens the clerk with a knife."),
        "goes on": (40.0, 44.0, "He grabs the money."),  # 5 s later: one event
        "quiet": (0.0, 20.0, "A clerk stands at the counter."),
        "late": (80.0, 82.0, "He points the gun again.")}


def test_lists_and_events(tmp_path, monkeypatch, capsys):
    videos = [(f"Robbery{i:03d}", "Robbery", "dev_train") for i in range(8)]
    videos += [(f"Normal{i:03d}", "Normal", "dev_train") for i in range(8)] + [("Robbery900", "Robbery", "dev_test")]
    rows = [(video, *said) for video, _, _ in videos for said in SAID.values()]
    pq.write_table(pa.table(dict(zip(("video", "start_s", "end_s", "sentence"), zip(*rows, strict=True), strict=True))),
                   tmp_path / "sentences.parquet")
    uca_holdout.write(tmp_path / "videos.csv", ("video", "label", "frames", "split"),
                      [(video, label, 3000, split) for video, label, split in videos])
    uca_holdout.write(tmp_path / "train.csv", ("path", "label"),
                      [(f"features/train/{video}.npy", label) for video, label, split in videos
                       if split == "dev_train"])
    monkeypatch.setattr("sys.argv", ["uca_holdout.py", str(tmp_path), str(tmp_path), str(tmp_path / "out")])
    uca_holdout.main()
    assert "12 videos to train on, 4 held out, 2 of them abnormal" in capsys.readouterr().out

    lists = {name: list(csv.DictReader((tmp_path / "out" / f"{name}.csv").read_text().splitlines()))
             for name in ("train", "test", "events")}
    assert (len(lists["train"]), len(lists["test"])) == (12, 4)
    assert not {row["path"] for row in lists["train"]} & {row["path"] for row in lists["test"]}
    held = {row["path"].split("/")[-1].removesuffix(".npy") for row in lists["test"] if row["label"] == "Robbery"}
    assert {row["video"] for row in lists["events"]} == held
    spans = [(int(row["start"]), int(row["end"])) for row in lists["events"] if row["video"] == min(held)]
    assert spans == [(900, 1319), (2400, 2459)]
