"""A hold-out inside the training videos of a UCA set, with event times of a kind.

    python tools/uca_holdout.py SET FEATURES OUT

SET: the folder with sentences.parquet and videos.csv; FEATURES: the folder that its expand.py wrote. A quarter of the
dev_train videos is held out; of the abnormal ones only those are drawn whose timed sentences name the deed (words of
its class, below), but for less than 9 tenths of the video. Those sentences' spans are the events, gaps of up to 10 s
closed, as UCF-Crime marks one or two stretches a video. Nothing of dev_test is read.

Writes OUT/train.csv and OUT/test.csv (lists for `dbvad import features`) and OUT/events.csv (annotations for
`dbvad ablate`). The times are a proxy, good for choosing options, and no result.
"""

import argparse
import csv
import random
import re
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

FPS = 30
HELD, MOST = 0.25, 0.9
GAP = 10 * FPS
FORCE = r"beat|punch|kick|hit|slap|fight|fought|attack|struggl|push|knock|pull|drag|chok|strangl|threw|throw|chase"
TAKE = (r"st[eo]le?|steal|rummag|took the|takes? the|took out|grab|snatch|pocket|hid |hide|pick(ed)? up|"
        r"put .* (in|into) (his|her|the|their)")
BREAK = r"pry|pried|break|broke|smash|kick|hammer|knock|force|climb|cut|drill|window|glass|crowbar"
GUN = r"gun|shot|shoot|knife|pistol|rifle|bullet|weapon|fire[sd]? (at|a)|robb|threat|hostage|hijack"
WORDS = {
    "Abuse": FORCE + r"|abus|scold|whip|lash|tied|injur",
    "Arrest": (r"police.*(chas|press|push|pull|control|caught|catch|handcuff|arrest|pin|knock|subdu|gun)|handcuff|"
               r"arrest|subdu|struggl|resist"),
    "Arson": r"fire|flame|burn|gasoline|ignit|lit |lighter|smoke|kindl",
    "Assault": FORCE + "|" + GUN + "|slash|stab|injur",
    "Burglary": BREAK + r"|rummag|st[eo]le|steal|took|search|carr",
    "Explosion": r"explo|blast|fire|flame|smoke|burst|blew|burn|collaps",
    "Fighting": FORCE + r"|slash|brawl|argu|quarrel|smash",
    "RoadAccidents": (r"collid|collision|crash|hit|accident|overturn|fell|rolled|knock|ran over|run over|rear-end|"
                      r"lost control|flew|bump"),
    "Robbery": GUN + "|" + FORCE + r"|grab|snatch|money|jewel|force|smash|robb",
    "Shooting": GUN,
    "Shoplifting": TAKE,
    "Stealing": TAKE + "|" + BREAK + r"|unlock|start(ed)? the|drove (away|off)|rode|push",
    "Vandalism": BREAK + (r"|destroy|damag|spray|paint|graffiti|throw|threw|push|scratch|burn|dump|overturn|vandal|"
                          r"stone"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("set", "features", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    with open(given.set / "videos.csv") as file:
        videos = {row["video"]: row for row in csv.DictReader(file) if row["split"] == "dev_train"}
    sentences = pq.read_table(given.set / "sentences.parquet", columns=["video", "start_s", "end_s", "sentence"])
    events: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in sentences.to_pylist():
        about = videos.get(row["video"])
        if about and about["label"] in WORDS and re.search(rf"\b({WORDS[about['label']]})", row["sentence"].lower()):
            start, end = (round(FPS * row[key]) for key in ("start_s", "end_s"))
            if start < min(end, int(about["frames"])):
                events[row["video"]].append((start, min(end, int(about["frames"])) - 1))
    normal = sorted(video for video, about in videos.items() if about["label"] == "Normal")
    abnormal = sorted(set(videos) - set(normal))
    timed = [video for video in abnormal
             if 0 < covered(joined(events[video], gap=0)) < MOST * int(videos[video]["frames"])]
    rng = random.Random(0)
    held = {*rng.sample(normal, round(HELD * len(normal))), *rng.sample(timed, round(HELD * len(abnormal)))}
    given.out.mkdir(parents=True, exist_ok=True)
    with open(given.features / "train.csv") as file:
        listed = list(csv.DictReader(file))
    for name, wanted in (("train", False), ("test", True)):
        write(given.out / f"{name}.csv", ("path", "label"), [(row["path"], row["label"]) for row in listed
                                                             if (Path(row["path"]).stem in held) == wanted])
    write(given.out / "events.csv", ("video", "start", "end", "label"),
          [(video, *event, videos[video]["label"]) for video in sorted(held) for event in joined(events[video])])
    share = [covered(joined(events[video])) / int(videos[video]["frames"]) for video in sorted(held & set(timed))]
    print(f"{len(videos) - len(held)} videos to train on, {len(held)} held out, {len(share)} of them abnormal; "
          f"events fill {sum(share) / len(share):.0%} of those; {len(timed)} of {len(abnormal)} could be drawn")


def joined(spans: list[tuple[int, int]], gap: int = GAP) -> list[tuple[int, int]]:
    """Spans (first, last frame) in order, those with a short gap between them made one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= gap:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def covered(spans: list[tuple[int, int]]) -> int:
    """Frames in joined spans."""
    return sum(end - start + 1 for start, end in spans)


def write(path: Path, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
