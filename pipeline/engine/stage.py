"""What a stage is: a name, an identity that its product depends on, and one method that makes the product."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.contracts import Contract
from pipeline.engine.remote.scratch import Changed, NoRoom, Stored, fetched
from pipeline.engine.store import Store


class BadVideo(Exception):
    """This video cannot be processed: it goes to quarantine, the others go on.

    `kind` is a short word to group by in SQL ("empty", "truncated"); `remedy` tells the user what to do about it.
    """

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.remedy = kind, reason, remedy

    def __reduce__(self) -> tuple[Any, ...]:  # crosses a process border
        return type(self), (self.kind, self.reason, self.remedy)


class StageError(Exception):
    """The stage itself cannot run (no model, no server): no video is at fault. The message names the remedy."""


@dataclass(frozen=True)
class Source:
    """A video as the dataset lists it.

    `hash`: of its content, so that moving or touching it changes nothing. `facts`: what the dataset says of it
    (labels, split); a stage that reads one names it in `Stage.facts`. `problem`: why it cannot even be read.
    `cautious`: a process died of it just now; a stage that has a safer way goes that one, and says so in its `meta`.
    `stored`: where it lies in a bucket; `path` is then a name, and no file.
    """

    video_id: str
    path: Path
    hash: str
    size: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: BadVideo | None = None
    cautious: bool = False
    stored: Stored | None = None

    @contextmanager
    def file(self) -> Iterator[Path]:
        """The video's file, fetched for as long as it is read. Raises BadVideo, StageError, StorageError."""
        if self.stored is None:
            yield self.path
            return
        with ExitStack() as stack:
            try:
                path = stack.enter_context(fetched(self.stored))
            except (FileNotFoundError, Changed):
                raise BadVideo("changed", "it was changed or removed while the run was at work",
                               "run the pipeline again") from None
            except NoRoom as error:
                raise StageError(str(error)) from None
            yield path


@dataclass
class Product:
    """What a stage makes of one video: rows, and provenance for the shard's footer.

    `rows` may be a stream of tables, so that a long video never lies in memory whole; `meta` is read after the stream
    has ended, so a stage may fill it on the way. `meta` must be deterministic.
    """

    rows: pa.Table | Iterable[pa.Table]
    meta: dict[str, Any] = field(default_factory=dict)


Note = Callable[[str], None]  # a line for the user


class Worker(Protocol):
    """A stage with its model loaded; lives in a child process."""

    def __call__(self, source: Source, store: Store) -> Product:
        """Make the product of one video. Raises BadVideo. Called from `Stage.concurrency` threads at a time."""
        ...


class Stage(Protocol):
    """One step of the pipeline. Must be picklable and light: heavy imports belong into `open`."""

    name: str
    version: int  # raised when the code changes what comes out
    contract: Contract
    inputs: tuple[str, ...]  # stages whose shards `open`'s worker reads; () marks the root
    workers: int  # child processes
    concurrency: int  # videos in flight in one child process
    timeout_s: float  # deadline for one video
    memory_mb: int  # bound on one child's resident memory

    def identity(self) -> dict[str, Any]:
        """Everything the product depends on besides the video: parameters, model and revision, library versions."""
        ...

    def facts(self, source: Source) -> dict[str, Any]:
        """What the dataset says of this video that the product depends on: some of `source.facts`, and nothing else."""
        ...

    def open(self, note: Note) -> AbstractContextManager[Worker]:
        """Load what the stage needs, in the child; `note` tells the user of slow starts. Raises StageError."""
        ...


def recipe(stage: Stage, facts: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a product depends on besides what is upstream; `identity`: the stage's, computed once for all videos.

    With "upstream" (fingerprints of the inputs) it is the basis that the fingerprint is a hash of; the basis is kept in
    the footer, so that a stale shard can say what changed. Videos of which a stage reads the same facts share a recipe.
    """
    return {"stage": stage.name, "version": stage.version, "contract": stage.contract.version,
            "params": dict(identity), "facts": facts}


