"""explain: what a vision-language model sees in an event, as a form, beside the frames that it was shown.

The frames are chosen by KESS on the detector's own scores. Nothing of this is read by any training: it stays in the
folder of the detection, and describes what a video shows, never what its label says.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dbvad.detection.contracts import EXPLAIN
from dbvad.detection.form import MAX_TOKENS, PROMPT_ID, prompt, read_form
from pipeline.engine.stage import BadVideo, Note, Product, Source, StageError, Worker
from pipeline.engine.store import Store
from pipeline.instruments.vlm import Engine, EngineError, Request, RequestError
from pipeline.kess import rescale, select
from pipeline.stages.models import name_of

if TYPE_CHECKING:
    from dbvad.scoring.events import Thresholds
    from pipeline.stages.describe import Describe

FRAMES = 6  # shown of an event, at most
MANY = 20  # times describe's deadline for one video: a recording may hold as many events and more
GAP_S, STAND_OUT = 0.5, 0.3  # KESS's, as in the select stage


def key_snippets(scores: np.ndarray, times: np.ndarray, count: int = FRAMES) -> np.ndarray:
    """Places of the snippets to show, in order of time: KESS on the scores (T,) at `times` (T,) in seconds."""
    return np.sort(select(rescale(scores), times, count, "kess", min_gap_s=GAP_S, stand_out=STAND_OUT))


class Explain:
    """Reads events, scores and frames; one form an event. `describe`: the stage whose engine writes it; `normal_here`:
    what is usual in these videos, in the user's own words."""

    name, version, contract, workers = "explain", 1, EXPLAIN, 1
    inputs: tuple[str, ...] = ("decode", "detect", "events")

    def __init__(self, describe: "Describe", thresholds: "Thresholds", normal_here: str = "") -> None:
        self.describe, self.thresholds, self.prompt = describe, thresholds, prompt(normal_here)
        self.concurrency, self.memory_mb = describe.concurrency, describe.memory_mb
        self.timeout_s = describe.timeout_s * MANY

    def identity(self) -> dict[str, Any]:
        """The engine's own, with another prompt."""
        own = {key: value for key, value in self.describe.identity().items() if key not in ("prompt", "max_tokens")}
        rolls = self.thresholds.model_dump(include={"pre_roll_s", "post_roll_s"})
        asked = {"id": PROMPT_ID, "text": self.prompt}
        return own | rolls | {"prompt": asked, "frames": FRAMES, "max_tokens": MAX_TOKENS}

    def facts(self, source: Source) -> dict[str, Any]:
        """What it shows alone matters."""
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """The engine starts with the first event: most recordings have none."""
        with ExitStack() as running:
            started: list[Engine] = []
            starting = Lock()

            def work(source: Source, store: Store) -> Product:
                events = store.read("events", source.video_id).to_pylist()
                try:
                    with starting:
                        if events and not started:
                            started.append(running.enter_context(self.describe.engine(note)))
                    rows = [self._explain(started[0], event, store) for event in events]
                except RequestError as error:
                    raise BadVideo(error.kind, error.reason, error.remedy) from error
                except EngineError as error:
                    raise StageError(str(error)) from error
                return Product(pa.Table.from_pylist(rows, schema=EXPLAIN.schema))

            yield work

    def _explain(self, engine: Engine, event: Mapping[str, Any], store: Store) -> dict[str, Any]:
        video_id: str = event["video_id"]
        rows = store.read("detect", video_id, ["start_frame", "start_s", "end_s", "score"])
        starts, ends = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
        inside = np.flatnonzero((ends > event["start_s"] - self.thresholds.pre_roll_s)
                                & (starts < event["end_s"] + self.thresholds.post_roll_s))
        chosen = inside[key_snippets(rows["score"].to_numpy()[inside], starts[inside])]
        frames = rows["start_frame"].to_numpy()[chosen]
        request = Request(_pictures(store, video_id, frames), self.prompt, max_tokens=MAX_TOKENS,
                          temperature=self.describe.params.temperature, seed=self.describe.params.seed)
        answer = engine.describe(request)
        form = read_form(answer.text, answer.finish_reason)
        return {"video_id": video_id, "event_id": event["event_id"], "frames": frames.tolist(),
                "times_s": starts[chosen].tolist(), **vars(form), "flags": list(form.flags), "text": answer.text,
                "model": name_of(engine.model), "revision": engine.revision, "prompt_id": PROMPT_ID,
                "latency_ms": answer.latency_ms}


def _pictures(store: Store, video_id: str, frames: np.ndarray) -> tuple[bytes, ...]:
    """JPEGs of the frames, in their order."""
    found: dict[int, bytes] = {}
    for table in store.batches("decode", video_id, 64, ["frame_idx", "jpeg"]):
        rows = table.filter(pc.is_in(table["frame_idx"], pa.array(frames)))
        found |= dict(zip(rows["frame_idx"].to_pylist(), rows["jpeg"].to_pylist(), strict=True))
    return tuple(found[int(frame)] for frame in frames)
