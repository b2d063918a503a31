"""embed: the description in CLIP's text space; a text longer than CLIP reads is averaged over its sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.contracts import EMBED, embedding_array
from pipeline.engine.stage import Note, Product, Source, Worker
from pipeline.engine.store import Store
from pipeline.stages.models import ModelIdentity, name_of
from pipeline.stages.score import ClipParams


class EmbedParams(ClipParams):
    """By default the same CLIP model as score's: text and pictures then share one space."""

    workers: int = Field(1, ge=1)
    timeout_s: float = Field(300, gt=0)
    memory_mb: int = Field(16_000, gt=0)


class Embed:
    """One vector a described video."""

    name, version, contract, concurrency = "embed", 1, EMBED, 1
    inputs: tuple[str, ...] = ("describe",)

    def __init__(self, params: EmbedParams, model: ModelIdentity) -> None:
        self.params, self.model = params, model
        self.workers, self.timeout_s, self.memory_mb = params.workers, params.timeout_s, params.memory_mb

    def identity(self) -> dict[str, Any]:
        """The model."""
        from pipeline.instruments import clip

        return {"model": self.model, "precision": self.params.precision, "library": clip.rules()}

    def facts(self, source: Source) -> dict[str, Any]:
        """The text alone matters."""
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Load the CLIP model."""
        model = self.params.load()

        def work(source: Source, store: Store) -> Product:
            texts = store.read("describe", source.video_id, ["text"])["text"].to_pylist()
            if not texts or not texts[0].strip():
                return Product(EMBED.schema.empty_table(), {"skipped": "no description"})
            vector, sentences = model.encode_long_text(texts[0])
            table = pa.Table.from_arrays([pa.array([source.video_id]), embedding_array(vector[None]),
                                          pa.array([sentences], pa.int32())], names=EMBED.schema.names)
            return Product(table, {"model": name_of(self.params.model), "dim": len(vector)})

        yield work
