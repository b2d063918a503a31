"""The shards of one video, read once; what is missing or damaged is left empty and can say so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa

from dbvad.report.inputs import Video
from pipeline.contracts import STAGES
from pipeline.engine.files import Damaged
from pipeline.engine.shard import Footer
from pipeline.engine.store import Store
from pipeline.manifest import Entry, holds, set_aside

TRAINING_ONLY = ("select", "describe", "embed")
TIME_COLUMNS, SCORE_COLUMNS = ["frame_idx", "pts_s"], ["frame_idx", "crop", "relevance", "novelty"]
KEY_COLUMNS = ["rank", "frame_idx", "score", "strategy"]
TEXT_COLUMNS = ["text", "model", "revision", "prompt_id", "finish_reason", "flags"]


@dataclass(frozen=True)
class Shards:
    """`frame_idx`, `pts_s` (F,): the decoded frames. `first_frame`, `relevance`, `novelty` (T,): the snippets, crop 0.
    `keys`: key frames by rank; `described`: the description; `footers` by stage."""

    footers: Mapping[str, Footer]
    frame_idx: np.ndarray
    pts_s: np.ndarray
    first_frame: np.ndarray
    relevance: np.ndarray
    novelty: np.ndarray
    keys: tuple[Mapping[str, Any], ...]
    described: Mapping[str, Any] | None
    damaged: tuple[str, ...] = ()  # what is wrong, and the remedy

    @property
    def imported(self) -> bool:
        """Whether the features came from elsewhere: then there need be no frames, key frames or descriptions."""
        footer = self.footers.get("score")
        return footer is not None and footer.meta.get("feature_source", "open_clip") != "open_clip"

    @property
    def frames(self) -> int:
        """Frames in the video as decoded or as its features count them; 0 where neither knows."""
        facts = [self.footers[stage].meta for stage in ("decode", "score") if stage in self.footers]
        return next((int(count) for meta in facts for key in ("decoded_frames", "n_frames")
                     if (count := meta.get(key))), 0)

    def lacking(self, video: Video, *, pictures: bool, scored: bool) -> Iterator[str]:
        """A sentence for each part that is not there, and what to run."""
        yield from dict.fromkeys(self.damaged)
        only = f"--video {quote(video.video_id)}"
        if "ingest" not in self.footers:
            yield f"Length, rate and size of this video are not known: `dbvad pipeline run ingest {only}`."
        if not pictures and self.imported:
            yield "Its features were imported, so there are no frames to show."
        elif not pictures and "decode" not in self.footers:
            yield f"No frames of this video: `dbvad pipeline run decode {only}`."
        elif not pictures:
            yield ("The stored frames of this video cannot be read: `dbvad artifacts verify` tells which file is "
                   "broken.")
        if video.split != "train":
            if not scored:
                yield "No scores of this video: `dbvad evaluate RUN`, once it has features."
            return
        if not len(self.first_frame):
            yield f"No features of this video: `dbvad pipeline run score {only}`."
        if not self.keys and not self.imported:
            yield f"No key frames of this video: `dbvad pipeline run select {only}`."
        if not self.described and not self.imported:
            yield f"No description of this video: `dbvad pipeline run describe {only}`."


def read_shards(store: Store, entry: Entry | None) -> Shards:
    """Everything of a video but the pictures, as today's dataset has it (None: it has no such video).

    Never raises for a shard that is missing, damaged or of another making.
    """
    # The rest is empty by design.
    made = [stage for stage in STAGES if entry and (entry.split == "train" or stage not in TRAINING_ONLY)]
    footers: dict[str, Footer] = {}
    damaged: list[str] = []

    def read(stage: str, columns: list[str]) -> pa.Table | None:
        if entry is None or stage not in made:
            return None
        try:
            footer = store.whole_footer(stage, entry.video_id)
            if footer is None or not holds(entry, stage, footer) or set_aside(store, entry, stage):
                return None
            table = store.read(stage, entry.video_id, columns)
        except Damaged as error:
            damaged.append(f"{error}.")
            return None
        footers[stage] = footer
        return table

    frame_idx, pts_s = _arrays(read("decode", TIME_COLUMNS), TIME_COLUMNS)
    first_frame, crop, relevance, novelty = _arrays(read("score", SCORE_COLUMNS), SCORE_COLUMNS)
    centre = crop == 0
    keys, described = read("select", KEY_COLUMNS), read("describe", TEXT_COLUMNS)
    for stage in ("ingest", "embed"):
        read(stage, [])
    return Shards(footers, frame_idx, pts_s, first_frame[centre], relevance[centre], novelty[centre],
                  tuple(sorted(keys.to_pylist(), key=lambda row: row["rank"])) if keys else (),
                  described.to_pylist()[0] if described else None, tuple(damaged))


def _arrays(table: pa.Table | None, names: list[str]) -> list[np.ndarray]:
    return [np.zeros(0) if table is None else table[name].to_numpy() for name in names]
