"""Questions about events to a describing model, and its answers, as they come: nobody waits for it.

A thread of its own puts one question after another to an engine in a process of its own. While the engine is down, it
is tried again for ever; questions wait in a queue that drops the oldest.
"""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dbvad.detection.live.apart import Apart
from dbvad.detection.live.reader import Shot
from pipeline.engine.printable import printable
from pipeline.instruments.vlm import Answer, EngineError, Request, RequestError

QUEUE = 16  # questions that wait at most
TRIES = 2  # of a question at which the engine was lost
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STOP_S = 10.0
OUTCOMES = ("answered", "refused", "lost", "dropped")


class State(StrEnum):
    STARTING, UP, DOWN = "starting", "up", "down"


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of an event: `request` shows the pictures of `shots`. `verify`: a verdict is asked for."""

    id: str
    camera: str
    shots: tuple[Shot, ...]
    request: Request
    verify: bool


@dataclass(frozen=True)
class Told:
    """What became of a question: an answer and who gave it, or None, for which it is then counted why."""

    question: Question
    answer: Answer | None = None
    model: str = ""
    revision: str = ""


class Explainer:
    """`ask` never waits; every question has one `Told` in `answers`. Counts: answered, refused (a question that cannot
    be answered), lost (the engine was, at every try), dropped (the queue was full)."""

    def __init__(self, engine: Callable[[], Apart], say: Callable[[str], None], *,
                 first_pause_s: float = FIRST_PAUSE_S) -> None:
        """`engine`: makes one that is not started. It is started at once, as a model takes its time to load."""
        self.engine, self.say, self.first_pause_s = engine, say, first_pause_s
        self.state, self.counts = State.STARTING, Counter[str]()
        self._questions: deque[Question] = deque()
        self._told: deque[Told] = deque()
        self._tries: Counter[str] = Counter()
        self._changed, self._stopping = threading.Condition(), threading.Event()
        self._running: Apart | None = None
        self._in_hand: Question | None = None
        self._thread = threading.Thread(target=self._run, name="explain", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions without an answer, the one in hand included."""
        return len(self._questions)

    def ask(self, question: Question) -> None:
        """Put a question at the end of the queue."""
        with self._changed:
            waiting = [known for known in self._questions if known is not self._in_hand]
            if len(waiting) >= QUEUE:
                self._finish(Told(waiting[0]), "dropped", "others came faster than they were answered")
            self._questions.append(question)
            self._changed.notify()

    def answers(self) -> list[Told]:
        """What became of questions since the last call."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def stop(self) -> None:
        """End the engine, whatever it does."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        end = time.monotonic() + STOP_S
        while self._thread.is_alive() and time.monotonic() < end:
            if self._running:
                self._running.kill()
            self._thread.join(0.1)

    def _run(self) -> None:
        pause = self.first_pause_s
        while not self._stopping.is_set():
            try:
                self._running = self.engine()
                with self._running as engine:
                    pause = self.first_pause_s
                    self._up(engine.model)
                    while question := self._next():
                        self._put(question, engine)
            except EngineError as error:
                self._down(str(error))
                self._stopping.wait(pause * random.uniform(0.5, 1))
                pause = min(LONGEST_PAUSE_S, 2 * pause)

    def _next(self) -> Question | None:
        """The oldest question, which stays in the queue; None when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._questions or self._stopping.is_set())
            self._in_hand = None if self._stopping.is_set() else self._questions[0]
            return self._in_hand

    def _put(self, question: Question, engine: Apart) -> None:
        """Raises EngineError where the engine was lost: the question is put again, though not for ever."""
        try:
            answer = engine.describe(question.request)
        except RequestError as error:
            self._finish(Told(question), "refused", error.reason)
        except EngineError as error:
            self._tries[question.id] += 1
            if self._tries[question.id] >= TRIES:
                self._finish(Told(question), "lost", str(error))
            raise
        else:
            self._finish(Told(question, answer, engine.model, engine.revision), "answered")
        finally:
            self._in_hand = None

    def _finish(self, told: Told, how: str, why: str = "") -> None:
        """Take a question out of the queue; the first that stays without an answer is said."""
        question = told.question
        with self._changed:
            self._questions.remove(question)
            self._tries.pop(question.id, None)
            self._told.append(told)
            self.counts[how] += 1
        if why and self.counts[how] == 1:
            self.say(printable(f"{question.camera}: event {question.id} is not explained ({how}: {why}); said once, "
                               "counted from now on"))

    def _up(self, model: str) -> None:
        self.say(printable(f"{model} explains events{' again' if self.state is State.DOWN else ''}"))
        self.state = State.UP

    def _down(self, why: str) -> None:
        if self.state is not State.DOWN and not self._stopping.is_set():
            self.say(printable(f"events are not explained for now ({why}); tried again until they are"))
        self.state = State.DOWN
