"""The shared vocabulary: one Arrow schema for every artifact, and the checks made when a shard is published.

Each table has `video_id` first. A contract is a schema plus laws that a type cannot say: no nulls, frame order, finite
numbers, unit-length embeddings. An empty shard is valid (a stage may have nothing to say about a video).
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class ContractError(ValueError):
    """A table does not keep its artifact's contract; the message names the artifact, the column and the row."""


@dataclass(frozen=True)
class Contract:
    """Schema and laws of one artifact.

    `order`: columns by whose tuple the rows rise strictly. `unit`: the embedding column whose rows have length 1.
    `clock`: a column of times and one of lists of times; each list starts with its row's time, and one after the other
    they rise strictly.
    An embedding's width D depends on the model that made it, so its type is checked as fixed_size_list<float16>[any].
    """

    artifact: str
    schema: pa.Schema
    version: int = 1
    order: tuple[str, ...] = ()
    unit: str | None = None
    clock: tuple[str, str] | None = None

    def check(self, table: pa.Table, after: pa.Table | None = None, first_row: int = 0) -> None:
        """Raise ContractError unless `table` keeps this contract.

        For a part of a stream, `after` is the part before it (its last row will do) and `first_row` its place.
        """
        if table.column_names != self.schema.names:
            raise ContractError(f"{self.artifact}: columns {table.column_names}, expected {self.schema.names}")
        for field in self.schema:
            self._check_column(field, table[field.name], first_row)
        if after is not None and table.schema != after.schema:
            raise ContractError(f"{self.artifact}: from row {first_row} on of another schema than before:\n"
                                f"{table.schema}\nbefore:\n{after.schema}")
        if self.order:
            self._check_order(table, after, first_row)
        if self.clock:
            self._check_clock(table, after, first_row, *self.clock)

    def _check_column(self, field: pa.Field, column: pa.ChunkedArray, first_row: int) -> None:
        where = f"{self.artifact}.{field.name}"
        if field.name == self.unit:
            if not (pa.types.is_fixed_size_list(column.type) and column.type.value_type == pa.float16()
                    and column.type.list_size > 0):
                raise ContractError(f"{where}: type {column.type}, expected fixed_size_list<float16>[D]")
        elif column.type != field.type:
            raise ContractError(f"{where}: type {column.type}, expected {field.type}")
        nulls = column.null_count + (pc.list_flatten(column).null_count if pa.types.is_list(column.type) else 0)
        if nulls:
            raise ContractError(f"{where}: {nulls} nulls in {len(column)} rows, none allowed")
        if pa.types.is_floating(column.type):
            values = column.to_numpy()
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                raise ContractError(f"{where}: row {first_row + bad[0]} is {values[bad[0]]}, must be finite")
        if field.name == self.unit and len(column):
            norms = np.linalg.norm(embeddings(column), axis=1)
            bad = np.flatnonzero(~(np.abs(norms - 1) < 0.01))  # also catches NaN
            if bad.size:
                raise ContractError(f"{where}: row {first_row + bad[0]} has length {norms[bad[0]]:.4f}, must be 1")

    def _check_order(self, table: pa.Table, after: pa.Table | None, first_row: int) -> None:
        keys = self._keys(table) if after is None else self._keys(after.slice(after.num_rows - 1)) + self._keys(table)
        for row, (key, following) in enumerate(itertools.pairwise(keys), start=first_row + (after is None)):
            if not key < following:
                raise ContractError(
                    f"{self.artifact}: rows must rise by {self.order}, but row {row} {following} follows {key}"
                )

    def _check_clock(self, table: pa.Table, after: pa.Table | None, first_row: int, start: str, times: str) -> None:
        lengths = pc.list_value_length(table[times]).to_numpy()
        flat = pc.list_flatten(table[times]).to_numpy()
        starts = np.cumsum(lengths) - lengths
        rows = np.repeat(np.arange(len(lengths)), lengths)
        empty = np.flatnonzero(lengths == 0)
        if empty.size:
            raise ContractError(f"{self.artifact}.{times}: row {first_row + empty[0]} is empty, must hold its own time")
        other = np.flatnonzero(flat[starts] != table[start].to_numpy())
        if other.size:
            raise ContractError(f"{self.artifact}.{times}: row {first_row + other[0]} does not start at its {start}")
        before = flat[:0] if after is None else pc.list_flatten(after[times]).to_numpy()[-1:]
        steps = np.diff(np.concatenate([before, flat]))
        back = np.flatnonzero(~(np.isfinite(steps) & (steps > 0)))
        if back.size:
            row = first_row + rows[back[0] + 1 - len(before)]
            raise ContractError(f"{self.artifact}.{times}: times must rise, but those of row {row} do not")

    def _keys(self, table: pa.Table) -> list[tuple[Any, ...]]:
        return list(zip(*(table[name].to_pylist() for name in self.order), strict=True))


def embeddings(column: pa.ChunkedArray) -> np.ndarray:
    """A fixed_size_list column as an array of shape (rows, D), float32."""
    width = column.type.list_size
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks] or [pa.array([], pa.float16())])
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)


def frame_times(decoded: pa.Table) -> np.ndarray:
    """When each frame of a video is shown, in seconds since the first, from its `decode` table: shape (frames,).

    All frames of the video have their time here, whatever the stride of decoding.
    """
    return np.asarray(pc.list_flatten(decoded["times_s"]).to_numpy(), np.float64)


def embedding_array(rows: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors of shape (rows, D) as fixed_size_list<float16>[D], each scaled to length 1 (zero rows stay zero)."""
    rows = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / np.where(norms == 0, 1, norms)).astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(unit.reshape(-1)), rows.shape[1])


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field("video_id", pa.string(), nullable=False)]
                     + [pa.field(name, type_, nullable=False) for name, type_ in columns.items()])


EMBEDDING = pa.list_(pa.float16(), 512)  # 512 stands for "any width D", see Contract

INGEST = Contract("ingest", _schema(
    path=pa.string(), split=pa.string(), labels=pa.list_(pa.string()), source_hash=pa.string(), size=pa.int64(),
    duration_s=pa.float64(), fps=pa.float64(), n_frames=pa.int64(), width=pa.int32(), height=pa.int32(),
    codec=pa.string(),
))
DECODE = Contract("decode", _schema(
    frame_idx=pa.int64(), pts_s=pa.float64(), times_s=pa.list_(pa.float64()), width=pa.int32(), height=pa.int32(),
    jpeg=pa.binary(),
), version=2, order=("frame_idx",), clock=("pts_s", "times_s"))
SCORE = Contract("score", _schema(
    frame_idx=pa.int64(), crop=pa.int8(), embedding=EMBEDDING, relevance=pa.float32(), novelty=pa.float32(),
), order=("frame_idx", "crop"), unit="embedding")
SELECT = Contract("select", _schema(
    rank=pa.int32(), frame_idx=pa.int64(), score=pa.float32(), strategy=pa.string(),
), order=("rank",))
DESCRIBE = Contract("describe", _schema(
    text=pa.string(), model=pa.string(), revision=pa.string(), prompt_id=pa.string(), finish_reason=pa.string(),
    prompt_tokens=pa.int32(), output_tokens=pa.int32(), latency_ms=pa.float32(), flags=pa.list_(pa.string()),
))
EMBED = Contract("embed", _schema(embedding=EMBEDDING, n_sentences=pa.int32()), unit="embedding")
QUARANTINE = Contract("quarantine", _schema(
    stage=pa.string(), fingerprint=pa.string(), kind=pa.string(), reason=pa.string(), remedy=pa.string(),
    traceback=pa.string(), attempts=pa.int32(),
))

STAGES = {c.artifact: c for c in (INGEST, DECODE, SCORE, SELECT, DESCRIBE, EMBED)}
