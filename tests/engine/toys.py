"""Stages over small text files ("videos"), whose words make a stage do what real ones do on bad days.

The root stage splits a file into words; every further stage adds its mark to them. A word `upper!abort` is an order to
the stage `upper`. They live in a module of their own because child processes import them.
"""

import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.contracts import Contract
from pipeline.engine.stage import BadVideo, Note, Product, Source, StageError, Worker
from pipeline.engine.store import Store

SCHEMA = pa.schema([pa.field(name, type_, nullable=False) for name, type_ in
                    (("video_id", pa.string()), ("position", pa.int64()), ("word", pa.string()))])
FOREVER = 60


class LibraryPanic(BaseException):
    """What Rust libraries raise: no Exception."""


@dataclass
class Toy:
    """One stage. `calls`: a file that notes every video begun and ended; `opening`: what goes wrong in `open`."""

    name: str
    inputs: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    calls: Path = Path(os.devnull)
    seconds: float = 0.0
    opening: str = ""
    version: int = 1
    workers: int = 1
    concurrency: int = 1
    timeout_s: float = 30.0
    memory_mb: int = 4000

    def __post_init__(self) -> None:
        self.contract = Contract(self.name, SCHEMA, order=("position",))

    def identity(self) -> dict[str, Any]:
        return dict(self.params)

    def facts(self, source: Source) -> dict[str, Any]:
        """The last stage reads the label."""
        return {"label": source.facts.get("label")} if self.name == "count" else {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        if self.opening == "note":
            note("the model loads slowly")
        elif self.opening:
            misbehave(self.opening)
        yield self.work

    def work(self, source: Source, store: Store) -> Product:
        self._tell("begun", source)
        if self.inputs:
            words = store.read(self.inputs[-1], source.video_id, ["word"])["word"].to_pylist()
        else:
            words = source.path.read_text(encoding="utf-8").split()
        time.sleep(self.seconds)
        for word in words:
            stage, order, fault = word.partition("!")
            if order and stage == self.name and not (fault == "careless" and source.cautious):
                misbehave(fault, self.calls.parent)
        rows = [{"video_id": source.video_id, "position": position, "word": word + self.params.get("mark", "")}
                for position, word in enumerate(words)]
        if f"{self.name}!unordered" in words:
            rows.reverse()
        self._tell("ended", source)
        meta = {"words": len(words), "cautious": source.cautious}
        return Product(iter([pa.Table.from_pylist(rows, schema=SCHEMA)]), meta)

    def _tell(self, event: str, source: Source) -> None:
        line = f"{event}\t{self.name}\t{source.video_id}\t{time.monotonic()}\t{os.getpid()}\n"
        file = os.open(self.calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)


def chain(calls: Path = Path(os.devnull), **common: Any) -> list[Toy]:
    """words -> upper -> count."""
    return [Toy("words", (), {}, calls, **common), Toy("upper", ("words",), {"mark": "'"}, calls, **common),
            Toy("count", ("upper",), {"step": 16}, calls, **common)]


def misbehave(fault: str, folder: Path = Path("/nowhere")) -> None:
    """Do what `fault` says; `once-x` does x only until it leaves its trace in `folder`."""
    if fault.startswith("once-"):
        trace = folder / f"{fault}.trace"
        if not trace.exists():
            trace.touch()
            misbehave(fault.removeprefix("once-"))
    elif fault == "bad":
        raise BadVideo("blank", "no word in it", "write a word into it")
    elif fault == "error":
        raise ValueError("a fault nobody foresaw")
    elif fault == "odd-name":
        raise ValueError("a\udcffb is no name")
    elif fault == "panic":
        raise LibraryPanic("index out of bounds")
    elif fault == "exit":
        sys.exit(5)
    elif fault == "abort":
        print("free(): invalid pointer", file=sys.stderr, flush=True)
        os.abort()
    elif fault in ("killed", "careless"):  # the latter only where its process was not told to be cautious
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "slow":
        time.sleep(0.7)
    elif fault == "until-upper":  # upper is done with a video
        for _ in range(1000):
            if "ended\tupper" in (folder / "calls").read_text():
                return
            time.sleep(0.02)
        raise AssertionError("upper never began")
    elif fault == "hang":
        time.sleep(FOREVER)
    elif fault == "native-hang":
        ctypes.PyDLL(None).sleep(FOREVER)  # with the GIL held: no Python code runs in this process any more
    elif fault == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "balloon":
        balloon = b"x" * (300 << 20)
        time.sleep(FOREVER)
        del balloon
    elif fault == "disk-full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif fault == "server-gone":
        raise StageError("the server is gone: start it again")
    elif fault != "unordered":
        raise AssertionError(f"no such fault: {fault}")
