"""decode: every stride-th frame of a video as JPEG, with its exact index and time."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.contracts import DECODE
from pipeline.engine.config import Config
from pipeline.engine.stage import BadVideo, Note, Product, Source, Worker
from pipeline.engine.store import Store

CHUNK = 64  # frames a row group: what lies in memory at a time


class DecodeParams(Config):
    """`short_side` in pixels (larger videos are shrunk to it), `quality` of the JPEGs."""

    stride: int = Field(16, ge=1)
    short_side: int = Field(336, ge=16)
    quality: int = Field(90, ge=1, le=100)
    decoder: Literal["auto", "decord", "pyav"] = "auto"
    workers: int = Field(2, ge=1)
    timeout_s: float = Field(1800, gt=0)
    memory_mb: int = Field(1500, gt=0)


class Decode:
    """Reads the source itself; the frames are numbered in the order in which they are shown, from 0."""

    name, version, contract, concurrency = "decode", 1, DECODE, 1
    inputs: tuple[str, ...] = ("ingest",)

    def __init__(self, params: DecodeParams) -> None:
        self.params = params
        self.workers, self.timeout_s, self.memory_mb = params.workers, params.timeout_s, params.memory_mb

    def identity(self) -> dict[str, Any]:
        """Sampling, picture size and the decoders' versions."""
        from pipeline.instruments import video

        chosen = self.params.model_dump(include={"stride", "short_side", "quality", "decoder"})
        return chosen | {"library": video.identity()}

    def facts(self, source: Source) -> dict[str, Any]:
        """The file alone matters."""
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Needs the decoders and Pillow."""
        from pipeline.instruments import video

        def work(source: Source, store: Store) -> Product:
            meta: dict[str, Any] = {}
            try:
                decoding = video.decode(source.path, stride=self.params.stride, short_side=self.params.short_side,
                                        decoder=self.params.decoder)
            except video.VideoError as error:
                raise BadVideo(error.kind, error.reason, error.remedy) from error

            def tables() -> Iterator[pa.Table]:
                rows: list[dict[str, Any]] = []
                try:
                    for frame in decoding:
                        rows.append(_row(source.video_id, frame, self.params.quality))
                        if len(rows) == CHUNK:
                            yield pa.Table.from_pylist(rows, schema=DECODE.schema)
                            rows.clear()
                except video.VideoError as error:
                    raise BadVideo(error.kind, error.reason, error.remedy) from error
                if rows:
                    yield pa.Table.from_pylist(rows, schema=DECODE.schema)
                meta.update(decoder=decoding.decoder, declared_frames=decoding.declared,
                            decoded_frames=decoding.decoded, refused_packets=decoding.refused,
                            stride=self.params.stride)

            return Product(tables(), meta)

        yield work


def _row(video_id: str, frame: Any, quality: int) -> dict[str, Any]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame.image).save(buffer, "JPEG", quality=quality)
    height, width = frame.image.shape[:2]
    return {"video_id": video_id, "frame_idx": frame.index, "pts_s": frame.pts_s, "width": width, "height": height,
            "jpeg": buffer.getvalue()}
