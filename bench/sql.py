"""What `dbvad sql` costs over many small shards, and over the few files of `dbvad artifacts compact`.

`python bench/sql.py [--videos 20000]`: makes the shards of that many short videos (a row of ingest, 8 of decode and
score, one of the others), and asks the command itself the same questions before and after. The answers must be equal.
CPU seconds and the most memory of its process. One JSON object at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.contracts import STAGES, embedding_array
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Manifest, write

FRAMES, WIDTH = 8, 512
QUESTIONS = {
    "videos by split": "select split, count(*), sum(n_frames) from ingest group by 1 order by 1",
    "texts": "select count(*), min(video_id) from described where text ilike '%number 77%'",
    "scores": "select round(avg(relevance), 6), max(frame_idx) from score",
    "vectors": "select count(*) from embed where embedding[1] > 0.05",
}


def tables(video_id: str, number: int, vectors: np.ndarray) -> dict[str, pa.Table]:
    """What the six stages made of a short video."""
    frames = [16 * frame for frame in range(FRAMES)]
    rolled = np.roll(vectors, number, axis=1)
    told: dict[str, dict[str, Any]] = {
        "ingest": {"path": [video_id], "split": ["test" if number % 5 == 0 else "train"], "labels": [["fight"]],
                   "source_hash": ["h"], "size": [number], "duration_s": [5.0], "fps": [25.0], "n_frames": [128],
                   "width": [320], "height": [240], "codec": ["h264"]},
        "decode": {"frame_idx": frames, "pts_s": [float(frame) for frame in frames],
                   "times_s": [[float(frame)] for frame in frames], "width": [320] * FRAMES,
                   "height": [240] * FRAMES, "jpeg": [b"picture"] * FRAMES},
        "score": {"frame_idx": frames, "crop": [0] * FRAMES, "embedding": embedding_array(rolled),
                  "relevance": [number % 7 / 7] * FRAMES, "novelty": [0.5] * FRAMES},
        "select": {"rank": [0], "frame_idx": [16], "score": [0.5], "strategy": ["kess"]},
        "describe": {"text": [f"Two men fight in film number {number} at night."], "model": ["m"], "revision": ["r"],
                     "prompt_id": ["neutral-v1"], "finish_reason": ["stop"], "prompt_tokens": [9],
                     "output_tokens": [9], "latency_ms": [1.5], "flags": [[]]},
        "embed": {"embedding": embedding_array(rolled[:1]), "n_sentences": [1]},
    }
    made = {}
    for stage, columns in told.items():
        rows = len(next(iter(columns.values())))
        schema = STAGES[stage].schema
        made[stage] = pa.table({"video_id": [video_id] * rows} | {
            name: value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
            for name, value in columns.items()})
    return made


def make(artifacts: Path, videos: int) -> None:
    """Shards and the list of videos, as a finished run leaves them."""
    store, entries = Store(artifacts), []
    vectors = np.random.default_rng(0).standard_normal((FRAMES, WIDTH))
    for number in range(videos):
        video_id = f"train/Class{number % 14:02}/{number // 14_000:03}/{number:07}.mp4"
        for stage, table in tables(video_id, number, vectors).items():
            store.publish(STAGES[stage], video_id, table, fingerprint="f" * 32, basis={"stage": stage},
                          meta={"decoded_frames": 128, "duration_s": 5.0} if stage == "decode" else None)
        entries.append(Entry(video_id, "train", ("fight",), "h", number, "", dict.fromkeys(STAGES, "f" * 32)))
    write(artifacts, Manifest(tuple(entries)))


def command(*arguments: str) -> dict[str, Any]:
    """`dbvad ...` in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "dbvad", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return {"said": said, "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": round(usage.ru_maxrss / 1024)}


def measure(artifacts: Path) -> dict[str, Any]:
    def asked() -> dict[str, dict[str, Any]]:
        return {name: command("sql", text, "--json", "-a", str(artifacts)) for name, text in QUESTIONS.items()}

    shards = asked()
    time.sleep(4)  # until the shards have settled
    compacted = command("artifacts", "compact", "-a", str(artifacts))
    print(compacted["said"], file=sys.stderr)
    few = asked()
    for name in QUESTIONS:
        assert shards[name].pop("said") == few[name].pop("said"), name
    return {"shards": shards, "compacted": few, "compact": {name: compacted[name] for name in ("cpu_s", "peak_mb")}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the disk has room; a temporary folder in it is used")
    parser.add_argument("--artifacts", type=Path, help="such shards, which an earlier measurement kept here; else made")
    given = parser.parse_args()
    os.fsync = lambda file: None  # type: ignore[assignment]  # of what is made here nothing need outlive a power cut
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        artifacts = given.artifacts or Path(name)
        if not (artifacts / "manifest.parquet").exists():
            make(artifacts, given.videos)
        found = measure(artifacts)
    print(f"{given.videos} videos{'':17}{'CPU s':>8}{'peak MB':>9}{'compacted':>11}{'peak MB':>9}{'ratio':>7}")
    for question, before in found["shards"].items():
        after = found["compacted"][question]
        print(f"{question:<30}{before['cpu_s']:>8.2f}{before['peak_mb']:>9}{after['cpu_s']:>11.2f}"
              f"{after['peak_mb']:>9}{after['cpu_s'] / before['cpu_s']:>7.2f}")
    print(f"compact: {found['compact']}")
    print(json.dumps({"settings": {"videos": given.videos}, "found": found}))


if __name__ == "__main__":
    main()
