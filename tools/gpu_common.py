"""What the parts of `make gpu-check` share: a clock, pictures, and the limit of matrix products.

Times are of the device: what is timed ends when the device has done it.
"""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Figures = dict[str, Any]
FRAMES = 8  # key frames a video


def matrix_limit(device: str, side: int = 8192) -> float:
    """TFLOP/s of a square bfloat16 product of random numbers."""
    import torch

    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    with torch.inference_mode():
        return 2 * side**3 / timed(lambda: left @ right, device, rounds=20) / 1e12


def bandwidth(device: str, copied: int = 4 << 30) -> float:
    """Bytes a second, read and written, of a large copy on the device."""
    import torch

    values = torch.empty(copied, dtype=torch.uint8, device=device)
    there = torch.empty_like(values)
    return 2 * copied / timed(lambda: there.copy_(values), device)


def timed(work: Callable[[], object], device: str, rounds: int = 8) -> float:
    """Seconds of a call: the mean of some in a row, after two that do not count."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    work(), work(), wait()
    began = time.perf_counter()
    for _ in range(rounds):
        work()
    wait()
    return (time.perf_counter() - began) / rounds


def pictures(count: int, width: int, height: int) -> list["np.ndarray"]:
    """`count` videos' frames in a row, FRAMES each, drawn from the demo's world: (height, width, 3) uint8."""
    import numpy as np
    from PIL import Image

    from dbvad.demo.world import MODEL_SEEDS, Renderer, tell

    found = []
    for seed in MODEL_SEEDS[-count:]:
        story = tell(seed)
        renderer = Renderer(story)
        for place in range(FRAMES):
            frame = Image.fromarray(renderer.frame(place * story.n_frames // FRAMES))
            found.append(np.asarray(frame.resize((width, height))))
    return found


def jpeg(picture: "np.ndarray") -> bytes:
    """As the decode stage keeps it."""
    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, "JPEG", quality=90)
    return kept.getvalue()
