"""A small CLIP from scratch: frames against label prompts and against sentences of descriptions.

While it learns, two throw-away heads also ask its feature maps what is where in the frame: an event is small, and an
image tower that is told only that there is one needs many times the frames to find it.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from dbvad.demo.training.data import CLIP_SIZE, LABELS, Sample, pictures, seen_head, seen_loss, seen_where
from dbvad.demo.training.schedule import schedule
from pipeline.instruments import clip

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 256,
        "vision_cfg": {"image_size": CLIP_SIZE[0], "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}
TEMPLATES = ("a surveillance photo of {}", "a CCTV frame showing {}", "a photo of {}", "{}", "a video of {}")
WORDS: dict[str, tuple[str, ...]] = {
    "normal": ("normal activity", "an ordinary scene", "normal", "people passing by", "nothing unusual"),
    "fighting": ("a fight", "fighting", "people fighting", "a brawl"),
    "road_accident": ("a road accident", "road accident", "a car crash", "a collision", "road accidents"),
    "explosion": ("an explosion", "explosion", "a blast", "something exploding"),
    "robbery": ("a robbery", "robbery", "a man robbing someone at gunpoint", "a robber with a gun"),
    "vandalism": ("vandalism", "a vandal", "someone smashing property", "someone spraying graffiti"),
    "arson": ("arson", "someone setting something on fire", "an arsonist", "flames"),
}
UNUSUAL = ("an unusual event", "an anomaly", "a crime or an accident", "something abnormal")
BATCH = 96


def train_clip(
    data: list[Sample], out: Path, core_minutes: float, seed: int = 0, say: Callable[[str], None] = print
) -> None:
    """Train for `core_minutes` of processor time and write a checkpoint that open_clip loads into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / clip.CONFIG).write_text(json.dumps(CONFIG, indent=2) + "\n")
    clip.initialise(out, seed)
    net, tokenize = clip.trainable(out)
    net.visual = net.visual.to(memory_format=torch.channels_last)
    rng, mean, std = np.random.default_rng(seed), *(_column(CONFIG["preprocess_cfg"][k]) for k in ("mean", "std"))
    finders = _Finders(net.visual)
    trained = [*net.parameters(), *finders.heads.parameters()]
    decay, rest = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0}], lr=1e-3
    )
    shown = {"label": 0.0, "text": 0.0, "place": 0.0, "right": 0.0}
    net.train()
    for step, spent in enumerate(schedule(core_minutes, 1e-3, 60, optimizer), start=1):
        chosen, texts = _batch(data, rng)
        states = np.array([sample.label if sample.inside[n] else 0 for sample, n in chosen])
        mirrored = rng.random(BATCH) < 0.5
        pixels = (_augment(pictures(sample.clip[n] for sample, n in chosen), mirrored, rng) - mean) / std
        prompts = [_prompt(rng, WORDS[name]) for name in LABELS] + [_prompt(rng, UNUSUAL)]
        with torch.autocast("cpu", torch.bfloat16):
            seen = net.visual(pixels.to(memory_format=torch.channels_last))
        seen = functional.normalize(seen.float(), dim=-1)
        said = functional.normalize(net.encode_text(tokenize(prompts + texts)), dim=-1)
        scale = net.logit_scale.exp()
        logits = scale * seen @ said.T
        count, target = len(LABELS), torch.from_numpy(states)
        by_label = functional.cross_entropy(logits[:, :count], target)
        # "an unusual event" against "normal": a two-way choice of its own, so that it competes with no class
        unusual = functional.binary_cross_entropy_with_logits(logits[:, count] - logits[:, 0], (target > 0).float())
        pairs = logits[:, count + 1 :]
        same = (torch.from_numpy(np.equal.outer(np.array(texts), np.array(texts)))).float()
        by_text = _soft_cross_entropy(pairs, same) + _soft_cross_entropy(pairs.T, same)
        by_place = finders.loss(chosen, mirrored)
        loss = by_label + 0.5 * unusual + 0.25 * by_text + 0.3 * by_place
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            net.logit_scale.clamp_(0, math.log(50))
        right = (logits[:, :count].argmax(1) == target).float().mean().item()
        for name, value in (
            ("label", by_label.item()),
            ("text", by_text.item()),
            ("place", by_place.item()),
            ("right", right),
        ):
            shown[name] += (value - shown[name]) * max(0.03, 1 / step)
        if step % 50 == 0:
            say(f"clip: step {step}, {spent:.0%}, " + ", ".join(f"{k} {v:.3f}" for k, v in shown.items()))
    clip.save(net, out)


def _column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).view(3, 1, 1)


def _prompt(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(words[int(rng.integers(len(words)))])


class _Finders:
    """What is where, from linear heads on the image tower's last feature maps (8 x 8 and 4 x 4 cells)."""

    def __init__(self, visual: Any) -> None:
        self.maps: dict[str, torch.Tensor] = {}
        self.heads = torch.nn.ModuleDict()
        for name in ("layer3", "layer4"):
            stage = getattr(visual, name)
            self.heads[name] = seen_head(stage[-1].bn3.num_features)
            stage.register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.maps[name] = output

    def loss(self, chosen: list[tuple[Sample, int]], mirrored: np.ndarray) -> torch.Tensor:
        """Cross entropy of what is where."""
        total = torch.zeros(())
        for name, head in self.heads.items():
            found = self.maps[name].float()
            logits = head(found.flatten(2).transpose(1, 2))
            total = total + seen_loss(logits, seen_where(chosen, found.shape[2], found.shape[3], mirrored))
        return total


def _batch(data: list[Sample], rng: np.random.Generator) -> tuple[list[tuple[Sample, int]], list[str]]:
    """Frames, each as its sample and number, and a text of what each shows."""
    chosen, texts = [], []
    for sample in (data[int(i)] for i in rng.integers(len(data), size=BATCH)):
        n = int(rng.integers(len(sample.clip)))
        if sample.label and rng.random() < 0.5:
            n = int(rng.choice(np.flatnonzero(sample.inside)))
        known = sample.event_texts if sample.inside[n] else sample.normal_texts
        sentences = known[int(rng.integers(len(known)))].split(". ")
        # the first sentence names the event; the rest is not seen in every frame
        text = sentences[0] if rng.random() < 0.6 else ". ".join(sentences)
        chosen.append((sample, n))
        texts.append(text if text.endswith(".") else text + ".")
    return chosen, texts


def _augment(images: np.ndarray, mirrored: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..1, some mirrored, all shifted and brightened at random."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x[torch.from_numpy(mirrored)] = x[torch.from_numpy(mirrored)].flip(-1)
    x = functional.pad(x, (4, 4, 4, 4), mode="replicate")
    dx, dy = rng.integers(0, 9, (2, len(x)))
    size = images.shape[1]
    x = torch.stack([one[:, b : b + size, a : a + size] for one, a, b in zip(x, dx, dy, strict=True)])
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (len(x), 1, 1, 1)).astype(np.float32))
    return (x * gain).clamp(0, 1)


def _soft_cross_entropy(logits: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Cross entropy against all columns marked in `same` (B, B), in equal parts."""
    return -(logits.log_softmax(1) * same / same.sum(1, keepdim=True)).sum(1).mean()
