"""Parts of `make gpu-check`: describing through transformers."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.gpu_common import FRAMES, Figures, bandwidth, jpeg, pictures

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


def describing(device: str, shape: str = "3B", videos: int = 4, max_tokens: int = 128, copied: int = 4 << 30,
               ) -> Iterator[Figures]:
    """A Qwen2.5-VL of true size with random weights, one video after another, as `engine: transformers` works.

    Its bound: every token reads all weights of the text model once.
    """
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
            read = sum(value.nbytes for name, value in engine._net.named_parameters() if "visual" not in name)
            peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    rate = sum(answer.output_tokens for answer in answers) / seconds
    found: Figures = {"shape": shape, "videos": videos, "frames a video": FRAMES,
                      "prompt tokens": answers[0].prompt_tokens, "videos/s": videos / seconds, "tokens/s": rate,
                      "peak GB": peak, "GB read for a token": read / 1e9}
    yield found
    most = bandwidth(device, copied) / read
    yield found | {"tokens/s at most, one at a time": most, "of that": rate / most}


def texts(device: str, videos: int = 8) -> Iterator[Figures]:
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
    yield {"videos": videos, "equal to float32 on the CPU": equal, "videos/s": videos / seconds}


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


def requests(count: int, width: int, height: int, max_tokens: int) -> list[Any]:
    """What an engine is asked of some videos."""
    from pipeline.instruments.vlm import Request
    from pipeline.instruments.vlm.prompts import load

    frames = [jpeg(picture) for picture in pictures(count, width, height)]
    return [Request(tuple(frames[start:start + FRAMES]), load("neutral-v1").text, max_tokens=max_tokens)
            for start in range(0, len(frames), FRAMES)]
