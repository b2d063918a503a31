"""Qwen2.5-VL's vision tower on batches of frames of one size, and the positions of its tokens.

The loops over images and the 3-D patch convolution of transformers' model are replaced by batched matrix products,
which give the same numbers (tests/demo/test_models.py).
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import get_vision_position_ids

from dbvad.demo.training.data import QWEN_SIZE

PATCH, MERGE = 14, 2
ROWS, COLUMNS = QWEN_SIZE[1] // PATCH, QWEN_SIZE[0] // PATCH
TOKENS = ROWS * COLUMNS // MERGE**2  # that one frame becomes


def to_float(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in 0..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def to_patches(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in 0..1 -> (B, patches, 588), normalised, in the order of Qwen's image processor."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    unit = MERGE * PATCH
    rows, columns = images.shape[2] // unit, images.shape[3] // unit
    x = ((images - mean) / std).view(-1, 3, rows, MERGE, PATCH, columns, MERGE, PATCH)
    return x.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(images), rows * columns * MERGE**2, 3 * PATCH * PATCH)


def see(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """The vision tower on a batch of single frames: (B, 3, H, W) in 0..1 -> (B, tokens, width)."""
    # the processor shows a still picture twice to a convolution over two frames: the sum of its weights, once
    weight = visual.patch_embed.proj.weight.sum(2).flatten(1)
    x = functional.linear(to_patches(images), weight)
    grid = torch.tensor([[1, images.shape[2] // PATCH, images.shape[3] // PATCH]])
    cos, sin = visual.rotary_pos_emb(x[0], get_vision_position_ids(grid, MERGE))
    batch, length, _ = x.shape
    for block in visual.blocks:
        heads = block.attn.qkv(_norm(block.norm1, x)).view(batch, length, 3, block.attn.num_heads, -1)
        q, k = _turn(heads[:, :, :2], cos.to(x.dtype), sin.to(x.dtype)).unbind(2)
        # written out: faster on a CPU, forward and backward, than the fused attention at such lengths
        weights = ((q * q.shape[-1] ** -0.5).transpose(1, 2) @ k.permute(0, 2, 3, 1)).softmax(-1).to(x.dtype)
        mixed = weights @ heads[:, :, 2].transpose(1, 2)
        x = x + block.attn.proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        x = x + block.mlp(_norm(block.norm2, x))
    x = _norm(visual.merger.ln_q, x)
    return visual.merger.mlp(x.view(batch, length // MERGE**2, -1))


def _norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Root mean square norm that keeps to the type of x: half the memory to go through."""
    return functional.rms_norm(x, (x.shape[-1],), norm.weight.to(x.dtype), norm.variance_epsilon)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions for x (B, L, n, heads, size), with cos and sin (L, size)."""
    one, two = x.chunk(2, -1)
    return x * cos[:, None, None] + torch.cat([-two, one], -1) * sin[:, None, None]


def positions(ids: list[int], image: int) -> torch.Tensor:
    """Qwen's 3-D positions (3, L) of a sequence in which every frame takes TOKENS places of id `image`."""
    rows, columns = ROWS // MERGE, COLUMNS // MERGE
    grid = np.stack([np.zeros(TOKENS), np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)])
    parts, at, n = [], 0, 0
    while n < len(ids):
        if ids[n] == image:
            parts.append(grid + at)
            at, n = at + max(rows, columns), n + TOKENS
        else:
            parts.append(np.full((3, 1), at))
            at, n = at + 1, n + 1
    return torch.from_numpy(np.concatenate(parts, axis=1)).long()
