"""Write a feature set with UCF-Crime's lists, lengths and event times, in which it is known what a part can learn from.

    python tools/planted_ucf.py ANNOTATIONS OUT [--videos 1900] [--dim 64] [--crops 1] [--seed 0]

ANNOTATIONS holds the official ucf_crime_train.txt, ucf_crime_test.txt and ucf_crime_temporal.txt, and frame_counts.csv
(dataset,video,split,frames). OUT receives what people publish, for `dbvad import` to take in:

    features/CLASS/NAME__0.npy   (T, dim) float16, a row every 16 frames; `--crops` files a video, other noise in each
    train.csv, test.csv          path,label, as VadCLIP's lists
    descriptions.npz             videos, embeddings: of the training videos only
    label_embeddings.npz         labels, embeddings: a vector a class, normal among them
    temporal.txt                 the official event times of the videos that were written

A snippet is the sum of its video's scene, of what goes on in it, and of noise, all in directions drawn at random:

- **event**: one of `kinds`, in every class alike; faint beside the noise, and lasting, so that a look at the neighbours
  helps (TMM). Drawn in training videos, at the official times in test videos.
- **flash**: one snippet that looks like a strong event and is none, in all videos; its length gives it away (TMM).
- **setting**: one a class, in the class's videos outside the event, lasting; in few normal videos. A video's label says
  as much for it as for the event; the description says what happened, so which of the two it was (DBM).
- **activity**: lasting, in all videos alike.

A description is the word of the event's kind (in a normal video of the activity), of the class, and noise, in a space
of its own. Only the setting shows the class, so a video is pulled towards its setting too, unless the label has told
the class already (SFP): label embeddings are the words of the classes. Same arguments, same files.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbvad import presets
from dbvad.evaluation.groundtruth import read_annotations
from dbvad.importing.lists import Labels, read_frame_counts, read_list

SNIPPET = 16
TEXT_DIM = 48
NORMAL = "normal"


@dataclass(frozen=True)
class Difficulty:
    """Lengths of the parts of a snippet, noise being 1 long on average, and how often they come."""

    event: float = 0.6
    flash: float = 0.8
    setting: float = 0.6
    activity: float = 0.6
    scene: float = 0.3
    common: float = 0.05  # share that the directions of all events, and those of all settings, have in common
    kinds: int = 20  # of event
    activities: int = 12
    flashes: float = 0.05  # share of snippets
    setting_videos: tuple[float, float] = (0.9, 0.2)  # share of abnormal and of normal videos that show a setting
    setting_length: float = 0.2  # of a video
    event_length: tuple[float, float] = (0.08, 0.25)  # of a training video
    word: tuple[float, float, float] = (0.8, 1.0, 0.5)  # of class, of kind or activity, noise in a description


@dataclass(frozen=True)
class Video:
    """`events`: snippets [start, end); () in a normal video, None where they are to be drawn."""

    video_id: str
    split: str
    label: str
    snippets: int
    events: tuple[tuple[int, int], ...] | None


class World:
    """The directions of everything that can be seen, and the words for it."""

    def __init__(self, dim: int, hard: Difficulty, seed: int) -> None:
        self.hard, self.dim = hard, dim
        self.classes = presets.load("ucf-crime").event_classes
        rng = np.random.default_rng([seed, 0])
        count = len(self.classes)
        self.kinds, self.kind_words = (_units(rng, (hard.kinds, width)) for width in (dim, TEXT_DIM))
        self.settings = _units(rng, (count, dim))
        for directions in (self.kinds, self.settings):
            directions *= np.sqrt(1 - hard.common)
            directions += np.sqrt(hard.common) * _units(rng, (dim,))
            directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        self.class_words = _units(rng, (count + 1, TEXT_DIM))  # normal last
        self.activities, self.activity_words = (_units(rng, (hard.activities, width)) for width in (dim, TEXT_DIM))

    def film(self, video: Video, crops: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Features (crops, T, dim) float16 of a video, and its description (TEXT_DIM,)."""
        hard, length = self.hard, video.snippets
        shown = np.tile(hard.scene * _units(rng, (self.dim,)), (length, 1))
        activity = int(rng.integers(hard.activities))
        for start, end in _blocks(rng, length, 2, 0.15):
            shown[start:end] += hard.activity * self.activities[activity]
        abnormal = video.label != NORMAL
        kind = int(rng.integers(hard.kinds))
        name = self.classes.index(video.label) if abnormal else int(rng.integers(len(self.classes)))
        events = video.events
        if events is None:
            events = tuple(_blocks(rng, length, int(rng.integers(1, 3)), float(rng.uniform(*hard.event_length))))
        inside = np.zeros(length, bool)
        for start, end in events:
            inside[start:end] = True
        shown[inside] += hard.event * self.kinds[kind]
        if rng.random() < hard.setting_videos[not abnormal]:
            for start, end in _blocks(rng, length, 2, hard.setting_length):
                outside = start + np.flatnonzero(~inside[start:end])
                shown[outside] += hard.setting * self.settings[name]
        flashed = np.flatnonzero((rng.random(length) < hard.flashes) & ~inside)
        shown[flashed] += hard.flash * self.kinds[rng.integers(hard.kinds, size=len(flashed))]
        noise = rng.standard_normal((crops, length, self.dim), np.float32) / np.sqrt(self.dim)

        of_class, of_kind, of_noise = hard.word
        words = (self.class_words[name], self.kind_words[kind]) if abnormal else (
            self.class_words[-1], self.activity_words[activity])
        text = of_class * words[0] + of_kind * words[1] + of_noise * _units(rng, (TEXT_DIM,))
        features = shown.astype(np.float32) + noise
        features /= np.linalg.norm(features, axis=-1, keepdims=True)
        return features.astype(np.float16), text


def read_videos(annotations: Path) -> list[Video]:
    """The official videos of both splits with their lengths and, for test videos, the times of their events."""
    preset = presets.load("ucf-crime")
    frames = read_frame_counts(annotations / "frame_counts.csv", "ucf-crime")
    labels = Labels(preset.labels, preset.event_classes)
    events = read_annotations(annotations / "ucf_crime_temporal.txt", "ucf-crime").events
    videos = []
    for split in ("train", "test"):
        for entry in read_list(annotations / f"ucf_crime_{split}.txt", split, labels):
            video_id = entry.name.removesuffix(".mp4")
            name = Path(video_id).name
            snippets = -(-frames[name] // SNIPPET)
            times = None if split == "train" and entry.labels else tuple(
                (int(event.start) // SNIPPET, int(event.end) // SNIPPET + 1) for event in events.get(name, ()))
            videos.append(Video(video_id, split, entry.labels[0] if entry.labels else NORMAL, snippets, times))
    return videos


def write(annotations: Path, out: Path, *, videos: int = 1900, dim: int = 64, crops: int = 1, seed: int = 0,
          hard: Difficulty = Difficulty()) -> int:
    """Write the set, with every n-th video where fewer are asked for; returns how many there are."""
    known = read_videos(annotations)
    chosen = [known[place] for place in np.linspace(0, len(known) - 1, min(videos, len(known))).round().astype(int)]
    world = World(dim, hard, seed)
    lists: dict[str, list[list[str]]] = {"train": [["path", "label"]], "test": [["path", "label"]]}
    described: dict[str, np.ndarray] = {}
    for video in chosen:
        features, text = world.film(video, crops, np.random.default_rng([seed, 1, known.index(video)]))
        for crop, rows in enumerate(features):
            path = out / "features" / f"{video.video_id}__{crop}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rows)
            lists[video.split].append([str(path.relative_to(out)), video.label])
        if video.split == "train":
            described[video.video_id] = text
    for split, lines in lists.items():
        with open(out / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    np.savez(out / "descriptions.npz", videos=np.array(list(described)),
             embeddings=np.array(list(described.values()), np.float32))
    np.savez(out / "label_embeddings.npz", labels=np.array([*world.classes, NORMAL]),
             embeddings=world.class_words.astype(np.float32))
    names = {Path(video.video_id).name for video in chosen}
    lines = (annotations / "ucf_crime_temporal.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "temporal.txt").write_text("".join(line for line in lines if line.split()[:1] and line.split()[0] in names),
                                      encoding="utf-8")
    return len(chosen)


def _units(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    rows = rng.standard_normal(shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _blocks(rng: np.random.Generator, length: int, count: int, share: float) -> Iterator[tuple[int, int]]:
    """`count` spans of snippets, `share` of the length together or a little less, each at least 3 long."""
    size = min(length, max(3, round(share * length / count)))
    for _ in range(count):
        start = int(rng.integers(length - size + 1))
        yield start, start + size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=1900)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--crops", type=int, default=1, choices=range(1, 11), metavar="1-10")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    count = write(given.annotations, given.out, videos=given.videos, dim=given.dim, crops=given.crops, seed=given.seed)
    print(f"{count} videos in {given.out}")


if __name__ == "__main__":
    main()
