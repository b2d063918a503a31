"""Where shards live: paths, atomic publish, footers, quarantine.

A shard `<root>/<stage>/<video_id>.parquet` is its own completion record: the footer carries the fingerprint it was made
under. There is no marker beside it that could disagree, and a torn or foreign file counts as not there.
"""

import hashlib
import json
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.contracts import QUARANTINE, Contract, ContractError

FOOTER_KEY = b"dbvad"
TEMP_MARK = ".tmp-"
NAME_BYTES = 200  # of the 255 that file systems allow: room for the suffix, and for the mark of a temporary file


@dataclass(frozen=True)
class Footer:
    """How a shard was made: `basis` is what the fingerprint is a hash of, `meta` the provenance that is not in it."""

    video_id: str
    fingerprint: str
    basis: dict[str, Any]
    meta: dict[str, Any]


class MissingShard(FileNotFoundError):
    """No (whole) shard of this stage for this video."""


class Store:
    """The artifacts folder. Cheap to make, holds no open files, safe to send to another process."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, stage: str, video_id: str) -> Path:
        """Where the shard of a video is or will be.

        Names that are too long, or hold a backslash (which DuckDB takes for a slash), end in a hash of themselves.
        """
        return self.root / stage / f"{_file_name(video_id)}.parquet"

    def publish(self, contract: Contract, video_id: str, rows: pa.Table | Iterable[pa.Table], *, fingerprint: str,
                basis: dict[str, Any], meta: dict[str, Any] | None = None) -> int:
        """Write a shard whole or not at all, and return its number of rows.

        `rows` may be a stream; `meta` is read after its end. Raises ContractError, and whatever the stream raises.
        """
        tables = [rows] if isinstance(rows, pa.Table) else rows
        path = self.path(contract.artifact, video_id)
        count = 0
        with atomic_file(path) as temporary:
            writer: pq.ParquetWriter | None = None
            last: pa.Table | None = None
            try:
                for table in tables:
                    contract.check(table, last, count)
                    _check_owner(table, contract, video_id)
                    writer = writer or _writer(temporary, table.schema)
                    writer.write_table(table)
                    count += table.num_rows
                    last = table.slice(table.num_rows - 1) if table.num_rows else last
                writer = writer or _writer(temporary, contract.schema)
                footer = {"video_id": video_id, "fingerprint": fingerprint, "basis": basis, "meta": meta or {}}
                writer.add_key_value_metadata({FOOTER_KEY: json.dumps(footer, sort_keys=True, ensure_ascii=False)})
            finally:
                if writer is not None:
                    writer.close()
        return count

    def is_current(self, stage: str, video_id: str, fingerprint: str) -> bool:
        """Whether a whole shard made under `fingerprint` is there.

        Looks for the fingerprint in the raw Parquet footer, five times faster than parsing it: this is asked of every
        unit at every run. The bytes inside the shard are not read; `dbvad artifacts verify` does that.
        """
        try:
            with open(self.path(stage, video_id), "rb") as file:
                end = file.seek(-8, os.SEEK_END)
                length, magic = struct.unpack("<I4s", file.read(8))
                if magic != b"PAR1" or length > end:
                    return False
                file.seek(end - length)
                return f'"fingerprint": "{fingerprint}"'.encode() in file.read(length)
        except OSError:
            return False

    def footer(self, stage: str, video_id: str) -> Footer | None:
        """The footer of a shard; None if there is no shard, or it is torn, or not ours."""
        return read_footer(self.path(stage, video_id))

    def read(self, stage: str, video_id: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of a shard. Raises MissingShard."""
        with pq.ParquetFile(self._there(stage, video_id)) as file:
            return file.read(columns=columns, use_threads=False)

    def batches(self, stage: str, video_id: str, rows: int, columns: list[str]) -> Iterator[pa.Table]:
        """The rows of a shard, `rows` at a time, so that a long video never lies in memory whole. Raises MissingShard.

        Every batch but the last has exactly `rows` rows.
        """
        with pq.ParquetFile(self._there(stage, video_id)) as file:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])

    def shards(self, stage: str) -> list[Path]:
        """Paths of all shards of a stage (or of "quarantine"), sorted."""
        return sorted(Path(entry.path) for entry in _walk(self.root / stage) if entry.name.endswith(".parquet"))

    def videos(self, stage: str) -> list[str]:
        """Ids of the videos that have a shard of a stage, sorted."""
        footers = map(read_footer, self.shards(stage))
        return sorted(footer.video_id for footer in footers if footer is not None)

    def quarantine(self, stage: str, video_id: str, *, fingerprint: str, kind: str, reason: str, remedy: str,
                   traceback: str = "") -> None:
        """Put a video aside for this stage and fingerprint; counts the attempts."""
        before = self.quarantined(stage, video_id)
        attempts = 1 + (before["attempts"] if before and before["fingerprint"] == fingerprint else 0)
        row = {"video_id": video_id, "stage": stage, "fingerprint": fingerprint, "kind": kind, "reason": reason,
               "remedy": remedy, "traceback": traceback, "attempts": attempts}
        table = pa.Table.from_pylist([row], schema=QUARANTINE.schema)
        with atomic_file(self.quarantine_path(stage, video_id)) as temporary:
            pq.write_table(table, temporary)

    def quarantined(self, stage: str, video_id: str) -> dict[str, Any] | None:
        """The quarantine row of a video for a stage, or None."""
        return _quarantine_row(self.quarantine_path(stage, video_id))

    def quarantine_rows(self) -> list[dict[str, Any]]:
        """All rows of the quarantine."""
        return [row for path in self.shards("quarantine") if (row := _quarantine_row(path))]

    def release(self, stage: str, video_id: str) -> None:
        """Take a video out of quarantine."""
        self.quarantine_path(stage, video_id).unlink(missing_ok=True)

    def sweep(self, stages: Iterable[str]) -> int:
        """Remove temporary files that an interrupted run of `stages` left; only while no other run is at work.

        Returns how many.
        """
        left = list(self.root.glob(f".*{TEMP_MARK}*"))  # of the caches of hashes
        for folder in [*stages, "quarantine"]:
            left += [Path(entry.path) for entry in _walk(self.root / folder)
                     if entry.name.startswith(".") and TEMP_MARK in entry.name]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _there(self, stage: str, video_id: str) -> Path:
        path = self.path(stage, video_id)
        if not path.exists():
            raise MissingShard(f"no {stage} shard for {video_id!r} in {self.root}: run `dbvad pipeline run {stage}`")
        return path

    def quarantine_path(self, stage: str, video_id: str) -> Path:
        """Where the quarantine row of a video for a stage is or will be."""
        return self.root / "quarantine" / stage / f"{_file_name(video_id)}.parquet"


class atomic_file:
    """Context manager: a temporary path beside `path` that replaces it on success and vanishes on any exception."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}{TEMP_MARK}{os.getpid()}-{threading.get_ident()}")

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with open(self.temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self.temporary, self.path)
        finally:
            self.temporary.unlink(missing_ok=True)


def read_footer(path: Path) -> Footer | None:
    """The footer of the shard at `path`; None if there is none, or it is torn, or not ours."""
    try:
        raw = pq.read_metadata(path).metadata
        content = json.loads(raw[FOOTER_KEY])
        return Footer(content["video_id"], content["fingerprint"], content["basis"], content["meta"])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def fault_of(path: Path, contract: Contract) -> str | None:
    """What is wrong with a shard, read whole: torn, foreign, or against its contract; None if nothing is."""
    if read_footer(path) is None:
        return "torn, or not written by this program"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            contract.check(file.read())
    except (pa.ArrowException, OSError, ValueError) as error:
        return str(error)
    return None


def _quarantine_row(path: Path) -> dict[str, Any] | None:
    try:
        with pq.ParquetFile(path) as file:
            row: dict[str, Any] = file.read().to_pylist()[0]
    except (OSError, pa.ArrowInvalid, IndexError):
        return None
    return row if list(row) == QUARANTINE.schema.names else None


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """No dictionary and statistics for embeddings, which have no use for them: 3 times as fast to write and read."""
    plain = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=plain, write_statistics=plain,
                            write_page_checksum=True)  # a flipped bit in a picture is no fault that zstd sees


def _check_owner(table: pa.Table, contract: Contract, video_id: str) -> None:
    for owner in pc.unique(table["video_id"]).to_pylist():
        if owner != video_id:
            raise ContractError(f"{contract.artifact}.video_id: a row of {owner!r} in the shard of {video_id!r}")


def _file_name(video_id: str) -> str:
    parts = []
    for part in video_id.split("/"):
        raw = os.fsencode(part)
        if len(raw) > NAME_BYTES or b"\\" in raw:
            start = raw[:NAME_BYTES - 17].decode(errors="ignore").replace("\\", "_")
            part = f"{start}-{hashlib.sha256(raw).hexdigest()[:16]}"
        parts.append(part)
    return "/".join(parts)


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry
