"""One CLIP and one network for all cameras: what they sampled goes through both together."""

import io
from collections import deque
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dbvad.detection.live.reader import Shot
from dbvad.detection.suggestions import Vocabulary
from dbvad.scoring.scores import Network, score_each
from dbvad.scoring.windows import Row, Windows
from pipeline.instruments.clip import Clip


@dataclass(frozen=True)
class Moment:
    """A snippet's first frame and times. `arrived`: of its last frame (monotonic). `cosines`: with the user's words."""

    place: int
    frame: int
    stream_s: float
    wall: float
    arrived: float
    cosines: tuple[float, ...] = ()


@dataclass(frozen=True)
class Score:
    """The score of a snippet; `final`: no longer recording changes it. `likeness`: to the words of the vocabulary."""

    moment: Moment
    score: float
    final: bool
    likeness: tuple[float, ...] = ()


class Recording:
    """What was seen over one connection; a new connection is a new recording, as a gap has no snippets."""

    def __init__(self, length: int, look_ahead: int) -> None:
        self.windows = Windows(length, look_ahead)
        self.moments: deque[Moment] = deque(maxlen=length + 1)  # one that just left is still told of
        self.parts: list[np.ndarray] = []  # features of frames whose snippet is not whole yet
        self.first: Shot | None = None

    def moment(self, place: int) -> Moment:
        return self.moments[place - self.moments[0].place]


class Scorer:
    """`crops`, `per`: crops a frame and frames a snippet, as the model's features were made (ScoreParams).

    `vocabulary`: what snippets are likened to.
    """

    def __init__(self, clip: Clip, network: Network, *, crops: int = 1, per: int = 1, look_ahead: int = 0,
                 vocabulary: Vocabulary = Vocabulary()) -> None:
        self.clip, self.network, self.vocabulary = clip, network, vocabulary
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
        scored = score_each(self.network, [window for *_, window in whole])
        for (k, recording, _), scores in zip(whole, scored, strict=True):
            answers[k] = self._take(recording, scores)
        return answers

    def end(self, recording: Recording) -> list[Score]:
        """A recording is over: the rest of its scores."""
        said: list[Score] = []
        if recording.parts and recording.first:
            window = self._snippet(recording, recording.first.arrived)
            said = self._take(recording, score_each(self.network, [window])[0])
        return said + self._said(recording, *recording.windows.end())

    def _snippet(self, recording: Recording, arrived: float) -> np.ndarray:
        """The window that ends with the snippet of `parts`; its feature as a score shard keeps it."""
        mean, first = np.sum(recording.parts, axis=0), recording.first
        assert first is not None
        feature = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float16)
        words = self.vocabulary
        cosines = () if words.vectors is None else tuple(words.in_features(feature).tolist())
        recording.moments.append(Moment(recording.windows.total, first.index, first.stream_s, first.wall, arrived,
                                        cosines))
        recording.parts, recording.first = [], None
        return recording.windows.add(feature)

    def _take(self, recording: Recording, scores: np.ndarray) -> list[Score]:
        due, finals = recording.windows.take(scores)
        return self._said(recording, [due] if due else [], finals)

    def _said(self, recording: Recording, due: list[Row], finals: list[Row]) -> list[Score]:
        words, found = self.vocabulary, []
        for final, rows in ((False, due), (True, finals)):
            for place, row in rows:
                moment = recording.moment(place)
                alike = words.in_shares(row[1:]) if words.names and words.vectors is None else moment.cosines
                found.append(Score(moment, float(row[0]), final, tuple(map(float, alike))))
        return found
