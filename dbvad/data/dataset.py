"""Artifacts as training data: which videos there are, their labels, descriptions and features, in balanced batches."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dbvad.data.descriptions import Texts, deal, doubtful, no_descriptions, read_descriptions
from dbvad.data.features import Features, open_features
from dbvad.data.shards import RUN_PIPELINE, DataError, current, manifest_of
from pipeline.engine.store import Store
from pipeline.lists.remarks import Remark, remarks_on
from pipeline.manifest import Copies, copies_of, remarks_on_leaks, set_aside
from pipeline.words import counted, few

OPEN_CLIP = "open_clip"  # feature source of the pipeline's own score stage
NORMAL = "normal"  # class 0, the name that a video without labels goes by
IMPORT_AGAIN = "run the same `dbvad import features` again, it goes on where it was"
RUN_SCORE = "run `dbvad pipeline run score`"


@dataclass(frozen=True)
class Video:
    """One scored video. `fps` 0 where unknown; `frames`: as decoded; `fingerprint`: of its score shard; `content`: hash
    of its file, "" where unknown."""

    video_id: str
    labels: tuple[str, ...]
    fps: float
    frames: int
    fingerprint: str
    content: str = ""

    @property
    def abnormal(self) -> bool:
        return bool(self.labels)


@dataclass(frozen=True)
class Index:
    """The scored videos of one split, and how their features were made, which is the same for all of them.

    `identity`: of the model in the fingerprint, `model`: its name in the footer. `dropped`: why videos of the split are
    left out, by id: in quarantine, or without a single snippet. `leaks`: videos of both splits with one content.
    `recipe`: parameters of decode and score, from which detection makes snippets alike; empty for imported features.
    """

    videos: tuple[Video, ...]
    dropped: Mapping[str, str]
    leaks: tuple[Copies, ...]
    crops: int
    dim: int
    feature_source: str
    model: str
    identity: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of videos, labels and features."""
        return _hash([(v.video_id, v.labels, v.fingerprint) for v in self.videos])

    @property
    def shards(self) -> list[tuple[str, str]]:
        """Of each video, its id and the fingerprint of its score shard: what its features are made from."""
        return [(video.video_id, video.fingerprint) for video in self.videos]


class Batch(NamedTuple):
    """B crops of B different videos; C classes with normal first; D' the width of description embeddings (0: none)."""

    x: Tensor  # (B, T, D) float32
    mask: Tensor  # (B, T) bool
    labels: Tensor  # (B, C) float32, 0 or 1
    descriptions: Tensor  # (B, D') float32
    described: Tensor  # (B,) bool
    video: Tensor  # (B,) int64, index of the video in the training set

    @property
    def abnormal(self) -> Tensor:
        """(B,) bool."""
        return self.labels[:, 0] == 0

    def to(self, device: torch.device) -> "Batch":
        return Batch._make(part.to(device, non_blocking=True) for part in self)


@dataclass(frozen=True)
class TrainingData:
    """The training videos. `fingerprint` names everything that the weights can depend on here. `remarks`: what the
    user should know of them."""

    index: Index
    classes: tuple[str, ...]  # normal first
    labels: np.ndarray  # (V, C) float32, 0 or 1
    descriptions: np.ndarray  # (V, D') float32, zero where there is none
    described: np.ndarray  # (V,) bool
    features: Features
    fingerprint: str
    remarks: tuple[Remark, ...] = ()

    @property
    def abnormal(self) -> np.ndarray:
        """(V,) bool."""
        return self.labels[:, 0] == 0

    def batch(self, videos: np.ndarray, crops: np.ndarray) -> Batch:
        """Videos (B,) and the crop to show of each (B,)."""
        x, mask = self.features.gather(videos, crops)
        labels, texts, described = (torch.from_numpy(part[videos]) for part
                                    in (self.labels, self.descriptions, self.described))
        return Batch(x.float(), mask, labels, texts, described, torch.from_numpy(videos))

    def centre_crops(self, videos: np.ndarray, size: int) -> Iterator[Batch]:
        """Batches of at most `size` of `videos` (indices), the centre crop of each."""
        for some in np.array_split(videos, -(-len(videos) // size)):
            yield self.batch(some, np.zeros_like(some))

    def taught(self, how: Texts, videos: np.ndarray, seed: int) -> "TrainingData":
        """The same with the descriptions of `videos`, those that are trained on, dealt out anew: an ablation."""
        descriptions, alone = deal(how, self.descriptions, self.labels, videos[self.described[videos]], seed)
        told = remarks_on(("descriptions", f"with descriptions={how} these keep their own, no other described video "
                           f"has their labels", [self.index.videos[place].video_id for place in alone]))
        return replace(self, descriptions=descriptions, remarks=(*self.remarks, *told))


def read_index(store: Store, split: str) -> Index:
    """The videos of a split of today's dataset. Raises DataError for missing or mixed artifacts."""
    manifest = manifest_of(store)
    entries = manifest.of(split)
    if not entries:
        raise DataError(f"no {split} video in {store}: give videos the split {split!r} in the labels that "
                        f"stages.yaml names, then {RUN_PIPELINE}")
    videos: list[Video] = []
    dropped, missing, makings = dict[str, str](), [], {}
    by_id = {entry.video_id: entry for entry in entries}
    for entry in map(by_id.__getitem__, store.ahead("ingest", by_id)):
        if reason := set_aside(store, entry, "score"):
            dropped[entry.video_id] = reason
            continue
        found, probed = current(store, "score", entry), current(store, "ingest", entry)
        if found is None or probed is None:
            missing.append(entry.video_id)
        elif found.rows == 0:
            dropped[entry.video_id] = "it has no snippet"
        else:
            meta = found.meta
            makings[entry.video_id] = (meta["crops"], meta["dim"], meta["feature_source"], meta["model"])
            fps = _fps(store, entry.video_id)
            videos.append(Video(entry.video_id, tuple(sorted(entry.labels)), fps, meta["n_frames"], found.fingerprint,
                                entry.source_hash))
            identity = found.basis.get("params", {}).get("model", {})
    if missing:
        raise DataError(f"{len(missing)} of {len(entries)} {split} videos have no features of today's making "
                        f"({few(missing)}): {RUN_SCORE if manifest.made_by == 'pipeline' else IMPORT_AGAIN}")
    if not videos:
        raise DataError(f"none of the {len(entries)} {split} videos has features, all are in quarantine: "
                        f"see `dbvad pipeline failures`")
    if len(set(makings.values())) > 1:
        raise DataError(_mixed(makings))
    crops, dim, source, model = next(iter(makings.values()))
    leaks = tuple(group for group in copies_of(manifest.entries) if group.leak)
    return Index(tuple(videos), dropped, leaks, crops, dim, source, model, identity,
                 _recipe(store, videos[0].video_id) if source == OPEN_CLIP else {})


def read_training(store: Store, *, bins: int, cache: Path, descriptions: bool, allow_leaks: bool = False,
                  track: Callable[[Iterable[str], int], Iterable[str]] = lambda ids, total: ids) -> TrainingData:
    """The training videos with their features; `descriptions`: whether they are needed. Raises DataError, FeatureError.

    Videos of an event that are tested on as well, under whatever name, are refused unless `allow_leaks`. (A normal one
    in both splits is named, but not refused: there is no event that could be learnt by heart. Chosen here.)

    Nothing of a test video is read beyond its row in ingest.
    """
    index = read_index(store, "train")
    _check_kinds(index, store)
    grave = [f"{group.test[0]} = {group.train[0]}" for group in index.leaks if group.event]
    if grave and not allow_leaks:
        raise DataError(f"leak: {counted(len(grave), 'abnormal test video')} with the content of a training video "
                        f"({few(grave)}): figures on them would be worth nothing. Take them out of one split, then "
                        f"{RUN_PIPELINE}; or train all the same: --set allow_leaks=true")
    ids = [video.video_id for video in index.videos]
    texts, described, marks = read_descriptions(store, ids) if descriptions else no_descriptions(ids)
    classes = (NORMAL, *sorted({label for video in index.videos for label in video.labels}))
    labels = np.array([[not v.labels, *(name in v.labels for name in classes[1:])] for v in index.videos], np.float32)
    features = open_features(store, index.shards, crops=index.crops, dim=index.dim, bins=bins, cache=cache, track=track)
    told = remarks_on_leaks(index.leaks) + remarks_on((
        "descriptions", "descriptions that their model did not finish, or that look wrong, are trained on all the same "
                        "(see the view description_quality)",
        doubtful(store, [video_id for video_id, has in zip(ids, described, strict=True) if has])))
    return TrainingData(index, classes, labels, texts, described, features, _hash([index.fingerprint, marks]),
                        tuple(told))


def split_holdout(abnormal: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the videos (V,) to train on and of those held out; the share is taken from each kind."""
    rng = np.random.default_rng([seed, 2])
    held = np.zeros(len(abnormal), dtype=bool)
    for kind in (True, False):
        members = rng.permutation(np.flatnonzero(abnormal == kind))
        held[members[:round(share * len(members))]] = True
    if share and (not held[abnormal].any() or not held[~abnormal].any()):
        raise DataError(f"a hold-out of {share:g} leaves no abnormal or no normal video in it: raise holdout")
    if not (~held & abnormal).any() or not (~held & ~abnormal).any():
        raise DataError(f"a hold-out of {share:g} leaves no abnormal or no normal video to train on: lower holdout")
    return np.flatnonzero(~held), np.flatnonzero(held)


def epoch_batches(videos: np.ndarray, abnormal: np.ndarray, *, crops: int, batch: int, seed: int, epoch: int,
                  ) -> np.ndarray:
    """What one epoch shows: (steps, 2, B) of video and crop, half abnormal and half normal, by seed and epoch alone.

    videos: (V,) indices to draw from; abnormal: (V,) their kinds. Each of `crops` rounds shows every video of the
    larger kind once, with another crop each round, but for a remainder smaller than half a batch. No batch holds a
    video twice: crops of one video share a description, and would be false negatives of each other.
    """
    rng = np.random.default_rng([seed, 3, epoch])
    kinds = videos[abnormal], videos[~abnormal]
    half = min(batch // 2, *map(len, kinds))
    steps = max(len(kind) // half for kind in kinds)
    halves = [np.stack([_passes(kind, half, steps, rng) for _ in range(crops)]) for kind in kinds]
    drawn = np.concatenate(halves, axis=2).reshape(crops * steps, -1)  # (crops * steps, B)
    first = rng.integers(crops, size=videos.max() + 1)  # a video's crop in the first round, the next one in each later
    rounds = np.repeat(np.arange(crops), steps)[:, None]
    return np.stack([drawn, (first[drawn] + rounds) % crops], axis=1)


def _passes(kind: np.ndarray, half: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """(steps, half): permutations of the videos of a kind, each cut to whole halves, as many as needed."""
    whole = len(kind) // half
    rounds = [rng.permutation(kind)[:whole * half].reshape(whole, half) for _ in range(-(-steps // whole))]
    return np.concatenate(rounds)[:steps]


def _recipe(store: Store, video_id: str) -> dict[str, Any]:
    """How decode and score made the snippets of a video; empty if one of its shards is gone."""
    found = {stage: store.footer(stage, video_id) for stage in ("decode", "score")}
    if not all(found.values()):
        return {}
    return {stage: {key: value for key, value in footer.basis.get("params", {}).items()
                    if key not in ("library", "model")} for stage, footer in found.items() if footer}


def _fps(store: Store, video_id: str) -> float:
    return float(store.read("ingest", video_id, ["fps"])["fps"][0].as_py())


def _mixed(makings: dict[str, tuple[Any, ...]]) -> str:
    """Names the rarer way in which features were made."""
    (usual, _), (odd, count) = Counter(makings.values()).most_common(2)
    example = next(video_id for video_id, making in makings.items() if making == odd)
    parts = [f"{name} {theirs!r} instead of {ours!r}" for name, theirs, ours
             in zip(("crops", "width", "feature source", "model"), odd, usual, strict=True) if theirs != ours]
    return (f"features of {count} videos were made differently from the others': {example} has {', '.join(parts)}. "
            f"{RUN_SCORE} to make them alike")


def _check_kinds(index: Index, store: Store) -> None:
    abnormal = sum(video.abnormal for video in index.videos)
    if abnormal == 0:
        raise DataError(f"none of the {len(index.videos)} training videos in {store} has a label, so there is "
                        f"nothing to learn: name folders, a CSV or official lists under `labels` in stages.yaml, then "
                        f"{RUN_PIPELINE}")
    if abnormal == len(index.videos):
        raise DataError(f"all {abnormal} training videos in {store} are abnormal: add normal videos; the detector "
                        f"learns from the contrast")


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:32]
