"""Join short real clips into longer surveillance videos of which it is known when the event begins and ends.

    python tools/join_clips.py CLIPS_DIR OUT [--videos 24] [--seed 0]

CLIPS_DIR holds the folders `fight/` and `no_fight/` with mp4 clips of a few seconds. OUT receives

    videos/<train|test>/<fight|normal>/NAME.mp4   20 to 30 s, 320x240 at 25 frames a second; a third of them test
    temporal.txt                                  events of the test videos in UCF-Crime's format, last frame inclusive
    truth.csv                                     every video: split, label, frames, events, the clips it is made of

Half of the videos are normal throughout. The others hold one short event, one long one, or two, in turn. No clip is
used in both splits. The same clips and seed give the same files.
"""

import argparse
import csv
import os
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image, ImageOps

from pipeline.instruments import video

SIZE, FPS = (320, 240), 25
SECONDS = (20.0, 30.0)
EVENTS = ((1,), (3,), (1, 2))  # clips of fight in each event: about a tenth of a video, a quarter or more, two events
NEEDED = 9  # clips of each kind: six for training and three for test, as many as a video's events take


@dataclass(frozen=True)
class Clip:
    """A clip at the common size and rate."""

    name: str
    frames: list[av.VideoFrame]


@dataclass(frozen=True)
class Joined:
    """One video: its clips in order, and its events as (first, last) frame."""

    split: str
    label: str
    name: str
    clips: list[Clip]
    events: list[tuple[int, int]]

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.label}/{self.name}.mp4"

    @property
    def n_frames(self) -> int:
        return sum(len(clip.frames) for clip in self.clips)


def main() -> None:
    """Read the arguments, join, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    paths = {kind: sorted((arguments.clips_dir / kind).glob("*.mp4")) for kind in ("fight", "no_fight")}
    for kind, found in paths.items():
        if len(found) < NEEDED:
            parser.error(f"{arguments.clips_dir / kind} holds {len(found)} mp4 clips, {NEEDED} are needed")
    if arguments.videos < 6:
        parser.error(f"--videos {arguments.videos}: 6 are needed, so that both splits hold both classes")
    videos = []
    for joined in join(paths["fight"], paths["no_fight"], arguments.videos, random.Random(arguments.seed)):
        encode(arguments.out / "videos" / joined.video_id, joined)
        videos.append(joined)
    write_truth(arguments.out, videos)
    seconds = sum(joined.n_frames for joined in videos) / FPS
    print(f"{len(videos)} videos, {seconds:.0f} s in all, in {arguments.out / 'videos'}; truth in {arguments.out}")


def join(fights: list[Path], normals: list[Path], count: int, rng: random.Random) -> Iterator[Joined]:
    """The videos, those for training first; every third clip is for test."""
    tests = round(count / 3)
    for split, total in (("train", count - tests), ("test", tests)):
        fight, normal = ([read(path) for k, path in enumerate(paths) if (k % 3 == 2) == (split == "test")]
                         for paths in (fights, normals))
        for k in range(total):
            if k % 2:
                yield compose(split, "normal", f"normal_{split}_{k // 2:03d}", fight, normal, (), rng)
            else:
                yield compose(split, "fight", f"fight_{split}_{k // 2:03d}", fight, normal, EVENTS[k // 2 % 3], rng)


def read(path: Path) -> Clip:
    """Every moment shows the frame that was on at that time."""
    decoding, times, shown = video.decode(path), [], []
    for frame in decoding:
        times.append(frame.pts_s)
        image = ImageOps.fit(Image.fromarray(frame.image), SIZE)
        shown.append(av.VideoFrame.from_image(image).reformat(format="yuv420p"))
    length = round((times[-1] + 1 / decoding.probe.fps) * FPS)
    return Clip(path.name, [shown[bisect_right(times, (k + 0.5) / FPS) - 1] for k in range(length)])


def compose(split: str, label: str, name: str, fights: list[Clip], normals: list[Clip], runs: tuple[int, ...],
            rng: random.Random) -> Joined:
    """Normal clips up to a drawn length, with runs of fight clips at drawn places, no two runs side by side."""
    missing = rng.uniform(*SECONDS) * FPS
    events = rng.sample(fights, sum(runs))
    missing -= sum(len(clip.frames) for clip in events)
    calm: list[Clip] = []
    while missing > 0:
        calm.append(rng.choice([clip for clip in normals if clip not in calm[-2:]]))
        missing -= len(calm[-1].frames)
    places = dict(zip(sorted(rng.sample(range(1, len(calm)), len(runs))), runs, strict=True))
    clips: list[Clip] = []
    spans = []
    for place, clip in enumerate(calm):
        if place in places:
            run = [events.pop() for _ in range(places[place])]
            start = sum(len(before.frames) for before in clips)
            spans.append((start, start + sum(len(part.frames) for part in run) - 1))
            clips += run
        clips.append(clip)
    return Joined(split, label, name, clips, spans)


def encode(path: Path, joined: Joined) -> None:
    """Write a video whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # One thread and no macroblock tree: else x264 gives other bytes from run to run.
    options = {"preset": "superfast", "crf": "26", "threads": "1", "x264-params": "mbtree=0"}
    with av.open(str(part), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for k, frame in enumerate(frame for clip in joined.clips for frame in clip.frames):
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    os.replace(part, path)


def write_truth(out: Path, videos: list[Joined]) -> None:
    """temporal.txt for the test videos, truth.csv for all: one row an event, -1 for a normal video."""
    lines = []
    with (out / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("video_id", "split", "label", "fps", "n_frames", "start_frame", "end_frame", "clips"))
        for joined in videos:
            made_of = "|".join(clip.name for clip in joined.clips)
            for start, end in joined.events or [(-1, -1)]:
                rows.writerow((joined.video_id, joined.split, joined.label, FPS, joined.n_frames, start, end, made_of))
            if joined.split == "test":
                numbers = [n for span in [*joined.events, (-1, -1), (-1, -1)][:2] for n in span]
                label = "Normal" if joined.label == "normal" else joined.label
                lines.append("  ".join([f"{joined.name}.mp4", label, *map(str, numbers)]))
    (out / "temporal.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
