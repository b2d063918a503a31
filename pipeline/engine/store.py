"""Where shards live: paths, atomic publish, footers, quarantine.

A shard `<root>/<stage>/<video_id>.parquet` is its own completion record: the footer carries the fingerprint it was made
under. There is no marker beside it that could disagree, and a torn or foreign file counts as not there. Every shard is
sealed (sealed.py), and what is read of it is checked when it is read.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.contracts import QUARANTINE, Contract, ContractError
from pipeline.engine.files import TEMP_MARK, Damaged, atomic_file
from pipeline.engine.sealed import Unsealed, check_columns, read_seal, seal, verify

FOOTER_KEY = b"dbvad"
PIPELINE_AGAIN = "dbvad pipeline run {stages} --video {video} --force"
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


class MissingShard(FileNotFoundError):
    """No (whole) shard of this stage for this video."""


class Store:
    """The artifacts folder. Cheap to make, holds no open files, safe to send to another process."""

    def __init__(self, root: Path | str, again: str = PIPELINE_AGAIN) -> None:
        """`again`: how a damaged shard is made again, with {stages} and {video} where they are wanted."""
        self.root, self.again = Path(root), again

    def path(self, stage: str, video_id: str) -> Path:
        """Where the shard of a video is or will be.

        Names that are too long, or hold a backslash (which DuckDB takes for a slash), end in a hash of themselves.
        """
        return self.root / stage / f"{file_name(video_id)}.parquet"

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
            seal(temporary)
        return count

    def is_current(self, stage: str, video_id: str, fingerprint: str) -> bool:
        """Whether a shard made under `fingerprint` is there, by its footer, which is whole.

        Looks for the fingerprint in the raw footer, five times faster than parsing it: this is asked of every unit at
        every run. The columns are checked where they are read, and by `is_whole`.
        """
        try:
            with open(self.path(stage, video_id), "rb") as file:
                return f'"fingerprint": "{fingerprint}"'.encode() in read_seal(file).footer
        except (OSError, Unsealed):
            return False

    def is_whole(self, stage: str, video_id: str, fingerprint: str) -> bool:
        """Whether a shard made under `fingerprint` is there and every byte of it is as it was written."""
        try:
            verify(self.path(stage, video_id))
        except (OSError, Unsealed):
            return False
        return self.is_current(stage, video_id, fingerprint)

    def footer(self, stage: str, video_id: str) -> Footer | None:
        """The footer of a shard; None if there is no shard, or it is torn, damaged, or not ours."""
        return read_footer(self.path(stage, video_id))

    def whole_footer(self, stage: str, video_id: str) -> Footer | None:
        """The footer of a shard, None if there is no shard. Raises Damaged where there is one that cannot be used."""
        try:
            return look(self.path(stage, video_id))
        except FileNotFoundError:
            return None
        except Unsealed as error:
            raise Damaged(self.path(stage, video_id), str(error), self.mend(video_id, stage)) from None

    def read(self, stage: str, video_id: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of a shard, as they were written. Raises MissingShard, Damaged."""
        with self._open(stage, video_id, columns) as file:
            return file.read(columns=columns, use_threads=False)

    def batches(self, stage: str, video_id: str, rows: int, columns: list[str]) -> Iterator[pa.Table]:
        """The rows of a shard, `rows` at a time, so that a long video never lies in memory whole.

        Every batch but the last has exactly `rows` rows. Raises MissingShard, Damaged, both before the first batch.
        """
        with self._open(stage, video_id, columns) as file:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])

    @contextmanager
    def _open(self, stage: str, video_id: str, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
        """What was checked is what is read: one open file, whatever is put in its place meanwhile."""
        path = self.path(stage, video_id)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(open_sealed(path, columns))
            except FileNotFoundError:
                raise MissingShard(f"no {stage} shard for {video_id!r} in {self.root}: run `dbvad pipeline run {stage}`"
                                   ) from None
            except (Unsealed, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EIO:
                    raise
                raise Damaged(path, str(error), self.mend(video_id, stage)) from None
            yield file

    def rows(self, stage: str, video_id: str) -> int:
        """How many rows a shard has, by its footer. Raises MissingShard, Damaged."""
        with self._open(stage, video_id, []) as file:
            return int(file.metadata.num_rows)

    def check(self, path: Path, columns: list[str] | None = None) -> None:
        """Check footer and columns (all by default) of a shard or a quarantine record by its path. Raises Damaged.

        For those who read shards by other means (SQL).
        """
        try:
            verify(path, columns)
        except Unsealed as error:
            raise Damaged(path, str(error), self.mend_path(path)) from None

    def mend_path(self, path: Path) -> str:
        """As `mend`, of the shard or quarantine record at `path`."""
        stage, *rest = path.relative_to(self.root).with_suffix("").parts
        if stage == "quarantine":
            again = f"dbvad pipeline run {rest[0]} --video {quote('/'.join(rest[1:]))}"
            return f"Try the video again: {again} (if it was imported: import it again)"
        footer = read_footer(path)
        return self.mend(footer.video_id if footer else "/".join(rest), stage)

    def mend(self, video_id: str, *stages: str) -> str:
        """The command that makes a video's damaged shard of the first of `stages`, and those of the others, anew."""
        footer = self.footer(stages[0], video_id)
        if footer is not None and footer.imported:
            return f"Import it again: the same `dbvad import` as before makes {video_id!r} anew"
        imported = "" if footer else " (if it was imported: import it again)"
        again = self.again.format(stages=" ".join(stages), video=quote(video_id))
        return f"Make it again: {again}{imported}"

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
        before = None
        with suppress(Damaged):
            before = self.quarantined(stage, video_id)
        attempts = 1 + (before["attempts"] if before and before["fingerprint"] == fingerprint else 0)
        row = {"video_id": video_id, "stage": stage, "fingerprint": fingerprint, "kind": kind, "reason": reason,
               "remedy": remedy, "traceback": traceback, "attempts": attempts}
        table = pa.Table.from_pylist([row], schema=QUARANTINE.schema)
        with atomic_file(self.quarantine_path(stage, video_id)) as temporary:
            pq.write_table(table, temporary)
            seal(temporary)

    def quarantined(self, stage: str, video_id: str) -> dict[str, Any] | None:
        """The quarantine row of a video for a stage; None without. Raises Damaged."""
        return self._quarantine_row(self.quarantine_path(stage, video_id))

    def quarantine_rows(self) -> list[dict[str, Any]]:
        """All rows of the quarantine. Raises Damaged."""
        return [row for path in self.shards("quarantine") if (row := self._quarantine_row(path))]

    def _quarantine_row(self, path: Path) -> dict[str, Any] | None:
        try:
            with open_sealed(path) as file:
                row: dict[str, Any] = file.read().to_pylist()[0]
        except FileNotFoundError:
            return None
        except (OSError, Unsealed) as error:
            raise Damaged(path, str(error), self.mend_path(path)) from None
        return row if list(row) == QUARANTINE.schema.names else None

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

    def quarantine_path(self, stage: str, video_id: str) -> Path:
        """Where the quarantine row of a video for a stage is or will be."""
        return self.root / "quarantine" / stage / f"{file_name(video_id)}.parquet"


@contextmanager
def open_sealed(path: Path, columns: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    """A sealed Parquet file whose footer and columns (all by default) have been checked. Raises Unsealed, OSError."""
    with open(path, "rb") as file:
        found = read_seal(file)
        check_columns(file, found, columns)
        with pq.ParquetFile(file, metadata=_metadata(found.footer)) as opened:
            yield opened


def look(path: Path) -> Footer:
    """The footer of the shard at `path`. Raises Unsealed if it is torn, damaged, or not ours; OSError."""
    with open(path, "rb") as file:
        metadata = _metadata(read_seal(file).footer)
    try:
        content = json.loads(metadata.metadata[FOOTER_KEY])
        return Footer(content["video_id"], content["fingerprint"], content["basis"], content["meta"],
                      metadata.num_rows)
    except (KeyError, TypeError, ValueError):
        raise Unsealed("its footer does not say how it was made") from None


def read_footer(path: Path) -> Footer | None:
    """The footer of the shard at `path`; None if there is none, or it is torn, damaged, or not ours."""
    try:
        return look(path)
    except (OSError, Unsealed):
        return None


def fault_of(path: Path, contract: Contract) -> str | None:
    """What is wrong with a shard, read whole: torn, damaged, foreign, or against its contract; None if nothing is."""
    try:
        if contract is not QUARANTINE:
            look(path)
        with open_sealed(path) as file:
            contract.check(file.read())
    except (pa.ArrowException, OSError, ValueError) as error:
        return str(error)
    return None


def _metadata(footer: bytes) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """No dictionary and statistics for embeddings, which have no use for them: 3 times as fast to write and read."""
    plain = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=plain, write_statistics=plain)


def _check_owner(table: pa.Table, contract: Contract, video_id: str) -> None:
    for owner in pc.unique(table["video_id"]).to_pylist():
        if owner != video_id:
            raise ContractError(f"{contract.artifact}.video_id: a row of {owner!r} in the shard of {video_id!r}")


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
