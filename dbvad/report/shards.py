"""The shards of one video, read once; what is missing or torn is left empty and can say so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dbvad.report.inputs import Video, read_rows
from pipeline.contracts import STAGES
from pipeline.engine.store import Footer, Store
from pipeline.manifest import Entry, holds, set_aside

TRAINING_ONLY = ("select", "describe", "embed")
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

    Never raises for a shard that is missing, broken or of another making.
    """
    # The rest is empty by design.
    made = [stage for stage in STAGES if entry and (entry.split == "train" or stage not in TRAINING_ONLY)]
    footers = {stage: footer for stage in made
               if entry and (footer := store.footer(stage, entry.video_id)) and holds(entry, stage, footer)
               and not set_aside(store, entry, stage)}
    paths = {stage: store.path(stage, footer.video_id) for stage, footer in footers.items()}
    frame_idx, pts_s = _columns(paths.get("decode"), ["frame_idx", "pts_s"])
    first_frame, crop, relevance, novelty = _columns(paths.get("score"), ["frame_idx", "crop", "relevance", "novelty"])
    centre = crop == 0
    keys = sorted(_rows(paths.get("select"), KEY_COLUMNS), key=lambda row: row["rank"])
    described = _rows(paths.get("describe"), TEXT_COLUMNS)
    return Shards(footers, frame_idx, pts_s, first_frame[centre], relevance[centre], novelty[centre], tuple(keys),
                  described[0] if described else None)


def _rows(path: Path | None, names: list[str]) -> list[dict[str, Any]]:
    return read_rows(path, names) if path else []


def _columns(path: Path | None, names: list[str]) -> list[np.ndarray]:
    if path is None:
        return [np.zeros(0) for _ in names]
    try:
        table = pq.ParquetFile(path).read(columns=names)
        return [table[name].to_numpy() for name in names]
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return [np.zeros(0) for _ in names]
