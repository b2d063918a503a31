"""Parts of `make gpu-check`: the card's limits, CLIP's image tower, and the score stage, with weights drawn at random.

Each yields its figures as it has them, so that none is lost.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.gpu_common import Figures, bandwidth, jpeg, matrix_limit, pictures, timed

if TYPE_CHECKING:
    import numpy as np
    import torch

    from pipeline.instruments.clip import Clip

MODEL = "ViT-B-16-quickgelu"  # what the pipeline's default, ViT-B-16 with OpenAI's weights, is
BATCHES = (16, 64, 256, 1024)


def limits(device: str, side: int = 8192, copied: int = 4 << 30) -> Iterator[Figures]:
    """What the card can do at most: a large matrix product, a large copy, and numbers brought to it."""
    import torch

    found: Figures = {"bf16 matrix product, TFLOP/s": matrix_limit(device, side)}
    yield found
    found["copy on the card, TB/s read and written"] = bandwidth(device, copied) / 1e12
    there = torch.empty(copied // 16, dtype=torch.uint8, device=device)
    for kind in ("pinned", "pageable"):
        here = torch.empty(len(there), dtype=torch.uint8, pin_memory=kind == "pinned" and device == "cuda")
        found[f"copy to the card, {kind}, GB/s"] = len(there) / timed(partial(there.copy_, here), device) / 1e9
    yield found


def clip(device: str, model: str = MODEL, batches: Sequence[int] = BATCHES, side: int = 8192) -> Iterator[Figures]:
    """The image tower alone, eager: crops a second by batch size, and their share of the matrix limit."""
    import torch

    images = pictures(1, 448, 336)
    with tempfile.TemporaryDirectory() as folder:
        net = random_clip(folder, model, device)
        exact = random_clip(folder, model, "cpu", "fp32").encode_images(images)
    found: Figures = {"model": model, "least cosine to float32 on the CPU":
                      float((net.encode_images(images) * exact).sum(axis=-1).min())}
    yield found
    limit, cost = matrix_limit(device, side), operations(net)
    found |= {"GFLOP a crop": cost / 1e9, "matrix limit, TFLOP/s": limit}
    for batch in batches:
        rate = batch / timed(forward(net, batch), device)
        found |= {f"crops/s, batch {batch}": rate, f"of the limit, batch {batch}": rate * cost / 1e12 / limit}
        yield found
    torch.backends.mha.set_fastpath_enabled(False)
    rate = max(batches) / timed(forward(net, max(batches)), device)
    yield found | {f"crops/s, batch {max(batches)}, attention by scaled_dot_product": rate}


def compiled(device: str, model: str = MODEL, batch: int = 256, side: int = 8192) -> Iterator[Figures]:
    """The same by `torch.compile`: its seconds, and after how many crops they are won back."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        net = random_clip(folder, model, device)
    limit, cost = matrix_limit(device, side), operations(net)
    eager = timed(forward(net, batch), device) / batch
    net.net.visual = torch.compile(net.net.visual, dynamic=False)
    work = forward(net, batch)
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    found: Figures = {"seconds to compile": seconds, "crops/s, eager": 1 / eager}
    yield found
    fast = timed(work, device) / batch
    found |= {f"crops/s, batch {batch}": 1 / fast, "of the limit": cost / 1e12 / fast / limit,
              "times eager": eager / fast}
    if fast < eager:
        found["crops after which it pays"] = round(seconds / (eager - fast))
    yield found
    began = time.perf_counter()
    forward(net, batch // 2 + 3)()
    yield found | {"seconds for a second batch size": time.perf_counter() - began}


def score(device: str, model: str = MODEL, frames: int = 8192, videos: int = 8) -> Iterator[Figures]:
    """From stored JPEGs to features: what the processor does for it, what the card, both at once, and the stage."""
    import numpy as np
    import torch

    from pipeline.stages.score import _image

    with tempfile.TemporaryDirectory() as folder:
        net = random_clip(folder, model, device)
        jpegs = [jpeg(picture) for picture in pictures(8, 448, 336)]
        jpegs = (jpegs * -(-frames // len(jpegs)))[:frames]
        images = [_image(data, "").copy() for data in jpegs[:net.batch]]
        read = partial(_image, video_id="")
        found: Figures = {"frames": f"448x336, {sum(map(len, jpegs)) / len(jpegs) / 1e3:.0f} kB",
                          "threads": torch.get_num_threads()}
        alone = {"JPEG by Pillow": (read, jpegs[:frames // 4]),
                 "cut by Pillow": (partial(net.views.cut, crops=1), images)}
        for name, (work, items) in alone.items():
            found |= {f"frames/s, {name}, {place}": rate for place, rate in threads(work, items).items()}
            yield found
        levels = torch.from_numpy(np.stack(images)).to(device)
        with torch.inference_mode():
            found["frames/s, cut on the card"] = len(levels) / timed(lambda: net.views.cut_on_card(levels, 1), device)
        found["frames/s, network alone"] = net.batch / timed(forward(net, net.batch), device)
        yield found
        for name, crops in (("1 crop", 1), ("10 crops", 10)):
            some = jpegs[:frames // crops]
            step = net.batch // crops
            batches = [some[at:at + step] for at in range(0, len(some), step)]
            list(net.encode_batches(batches[:2], read, crops))
            used, began = time.process_time(), time.perf_counter()
            list(net.encode_batches(batches, read, crops))
            took = time.perf_counter() - began
            found |= {f"frames/s, JPEG to feature, {name}": len(some) / took,
                      f"cores busy, {name}": (time.process_time() - used) / took}
            yield found
        found["cosine of card-cut to Pillow-cut, least"] = nearness(net, images)
        for workers in (1, 4):
            found[f"frames/s, score stage, {workers} at a time"] = stage(
                Path(folder) / str(workers), net, jpegs, videos, workers)
            yield found


def nearness(net: "Clip", images: list["np.ndarray"]) -> float:
    """Features of pictures that the device has cut against those that Pillow has: the least cosine."""
    import numpy as np
    import torch

    views = net.views
    cut = torch.from_numpy(np.concatenate([views.cut(image, 1) for image in images])).permute(0, 3, 1, 2)
    there = torch.stack([torch.from_numpy(image) for image in images]).to(net.device)
    dtype = next(net.net.visual.parameters()).dtype
    with torch.inference_mode():
        one, other = (net._unit(net.net.encode_image(views.normal(levels.float().to(net.device), dtype)))
                      for levels in (cut, views.cut_on_card(there, 1)))
    return float((one * other).sum(-1).min())


def threads(work: Callable[[Any], object], items: Sequence[Any]) -> dict[str, float]:
    """Items a second in one thread, and in as many as torch has."""
    import torch

    found = {}
    for count in dict.fromkeys((1, torch.get_num_threads())):
        some = items if count > 1 else items[:max(1, len(items) // 4)]
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(work, some[:count]))
            began = time.perf_counter()
            list(pool.map(work, some))
            found[f"{count} thread{'s' * (count > 1)}"] = len(some) / (time.perf_counter() - began)
    return found


def stage(folder: Path, net: "Clip", jpegs: list[bytes], videos: int, workers: int) -> float:
    """Frames a second of the score stage, some videos at a time in threads that share the model."""
    from unittest.mock import patch

    import pyarrow as pa

    from pipeline.contracts import DECODE, SCORE
    from pipeline.engine.stage import Source
    from pipeline.engine.store import Store
    from pipeline.stages.score import ClipParams, Score, ScoreParams

    store, each = Store(str(folder)), len(jpegs) // videos
    facts = {"split": "test", "labels": []}
    sources = [Source(str(video), Path(str(video)), "0", facts=facts) for video in range(videos)]
    for source in sources:
        rows = [{"video_id": source.video_id, "frame_idx": 16 * place, "pts_s": 0.64 * place, "width": 448,
                 "height": 336, "jpeg": data, "times_s": [0.64 * place]} for place, data in enumerate(jpegs[:each])]
        table = pa.Table.from_pylist(rows, schema=DECODE.schema)
        store.publish(DECODE, source.video_id, [table], fingerprint="", basis={},
                      meta={"decoded_frames": 16 * each, "stride": 16})
    with patch.object(ClipParams, "load", lambda self: net), Score(ScoreParams(), {}, {}).open(print) as work, \
            ThreadPoolExecutor(workers) as pool:

        def one(source: Source) -> None:
            product = work(source, store)
            store.publish(SCORE, source.video_id, product.rows, fingerprint="", basis={}, meta=product.meta)

        began = time.perf_counter()
        list(pool.map(one, sources))
        return videos * each / (time.perf_counter() - began)


def random_clip(folder: str, model: str, device: str, precision: str = "bf16") -> "Clip":
    """A CLIP of open_clip's list with weights drawn from a seed, kept in `folder`."""
    import open_clip

    from pipeline.instruments import clip as instrument

    here = Path(folder) / model
    if not here.exists():
        here.mkdir()
        config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": {}}
        (here / instrument.CONFIG).write_text(json.dumps(config))
        instrument.initialise(here)
    return instrument.load(str(here), device=device, precision=precision)  # type: ignore[arg-type]


def forward(net: "Clip", batch: int) -> Callable[[], "torch.Tensor"]:
    """One pass of the image tower over random numbers."""
    import torch

    height, width = net.views.size
    weight = next(net.net.visual.parameters())
    pixels = torch.randn(batch, 3, height, width, device=weight.device, dtype=weight.dtype)

    def work() -> "torch.Tensor":
        with torch.inference_mode():
            return net.net.encode_image(pixels)

    return work


def operations(net: "Clip") -> float:
    """Floating-point operations of a crop: those of all matrix products."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose one operation is not counted, as some of attention are not
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            forward(net, 2)()
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    return counter.get_total_flops() / 2
