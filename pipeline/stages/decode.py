"""decode: every stride-th frame of a video as JPEG, with its exact index, and the times of all frames."""

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.contracts import DECODE
from pipeline.engine.cluster import Needs
from pipeline.engine.spawn import cores
from pipeline.engine.stage import BadVideo, Note, Product, Source, Worker
from pipeline.engine.store import Store

CHUNK = 64  # frames a row group: what lies in memory at a time


class DecodeParams(Needs):
    """`short_side` in pixels (larger videos are shrunk to it), `quality` of the JPEGs."""

    stride: int = Field(16, ge=1)
    short_side: int = Field(336, ge=16)
    quality: int = Field(90, ge=1, le=100)
    decoder: Literal["auto", "decord", "pyav"] = "auto"
    workers: int = Field(default_factory=cores, ge=1)
    timeout_s: float = Field(1800, gt=0)
    memory_mb: int = Field(1500, gt=0)


class Decode:
    """Reads the source itself; the frames are numbered in the order in which they are shown, from 0.

    Whatever the stride, and however many frames come after the last that is kept, every frame has its time in `times_s`
    of the last kept frame before it (or its own).
    """

    name, version, contract, concurrency = "decode", 2, DECODE, 1
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
            decoder, reason = self.params.decoder, ""
            if source.cautious:
                decoder, reason = self._other_decoder(source)

            def tables() -> Iterator[pa.Table]:
                rows: list[dict[str, Any]] = []
                with source.file() as path:
                    try:
                        decoding = video.decode(path, stride=self.params.stride, short_side=self.params.short_side,
                                                decoder=decoder)
                        for frame in decoding:
                            if len(rows) == CHUNK:
                                yield _table(rows, decoding.times, frame.index)
                                rows.clear()
                            rows.append(_row(source.video_id, frame, self.params.quality))
                    except video.VideoError as error:
                        raise BadVideo(error.kind, error.reason, error.remedy) from error
                if rows:
                    yield _table(rows, decoding.times, decoding.decoded)
                meta.update(decoder=decoding.decoder, declared_frames=decoding.declared,
                            decoded_frames=decoding.decoded, duration_s=decoding.duration_s,
                            refused_packets=decoding.refused, stride=self.params.stride)
                if reason:
                    meta["decoder_reason"] = reason
                if decoding.remark:
                    meta["remark"] = decoding.remark
                    note(f"{source.video_id}: {decoding.remark}")

            return Product(tables(), meta)

        yield work

    def _other_decoder(self, source: Source) -> tuple[Literal["pyav"], str]:
        """What to read a video with whose process died."""
        if self.params.decoder != "auto":
            raise BadVideo("crash", f"{self.params.decoder} dies of {source.path.name}",
                           "set `decoder: auto` in the decode section of stages.yaml, or leave the video out")
        return "pyav", "a process died decoding it"


def _table(rows: list[dict[str, Any]], times: Sequence[float], end: int) -> pa.Table:
    """Rows as a table, each with the times of the frames up to the next; `end`: index of the next after the last."""
    bounds = [*(row["frame_idx"] for row in rows), end]
    for row, (first, after) in zip(rows, itertools.pairwise(bounds), strict=True):
        row["times_s"] = list(times[first:after])
    return pa.Table.from_pylist(rows, schema=DECODE.schema)


def _row(video_id: str, frame: Any, quality: int) -> dict[str, Any]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame.image).save(buffer, "JPEG", quality=quality)
    height, width = frame.image.shape[:2]
    return {"video_id": video_id, "frame_idx": frame.index, "pts_s": frame.pts_s, "width": width, "height": height,
            "jpeg": buffer.getvalue()}
