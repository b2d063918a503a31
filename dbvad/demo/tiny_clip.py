"""A small CLIP with random weights, in the folder format that open_clip writes and reads."""

import json
from pathlib import Path

from pipeline.instruments import clip


def clip_config(*, embed_dim: int = 32, image_size: int = 64, patch_size: int = 16, width: int = 64, layers: int = 2,
                text_width: int = 64, text_layers: int = 2) -> dict[str, object]:
    """open_clip's configuration of a small vision transformer and a small text transformer (CLIP's own tokenizer).

    Heads are 32 wide, so widths are multiples of 32. With the default sizes 3.3 million parameters, nearly all of them
    token embeddings: 49,408 tokens of `text_width`.
    """
    return {
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {"image_size": image_size, "patch_size": patch_size, "width": width, "layers": layers,
                           "head_width": 32},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text_width, "heads": text_width // 32,
                         "layers": text_layers},
        },
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
                           "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def build_clip(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Write a checkpoint with weights drawn from `seed` into `folder` (made if it is not there) and return it.

    `sizes`: those of `clip_config`. Same sizes and seed give the same bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / clip.CONFIG).write_text(json.dumps(clip_config(**sizes), indent=2) + "\n")
    clip.initialise(folder, seed)
    return folder
