"""Artifacts with a planted signal: inside an event a snippet leans towards its class, and so does the description."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.contracts import EMBED, INGEST, SCORE, embedding_array
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.store import Store
from tests.manifests import write_manifest

SNIPPET = 16  # frames
SCENES = 6
CLASSES = ("fire", "Fighting", "theft")


@dataclass(frozen=True)
class World:
    """What to plant. `strength`: of the class direction against a scene of length 1 and noise of length 0.7."""

    train: int = 48
    test: int = 24
    dim: int = 32
    text_dim: int = 16
    crops: int = 1
    snippets: tuple[int, int] = (20, 60)
    strength: float = 1.0
    labels: str = "true"  # "shuffled": training labels dealt out at random
    source: str = "import"
    seed: int = 0
    classes: tuple[str, ...] = CLASSES
    changed: dict[str, dict[str, object]] = field(default_factory=dict)  # video_id -> facts to change


def plant(root: Path, world: World) -> Path:
    """Publish ingest, score and embed shards of the world, and write the test videos' events; returns their file."""
    rng = np.random.default_rng(world.seed)
    store = Store(root)
    directions = _unit(rng.standard_normal((len(world.classes), world.dim)))
    scenes = _unit(rng.standard_normal((SCENES, world.dim)))
    meanings = _unit(rng.standard_normal((len(world.classes), world.text_dim)))
    lines = ["video,start,end,label"]
    kinds = [i % 2 * (1 + i // 2 % len(world.classes)) for i in range(world.train + world.test)]  # 0: normal
    told = list(kinds)
    if world.labels == "shuffled":
        told[:world.train] = _deal(kinds[:world.train], rng)
    for number, (kind, label) in enumerate(zip(kinds, told, strict=True)):
        split = "train" if number < world.train else "test"
        video_id = f"{split}/video {number:03d}.mp4"
        count = int(rng.integers(*world.snippets, endpoint=True))
        noise = _unit(rng.standard_normal((count, world.crops, world.dim)))
        x = scenes[rng.integers(SCENES)] + 0.7 * noise
        if kind:
            length = max(2, count // 5)
            start = int(rng.integers(0, count - length + 1))
            x[start:start + length] += world.strength * directions[kind - 1]
            if split == "test":
                lines.append(f"{video_id},{start * SNIPPET},{(start + length) * SNIPPET - 1},{world.classes[kind - 1]}")
        text = 0.5 * _unit(rng.standard_normal(world.text_dim)) + (meanings[label - 1] if label else 0)
        facts = {"labels": [world.classes[label - 1]] if label else [], "split": split, "text": text, "x": x,
                 "frames": count * SNIPPET - 5, "mark": ""}
        publish_video(store, world, video_id, **facts | world.changed.get(video_id, {}))
    write_manifest(root)
    events = root / "events.csv"
    events.write_text("\n".join(lines) + "\n")
    return events


def publish_video(store: Store, world: World, video_id: str, *, labels: list[str], split: str, text: np.ndarray | None,
                  x: np.ndarray, frames: int, mark: str) -> None:
    """Shards of one video as the stages make them; x (T, crops, D). `mark` changes the fingerprints."""
    row = {"video_id": video_id, "path": video_id, "split": split, "labels": labels, "source_hash": video_id, "size": 1,
           "duration_s": frames / 30, "fps": 30.0, "n_frames": frames, "width": 320, "height": 240, "codec": "h264"}
    _publish(store, INGEST, video_id, pa.Table.from_pylist([row], schema=INGEST.schema), mark)
    count, crops, dim = x.shape
    zeros = pa.array(np.zeros(count * crops), pa.float32())
    score = pa.Table.from_arrays([
        pa.array([video_id] * count * crops, pa.string()),
        pa.array(np.repeat(np.arange(count) * SNIPPET, crops), pa.int64()),
        pa.array(np.tile(np.arange(crops), count), pa.int8()),
        embedding_array(x.reshape(-1, dim)), zeros, zeros], names=SCORE.schema.names)
    meta = {"n_frames": frames, "snippet_frames": SNIPPET, "crops": crops, "dim": dim, "model": "planted",
            "feature_source": world.source}
    _publish(store, SCORE, video_id, score, mark, meta)
    described = split == "train" and text is not None
    embed = pa.Table.from_arrays([pa.array([video_id]), embedding_array(text[None]), pa.array([1], pa.int32())],
                                 names=EMBED.schema.names) if described else EMBED.schema.empty_table()
    _publish(store, EMBED, video_id, embed, mark)


def _publish(store: Store, contract, video_id: str, table: pa.Table, mark: str, meta: dict | None = None) -> None:
    basis = {"stage": contract.artifact, "video": video_id, "mark": mark, "params": {}}
    store.publish(contract, video_id, table, fingerprint=fingerprint(basis), basis=basis, meta=meta)


def _deal(kinds: list[int], rng: np.random.Generator) -> list[int]:
    """Labels dealt out anew within half of each kind to the other, so that label and truth have nothing in common."""
    told = np.array(kinds)
    for kind in (True, False):
        members = np.flatnonzero((np.array(kinds) > 0) == kind)
        other = np.array(kinds)[(np.array(kinds) > 0) != kind]
        wrong = rng.permutation(members)[:len(members) // 2]
        told[wrong] = rng.choice(other, len(wrong))
    return told.tolist()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
