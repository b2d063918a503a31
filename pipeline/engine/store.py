"""Where shards live: paths, atomic publish, footers, quarantine.

A shard `<root>/<stage>/<video_id>.parquet` is its own completion record: the footer carries the fingerprint it was made
under. There is no marker beside it that could disagree, and a torn or foreign file counts as not there. Every shard is
sealed (sealed.py), and what is read of it is checked when it is read.
"""

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.contracts import QUARANTINE, Contract, ContractError
from pipeline.engine.files import Damaged
from pipeline.engine.place import place_of
from pipeline.engine.sealed import Unsealed, seal, verify
from pipeline.engine.shard import FOOTER_KEY, Footer, file_name, first_row, footer_of, open_sealed, shard_writer

PIPELINE_AGAIN = "dbvad pipeline run {stages} --video {video} --force"
AHEAD = 64  # shards that come from a bucket before the first of them is read

Used = TypeVar("Used")


class MissingShard(FileNotFoundError):
    """No (whole) shard of this stage for this video."""


class Store:
    """The artifacts: a folder, or the mirror of a bucket (place.py).

    Cheap to make, holds no open files, safe to send to another process. Everything here raises StorageError where a
    bucket does not answer.
    """

    def __init__(self, root: Path | str, again: str = PIPELINE_AGAIN) -> None:
        """`again`: how a damaged shard is made again, with {stages} and {video} where they are wanted."""
        self.root, self.again = Path(root), again
        self.place = place_of(self.root)

    def __str__(self) -> str:
        return str(self.place)

    def anew(self, live: bool = False) -> "Store":
        """The same as it is now. What was seen in a bucket is believed, unless it is `live`: others publish meanwhile.
        """
        store = copy(self)
        store.place = self.place.anew(live)
        return store

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
        with self.place.replacing(path) as temporary:
            writer: pq.ParquetWriter | None = None
            last: pa.Table | None = None
            try:
                for table in tables:
                    contract.check(table, last, count)
                    _check_owner(table, contract, video_id)
                    writer = writer or shard_writer(temporary, table.schema)
                    writer.write_table(table)
                    count += table.num_rows
                    last = table.slice(table.num_rows - 1) if table.num_rows else last
                writer = writer or shard_writer(temporary, contract.schema)
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
            return f'"fingerprint": "{fingerprint}"'.encode() in self.place.seal(self.path(stage, video_id)).footer
        except (OSError, Unsealed):
            return False

    def is_whole(self, stage: str, video_id: str, fingerprint: str) -> bool:
        """Whether a shard made under `fingerprint` is there and every byte of it is as it was written."""
        try:
            self._use(self.path(stage, video_id), verify)
        except (OSError, Unsealed):
            return False
        return self.is_current(stage, video_id, fingerprint)

    def footer(self, stage: str, video_id: str) -> Footer | None:
        """The footer of a shard; None if there is no shard, or it is torn, damaged, or not ours."""
        return self.footer_at(self.path(stage, video_id))

    def footer_at(self, path: Path) -> Footer | None:
        """As `footer`, by the path of the shard."""
        try:
            return self.look(path)
        except (OSError, Unsealed):
            return None

    def look(self, path: Path) -> Footer:
        """The footer of the shard at `path`. Raises Unsealed if it is torn, damaged, or not ours; OSError."""
        return footer_of(self.place.seal(path))

    def whole_footer(self, stage: str, video_id: str) -> Footer | None:
        """The footer of a shard, None if there is no shard. Raises Damaged where there is one that cannot be used."""
        try:
            return self.look(self.path(stage, video_id))
        except FileNotFoundError:
            return None
        except Unsealed as error:
            raise self._damaged(self.path(stage, video_id), error, self.mend(video_id, stage)) from None

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
                file = self._use(path, lambda here: stack.enter_context(open_sealed(here, columns)))
            except FileNotFoundError:
                raise MissingShard(f"no {stage} shard for {video_id!r} in {self}: run `dbvad pipeline run {stage}`"
                                   ) from None
            except (Unsealed, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EIO:
                    raise
                raise self._damaged(path, error, self.mend(video_id, stage)) from None
            yield file

    def ahead(self, stage: str, video_ids: Iterable[str]) -> Iterator[str]:
        """The ids, for who reads one shard after another: out of a bucket they come many at a time."""
        ids = iter(video_ids)
        while chunk := list(islice(ids, AHEAD)):
            self.place.fetch_all(self.path(stage, video_id) for video_id in chunk)
            yield from chunk

    def _use(self, path: Path, use: Callable[[Path], Used]) -> Used:
        """`use` of a file; a mirror's copy that turns out damaged, or had to make room just now, is fetched again."""
        here = self.place.fetch(path)
        try:
            return use(here)
        except (Unsealed, FileNotFoundError):
            if not self.place.renew(path):
                raise
            return use(self.place.fetch(path))

    def _damaged(self, path: Path, error: Exception, remedy: str) -> Damaged:
        return Damaged(path, str(error), remedy, self.place.shown(path))

    def rows(self, stage: str, video_id: str) -> int:
        """How many rows a shard has, by its footer. Raises MissingShard, Damaged."""
        with self._open(stage, video_id, []) as file:
            return int(file.metadata.num_rows)

    def check(self, path: Path, columns: list[str] | None = None) -> None:
        """Check footer and columns (all by default) of a shard or a quarantine record by its path. Raises Damaged.

        For those who read shards by other means (SQL).
        """
        try:
            self._use(path, lambda here: verify(here, columns))
        except Unsealed as error:
            raise self._damaged(path, error, self.mend_path(path)) from None

    def fault_of(self, path: Path, contract: Contract) -> str | None:
        """What is wrong with a shard, read whole: torn, damaged, foreign, or against its contract; None if nothing is.
        """
        def read(here: Path) -> None:
            with open_sealed(here) as file:
                contract.check(file.read())

        try:
            if contract is not QUARANTINE:
                self.look(path)
            self._use(path, read)
        except (pa.ArrowException, OSError, ValueError) as error:
            return str(error)
        return None

    def mend_path(self, path: Path) -> str:
        """As `mend`, of the shard or quarantine record at `path`."""
        stage, *rest = path.relative_to(self.root).with_suffix("").parts
        if stage == "quarantine":
            again = f"dbvad pipeline run {rest[0]} --video {quote('/'.join(rest[1:]))}"
            return f"Try the video again: {again} (if it was imported: import it again)"
        footer = self.footer_at(path)
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
        return sorted(path for path in self.place.files(stage) if path.name.endswith(".parquet"))

    def videos(self, stage: str) -> list[str]:
        """Ids of the videos that have a shard of a stage, sorted."""
        footers = map(self.footer_at, self.shards(stage))
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
        with self.place.replacing(self.quarantine_path(stage, video_id)) as temporary:
            pq.write_table(table, temporary)
            seal(temporary)

    def quarantined(self, stage: str, video_id: str) -> dict[str, Any] | None:
        """The quarantine row of a video for a stage; None without. Raises Damaged."""
        return self._quarantine_row(self.quarantine_path(stage, video_id))

    def quarantine_rows(self) -> list[dict[str, Any]]:
        """All rows of the quarantine. Raises Damaged."""
        paths = self.shards("quarantine")
        self.place.fetch_all(paths)
        return [row for path in paths if (row := self._quarantine_row(path))]

    def _quarantine_row(self, path: Path) -> dict[str, Any] | None:
        try:
            row: dict[str, Any] = self._use(path, first_row)
        except FileNotFoundError:
            return None
        except (OSError, Unsealed) as error:
            raise self._damaged(path, error, self.mend_path(path)) from None
        return row if list(row) == QUARANTINE.schema.names else None

    def release(self, stage: str, video_id: str) -> None:
        """Take a video out of quarantine."""
        self.place.remove(self.quarantine_path(stage, video_id))

    def quarantine_path(self, stage: str, video_id: str) -> Path:
        """Where the quarantine row of a video for a stage is or will be."""
        return self.root / "quarantine" / stage / f"{file_name(video_id)}.parquet"


def _check_owner(table: pa.Table, contract: Contract, video_id: str) -> None:
    for owner in pc.unique(table["video_id"]).to_pylist():
        if owner != video_id:
            raise ContractError(f"{contract.artifact}.video_id: a row of {owner!r} in the shard of {video_id!r}")
