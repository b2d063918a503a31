"""What this machine computes on: which device, and whether bfloat16 pays there."""

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def pick_device(device: str) -> torch.device:
    """`device` as torch names it; "auto" is the first of cuda, mps and cpu that is there. Raises ValueError."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not known; use auto, cuda, cuda:0, mps or cpu") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: this machine has no CUDA GPU that torch can use; use auto or cpu")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA GPU(s)")
    if picked.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {device!r}: torch finds no Apple GPU here; use auto or cpu")
    return picked


def pick_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`precision` as asked; "auto" is bf16 where the hardware multiplies in it, else fp32.

    That is a CUDA GPU of compute capability 8.0 or more, or a CPU with AMX-BF16 or AVX512-BF16.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return "bf16" if has.get("amx_bf16") or has.get("avx512_bf16") else "fp32"
    return "fp32"
