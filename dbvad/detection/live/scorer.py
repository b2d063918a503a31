"""One CLIP and one network for all cameras: what they sampled goes through both together."""

import io
from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dbvad.detection.live.reader import Shot
from dbvad.detection.live.windows import Windows
from dbvad.scoring.scores import Network
from pipeline.instruments.clip import Clip


@dataclass(frozen=True)
class Moment:
    """A snippet's first frame and times. `arrived`: of its last frame (monotonic)."""

    place: int
    frame: int
    stream_s: float
    wall: float
    arrived: float


@dataclass(frozen=True)
class Score:
    """The score of a snippet; `final`: no longer recording changes it."""

    moment: Moment
    score: float
    final: bool


class Recording:
    """What was seen over one connection; a new connection is a new recording, as a gap has no snippets."""

    def __init__(self, length: int, look_ahead: int) -> None:
        self.windows = Windows(length, look_ahead)
        self.moments: deque[Moment] = deque(maxlen=length + 1)  # one that just left is still told of
        self.parts: list[np.ndarray] = []  # features of frames whose snippet is not whole yet
        self.first: Shot | None = None

    def _moment(self, place: int) -> Moment:
        return self.moments[place - self.moments[0].place]

    def said(self, due: list[tuple[int, float]], finals: list[tuple[int, float]]) -> list[Score]:
        return [Score(self._moment(place), score, False) for place, score in due] + [
            Score(self._moment(place), score, True) for place, score in finals]


class Scorer:
    """`crops`, `per`: crops a frame and frames a snippet, as the model's features were made (ScoreParams)."""

    def __init__(self, clip: Clip, network: Network, *, crops: int = 1, per: int = 1, look_ahead: int = 0) -> None:
        self.clip, self.network = clip, network
        self.crops, self.per, self.look_ahead = crops, per, look_ahead
        self.recording()  # raises LookAheadError for a look-ahead that cannot be

    def recording(self) -> Recording:
        return Recording(self.network.length, self.look_ahead)

    def score(self, batch: list[tuple[Recording, Shot]]) -> list[list[Score]]:
        """One frame of each of N recordings -> what can be said of each now, at once before final."""
        images = [np.asarray(Image.open(io.BytesIO(shot.jpeg)).convert("RGB")) for _, shot in batch]
        encoded = self.clip.encode_images(images, crops=self.crops)
        whole = []
        for k, (recording, shot) in enumerate(batch):
            recording.first = recording.first or shot
            recording.parts.append(encoded[k])
            if len(recording.parts) == self.per:
                whole.append((k, recording, self._snippet(recording, shot.arrived)))
        answers: list[list[Score]] = [[] for _ in batch]
        for (k, recording, _), scores in zip(whole, self._detect([window for *_, window in whole]), strict=True):
            due, finals = recording.windows.take(scores)
            answers[k] = recording.said([due] if due else [], finals)
        return answers

    def end(self, recording: Recording) -> list[Score]:
        """A recording is over: the rest of its scores."""
        said: list[Score] = []
        if recording.parts and recording.first:
            window = self._snippet(recording, recording.first.arrived)
            due, finals = recording.windows.take(self._detect([window])[0])
            said = recording.said([due] if due else [], finals)
        return said + recording.said(*recording.windows.end())

    def _snippet(self, recording: Recording, arrived: float) -> np.ndarray:
        """The window that ends with the snippet of `parts`; its feature as a score shard keeps it."""
        mean, first = np.sum(recording.parts, axis=0), recording.first
        assert first is not None
        feature = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float16)
        recording.moments.append(Moment(recording.windows.total, first.index, first.stream_s, first.wall, arrived))
        recording.parts, recording.first = [], None
        return recording.windows.add(feature)

    def _detect(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        """Windows (n, crops, D) -> scores (n,), crops averaged. Those of one length go through together."""
        alike: dict[int, list[int]] = defaultdict(list)
        for k, window in enumerate(windows):
            alike[len(window)].append(k)
        found: list[np.ndarray] = [np.zeros(0)] * len(windows)
        for length, places in alike.items():
            x = np.stack([windows[k] for k in places]).swapaxes(1, 2).reshape(len(places) * self.crops, length, -1)
            scores = self.network(x)[:, :, 0].reshape(len(places), self.crops, length).mean(axis=1)
            for k, row in zip(places, scores, strict=True):
                found[k] = row
        return found
