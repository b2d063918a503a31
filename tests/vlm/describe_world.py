"""A describe stage over videos whose decode and select shards are made up; a video's labels order the server's faults.

Also a program, to be killed: `python -m tests.vlm.describe_world FOLDER OPTIONS COUNT [MODEL]`.
"""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from rich.console import Console

from pipeline.contracts import DECODE, SELECT, Contract
from pipeline.engine.plan import State, make_plan
from pipeline.engine.runner import Outcome, carry_out
from pipeline.engine.stage import Note, Source, Stage, Worker
from pipeline.engine.store import Store
from pipeline.engine.todo import Options
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.stages.describe import Describe, DescribeParams
from tests.vlm.fakes import MODEL

PROMPT = "What happens?\nIt shows {labels}."


@dataclass
class MadeUp:
    """Stands for decode or select in the plan; its shards are there before the run."""

    name: str
    contract: Contract
    inputs: tuple[str, ...] = ()
    version: int = 1
    workers: int = 1
    concurrency: int = 1
    timeout_s: float = 30.0
    memory_mb: int = 4000

    def identity(self) -> dict[str, Any]:
        return {}

    def facts(self, source: Source) -> dict[str, Any]:
        return {}

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        raise AssertionError("not to be run")
        yield


def video(name: str, *labels: str, split: str = "train") -> Source:
    return Source(name, Path(name), name, facts={"split": split, "labels": list(labels)})


def picture(name: str, place: int) -> bytes:
    """A JPEG of coloured blocks; the last one of a video called corrupt is broken."""
    if name.startswith("corrupt") and place == 2:
        return b"\xff\xd8 no picture"
    blocks = np.random.default_rng([*name.encode(), place]).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(blocks).resize((84, 56)).save(jpeg, "JPEG")
    return jpeg.getvalue()


def frames(name: str, contract: Contract) -> pa.Table:
    """Three frames, of which the last two are key frames."""
    if contract is SELECT:
        rows = [{"rank": rank, "frame_idx": 32 - 16 * rank, "score": 1.0, "strategy": "kess"} for rank in range(2)]
    else:
        rows = [{"frame_idx": 16 * i, "pts_s": float(i), "times_s": [float(i)], "width": 8, "height": 8,
                 "jpeg": picture(name, i)} for i in range(3)]
    return pa.Table.from_pylist([{"video_id": name} | row for row in rows], schema=contract.schema)


def describe(folder: Path, options: VllmOptions, sources: Sequence[Source], concurrency: int = 8,
             model: str = MODEL) -> Outcome:
    """Run the stage; artifacts in `folder`."""
    prompt = folder / "prompt.txt"
    folder.mkdir(exist_ok=True)
    prompt.write_text(PROMPT)
    params = DescribeParams(engine="vllm", model=model, prompt=str(prompt), max_tokens=16, concurrency=concurrency,
                            vllm=options)
    stages: list[Stage] = [MadeUp("decode", DECODE), MadeUp("select", SELECT, ("decode",)),
              Describe(params, {"name": model}, folder / "servers")]
    store = Store(folder)
    for unit in make_plan(stages, sources, store).values():
        if unit.stage != "describe" and unit.state is not State.DONE:
            contract = SELECT if unit.stage == "select" else DECODE
            store.publish(contract, unit.video_id, frames(unit.video_id, contract), fingerprint=unit.fingerprint,
                          basis=unit.basis)
    return carry_out(stages, sources, store, Options(["describe"]), Console(file=io.StringIO()))


if __name__ == "__main__":
    describe(Path(sys.argv[1]), VllmOptions.model_validate_json(sys.argv[2]),
             [video(f"{i:02}.mp4", f"event {i:02}") for i in range(int(sys.argv[3]))], concurrency=2,
             model=(sys.argv[4:] or [MODEL])[0])
