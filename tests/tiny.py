"""Small checkpoints with random weights, in the formats of the real models."""

from pathlib import Path
from typing import Any

# What a describing model might say; the tokenizer of the small one learns its words here.
TEXTS = (
    "A man walks along the street.",
    "Two people fight beside a parked car at night.",
    "A fire breaks out in the shop and thick smoke rises.",
    "Describe what happens in these surveillance frames in one to three sentences.",
    "State the place, the people, their actions and the outcome.",
)


def tiny_clip(folder: Path, seed: int = 0) -> Path:
    """An open_clip model in `folder`: pictures of 64 pixels, features of 32 numbers."""
    from dbvad.demo.tiny_clip import build_clip

    return build_clip(folder, seed)


def tiny_qwen(folder: Path, seed: int = 0) -> Path:
    """A Qwen2.5-VL in `folder` that answers in words of TEXTS, in no order; other pictures give another text."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from dbvad.demo.tiny_qwen import build_qwen, save_qwen
    from pipeline.instruments.vlm.transformers_local import quiet

    build_qwen(folder, TEXTS, seed, spread=0.15)
    with quiet(), torch.no_grad():
        net = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
        weight: Any = net.get_input_embeddings().weight
        weight[:256] = 0  # single bytes: with tied weights they are then not written
    save_qwen(net, folder)
    return folder
