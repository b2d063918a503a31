"""Artifacts and a run made by hand: what the report shows of them is known."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.contracts import DECODE, DESCRIBE, INGEST, SCORE, SELECT, Contract, embedding_array
from pipeline.engine.files import write_record
from pipeline.engine.sealed import seal
from pipeline.engine.store import Store
from pipeline.kess import event_score, select
from tests.manifests import write_manifest

STRIDE, FPS = 8, 10.0


@dataclass(frozen=True)
class Planted:
    """One video of `frames` frames. `event`: its first frame and the one behind its last; None for a normal video."""

    video_id: str
    split: str
    label: str = ""
    event: tuple[int, int] | None = None
    frames: int = 100
    text: str = "A man runs."


VIDEOS = (
    Planted("test/fight/a.mp4", "test", "fight", (24, 56)),
    Planted("test/fight/b.mp4", "test", "fight", (40, 80)),
    Planted("test/normal/c.mp4", "test"),
    Planted("train/fight/d.mp4", "train", "fight", (48, 64), text="Two men fight <b>hard</b>. </script>"),
    Planted("train/normal/e.mp4", "train"),
)


def picture(value: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A grey JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, "JPEG")
    return buffer.getvalue()


def publish(root: Path, videos: Sequence[Planted] = VIDEOS) -> Store:
    """Shards of all stages but embed. Relevance is 1 inside the event and 0 outside."""
    store = Store(root)
    for video in videos:
        frame_idx = np.arange(0, video.frames, STRIDE)
        inside = _inside(video, frame_idx)
        put(store, INGEST, video.video_id, [{
            "path": video.video_id, "split": video.split, "labels": [video.label] if video.label else [],
            "source_hash": "h", "size": 1, "duration_s": video.frames / FPS, "fps": FPS, "n_frames": video.frames,
            "width": 64, "height": 48, "codec": "h264"}])
        put(store, DECODE, video.video_id, [
            {"frame_idx": int(k), "pts_s": k / FPS, "width": 64, "height": 48, "jpeg": picture(int(k) % 256),
             "times_s": (np.arange(k, min(k + STRIDE, video.frames)) / FPS).tolist()} for k in frame_idx],
            {"stride": STRIDE}, {"decoded_frames": video.frames, "decoder": "decord"})
        table = pa.Table.from_arrays([
            pa.array([video.video_id] * len(frame_idx)), pa.array(frame_idx),
            pa.array(np.zeros(len(frame_idx), np.int8)), embedding_array(np.ones((len(frame_idx), 4))),
            pa.array(inside.astype(np.float32)), pa.array(np.zeros(len(frame_idx), np.float32)),
        ], names=SCORE.schema.names)
        store.publish(SCORE, video.video_id, table, fingerprint="f", basis={"params": {"crops": 1}},
                      meta={"n_frames": video.frames, "model": "planted"})
        score = event_score(inside, np.zeros(len(inside)))
        strategy = "kess" if video.label else "uniform"
        chosen = select(score, frame_idx / FPS, 4, strategy) if video.split == "train" else []
        put(store, SELECT, video.video_id, [
            {"rank": rank, "frame_idx": int(frame_idx[k]), "score": float(score[k]), "strategy": strategy}
            for rank, k in enumerate(chosen)], {"frames": 4, "min_gap_s": 0.5, "stand_out": 0.3})
        put(store, DESCRIBE, video.video_id, [{
            "text": video.text, "model": "small-vlm", "revision": "", "prompt_id": "neutral-v1",
            "finish_reason": "stop", "prompt_tokens": 1, "output_tokens": 1, "latency_ms": 1.0, "flags": [],
        }] if video.split == "train" else [])
    write_manifest(root)
    return store


def put(store: Store, contract: Contract, video_id: str, rows: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any] | None = None, meta: dict[str, Any] | None = None) -> None:
    """One shard."""
    table = pa.Table.from_pylist([{"video_id": video_id, **row} for row in rows], schema=contract.schema)
    store.publish(contract, video_id, table, fingerprint="f", basis={"params": dict(params or {})}, meta=meta)


def annotate(path: Path, videos: Sequence[Planted] = VIDEOS) -> Path:
    """The truth in UCF-Crime's format, ends inclusive."""
    path.write_text("".join(f"{video.video_id} {video.label or 'Normal'} "
                            + (f"{video.event[0]} {video.event[1] - 1}\n" if video.event else "-1 -1\n")
                            for video in videos))
    return path


def evaluated(run: Path, annotations: Path | None, videos: Sequence[Planted] = VIDEOS, **changes: Any) -> Path:
    """A run folder: a.mp4 is scored without fault, every other test video at random, in snippets of STRIDE frames."""
    run.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    parts = []
    for video in videos:
        if video.split == "test":
            start = np.arange(0, video.frames, STRIDE)
            score = _inside(video, start) * 0.9 if video.video_id.endswith("a.mp4") else rng.random(len(start))
            parts.append(pa.table({"video_id": [video.video_id] * len(start), "start": start,
                                   "end": np.append(start[1:], video.frames), "score": score.astype(np.float32)}))
    pq.write_table(pa.concat_tables(parts), run / "scores.parquet")
    seal(run / "scores.parquet")
    result: dict[str, Any] = {
        "metrics": {"video_auc": 0.75, "auc": 0.9123, "ap": 0.5, "ano_auc": 0.8, "macro_auc": None},
        "intervals": {"auc": [0.85, 0.95], "ap": [0.4, 0.6], "ano_auc": [None, None]},
        "annotations": {"path": str(annotations), "format": "auto", "ends": "inclusive"} if annotations else None,
        "protocol": {"scale": "bins", "ends": "inclusive"}, "localization": None,
        "provenance": {"seed": 3, "config": {"lr": 0.0001}, "versions": {"torch": "2.14.1"}},
    }
    write_record(run / "result.json", result | changes)
    return run


def _inside(video: Planted, frames: np.ndarray) -> np.ndarray:
    return np.array([bool(video.event) and video.event[0] <= k < video.event[1] for k in frames], dtype=float)
