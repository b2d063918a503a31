"""Frames and captions to train on: stories with seeds that no rendered dataset can have, seen through the codec."""

import io
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import av
import numpy as np
import torch
from PIL import Image

from dbvad.demo.world.camera import FPS, HEIGHT, WIDTH
from dbvad.demo.world.captions import CLASSES
from dbvad.demo.world.dataset import MODEL_SEEDS
from dbvad.demo.world.places import PLACES
from dbvad.demo.world.render import Renderer
from dbvad.demo.world.story import NORMAL, tell

CLIP_SIZE = (128, 128)  # width, height that the CLIP sees
QWEN_SIZE = (140, 112)  # width, height that Qwen's processor makes of a frame
FRAMES = 12  # frames kept of a story
TEXTS = 4  # captions kept of each kind
LABELS = (NORMAL, *CLASSES)


@dataclass(frozen=True)
class Sample:
    """One story: its frames in order of time, which of them lie inside an event, and descriptions of both kinds."""

    seed: int
    label: int  # index in LABELS
    place: int  # index in PLACES
    night: bool
    inside: np.ndarray  # (FRAMES,) bool
    focus: np.ndarray  # (FRAMES, 2) float32: where the event is, as shares of width and height; NaN outside events
    clip: np.ndarray  # (FRAMES, 128, 128, 3) uint8
    qwen: np.ndarray  # (FRAMES, 112, 140, 3) uint8
    event_texts: tuple[str, ...]  # empty for a normal story
    normal_texts: tuple[str, ...]


def sample_scene(seed: int, frames: int = FRAMES) -> Sample:
    """Story `seed` as training material: two thirds of the frames inside its events, if it has any.

    Raises ValueError unless the seed is one of MODEL_SEEDS, which no rendered dataset uses.
    """
    if seed not in MODEL_SEEDS:
        raise ValueError(
            f"seed {seed} may belong to a rendered dataset; models train on seeds from {MODEL_SEEDS.start} on"
        )
    story, rng = tell(seed), np.random.default_rng((seed, 5))
    every = np.arange(story.n_frames)
    inside = np.array([story.inside(int(i)) is not None for i in every])
    if inside.any():
        within = rng.choice(every[inside], min(int(inside.sum()), frames * 2 // 3), replace=False)
        picked = np.sort(np.concatenate([within, rng.choice(every[~inside], frames - len(within), replace=False)]))
    else:
        picked = np.sort(rng.choice(every, frames, replace=False))
    renderer = Renderer(story)
    seen = through_codec([renderer.frame(int(i)) for i in picked], crf=int(rng.integers(25, 32)))
    small = [_as_decoded(image) for image in seen]
    return Sample(
        seed=seed,
        label=LABELS.index(story.label),
        place=PLACES.index(story.scene.place),
        night=story.scene.night,
        inside=inside[picked],
        focus=np.array([story.focus(int(i)) or (np.nan, np.nan) for i in picked], dtype=np.float32),
        clip=np.stack([np.asarray(i.resize(CLIP_SIZE, Image.Resampling.BICUBIC)) for i in small]),
        qwen=np.stack([np.asarray(i.resize(QWEN_SIZE, Image.Resampling.BICUBIC)) for i in small]),
        event_texts=tuple(story.caption(rng, n % len(story.incidents)) for n in range(TEXTS))
        if story.incidents
        else (),
        normal_texts=tuple(story.caption(rng, None) for _ in range(TEXTS)),
    )


def samples(seeds: Iterable[int], workers: int = 2) -> list[Sample]:
    """`sample_scene` of every seed, in order."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(sample_scene, seeds, chunksize=16))


def through_codec(images: list[np.ndarray], crf: int) -> list[np.ndarray]:
    """Pictures (H, W, 3) after H.264 as the rendered dataset uses it: blocks, blur and all."""
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "crf": str(crf), "threads": "1", "tune": "fastdecode"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    stream_bytes.seek(0)
    with av.open(stream_bytes, "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _as_decoded(image: np.ndarray) -> Image.Image:
    """The picture as the pipeline's decode stage keeps it: a JPEG of quality 90."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return Image.open(io.BytesIO(buffer.getvalue()))


def where(data: Iterable[tuple[Sample, int]], rows: int, columns: int, mirrored: np.ndarray) -> np.ndarray:
    """Per frame the state of each cell of a grid, (B, rows x columns): the event's class in its cell, else normal.

    Cells beside the event's are marked -100, "not asked". `mirrored` (B,): frames that training shows in a mirror.
    """
    grid = np.zeros((len(mirrored), rows, columns), dtype=np.int64)
    for n, (sample, frame) in enumerate(data):
        x, y = sample.focus[frame]
        if np.isnan(x):
            continue
        column, row = int((1 - x if mirrored[n] else x) * columns), int(y * rows)
        grid[n, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = -100
        grid[n, row, min(columns - 1, column)] = sample.label
    return grid.reshape(len(grid), -1)


def close_ups(
    data: list[Sample], pictures: Literal["clip", "qwen"], size: int, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuttings of `size` pixels, (count, 3, size, size) in 0..1, and what each shows, (count,) as index in LABELS.

    Half of them show an event, the others anything else. An event fills a cutting and is lost in a frame: a network
    learns what events look like from a tenth of the pixels, and then, from whole frames, to find them.
    """
    images: list[np.ndarray] = []
    states: list[int] = []
    while len(images) < count:
        sample = data[int(rng.integers(len(data)))]
        frame = int(rng.integers(len(sample.inside)))
        event, wanted = bool(sample.inside[frame]), len(images) % 2
        if wanted and not event:
            continue
        picture = getattr(sample, pictures)[frame]
        height, width = picture.shape[:2]
        focus = sample.focus[frame] * (width, height)
        middle = (
            focus + rng.uniform(-size / 5, size / 5, 2)
            if wanted
            else rng.uniform((0, 0.25), (1, 0.9)) * (width, height)
        )
        left, top = np.clip(middle - size / 2, 0, (width - size, height - size)).astype(int)
        in_sight = event and left - 8 < focus[0] < left + size + 8 and top - 8 < focus[1] < top + size + 8
        if in_sight and not wanted:
            continue
        cutting = picture[top : top + size, left : left + size]
        images.append(cutting[:, ::-1] if rng.random() < 0.5 else cutting)
        states.append(sample.label if wanted else 0)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (count, 1, 1, 1)).astype(np.float32))
    return (x * gain).clamp(0, 1), torch.tensor(states)
