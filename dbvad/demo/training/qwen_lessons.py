"""What the small Qwen2.5-VL is shown and asked while it trains: frames for its eyes, lessons for its words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from dbvad.demo.training.data import LABELS, Sample
from dbvad.demo.training.qwen_sight import TOKENS
from pipeline.instruments.vlm.prompts import render

OTHER_PROMPTS = ("Describe the video.", "What happens in this surveillance video?", "Describe what can be seen.",
                 "Summarise the events in one to three sentences.")  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """One training example for words: which frames of which sample, the prompt and the answer as token ids.

    `state`: the class of the event that the frames show, as index in LABELS, 0 if they show none.
    """

    sample: int
    frames: list[int]
    ids: list[int]
    answer_from: int
    state: int


class School:
    """Draws lessons: how many key frames, how many of them inside the event, which prompt, which caption."""

    def __init__(self, data: list[Sample], processor: Any, prompts: tuple[str, Any]) -> None:
        self.data, self.processor, (self.neutral, self.aware) = data, processor, prompts
        self.image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._prefixes: dict[tuple[int, str], list[int]] = {}

    def lesson(self, rng: np.random.Generator, packaged: bool) -> Lesson:
        """A lesson with one of the packaged prompts, or with a short one, which is cheaper to read."""
        number = int(rng.integers(len(self.data)))
        sample = self.data[number]
        count = int(rng.choice((1, 2, 3, 4, 5, 6, 7, 8), p=(0.06, 0.08, 0.1, 0.44, 0.08, 0.07, 0.03, 0.14)))
        inside, outside = np.flatnonzero(sample.inside), np.flatnonzero(~sample.inside)
        # KESS finds mostly frames of the event, or one of a short one; uniform frames show it in passing, or not at all
        share = float(rng.choice((1.0, 0.75, 0.5, 0.15, 0.0), p=(0.2, 0.25, 0.2, 0.2, 0.15))) if sample.label else 0.0
        within = min(len(inside), max(1, round(share * count)) if share else 0)
        frames = [
            *rng.choice(inside, within, replace=False),
            *rng.choice(outside, min(count - within, len(outside)), replace=False),
        ]
        known = sample.event_texts if within else sample.normal_texts
        text = known[int(rng.integers(len(known)))]
        if not packaged:
            prompt = OTHER_PROMPTS[int(rng.integers(len(OTHER_PROMPTS)))]
        elif within and rng.random() < 0.2:
            prompt = render(self.aware, [LABELS[sample.label].replace("_", " ")])
        else:
            prompt = self.neutral
        prefix = self._prefix(len(frames), prompt)
        answer = self.processor.tokenizer(f"{text}<|im_end|>").input_ids
        return Lesson(
            number, sorted(int(f) for f in frames), prefix + answer, len(prefix), sample.label if within else 0
        )

    def _prefix(self, count: int, prompt: str) -> list[int]:
        if (count, prompt) not in self._prefixes:
            content = [{"type": "image"}] * count + [{"type": "text", "text": prompt}]
            text = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            text = text.replace("<|image_pad|>", "<|image_pad|>" * TOKENS)
            self._prefixes[count, prompt] = self.processor.tokenizer(text).input_ids
        return self._prefixes[count, prompt]


def one_frame(sample: Sample, rng: np.random.Generator) -> int:
    """Index of a frame: of an abnormal story every second time one inside the event."""
    if sample.label and rng.random() < 0.5:
        return int(rng.choice(np.flatnonzero(sample.inside)))
    return int(rng.integers(len(sample.inside)))


def shake(x: torch.Tensor, mirrored: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Frames (B, 3, H, W), some mirrored, all shifted and brightened at random."""
    x[torch.from_numpy(mirrored)] = x[torch.from_numpy(mirrored)].flip(-1)
    padded = functional.pad(x, (5, 5, 5, 5), mode="replicate")
    shifts = rng.integers(0, 11, (len(x), 2))
    x = torch.stack([p[:, b : b + x.shape[2], a : a + x.shape[3]] for p, (a, b) in zip(padded, shifts, strict=True)])
    return (x * torch.from_numpy(rng.uniform(0.8, 1.2, (len(x), 1, 1, 1)).astype(np.float32))).clamp(0, 1)
