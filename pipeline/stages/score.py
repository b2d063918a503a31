"""score: CLIP features of snippets, their relevance to the video's event and their novelty.

Only a labelled training video has an event to look for; for every other video the query is a general one, so that the
label of a test video reaches no feature.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.contracts import SCORE, embedding_array
from pipeline.engine.cluster import Needs, gpus_of
from pipeline.engine.stage import BadVideo, Note, Product, Source, StageError, Worker
from pipeline.engine.store import Store
from pipeline.kess import novelty
from pipeline.stages.models import ModelIdentity, name_of

if TYPE_CHECKING:
    from pipeline.instruments.clip import Clip


class ClipParams(Needs):
    """A CLIP model: any open_clip name with its `pretrained` tag, or a local folder."""

    model: str = "ViT-B-16"
    pretrained: str | None = "openai"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gpus: float | None = Field(None, ge=0)

    def own_gpus(self) -> float:
        """None on another device."""
        return gpus_of(self.device)

    def load(self) -> "Clip":
        """The model. Raises StageError."""
        from pipeline.instruments import clip

        try:
            return clip.load(self.model, self.pretrained, device=self.device, precision=self.precision)
        except clip.ClipError as error:
            raise StageError(str(error)) from error


class ScoreParams(ClipParams):
    """`frames_per_snippet` decoded frames are averaged into one feature; `templates` put a label into words."""

    crops: Literal[1, 5, 10] = 1
    frames_per_snippet: int = Field(1, ge=1, le=16)
    templates: tuple[str, ...] = ("a surveillance photo of {}", "a CCTV frame showing {}")
    general_query: str = "an unusual event"
    novelty_window: int = Field(4, ge=1)
    workers: int = Field(1, ge=1)
    timeout_s: float = Field(3600, gt=0)
    memory_mb: int = Field(16_000, gt=0)


class Score:
    """One model handle a child process; a video at a time."""

    name, version, contract, concurrency = "score", 1, SCORE, 1
    inputs: tuple[str, ...] = ("decode",)

    def __init__(self, params: ScoreParams, classes: dict[str, str], model: ModelIdentity) -> None:
        """`classes`: words for a label; `model`: what the model is, see models.py."""
        self.params, self.classes, self.model = params, classes, model
        self.workers, self.timeout_s, self.memory_mb = params.workers, params.timeout_s, params.memory_mb

    def identity(self) -> dict[str, Any]:
        """The model and how it is used."""
        from pipeline.instruments import clip

        used = {"crops", "frames_per_snippet", "templates", "general_query", "novelty_window", "precision"}
        return self.params.model_dump(include=used, mode="json") | {"model": self.model, "library": clip.rules()}

    def facts(self, source: Source) -> dict[str, Any]:
        """The words that frames are compared with."""
        return {"query": self.query(source)}

    def query(self, source: Source) -> list[str]:
        """The event's words for a labelled training video, the general query for all others."""
        if source.facts["split"] != "train" or not source.facts["labels"]:
            return [self.params.general_query]
        return [self.classes.get(label, label.replace("_", " ").lower()) for label in source.facts["labels"]]

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Load the CLIP model."""
        model = self.params.load()
        known: dict[str, np.ndarray] = {}

        def texts(words: str) -> np.ndarray:
            if words not in known:
                known[words] = model.encode_texts([t.format(words) for t in self.params.templates]).mean(axis=0)
            return known[words]

        def work(source: Source, store: Store) -> Product:
            features, frame_idx = self._features(model, source.video_id, store)
            wanted = np.stack([texts(words) for words in self.query(source)])  # (labels, D)
            count, crops, width = features.shape
            relevance = (features @ wanted.T).max(axis=2)  # (T, crops): any of the video's events will do
            fresh = np.stack([novelty(features[:, crop], self.params.novelty_window) for crop in range(crops)], axis=1)
            rows = count * crops
            table = pa.Table.from_arrays([
                pa.array([source.video_id] * rows, pa.string()), pa.array(np.repeat(frame_idx, crops), pa.int64()),
                pa.array(np.tile(np.arange(crops), count), pa.int8()), embedding_array(features.reshape(rows, width)),
                pa.array(relevance.reshape(rows), pa.float32()), pa.array(fresh.reshape(rows), pa.float32()),
            ], names=SCORE.schema.names)
            decoded = store.footer("decode", source.video_id)
            assert decoded is not None
            meta = {"n_frames": decoded.meta["decoded_frames"], "crops": crops, "dim": width,
                    "snippet_frames": decoded.meta["stride"] * self.params.frames_per_snippet,
                    "model": name_of(self.params.model), "precision": model.precision, "feature_source": "open_clip"}
            return Product(table, meta)

        yield work

    def _features(self, model: "Clip", video_id: str, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """Snippet features (T, crops, D) of unit length, and the index of each snippet's first frame (T,)."""
        per, indices = self.params.frames_per_snippet, []
        batch = max(per, model.batch // self.params.crops // per * per)  # whole snippets only

        def pictures() -> Iterator[list[bytes]]:
            for table in store.batches("decode", video_id, batch, ["frame_idx", "jpeg"]):
                indices.append(table["frame_idx"].to_numpy()[::per])
                yield table["jpeg"].to_pylist()

        parts = []
        for encoded in model.encode_batches(pictures(), partial(_image, video_id=video_id), self.params.crops):
            mean = np.add.reduceat(encoded, np.arange(0, len(encoded), per), axis=0)
            parts.append(mean / np.linalg.norm(mean, axis=2, keepdims=True))
        if not parts:
            raise BadVideo("no_frames", "its decode shard has no frame", "check the file, then --retry-failed")
        return np.concatenate(parts), np.concatenate(indices)


def _image(jpeg: bytes, video_id: str) -> np.ndarray:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise BadVideo("corrupt_frame", f"a stored frame is no readable JPEG: {error}",
                       f"decode it again: dbvad pipeline run decode --video {quote(video_id)} --force") from error
