"""A dataset that people edit (files, lines of a CSV), and a run over it in this process: ingest, decode, toy features.

Ingest and decode are the real stages. The toy's features are a few numbers of each frame, so that a detector can be
trained and judged without a CLIP.
"""

import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dbvad.cli.dataset import record
from pipeline.contracts import SCORE, embedding_array
from pipeline.engine.hashing import HashCache
from pipeline.engine.isolate import Report, _work
from pipeline.engine.plan import Plan, State, make_plan
from pipeline.engine.stage import Note, Product, Source, Worker
from pipeline.engine.store import Store
from pipeline.engine.todo import Options, todo
from pipeline.stages.dataset import Dataset, Listing, discover
from pipeline.stages.decode import Decode, DecodeParams
from pipeline.stages.ingest import Ingest, IngestParams

DIM, STRIDE = 6, 4


class ToyScore:
    """Grey levels of six parts of a frame."""

    name, version, contract, workers, concurrency, timeout_s, memory_mb = "score", 1, SCORE, 1, 1, 60.0, 4000
    inputs: tuple[str, ...] = ("decode",)

    def identity(self) -> dict[str, Any]:
        return {"model": {"name": "toy"}}

    def facts(self, source: Source) -> dict[str, Any]:
        return {"labels": list(source.facts["labels"]) if source.facts["split"] == "train" else []}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        yield self._score

    @staticmethod
    def _score(source: Source, store: Store) -> Product:
        frames = store.read("decode", source.video_id, ["frame_idx", "jpeg"])
        grey = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), float) for jpeg in frames["jpeg"].to_pylist()]
        features = np.array([[part.mean() + 1 for part in np.array_split(image.ravel(), DIM)] for image in grey])
        count = len(features)
        zeros = pa.array(np.zeros(count), pa.float32())
        table = pa.Table.from_arrays([
            pa.array([source.video_id] * count), frames["frame_idx"].combine_chunks(),
            pa.array(np.zeros(count, np.int8)), embedding_array(features), zeros, zeros], names=SCORE.schema.names)
        decoded = store.footer("decode", source.video_id)
        assert decoded is not None
        return Product(table, {"n_frames": decoded.meta["decoded_frames"], "crops": 1, "dim": DIM, "model": "toy",
                               "snippet_frames": STRIDE, "feature_source": "toy"})


@dataclass
class Edited:
    """A folder of videos and a CSV of their labels; `rows`: name -> (label, split)."""

    root: Path
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.videos.mkdir(parents=True, exist_ok=True)

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    def put(self, name: str, template: Path) -> None:
        """A file with a template's content, in place of any of that name."""
        shutil.copyfile(template, self.root / "new")
        (self.root / "new").replace(self.videos / name)

    def write_rows(self) -> None:
        lines = [f"{name},{label},{split}" for name, (label, split) in self.rows.items()]
        (self.root / "labels.csv").write_text("\n".join(["video,label,split", *lines]) + "\n")

    def listing(self, artifacts: Path) -> Listing:
        self.write_rows()
        dataset = Dataset(videos=self.videos, labels="csv", labels_file=self.root / "labels.csv")
        return discover(dataset, HashCache(artifacts / ".video-hashes"))

    def run(self, artifacts: Path) -> None:
        """What `dbvad pipeline run --to score` does, in this process."""
        store = Store(artifacts)
        stages = [Ingest(IngestParams()), Decode(DecodeParams(stride=STRIDE, decoder="pyav")), ToyScore()]
        plan = make_plan(stages, self.listing(artifacts).sources, store)
        record(self.root / "stages.yaml", artifacts, plan)
        _carry_out(stages, plan, store)


def _carry_out(stages: list[Any], plan: Plan, store: Store) -> None:
    units, _ = todo(plan, Options([stage.name for stage in stages]))
    failed: set[str] = set()
    with ExitStack() as stack:
        workers = {stage.name: stack.enter_context(stage.open(lambda note: None)) for stage in stages}
        for unit in units:
            if unit.video_id in failed or unit.state is State.BLOCKED:
                continue
            said: list[Report] = []
            stage = next(stage for stage in stages if stage.name == unit.stage)
            _work(stage, workers[unit.stage], store, unit, said.append)
            if said[-1].kind == "done":
                store.release(unit.stage, unit.video_id)
            else:
                assert said[-1].kind == "bad", said[-1]
                failed.add(unit.video_id)
                store.quarantine(unit.stage, unit.video_id, fingerprint=unit.fingerprint, **said[-1].fault)
