"""A describing engine in a process of its own: whatever it does, the watch goes on.

A model in the watch's own process would share its threads and memory with the scorer, and one that hangs could not be
ended. The process dies with its parent, and a server that it started with it.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

from pipeline.engine.spawn import SPAWN, begin_child, interrupts_held
from pipeline.instruments.vlm import Answer, Engine, EngineError, Request, RequestError
from pipeline.stages.describe import DescribeParams, engine_of
from pipeline.stages.models import name_of

ATTEMPTS = 2  # of one request at a server, and
OUTAGE_S = 30.0  # its silence until the engine is given up and started anew, at most: an archive has more patience
START_S = 3600.0  # a first start may download the model
NICE = 10  # chosen here: a model on the CPU gives way to the cameras
GONE_S = 5.0  # for a process that has ended to be gone

Make = Callable[[], Engine]  # pickled, so a function of a module and its arguments


def engine_apart(params: DescribeParams, logs: Path) -> "Apart":
    """The engine of a describe section, with its deadlines: `timeout_s` for an answer by transformers, and
    `vllm.request_timeout_s` for an attempt at a server. `logs`: of a server that is started here."""
    vllm = params.vllm.model_copy(update={"attempts": min(ATTEMPTS, params.vllm.attempts),
                                          "outage_timeout_s": min(OUTAGE_S, params.vllm.outage_timeout_s)})
    of_server = vllm.attempts * (vllm.request_timeout_s + 30) + vllm.outage_timeout_s
    # What it notes goes where the process prints: nowhere.
    make = partial(engine_of, params.model_copy(update={"vllm": vllm}), logs, print)
    return Apart(make, start_s=START_S, answer_s=of_server if params.engine == "vllm" else params.timeout_s)


@dataclass(frozen=True)
class Ready:
    """The engine is open."""

    model: str
    revision: str


Word = Ready | Answer | RequestError | EngineError


class Apart(AbstractContextManager["Apart"]):
    """An Engine whose process is started on entering and killed on leaving. After an EngineError it is of no more use.

    One thread enters it and asks, and must live as long as it is open; `kill` may be called from any other.
    """

    def __init__(self, make: Make, *, start_s: float, answer_s: float) -> None:
        """`start_s`, `answer_s`: deadlines of its start and of an answer; at their end it is killed."""
        self.start_s, self.answer_s, self.make = start_s, answer_s, make
        self.model = self.revision = ""
        self._process: SpawnProcess | None = None

    def __enter__(self) -> "Apart":
        """Raises EngineError."""
        try:
            self._connection, theirs = SPAWN.Pipe()
            with theirs, interrupts_held():
                process = SPAWN.Process(target=_main, args=(self.make, theirs, os.getpid()), daemon=True,
                                        name="dbvad-explain")
                process.start()
                self._process = process
        except OSError as error:
            raise EngineError(f"its process cannot be started: {error.strerror}") from error
        try:
            word = self._hear(self.start_s)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        assert isinstance(word, Ready)
        self.model, self.revision = word.model, word.revision
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        assert self._process is not None
        self.kill()
        self._process.join(GONE_S)
        self._connection.close()

    def describe(self, request: Request) -> Answer:
        """Answer one request. Raises RequestError, EngineError."""
        word = self._hear(self.answer_s, request)
        assert isinstance(word, Answer)
        return word

    def kill(self) -> None:
        """End it now: whoever waits for it gets an EngineError."""
        if self._process is not None:
            self._process.kill()

    def _hear(self, within_s: float, request: Request | None = None) -> Word:
        assert self._process is not None
        deadline = threading.Timer(within_s, self.kill)
        deadline.daemon = True
        deadline.start()
        try:
            if request is not None:
                self._connection.send(request)
            word: Word = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(GONE_S)
            late = deadline.finished.is_set()
            raise EngineError(f"no answer within {within_s:g} s" if late else
                              f"its process ended with exit code {self._process.exitcode}") from None
        finally:
            deadline.cancel()
        if isinstance(word, Exception):
            raise word
        return word


def _main(make: Make, connection: Connection, parent: int) -> None:
    """The child's side."""
    begin_child(parent)  # what libraries print is lost: their faults arrive as words
    os.nice(NICE)
    with suppress(BrokenPipeError, EOFError):  # nobody listens any more
        try:
            with make() as engine:
                connection.send(Ready(name_of(engine.model), engine.revision))
                while True:
                    _answer(engine, connection.recv(), connection)
        except EngineError as error:
            connection.send(error)
        except (BrokenPipeError, EOFError):
            raise
        except Exception as error:  # a library that is missing, a graphics card that is gone
            connection.send(EngineError(f"{type(error).__name__}: {error}"))


def _answer(engine: Engine, request: Request, connection: Connection) -> None:
    try:
        answer: Word = engine.describe(request)
    except RequestError as error:
        answer = error
    connection.send(answer)
