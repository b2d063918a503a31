"""ingest: what a video is by its own packets (probe), and what the dataset says of it (split, labels)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.contracts import INGEST
from pipeline.engine.cluster import Needs
from pipeline.engine.spawn import cores
from pipeline.engine.stage import BadVideo, Note, Product, Source, Worker
from pipeline.engine.store import Store

REMARKED = 10  # videos of whose oddities one process speaks: a whole folder of dashcams would fill the terminal


class IngestParams(Needs):
    """How ingest runs; nothing here changes what comes out."""

    workers: int = Field(default_factory=cores, ge=1)
    timeout_s: float = Field(600, gt=0)  # a file is read whole, perhaps over a network
    memory_mb: int = Field(1000, gt=0)


class Ingest:
    """The root stage."""

    name, version, contract, concurrency = "ingest", 2, INGEST, 1
    inputs: tuple[str, ...] = ()

    def __init__(self, params: IngestParams) -> None:
        self.workers, self.timeout_s, self.memory_mb = params.workers, params.timeout_s, params.memory_mb

    def identity(self) -> dict[str, Any]:
        """Besides the file and its labels, how it is read."""
        from pipeline.instruments import video

        return {"library": {key: value for key, value in video.identity().items() if key in ("rule", "av")}}

    def facts(self, source: Source) -> dict[str, Any]:
        """Split and labels are columns of the table."""
        return dict(source.facts)

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Needs PyAV only."""
        from pipeline.instruments import video

        said = 0

        def work(source: Source, store: Store) -> Product:
            nonlocal said
            try:
                with source.file() as path:
                    found = video.probe(path)
            except video.VideoError as error:
                raise BadVideo(error.kind, error.reason, error.remedy) from error
            row = {"video_id": source.video_id, "path": source.video_id, "split": source.facts["split"],
                   "labels": source.facts["labels"], "source_hash": source.hash, "size": source.size,
                   "duration_s": found.duration_s, "fps": found.fps, "n_frames": found.n_frames, "width": found.width,
                   "height": found.height, "codec": found.codec}
            if found.remarks and said < REMARKED:
                said += 1
                note(f"{source.video_id}: {'; '.join(found.remarks)}")
                if said == REMARKED:
                    note("what is remarkable of further videos stands in their shards: `dbvad artifacts show VIDEO`")
            return Product(pa.Table.from_pylist([row], schema=INGEST.schema),
                           {"container": found.container, "declared_frames": found.declared_frames,
                            "remarks": list(found.remarks)})

        yield work
