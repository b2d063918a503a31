"""A hold-out with event times, inside the training videos of a UCA set: `python tools/uca_holdout.py SET FEATURES OUT`.

SET: the folder with videos.csv; FEATURES: the folder that its expand.py wrote. Held out are abnormal videos of
dev_train, whose events were marked by reading their timed sentences (made for this project: good for choosing options,
and no result), and a quarter of the normal ones. Nothing of dev_test is read. There are two sets of marks:

uca_marks.csv, by default: 72 videos, all that belongs to an event; half of the videos' time, most often its middle.
uca_acts.csv: 59 other videos in about the mix of classes that the official test videos have, the acts alone; a quarter
of their time, nearer to the official annotations' fifth.

Writes OUT/train.csv and OUT/test.csv (lists for `dbvad import features`) and OUT/events.csv (annotations).
"""

import argparse
import csv
import random
from pathlib import Path
from typing import Any

FPS, NORMAL_SHARE = 30, 0.25
MARKS = Path(__file__).with_name("uca_marks.csv")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("set", "features", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--marks", type=Path, default=MARKS, help="uca_marks.csv or uca_acts.csv")
    given = parser.parse_args(arguments)
    videos = {row["video"]: row for row in read(given.set / "videos.csv") if row["split"] == "dev_train"}
    marks = [mark for mark in read(given.marks) if mark["video"] in videos]
    normal = sorted(video for video, about in videos.items() if about["label"] == "Normal")
    held = {mark["video"] for mark in marks} | {*random.Random(0).sample(normal, round(NORMAL_SHARE * len(normal)))}
    given.out.mkdir(parents=True, exist_ok=True)
    listed = read(given.features / "train.csv")
    for name, wanted in (("train", False), ("test", True)):
        write(given.out / f"{name}.csv", ("path", "label"), [(row["path"], row["label"]) for row in listed
                                                             if (Path(row["path"]).stem in held) == wanted])
    write(given.out / "events.csv", ("video", "start", "end", "label"),
          [(mark["video"], FPS * int(mark["start_s"]), FPS * int(mark["end_s"]), videos[mark["video"]]["label"])
           for mark in marks])
    print(f"{len(videos) - len(held)} videos to train on, {len(held)} held out")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
