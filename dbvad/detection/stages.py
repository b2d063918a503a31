"""The stages `detect` (a score a snippet) and `events` (what happened from when to when), for the engine.

Other thresholds or other words redo `events` alone, which reads what `detect` has written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dbvad.detection.contracts import DETECT, EVENTS
from dbvad.detection.suggestions import Vocabulary, words_of
from dbvad.scoring.events import Event, Snippet, Suggestion, Thresholds, find_events
from dbvad.scoring.protocol import Protocol
from dbvad.scoring.windows import Windows
from pipeline.contracts import embeddings, frame_times
from pipeline.engine.stage import BadVideo, Note, Product, Source, Worker
from pipeline.engine.store import Store
from pipeline.stages.models import ModelIdentity
from pipeline.stages.score import ScoreParams

if TYPE_CHECKING:
    from dbvad.detection.model import Loaded

LIVE_TIMES = 24  # as long at most: the network runs once a snippet
AGAIN = "delete the shards of this video and run the same command again"


class Detect:
    """Features of the video's snippets -> their scores, by the trained network."""

    name, version, contract, workers, concurrency = "detect", 1, DETECT, 1, 1
    inputs: tuple[str, ...] = ("decode", "score")
    timeout_s: float = 3600
    memory_mb: int = 16_000

    def __init__(self, loaded: "Loaded", protocol: Protocol, device: str = "auto") -> None:
        """Raises LookAheadError."""
        if protocol.look_ahead is not None:
            Windows(loaded.network.length, protocol.look_ahead)
            self.timeout_s *= LIVE_TIMES
        self.path, self.form, self.fingerprint, self.device = loaded.path, loaded.form, loaded.fingerprint, device
        self.protocol, self.labels = protocol, loaded.labels
        self.crops: int = loaded.facts.recipe["score"]["crops"]

    def identity(self) -> dict[str, Any]:
        """Weights, their form, and the protocol."""
        return {"model": self.fingerprint, "form": self.form, "labels": list(self.labels),
                **self.protocol.scoring}

    def facts(self, source: Source) -> dict[str, Any]:
        """The features alone matter."""
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Load the network."""
        from dbvad.data.features import FeatureError, read_features
        from dbvad.detection.model import load
        from dbvad.scoring.scores import score_by, snippet_edges

        network = load(self.path, form=self.form, device=self.device).network

        def work(source: Source, store: Store) -> Product:
            footer = store.footer("score", source.video_id)
            assert footer is not None
            try:
                features, starts = read_features(store, source.video_id, self.crops)
                edges = snippet_edges(starts, footer.meta["n_frames"])
            except (FeatureError, ValueError) as error:
                raise BadVideo("features", str(error), AGAIN) from error
            columns = score_by(network, features, self.protocol)
            return Product(self._table(source.video_id, edges, _seconds(store, source.video_id, edges), columns),
                           {**self.protocol.scoring, "classes": list(self.labels)})

        yield work

    def _table(self, video_id: str, edges: np.ndarray, seconds: np.ndarray, columns: np.ndarray) -> pa.Table:
        count, shares = len(columns), columns[:, 1:]
        if self.labels:
            best = shares[:, 1:].argmax(axis=1)  # without the normal one
            label = [self.labels[place] for place in best]
            likeness = Vocabulary.in_shares(shares)[np.arange(count), best]
        else:
            label, likeness = [""] * count, np.zeros(count)
        return pa.table({
            "video_id": [video_id] * count, "start_frame": edges[:-1], "end_frame": edges[1:],
            "start_s": seconds[:-1], "end_s": seconds[1:], "score": columns[:, 0].astype(np.float32), "label": label,
            "likeness": likeness.astype(np.float32), "shares": [row.astype(np.float32) for row in shares],
        }, schema=DETECT.schema)


class Events:
    """Scores -> events. `words`: of the user's own, for CLIP to compare what an event shows with; never a trigger."""

    name, version, contract, workers, concurrency = "events", 1, EVENTS, 1, 1
    timeout_s: float = 600
    memory_mb: int = 16_000

    def __init__(self, loaded: "Loaded", thresholds: Thresholds, words: Sequence[str], clip: ScoreParams,
                 clip_identity: ModelIdentity) -> None:
        self.model, self.thresholds, self.labels = loaded.fingerprint, thresholds, loaded.labels
        self.words, self.clip, self.clip_identity = tuple(words), clip, clip_identity
        self.inputs: tuple[str, ...] = ("detect", "score") if words else ("detect",)

    def identity(self) -> dict[str, Any]:
        """The rule, and the words with what they are put into vectors by."""
        words = {"words": list(self.words), "templates": list(self.clip.templates), "clip": self.clip_identity}
        return {"model": self.model, **self.thresholds.rule} | (words if self.words else {})

    def facts(self, source: Source) -> dict[str, Any]:
        """The scores alone matter."""
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Needs CLIP's text tower where there are words, else nothing."""
        words = Vocabulary(self.labels)
        if self.words:
            words = words_of(self.clip.load(), self.words, self.clip.templates)

        def work(source: Source, store: Store) -> Product:
            rows = store.read("detect", source.video_id)
            likeness = (words.in_features(_features(store, source.video_id, len(rows))) if self.words else
                        words.in_shares(np.array(rows["shares"].to_pylist())))
            events = find_events(source.video_id, snippets(rows, likeness), self.thresholds, self.model, words.names)
            by = "words" if self.words else "model" if self.labels else ""
            return Product(_event_rows(events, by))

        yield work


def snippets(rows: pa.Table, likeness: np.ndarray | None = None) -> list[Snippet]:
    """A `detect` table as what events are made of. `likeness`: of each snippet to the words of suggestions (T, W)."""
    columns = ("start_s", "end_s", "start_frame", "end_frame", "score")
    alike = [()] * len(rows) if likeness is None else map(tuple, likeness.tolist())
    return [Snippet(*row) for row in zip(*(rows[name].to_pylist() for name in columns), alike, strict=True)]


def read_events(store: Store, video_id: str) -> list[Event]:
    """The events of a video, from its shard. Raises MissingShard."""
    return [Event(row["event_id"], row["video_id"], row["start_s"], row["end_s"], row["start_frame"], row["end_frame"],
                  row["peak"], row["peak_s"], row["mean"], row["fingerprint"],
                  tuple(map(Suggestion, row["suggested"], row["likeness"])))
            for row in store.read("events", video_id).to_pylist()]


def _event_rows(events: Sequence[Event], by: str) -> pa.Table:
    return pa.Table.from_pylist([
        {"video_id": event.video, "event_id": event.id, "start_s": event.start_s, "end_s": event.end_s,
         "start_frame": event.start_frame, "end_frame": event.end_frame, "peak": event.peak, "peak_s": event.peak_s,
         "mean": event.mean, "suggested": [word.name for word in event.suggestions],
         "likeness": [word.likeness for word in event.suggestions], "suggested_by": by,
         "fingerprint": event.fingerprint} for event in events], schema=EVENTS.schema)


def _features(store: Store, video_id: str, count: int) -> np.ndarray:
    """Features of all `count` snippets of a video: (T, crops, D)."""
    rows = store.read("score", video_id, ["embedding"])
    return embeddings(rows["embedding"]).reshape(count, -1, rows["embedding"].type.list_size)


def _seconds(store: Store, video_id: str, edges: np.ndarray) -> np.ndarray:
    """When snippets begin, and when the last one ends, in seconds from the first frame: (T + 1,)."""
    times, footer = frame_times(store.read("decode", video_id, ["times_s"])), store.footer("decode", video_id)
    assert footer is not None
    return np.append(times[edges[:-1]], footer.meta["duration_s"])
