"""The detector from Python: a video or a stream of frames in, events and scores out, as plain dataclasses.

    from dbvad import Detector

    detector = Detector.load("MODEL")
    for event in detector.detect("video.mp4").events:
        print(event.start_s, event.end_s, event.peak)
"""

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dbvad.detection import calibration
from dbvad.detection.calibration import Chosen
from dbvad.detection.model import ClipPlace, Form, Loaded, find_clip, load
from dbvad.detection.road import FACTS, recipe, stages
from dbvad.detection.snippets import Made, Maker
from dbvad.detection.stages import read_events, snippets
from dbvad.scoring.events import Event, Snippet, Thresholds
from dbvad.scoring.protocol import Protocol, Scale
from dbvad.scoring.scores import score_each
from dbvad.scoring.windows import Row, Windows
from pipeline.engine.config import parse
from pipeline.engine.hashing import HashCache
from pipeline.engine.stage import Source, Stage, Worker
from pipeline.engine.store import Store


@dataclass(frozen=True)
class Detection:
    """What a video shows: its events in order of time, and the score of each snippet."""

    video: str
    events: tuple[Event, ...]
    scores: tuple[Snippet, ...]


class Detector:
    """A trained detector with the CLIP that it sees through. Made by `load`; CLIP is loaded with the first video."""

    def __init__(self, loaded: Loaded, clip: ClipPlace, chosen: Chosen, protocol: Protocol, words: Sequence[str],
                 device: str) -> None:
        self.loaded, self.protocol, self.thresholds, self.promise = loaded, protocol, chosen.thresholds, chosen.promise
        self._recipe, thresholds = recipe(loaded, clip, device), chosen.thresholds
        self._stages: list[Stage] = stages(loaded, clip, protocol=protocol, thresholds=thresholds, words=words,
                                           device=device)
        self._running = ExitStack()
        self._workers: list[Worker] = []
        self._maker: Maker | None = None

    @classmethod
    def load(cls, model: str | Path, *, clip: str | None = None, thresholds: Thresholds | None = None,
             scale: Scale = "windows", crop: int | None = None, smooth: float = 0.0, look_ahead: int | None = None,
             words: Sequence[str] = (), form: Form = "torch", device: str = "auto") -> Self:
        """A run of `dbvad train`, or a bundle of `dbvad export`.

        `clip`: where the CLIP of the training lies, if it is a local one that is not found. `words`: to suggest for
        events. `form`: "onnx" for the ONNX form of a bundle. `look_ahead`: for streams, how many snippets after the one
        that is judged are seen; `detect` then gives what a camera would have been given with the same footage. The rest
        as `dbvad detect` has it: without `thresholds` those that the model is calibrated to under this protocol
        (`promise` says what they keep to), else the defaults (`promise` is None). Raises ModelError, CheckpointError,
        ConfigError, Damaged, LookAheadError.
        """
        protocol = parse(Protocol, {"scale": scale, "crop": crop, "smooth": smooth, "look_ahead": look_ahead},
                         "Detector.load")
        loaded = load(Path(model), form=form, device=device)
        chosen = (Chosen.given(thresholds) if thresholds is not None else
                  calibration.choose(loaded.path, loaded.fingerprint, protocol, Thresholds()))
        with tempfile.TemporaryDirectory(prefix="dbvad-") as folder:
            place = find_clip(loaded, clip, HashCache(Path(folder) / "hashes.json"), crop)
        return cls(loaded, place, chosen, protocol, words, device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The kinds of anomaly that the model was trained on, in words."""
        return self.loaded.labels

    def detect(self, video: str | Path) -> Detection:
        """Events and scores of a video file, by the stages that `dbvad detect` runs, in this process.

        Its frames lie in a temporary folder meanwhile. Raises BadVideo, with kind, reason and remedy.
        """
        path = Path(video)
        if not self._workers:
            self._workers = [self._running.enter_context(stage.open(lambda note: None)) for stage in self._stages]
        size = path.stat().st_size if path.is_file() else 0
        source = Source(path.name, path, os.fspath(path), size, FACTS)
        with tempfile.TemporaryDirectory(prefix="dbvad-") as folder:
            store = Store(folder)
            for stage, worker in zip(self._stages, self._workers, strict=True):
                product = worker(source, store)
                # `basis` would be read by a later run, and there is none.
                store.publish(stage.contract, source.video_id, product.rows, fingerprint=stage.name, basis={},
                              meta=product.meta)
            return Detection(source.video_id, tuple(read_events(store, source.video_id)),
                             tuple(snippets(store.read("detect", source.video_id))))

    def stream(self, frames: Iterable[tuple[float, np.ndarray]]) -> Iterator[Snippet]:
        """The score of each snippet of a stream, told when the next one begins, or `look_ahead` snippets later.

        `frames`: seconds and pictures (H, W, 3) uint8 RGB, all that the camera gives, in order. Scores are those of
        `dbvad watch` (dbvad.scoring.windows), so they differ from those of a `detect` without `look_ahead`, which also
        sees what follows. Feed them to a `Tracker` for events. Raises ClipError.
        """
        self._maker = self._maker or Maker(*self._recipe)
        network, waiting = self.loaded.network, deque[Made]()
        windows = Windows(network.length, self.protocol.look_ahead or 0)
        crop = slice(None) if self.protocol.crop is None else [self.protocol.crop]
        for made in self._maker.snippets(frames):
            waiting.append(made)
            due, _ = windows.take(score_each(network, [windows.add(made.feature[crop])])[0])
            if due:
                yield _scored(waiting.popleft(), due)
        for due in windows.end()[0]:
            yield _scored(waiting.popleft(), due)


def _scored(made: Made, due: Row) -> Snippet:
    return Snippet(made.start_s, made.end_s, made.start_frame, made.end_frame, float(due[1][0]))
