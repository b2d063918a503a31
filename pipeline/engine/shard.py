"""A shard as a file: its name, its footer, and how it is opened and written. Where it lies is the store's."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.sealed import Seal, Unsealed, check_columns, read_seal

FOOTER_KEY = b"dbvad"
NAME_BYTES = 190  # of the 255 that file systems allow: room for the suffix, and for the mark of a temporary file


@dataclass(frozen=True)
class Footer:
    """How a shard was made: `basis` is what the fingerprint is a hash of, `meta` the provenance that is not in it."""

    video_id: str
    fingerprint: str
    basis: dict[str, Any]
    meta: dict[str, Any]
    rows: int = 0

    @property
    def imported(self) -> bool:
        """Whether `dbvad import` made it, and not a stage of the pipeline."""
        return str(self.basis.get("version", "")).startswith("import-")


def file_name(video_id: str) -> str:
    """The path of a video's shard below its stage's folder, without suffix."""
    if len(os.fsencode(video_id)) <= NAME_BYTES and "\\" not in video_id:
        return video_id
    parts = []
    for part in video_id.split("/"):
        raw = os.fsencode(part)
        if len(raw) > NAME_BYTES or b"\\" in raw:
            start = raw[:NAME_BYTES - 17].decode(errors="ignore").replace("\\", "_")
            part = f"{start}-{hashlib.sha256(raw).hexdigest()[:16]}"
        parts.append(part)
    return "/".join(parts)


@contextmanager
def open_sealed(path: Path, columns: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    """A sealed Parquet file whose footer and columns (all by default) have been checked. Raises Unsealed, OSError."""
    with open(path, "rb") as file:
        found = read_seal(file)
        check_columns(file, found, columns)
        with pq.ParquetFile(file, metadata=_metadata(found.footer)) as opened:
            yield opened


def footer_of(seal: Seal) -> Footer:
    """What a seal's footer says. Raises Unsealed if it is not ours."""
    metadata = _metadata(seal.footer)
    try:
        content = json.loads(metadata.metadata[FOOTER_KEY])
        return Footer(content["video_id"], content["fingerprint"], content["basis"], content["meta"],
                      metadata.num_rows)
    except (KeyError, TypeError, ValueError):
        raise Unsealed("its footer does not say how it was made") from None


def first_row(path: Path) -> dict[str, Any]:
    """Of a sealed file, checked. Raises Unsealed, OSError."""
    with open_sealed(path) as file:
        row: dict[str, Any] = file.read().to_pylist()[0]
    return row


def shard_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """No dictionary and statistics for embeddings, which have no use for them: 3 times as fast to write and read."""
    plain = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=plain, write_statistics=plain)


def _metadata(footer: bytes) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
