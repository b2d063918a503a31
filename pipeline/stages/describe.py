"""describe: one description a training video, written by a vision-language model from the key frames.

The engine is `transformers` (in this process) or `vllm` (an OpenAI-compatible server, managed or remote). An answer
that looks wrong is asked for once more; what is kept says so in its flags.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.contracts import DESCRIBE
from pipeline.engine.cluster import Needs, gpus_of
from pipeline.engine.stage import BadVideo, Note, Product, Source, StageError, Worker
from pipeline.engine.store import Store
from pipeline.instruments.vlm import Answer, Engine, EngineError, Request, RequestError
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.prompts import load as load_prompt
from pipeline.instruments.vlm.prompts import render
from pipeline.instruments.vlm.quality import check, finished
from pipeline.stages.models import ModelIdentity, name_of
from pipeline.stages.select import role

SAYS_NOTHING = {"empty", "refusing"}  # flags of an answer that holds no description
SECOND_TEMPERATURE, SECOND_SEED = 0.7, 1  # chosen here: another draw, the same at every run


class DescribeParams(Needs):
    """`prompt`: a packaged one by id, or a path to a text file. `concurrency`: requests in flight at a server."""

    engine: Literal["transformers", "vllm"] = "transformers"
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    prompt: str = "neutral-v1"
    max_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0
    max_pixels: int | None = Field(None, ge=3136, description="pixels a frame at most; the model's own budget if unset")
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    concurrency: int = Field(32, ge=1, le=512)
    timeout_s: float = Field(900, gt=0)
    memory_mb: int = Field(64_000, gt=0)
    gpus: float | None = Field(None, ge=0)
    vllm: VllmOptions = VllmOptions()

    def own_gpus(self) -> float:
        """None where servers elsewhere do the work; all of a server that is started here."""
        if self.engine == "vllm":
            return 0 if self.vllm.base_urls else self.vllm.tensor_parallel_size * self.vllm.data_parallel_size
        return gpus_of(self.device)


class Describe:
    """Reads the key frames' indices from select and their JPEGs from decode."""

    name, version, contract, workers = "describe", 1, DESCRIBE, 1
    inputs: tuple[str, ...] = ("decode", "select")

    def __init__(self, params: DescribeParams, model: ModelIdentity, logs: Path) -> None:
        """`logs`: where a managed server writes its log and leaves its process id."""
        self.params, self.model, self.logs = params, model, logs
        self.prompt = load_prompt(params.prompt)
        # More videos than requests in flight: reading and publishing then keep no place at the server empty.
        self.concurrency = params.concurrency + -(-params.concurrency // 4) if params.engine == "vllm" else 1
        self.timeout_s, self.memory_mb = params.timeout_s, params.memory_mb
        if params.engine == "vllm":  # bounded by itself; a deadline that strikes first would take the server along
            self.timeout_s = max(self.timeout_s, 2 * params.vllm.longest_s)

    def identity(self) -> dict[str, Any]:
        """Model, prompt and sampling; not where or how fast it is served."""
        sampling = {"engine", "max_tokens", "temperature", "seed", "max_pixels", "precision"}
        return self.params.model_dump(include=sampling) | {
            "model": self.model, "vllm": self.params.vllm.identity() if self.params.engine == "vllm" else None,
            "prompt": {"id": self.prompt.id, "text": self.prompt.text}}

    def facts(self, source: Source) -> dict[str, Any]:
        """Whether it is described at all; its labels only where the prompt names them."""
        kind = role(source)
        return {"role": kind} | ({"labels": self._labels(source)} if kind == "event" else {})

    def _labels(self, source: Source) -> list[str]:
        return list(source.facts["labels"]) if self.prompt.uses_labels else []

    @contextmanager
    def open(self, note: Note) -> Iterator[Worker]:
        """Start the engine."""
        try:
            with self.engine(note) as engine:
                yield lambda source, store: self._describe(engine, source, store)
        except EngineError as error:
            raise StageError(str(error)) from error

    def engine(self, note: Note) -> Engine:
        """The engine that the parameters name, not started yet."""
        return engine_of(self.params, self.logs, note)

    def _describe(self, engine: Engine, source: Source, store: Store) -> Product:
        if role(source) == "test":
            return Product(DESCRIBE.schema.empty_table(), {"skipped": "not a training video"})
        request = Request(key_frames(source.video_id, store), render(self.prompt, self._labels(source)),
                          max_tokens=self.params.max_tokens, temperature=self.params.temperature, seed=self.params.seed)
        try:
            answer, flags = _ask(engine, request)
        except RequestError as error:
            raise BadVideo(error.kind, error.reason, error.remedy) from error
        except EngineError as error:
            raise StageError(str(error)) from error
        row = {"video_id": source.video_id, "text": answer.text, "model": name_of(engine.model),
               "revision": engine.revision, "prompt_id": self.prompt.id, "finish_reason": answer.finish_reason,
               "prompt_tokens": answer.prompt_tokens, "output_tokens": answer.output_tokens,
               "latency_ms": answer.latency_ms, "flags": flags}
        return Product(pa.Table.from_pylist([row], schema=DESCRIBE.schema), {"frames": len(request.images)})


def engine_of(params: DescribeParams, logs: Path, note: Note) -> Engine:
    """The engine that the parameters name, not started yet. `logs`, `note`: as for Describe."""
    if params.engine == "vllm":
        from pipeline.instruments.vlm.vllm_server import VllmEngine

        return VllmEngine(params.model, params.revision, params.vllm, max_pixels=params.max_pixels,
                          in_flight=params.concurrency, logs=logs, progress=note)
    from pipeline.instruments.vlm.transformers_local import TransformersEngine

    return TransformersEngine(params.model, params.revision, device=params.device, precision=params.precision,
                              max_pixels=params.max_pixels)


def _ask(engine: Engine, request: Request) -> tuple[Answer, list[str]]:
    """The answer and what is wrong with it; a flagged one is asked for once more, and the better one kept.

    Better is one that speaks of the video at all, then a finished one, whatever else is wrong with it, then the one
    with fewer flags, then the first.
    """
    answer = engine.describe(request)
    flags = check(answer.text, answer.finish_reason)
    if not flags:
        return answer, []
    second = engine.describe(replace(request, temperature=SECOND_TEMPERATURE, seed=SECOND_SEED))
    second_flags = check(second.text, second.finish_reason)
    better, wrong = min((answer, flags), (second, second_flags),
                        key=lambda one: (bool(SAYS_NOTHING & {*one[1]}), not finished(one[0].finish_reason),
                                         len(one[1])))
    return better, [*wrong, "asked_twice"]


def key_frames(video_id: str, store: Store) -> tuple[bytes, ...]:
    """JPEGs of the selected frames, in the order of time. Raises BadVideo."""
    wanted = np.sort(store.read("select", video_id, ["frame_idx"])["frame_idx"].to_numpy())
    found: dict[int, bytes] = {}
    for table in store.batches("decode", video_id, 64, ["frame_idx", "jpeg"]):
        rows = table.filter(pc.is_in(table["frame_idx"], pa.array(wanted)))
        found |= dict(zip(rows["frame_idx"].to_pylist(), rows["jpeg"].to_pylist(), strict=True))
    missing = [int(index) for index in wanted if int(index) not in found]
    if missing or not found:
        raise BadVideo("no_frames", f"key frames {missing} are not in its decode shard" if missing else "no key frame",
                       f"redo it: dbvad pipeline run decode score select --video {quote(video_id)} --force")
    return tuple(found[int(index)] for index in wanted)
