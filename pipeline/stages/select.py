"""select: the key frames that a description is written from (KESS). Training videos only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.contracts import SELECT
from pipeline.engine.cluster import Needs
from pipeline.engine.stage import Note, Product, Source, Worker
from pipeline.engine.store import Store
from pipeline.kess import Strategy, event_score, select


class SelectParams(Needs):
    """`frames` is m, the budget; `min_gap_s` and `stand_out` are KESS's (see pipeline/kess.py)."""

    strategy: Strategy = "kess"
    frames: int = Field(8, ge=1, le=64)
    min_gap_s: float = Field(0.5, ge=0)
    stand_out: float = Field(0.3, ge=0, le=1)
    workers: int = Field(1, ge=1)
    timeout_s: float = Field(60, gt=0)
    memory_mb: int = Field(1000, gt=0)


def role(source: Source) -> str:
    """"event" or "normal" for training videos, "test" for all others: those get no frames, no text, no embedding."""
    if source.facts["split"] != "train":
        return "test"
    return "event" if source.facts["labels"] else "normal"


class Select:
    """A normal video has no event to look for: its frames are spread uniformly."""

    name, version, contract, concurrency = "select", 1, SELECT, 1
    inputs: tuple[str, ...] = ("decode", "score")

    def __init__(self, params: SelectParams) -> None:
        self.params = params
        self.workers, self.timeout_s, self.memory_mb = params.workers, params.timeout_s, params.memory_mb

    def identity(self) -> dict[str, Any]:
        """The strategy and its parameters."""
        return self.params.model_dump(include={"strategy", "frames", "min_gap_s", "stand_out"})

    def facts(self, source: Source) -> dict[str, Any]:
        """Whether there is an event; which one is score's matter."""
        return {"role": role(source)}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Needs nothing but numpy."""

        def work(source: Source, store: Store) -> Product:
            kind = role(source)
            if kind == "test":
                return Product(SELECT.schema.empty_table(), {"skipped": "not a training video"})
            rows = store.read("score", source.video_id, ["frame_idx", "crop", "relevance", "novelty"])
            rows = rows.filter(pc.equal(rows["crop"], 0))
            frame_idx = rows["frame_idx"].to_numpy()
            times = self._times(frame_idx, source.video_id, store)
            score = event_score(rows["relevance"].to_numpy(), rows["novelty"].to_numpy())
            strategy: Strategy = self.params.strategy if kind == "event" else "uniform"
            chosen = select(score, times, self.params.frames, strategy, min_gap_s=self.params.min_gap_s,
                            stand_out=self.params.stand_out)
            table = pa.table({
                "video_id": [source.video_id] * len(chosen), "rank": np.arange(len(chosen), dtype=np.int32),
                "frame_idx": frame_idx[chosen], "score": score[chosen].astype(np.float32),
                "strategy": [strategy] * len(chosen),
            }, schema=SELECT.schema)
            return Product(table, {"strategy": strategy})

        yield work

    def _times(self, frame_idx: np.ndarray, video_id: str, store: Store) -> np.ndarray:
        """Seconds at which the frames are shown, (T,)."""
        frames = store.read("decode", video_id, ["frame_idx", "pts_s"])
        at = np.searchsorted(frames["frame_idx"].to_numpy(), frame_idx)
        return np.asarray(frames["pts_s"].to_numpy()[at])
