"""What our engine and our describe stage cost against a bare concurrent client: requests and tokens a second on vLLM.

`python bench/describe.py` starts vLLM on a small Qwen2.5-VL with random weights; `--model` and `--base-url` name
another model, or a server that runs. Rounds of the three clients alternate, each over all videos, and medians are
compared. Requests and tokens are what the server itself counts (the stage asks for a flagged text once more). It caches
processed images, so a first round of each client is not counted. One JSON object at the end.
"""

import argparse
import asyncio
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openai
import psutil
import pyarrow as pa
from PIL import Image

from pipeline.contracts import DECODE, DESCRIBE, SELECT
from pipeline.engine.stage import Source, Worker
from pipeline.engine.store import Store
from pipeline.instruments.vlm import Request
from pipeline.instruments.vlm.client import conversation
from pipeline.instruments.vlm.managed import VllmServer
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.prompts import load
from pipeline.instruments.vlm.vllm_server import VllmEngine
from pipeline.stages.describe import Describe, DescribeParams

KEY = "DBVAD_BENCH_KEY"


@dataclass(frozen=True)
class Round:
    """One client's pass over all requests.

    `busy`: share of the server's processors (GPUs, else CPU cores) in use; `client_ms`: this process's CPU time a
    request.
    """

    requests_s: float
    tokens_s: float
    busy: float
    client_ms: float


def picture(seed: int, side: int) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(colours).resize((side, side)).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()


def through_engine(engine: VllmEngine, requests: list[Request], concurrency: int) -> None:
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(engine.describe, requests))


def fill(store: Store, requests: list[Request]) -> list[Source]:
    """Each request as a video with decode and select shards."""
    sources = []
    for i, request in enumerate(requests):
        name = f"{i:05}.mp4"
        decode = [{"video_id": name, "frame_idx": j, "pts_s": float(j), "times_s": [float(j)], "width": 0, "height": 0,
                   "jpeg": jpeg} for j, jpeg in enumerate(request.images)]
        select = [{"video_id": name, "rank": j, "frame_idx": j, "score": 0.0, "strategy": "uniform"}
                  for j in range(len(request.images))]
        for contract, rows in ((DECODE, decode), (SELECT, select)):
            store.publish(contract, name, pa.Table.from_pylist(rows, schema=contract.schema), fingerprint="", basis={})
        sources.append(Source(name, Path(name), name, facts={"split": "train", "labels": []}))
    return sources


def through_stage(worker: Worker, store: Store, sources: list[Source], concurrency: int) -> None:
    """As the pipeline does: key frames read from shards, texts checked, each video published at once."""
    def one(source: Source) -> None:
        store.publish(DESCRIBE, source.video_id, worker(source, store).rows, fingerprint="", basis={})

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, sources))


def bare(base_url: str, api_key: str, model: str, requests: list[Request], concurrency: int) -> None:
    """The same from a bare client: one event loop, a semaphore, no retries, no deadline."""
    async def all_of_them() -> None:
        client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0,
                                    http_client=openai.DefaultAsyncHttpxClient(trust_env=False))
        slots = asyncio.Semaphore(concurrency)

        async def one(request: Request) -> None:
            async with slots:
                await client.chat.completions.create(
                    model=model, messages=conversation(request), max_tokens=request.max_tokens,
                    temperature=request.temperature, seed=request.seed)

        async with client:
            await asyncio.gather(*map(one, requests))

    asyncio.run(all_of_them())


def served(base_url: str) -> tuple[float, float]:
    """(requests answered, tokens generated) since the server's start, by its own count."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    requests, tokens = (sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
                        for name in ("vllm:request_success_total", "vllm:generation_tokens_total"))
    return requests, tokens


@contextmanager
def busy_meter() -> Iterator[Callable[[], float]]:
    """Measures while it is open: mean use of the GPUs where there are any, else of the CPU by all but this process."""
    samples: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            listing = subprocess.run(["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
                                     capture_output=True, text=True).stdout.split()
            samples.append(statistics.mean(map(float, listing)) / 100)

    def cpu_s() -> float:
        times = psutil.cpu_times()
        mine = psutil.Process().cpu_times()
        return float(sum(times) - times.idle - times.iowait - mine.user - mine.system)

    if shutil.which("nvidia-smi"):
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield lambda: statistics.mean(samples) if samples else float("nan")
        finally:
            done.set()
            watcher.join()
    else:
        began, used = time.perf_counter(), cpu_s()
        yield lambda: (cpu_s() - used) / (time.perf_counter() - began) / (psutil.cpu_count() or 1)


@contextmanager
def server(given: argparse.Namespace, model: str, logs: Path) -> Iterator[tuple[str, str]]:
    """Address and key of the server that both clients ask."""
    if given.base_url:
        yield given.base_url, "none"
        return
    options = VllmOptions(max_model_len=None if given.model else 2048, max_num_seqs=max(16, given.concurrency))
    with VllmServer(model, options=options, logs=logs, progress=lambda told: print(told, file=sys.stderr)) as started:
        yield started.base_url, started.api_key


def timed(work: Callable[[], None], base_url: str) -> Round:
    requests, tokens = served(base_url)
    with busy_meter() as busy:
        began, began_cpu = time.perf_counter(), time.process_time()
        work()
        seconds, cpu_s, used = time.perf_counter() - began, time.process_time() - began_cpu, busy()
    requests_after, tokens_after = served(base_url)
    count = requests_after - requests
    return Round(count / seconds, (tokens_after - tokens) / seconds, used, 1000 * cpu_s / count)


def median(rounds: list[Round]) -> Round:
    return Round(*(statistics.median(column) for column in
                   zip(*(asdict(one).values() for one in rounds), strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: a small one with random weights")
    parser.add_argument("--base-url", help="a server that runs (it must need no key)")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int, default=112, help="pixels of an image's side")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    requests = [Request(tuple(picture(given.images * i + j, given.side) for j in range(given.images)),
                        load("neutral-v1").text, max_tokens=given.max_tokens) for i in range(given.requests)]
    with tempfile.TemporaryDirectory() as folder:
        model = given.model
        if model is None:
            from dbvad.demo.tiny_qwen import build_qwen

            model = str(build_qwen(Path(folder) / "qwen", [load("neutral-v1").text], spread=0.1))
        with server(given, model, Path(folder)) as (url, key), ExitStack() as stack:
            os.environ[KEY] = key
            options = VllmOptions(base_urls=(url,), api_key_env=KEY)
            engine = stack.enter_context(VllmEngine(model, options=options, in_flight=given.concurrency))
            stage = Describe(DescribeParams(engine="vllm", model=model, max_tokens=given.max_tokens,
                                            concurrency=given.concurrency, vllm=options), {"name": model}, Path(folder))
            worker = stack.enter_context(stage.open(print))
            sources = fill(store := Store(Path(folder) / "artifacts"), requests)
            clients: dict[str, Callable[[], None]] = {
                "bare": lambda: bare(url, key, model, requests, given.concurrency),
                "engine": lambda: through_engine(engine, requests, given.concurrency),
                "stage": lambda: through_stage(worker, store, sources, stage.concurrency)}
            rounds: dict[str, list[Round]] = {name: [] for name in clients}
            for number in range(given.rounds + 1):
                for name, work in clients.items():
                    result = timed(work, url)
                    if number:
                        rounds[name].append(result)
    medians = {name: median(results) for name, results in rounds.items()}
    ratios = {name: result.requests_s / medians["bare"].requests_s for name, result in medians.items()}
    print(f"{'client':8}{'requests/s':>12}{'tokens/s':>12}{'of bare':>9}{'server busy':>13}{'client ms':>11}"
          f"   (median of {given.rounds} rounds)")
    for name, result in medians.items():
        print(f"{name:8}{result.requests_s:12.1f}{result.tokens_s:12.1f}{ratios[name]:9.0%}{result.busy:13.0%}{result.client_ms:11.1f}")
    print(json.dumps({"settings": vars(given), "of_bare": ratios, "rounds": {
        name: [asdict(one) for one in results] for name, results in rounds.items()}}))


if __name__ == "__main__":
    main()
