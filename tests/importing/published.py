"""Feature files as others publish them, small, and the commands that import them."""

from pathlib import Path
from typing import Any

import numpy as np

from dbvad.cli import importing
from pipeline.contracts import embeddings
from pipeline.engine.store import Store

DIM = 6


def rows(*shape: int, seed: int = 0, scale: float = 10.0) -> np.ndarray:
    """Vectors of no particular length: (*shape, DIM) float16."""
    values = np.random.default_rng(seed).standard_normal((*shape, DIM))
    return (scale * values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float16)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def write_crops(folder: Path, video_id: str, length: int, crops: tuple[int, ...] = tuple(range(10)), seed: int = 0,
                ) -> np.ndarray:
    """`Name__k.npy` files of a video; returns its features (T, crops, DIM)."""
    features = rows(length, len(crops), seed=seed)
    for place, crop in enumerate(crops):
        save(folder / f"{video_id}__{crop}.npy", features[:, place])
    return features


def run(*arguments: Any) -> int:
    """Exit code of `dbvad import ...`; a fault for the user is raised."""
    code = importing.app(args=[str(argument) for argument in arguments], standalone_mode=False)
    return code if isinstance(code, int) else 0


def imported(store: Store, video_id: str) -> np.ndarray:
    """(T, crops, D) float32 of a score shard."""
    table = store.read("score", video_id)
    crops = table["crop"].to_numpy().max() + 1
    return embeddings(table["embedding"]).reshape(-1, crops, table["embedding"].type.list_size)


def unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float32)
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def ages(store: Store) -> dict[str, int]:
    """When each shard was written."""
    return {str(path.relative_to(store.root)): path.stat().st_mtime_ns
            for stage in ("ingest", "score", "describe", "embed") for path in store.shards(stage)}
