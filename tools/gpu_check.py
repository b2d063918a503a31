"""What this project does on a CUDA GPU, measured: `make gpu-check`, or `python tools/gpu_check.py [--help]`.

Describing through transformers and CLIP features, both in bfloat16, and the detector's training step against the
reference (bench/train.py). It needs no network and no environment of ours: any Python whose torch sees the GPU will do,
and a part whose packages are missing says which and is left out. Models of the true sizes have random weights; the
demo's small Qwen2.5-VL, which is trained, shows that texts in bfloat16 on the GPU are those in float32 on the CPU.
A table, then one JSON object, which `--json FILE` keeps as well. Exit code 1 without a GPU or if a part failed.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

Figures = dict[str, Any]
FRAMES = 8  # key frames a video
MAX_PIXELS = 200_704  # 448 x 448 a frame, as in examples/stages.h100.yaml
# Text and vision sizes of Qwen2.5-VL as its configurations have them.
SHAPES: dict[str, tuple[dict[str, Any], bool]] = {
    "3B": ({"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
            "num_key_value_heads": 2, "vocab_size": 151936}, True),
    "7B": ({"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "vocab_size": 152064}, False),
}
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
          "fullatt_block_indexes": [7, 15, 23, 31]}


def gpu() -> str:
    """The GPU's name and memory. Raises SystemExit, with the reason, where there is none."""
    try:
        import torch
    except ImportError:
        raise SystemExit("gpu-check: this Python has no torch: run `make setup`, or name one: "
                         "make gpu-check PYTHON=...") from None
    if not torch.cuda.is_available():
        raise SystemExit(f"gpu-check: torch {torch.__version__} finds no CUDA GPU here: nothing to measure. "
                         "Run it on a machine with one; if this is one, look at nvidia-smi")
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"


def pictures(count: int, width: int, height: int) -> list[bytes]:
    """JPEGs of `count` videos' frames in a row, FRAMES each, drawn from the demo's world."""
    from PIL import Image

    from dbvad.demo.world import MODEL_SEEDS, Renderer, tell

    found = []
    for seed in MODEL_SEEDS[-count:]:
        story = tell(seed)
        renderer = Renderer(story)
        for place in range(FRAMES):
            jpeg = io.BytesIO()
            frame = Image.fromarray(renderer.frame(place * story.n_frames // FRAMES))
            frame.resize((width, height)).save(jpeg, "JPEG", quality=90)
            found.append(jpeg.getvalue())
    return found


def requests(count: int, width: int, height: int, max_tokens: int) -> list[Any]:
    from pipeline.instruments.vlm import Request
    from pipeline.instruments.vlm.prompts import load

    frames = pictures(count, width, height)
    return [Request(tuple(frames[start:start + FRAMES]), load("neutral-v1").text, max_tokens=max_tokens)
            for start in range(0, len(frames), FRAMES)]


def texts(device: str, videos: int = 16) -> Figures:
    """The demo's trained model: are its texts in bfloat16 on the device those in float32 on the CPU?"""
    from dbvad.demo.build_models import MODELS
    from pipeline.instruments.vlm.transformers_local import TransformersEngine

    asked = requests(videos, 224, 168, 96)
    found: dict[str, list[str]] = {}
    began = time.perf_counter()
    for precision, where in (("fp32", "cpu"), ("bf16", device)):
        with TransformersEngine(str(MODELS / "qwen"), device=where, precision=precision) as engine:
            began = time.perf_counter()
            found[precision] = [engine.describe(request).text for request in asked]
    seconds = time.perf_counter() - began
    equal = sum(a == b for a, b in zip(*found.values(), strict=True))
    return {"videos": videos, "equal to float32 on the CPU": equal, "videos/s": videos / seconds}


def describing(device: str, shape: str = "3B", videos: int = 8, max_tokens: int = 128) -> Figures:
    """A Qwen2.5-VL of true size with random weights, one video after another, as `engine: transformers` works."""
    import torch

    from pipeline.instruments.vlm.transformers_local import TransformersEngine

    asked = requests(videos + 1, 448, 336, max_tokens)
    with tempfile.TemporaryDirectory() as folder:
        make_qwen(Path(folder), shape, device)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with TransformersEngine(folder, device=device, precision="bf16", max_pixels=MAX_PIXELS) as engine:
            engine.describe(asked[0])  # kernels are chosen
            began = time.perf_counter()
            answers = [engine.describe(request) for request in asked[1:]]
            seconds = time.perf_counter() - began
            peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    return {"shape": shape, "videos": videos, "frames a video": FRAMES, "prompt tokens": answers[0].prompt_tokens,
            "videos/s": videos / seconds, "tokens/s": sum(answer.output_tokens for answer in answers) / seconds,
            "peak GB": peak}


def make_qwen(folder: Path, shape: str, device: str) -> None:
    """A checkpoint with the sizes of `shape`, weights drawn on the device, and the demo's tokenizer and processor."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    from dbvad.demo.tiny_qwen import build_config, build_processor, save_qwen
    from pipeline.instruments.vlm.prompts import load
    from pipeline.instruments.vlm.transformers_local import quiet

    processor = build_processor([load("neutral-v1").text], 1024)
    config = build_config(processor.tokenizer, layers=1, spread=0.02)
    sizes, tied = SHAPES[shape]
    text, vision = config.text_config, config.vision_config
    for part, values in ((text, sizes), (vision, VISION | {"out_hidden_size": sizes["hidden_size"]})):
        for name, value in values.items():
            setattr(part, name, value)
    text.max_window_layers, text.max_position_embeddings = text.num_hidden_layers, 32_768
    text.layer_types = ["full_attention"] * text.num_hidden_layers
    text.rope_parameters = text.rope_parameters | {"mrope_section": [16, 24, 24]}  # heads of 128
    config.tie_word_embeddings = text.tie_word_embeddings = tied
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with quiet(), torch.device(device):
            net = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    net.generation_config = GenerationConfig(do_sample=False, eos_token_id=text.eos_token_id,
                                             pad_token_id=text.pad_token_id)
    with quiet():
        processor.save_pretrained(folder)
    save_qwen(net, folder)


def features(device: str, frames: int = 1024, model: str = "ViT-B-16") -> Figures:
    """CLIP with random weights: nearness to float32, frames a second as the score stage works and of the network."""
    import numpy as np
    import open_clip
    import torch

    from pipeline.instruments import clip

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (336, 448, 3), dtype=np.uint8) for _ in range(min(frames, 64))]
    images = (images * -(-frames // len(images)))[:frames]
    with tempfile.TemporaryDirectory() as folder:
        config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": {}}
        (Path(folder) / clip.CONFIG).write_text(json.dumps(config))
        clip.initialise(Path(folder))
        exact = clip.load(folder, device="cpu", precision="fp32").encode_images(images[:8])
        net = clip.load(folder, device=device, precision="bf16")
    nearness = float((net.encode_images(images[:8]) * exact).sum(axis=-1).min())
    found = {"model": model, "least cosine to float32 on the CPU": nearness}
    for crops in (1, 10):
        some = images[:max(1, frames // crops)]
        net.encode_images(some[:8], crops)
        began = time.perf_counter()
        net.encode_images(some, crops)
        found[f"frames/s, {crops} crop{'s' * (crops > 1)}"] = len(some) / (time.perf_counter() - began)
    side = net.provenance["image_size"]
    batch = torch.randn(min(256, frames), 3, *((side, side) if isinstance(side, int) else side), device=device,
                        dtype=torch.bfloat16)
    rounds = max(1, frames // len(batch))
    with torch.inference_mode():
        net.net.encode_image(batch).sum().item()
        began = time.perf_counter()
        for _ in range(rounds):
            out = net.net.encode_image(batch)
        out.sum().item()  # waits for the device
    found["crops/s, network alone"] = rounds * len(batch) / (time.perf_counter() - began)
    return found


def training(device: str, *options: str) -> Figures:
    """bench/train.py: videos a second and memory of one training step, ours and a VadCLIP-like one's."""
    __import__("dbvad.training.loop"), __import__("open_clip")  # what it needs, said here if it is missing
    command = [sys.executable, "-m", "bench.train", "--device", device, *options]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bench/train.py ended with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    rows = json.loads(done.stdout.strip().splitlines()[-1])["results"]
    found = {}
    for row in rows:
        side = f"{row['side']} {row['precision']}, {row['lengths']}"
        found |= {f"videos/s, {side}": row["videos_s"], f"peak GB, {side}": row["peak_bytes"] / 1e9}
    return found


def measure(parts: dict[str, Callable[[], Figures]]) -> dict[str, Figures]:
    """Figures of each part, or why there are none: {"skipped": ...}, {"failed": ...}."""
    found: dict[str, Figures] = {}
    for name, part in parts.items():
        print(f"gpu-check: {name} ...", file=sys.stderr, flush=True)
        try:
            found[name] = part()
        except ImportError as error:
            found[name] = {"skipped": f"{error}: install it to have this part"}
        except Exception as error:
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
    return found


def table(found: dict[str, Figures]) -> str:
    """One line a figure."""
    lines = []
    for part, figures in found.items():
        for place, (name, value) in enumerate(figures.items()):
            shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{part if not place else '':12}{name:48}{shown}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=[*SHAPES], default="3B", help="size of the describing model")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": {"gpu": gpu()}}
    import torch
    import transformers

    found["machine"] |= {"torch": torch.__version__, "transformers": transformers.__version__}
    found |= measure({
        "texts": lambda: texts("cuda"), "describing": lambda: describing("cuda", given.shape),
        "features": lambda: features("cuda"), "training": lambda: training("cuda")})
    print(table(found))
    print(json.dumps(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any("failed" in figures for figures in found.values()))


if __name__ == "__main__":
    sys.exit(main())
