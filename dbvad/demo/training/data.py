"""Frames and captions to train on: stories with seeds that no rendered dataset can have, seen through the codec."""

import io
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import av
import numpy as np
import torch
import torch.nn.functional as functional
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
# What the models are asked to find in a frame while they train: poses, things held, vehicles, effects, events.
THINGS = (
    *CLASSES,
    *("walk", "stand", "run", "talk", "hug", "crouch", "reach", "phone", "carry", "punch", "kick", "guard", "stagger"),
    *("lie", "aim", "hands up", "swing", "pour", "gun", "bat", "spray", "canister", "loot", "cloth", "bag", "car"),
    *("wreck", "fire", "smoke", "blast", "debris", "paint", "mist", "hole", "stain", "sack"),
)
_NUMBER = {kind: number for number, kind in enumerate(THINGS)}


@dataclass(frozen=True)
class Sample:
    """One story: its frames in order of time, which of them lie inside an event, and descriptions of both kinds."""

    seed: int
    label: int  # index in LABELS
    place: int  # index in PLACES
    night: bool
    inside: np.ndarray  # (FRAMES,) bool
    things: tuple[np.ndarray, ...]  # a frame (n, 3) float32: index in THINGS, x and y as shares of the picture
    clip: tuple[bytes, ...]  # the frames as JPEG, 128 x 128
    qwen: tuple[bytes, ...]  # the frames as JPEG, 140 x 112
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
        things=tuple(_numbered(story.things(int(i))) for i in picked),
        clip=tuple(_jpeg(i.resize(CLIP_SIZE, Image.Resampling.BICUBIC), 95) for i in small),
        qwen=tuple(_jpeg(i.resize(QWEN_SIZE, Image.Resampling.BICUBIC), 95) for i in small),
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
    return Image.open(io.BytesIO(_jpeg(Image.fromarray(image), 90)))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pictures(frames: Iterable[bytes]) -> np.ndarray:
    """JPEGs of one size as (n, H, W, 3) uint8."""
    return np.stack([np.asarray(Image.open(io.BytesIO(frame))) for frame in frames])


def _numbered(things: list[tuple[str, float, float]]) -> np.ndarray:
    rows = [(_NUMBER[kind], x, y) for kind, x, y in things if kind in _NUMBER]
    return np.array(rows, dtype=np.float32).reshape(-1, 3)


def seen_where(data: Iterable[tuple[Sample, int]], rows: int, columns: int, mirrored: np.ndarray) -> torch.Tensor:
    """Per frame what is where on a grid: (B, rows x columns, len(THINGS)) in 0..1.

    What lies between the middles of cells is shared among them. `mirrored` (B,): frames that are shown in a mirror.
    """
    grid = np.zeros((len(mirrored), rows + 2, columns + 2, len(THINGS)), dtype=np.float32)
    for n, (sample, frame) in enumerate(data):
        kinds, x, y = sample.things[frame].T
        u, v = (1 - x if mirrored[n] else x) * columns + 0.5, y * rows + 0.5
        for column in (0, 1):
            for row in (0, 1):
                at = (v.astype(int) + row, u.astype(int) + column, kinds.astype(int))
                share = (u % 1 if column else 1 - u % 1) * (v % 1 if row else 1 - v % 1)
                np.maximum.at(grid[n], at, share)
    return torch.from_numpy(grid[:, 1:-1, 1:-1].reshape(len(grid), rows * columns, len(THINGS)))


def seen_head(width: int) -> torch.nn.Linear:
    """Asks features of a cell what is there, starting from the guess that most things are not in most cells."""
    head = torch.nn.Linear(width, len(THINGS))
    torch.nn.init.constant_(head.bias, -4)
    return head


def seen_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each kind in each cell, summed over kinds; what is there weighs more than what is not."""
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * (1 + 4 * target)
    return each.sum(-1).mean()
