"""What a describing model is asked of each camera's events, and what its answer does to them.

Without a verdict (`verify: off`) and with one (`annotate`) an event is told at once, and the answer comes as an
`update` of it. Under `suppress` it is held back until the verdict, or `within_s` at most, and goes out unverified then;
one that is refuted stays in the log and is told to nobody. While the model is starting or down nothing is held back.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dbvad.detection.form import MAX_TOKENS, PROMPT_ID, VERIFYING_ID, Verdict, prompt, read_form, read_verdict
from dbvad.detection.live.album import Album
from dbvad.detection.live.cameras import Camera, Cameras, Verify
from dbvad.detection.live.explaining import Explainer, Question, State, Told
from dbvad.detection.live.journal import Journal, Line, iso
from dbvad.scoring.events import Kind, Signal, Thresholds
from pipeline.engine.printable import printable
from pipeline.instruments.vlm import Request

LONG_S = 15.0  # an event that goes on is shown after so long, and not only when it is over (chosen here)
WITHIN_S = 20.0  # that an event is held back at most, by default
PATIENCE_S = 5.0  # for answers, after Ctrl-C
TEXT = 2000  # characters kept of each sentence
UNVERIFIED = "unverified"


class Review:
    """Every method is the watch's own thread's. Counts: suppressed, unverified (held back, and told without a verdict).

    `sampling`: temperature and seed of the answers.
    """

    def __init__(self, cameras: Cameras, explain: bool, verify: Verify, journal: Journal, explainer: Explainer, *,
                 within_s: float = WITHIN_S, sampling: dict[str, Any] | None = None) -> None:
        """`explain`, `verify`: of cameras that do not name their own."""
        self.journal, self.explainer, self.within_s, self.sampling = journal, explainer, within_s, sampling or {}
        self.verify = {camera.name: camera.verified(verify) for camera in cameras.cameras
                       if camera.explained(explain, verify)}
        self.suppressed = self.unverified = 0
        self._unasked: set[str] = set()  # events that were told of and not shown yet
        self._held: dict[str, float] = {}  # until when (monotonic)

    def album(self, camera: Camera, look_ahead: int = 0) -> Album | None:
        """For the pictures of a connection; None where nobody asks for them."""
        return Album(look_ahead) if camera.name in self.verify else None

    def tell(self, camera: Camera, signal: Signal, line: Line, album: Album, thresholds: Thresholds) -> None:
        """Log what happened to an event, and show it to the model when it is time."""
        event, policy = signal.event, self.verify[camera.name]
        if signal.kind is Kind.BEGIN:
            self._unasked.add(event.id)
            if policy == "suppress":
                line = self._hold(event.id, line)
        self.journal.add(**line)
        long = event.end_s - event.start_s >= LONG_S
        if event.id in self._unasked and (policy == "suppress" or long or signal.kind is Kind.END):
            self._unasked.discard(event.id)
            shots = album.key(*thresholds.rolled(event, float("inf")))
            words = prompt(camera.normal_here, verify=policy != "off")
            request = Request(tuple(shot.jpeg for shot in shots), words, max_tokens=MAX_TOKENS, **self.sampling)
            self.explainer.ask(Question(event.id, camera.name, tuple(shots), request, policy != "off"))

    def turn(self) -> None:
        """Tell what has been answered, and what has been held back for long enough."""
        for told in self.explainer.answers():
            self._hear(told)
        for id in [id for id, until in self._held.items() if time.monotonic() >= until]:
            self._release(id)

    def stop(self, goes_on: Callable[[], bool]) -> None:
        """The watch has ended: wait for answers, after Ctrl-C (`goes_on` says no) PATIENCE_S at most, and tell the
        rest without."""
        end = time.monotonic() + PATIENCE_S
        while self.explainer.waiting and self.explainer.state is not State.DOWN and (
                goes_on() or time.monotonic() < end):
            self.turn()
            time.sleep(0.05)
        self.explainer.stop()
        self.turn()
        for id in list(self._held):
            self._release(id)

    def _hear(self, told: Told) -> None:
        question, answer = told.question, told.answer
        if answer is None:
            if question.id in self._held:
                self._release(question.id)
            return
        verdict = read_verdict(answer.text) if question.verify else None
        if question.id in self._held:
            if verdict is Verdict.REFUTED:
                del self._held[question.id]
                self.suppressed += 1
                self.journal.suppress(question.id)
            else:
                self._release(question.id, str(verdict))
        verified = {"verified": str(verdict)} if verdict else {}
        self.journal.add(kind="update", id=question.id, camera=question.camera, explanation=explanation(told),
                         **verified)

    def _hold(self, id: str, begin: Line) -> Line:
        """Withhold an event if there is hope of a verdict; else its `begin` says that there is none."""
        if self.explainer.state is not State.UP:
            self.unverified += 1
            return {**begin, "verified": UNVERIFIED}
        self._held[id] = time.monotonic() + self.within_s
        self.journal.hold(id)
        return begin

    def _release(self, id: str, verified: str = UNVERIFIED) -> None:
        del self._held[id]
        self.unverified += verified == UNVERIFIED
        self.journal.release(id, verified=verified)


def explanation(told: Told) -> dict[str, Any]:
    """An answer as a line of the log has it: the form, who gave it, and the frames that were shown."""
    question, answer = told.question, told.answer
    assert answer is not None
    form = asdict(read_form(answer.text, answer.finish_reason))
    return {**{key: value[:TEXT] if isinstance(value, str) else value for key, value in form.items()},
            "model": printable(told.model), "revision": printable(told.revision),
            "prompt_id": VERIFYING_ID if question.verify else PROMPT_ID, "latency_ms": round(answer.latency_ms),
            "frames": [{"frame": shot.index, "stream_s": round(shot.stream_s, 3), "wall": iso(shot.wall)}
                       for shot in question.shots]}
