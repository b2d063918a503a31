"""A small Qwen2.5-VL from scratch, in three steps: its eyes, its words, both together.

1. Vision tower: what state a frame is in (an event's class or normal) and where in it that can be seen, by heads that
   are thrown away.
2. Language model on the vision tower's cached tokens: key frames and a prompt -> description.
3. Both, end to end.

Everything runs through the modules of transformers' own model; only the loops over images and the 3-D patch
convolution are replaced by batched matrix products, which give the same numbers (tests/demo/test_models.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import get_vision_position_ids

from dbvad.demo.tiny_qwen import build_config, build_processor, save_qwen
from dbvad.demo.training.data import LABELS, QWEN_SIZE, Sample, pictures, seen_head, seen_loss, seen_where
from dbvad.demo.training.schedule import schedule
from dbvad.demo.world.places import PLACES
from pipeline.instruments.vlm.prompts import load as load_prompt
from pipeline.instruments.vlm.prompts import render
from pipeline.instruments.vlm.transformers_local import quiet

PATCH, MERGE = 14, 2
ROWS, COLUMNS = QWEN_SIZE[1] // PATCH, QWEN_SIZE[0] // PATCH
TOKENS = ROWS * COLUMNS // MERGE**2  # that one frame becomes
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 168 * 112}  # 224 x 168 frames come out as QWEN_SIZE
OTHER_PROMPTS = ("Describe the video.", "What happens in this surveillance video?", "Describe what can be seen.",
                 "Summarise the events in one to three sentences.")  # fmt: skip
IGNORED = -100
SEEN = 0.5  # weight of what is where against what happens


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


def build(out: Path, texts: list[str], seed: int) -> tuple[Any, Any]:
    """An untrained model and its processor; the processor is written into `out`."""
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    out.mkdir(parents=True, exist_ok=True)
    processor = build_processor(texts, 1024)
    images: Any = processor.image_processor
    images.size = PIXELS
    with quiet():
        processor.save_pretrained(out)
    config = build_config(processor.tokenizer, 3, 0.04)
    vision: Any = config.vision_config
    vision.window_size = 224  # a frame is one window
    torch.manual_seed(seed)
    net = Qwen2_5_VLForConditionalGeneration(config)
    text: Any = config.text_config
    net.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=text.bos_token_id, pad_token_id=text.pad_token_id,
        eos_token_id=[text.eos_token_id, text.pad_token_id],
    )  # fmt: skip
    return net, processor


def _open_eyes(visual: Any, frames: np.ndarray) -> None:
    """Start the patch embedding at the whitened principal components of patches: it learns faster from there."""
    patches = to_patches(_float(frames)).flatten(0, 1)
    _, size, parts = torch.linalg.svd(patches - patches.mean(0), full_matrices=False)
    width = len(visual.patch_embed.proj.weight)
    weight = 0.5 * parts[:width] / (size[:width, None] / len(patches) ** 0.5 + 0.05)
    with torch.no_grad():
        visual.patch_embed.proj.weight.copy_(weight.view(width, 3, 1, PATCH, PATCH).expand(-1, -1, 2, -1, -1) / 2)


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


def train_qwen(
    data: list[Sample],
    out: Path,
    core_minutes: float,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Train for `core_minutes` of processor time and write a checkpoint into `out`."""
    neutral, aware = load_prompt("neutral-v1"), load_prompt("class_aware-v1")
    rng = np.random.default_rng(seed)
    written = [text for sample in data for text in (*sample.event_texts, *sample.normal_texts)]
    asked = [render(neutral, []), *(render(aware, [name.replace("_", " ")]) for name in LABELS), *OTHER_PROMPTS]
    net, processor = build(out, written + asked * 200, seed)
    _open_eyes(net.model.visual, pictures(sample.qwen[0] for sample in data[:200]))
    _train_eyes(net.model.visual, data, 0.57 * core_minutes, rng, say)
    school = _School(data, processor, (render(neutral, []), aware))
    memory = _Memory(net.model.visual, data)
    judge = torch.nn.Linear(net.config.text_config.hidden_size, len(LABELS))
    words = [*net.model.language_model.parameters(), *judge.parameters()]
    _train_words(net, judge, words, school, rng, 0.25 * core_minutes, 2e-3, memory, say)
    eyes, everything = _Eyes(net.model.visual, data), [*net.parameters(), *judge.parameters()]
    _train_words(net, judge, everything, school, rng, 0.18 * core_minutes, 5e-4, eyes, say)
    save_qwen(net, out)


def _float(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


class _Eyes:
    """The live vision tower, in place of its cached tokens."""

    def __init__(self, visual: Any, data: list[Sample]) -> None:
        self.visual, self.data = visual, data

    def __call__(self, lessons: list[Lesson]) -> torch.Tensor:
        images = pictures(self.data[lesson.sample].qwen[frame] for lesson in lessons for frame in lesson.frames)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = see(self.visual, _float(images))
        return tokens.flatten(0, 1).float()


class _Memory:
    """What the vision tower saw in each frame, kept."""

    def __init__(self, visual: Any, data: list[Sample]) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            self.tokens = torch.stack([see(visual, _float(pictures(sample.qwen))).bfloat16() for sample in data])

    def __call__(self, lessons: list[Lesson]) -> torch.Tensor:
        seen = [self.tokens[lesson.sample, lesson.frames].flatten(0, 1) for lesson in lessons]
        return torch.cat(seen).float()


def _train_eyes(
    visual: Any,
    data: list[Sample],
    core_minutes: float,
    rng: np.random.Generator,
    say: Callable[[str], None],
    batch: int = 64,
) -> None:
    width = visual.config.out_hidden_size
    heads = torch.nn.ModuleDict(
        {
            "state": torch.nn.Linear(2 * width, len(LABELS)),
            "place": torch.nn.Linear(2 * width, 2 * len(PLACES)),
            "seen": seen_head(width),
        }
    )
    parameters = [*visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.02, betas=(0.9, 0.98))
    right = found = 0.0
    for step, spent in enumerate(schedule(core_minutes, 1.5e-3, 200, optimizer), start=1):
        chosen = [(data[s], _one_frame(data[s], rng)) for s in rng.integers(len(data), size=batch)]
        mirrored = rng.random(batch) < 0.5
        images = _shake(_float(pictures(sample.qwen[f] for sample, f in chosen)), mirrored, rng)
        state = torch.tensor([sample.label if sample.inside[f] else 0 for sample, f in chosen])
        place = torch.tensor([2 * sample.place + sample.night for sample, _ in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            tokens = see(visual, images).float()
        pooled = torch.cat([tokens.mean(1), tokens.amax(1)], dim=1)
        state_logits = heads["state"](pooled)
        seen = seen_loss(heads["seen"](tokens), seen_where(chosen, ROWS // MERGE, COLUMNS // MERGE, mirrored))
        loss = functional.cross_entropy(state_logits, state) + SEEN * seen
        loss = loss + 0.3 * functional.cross_entropy(heads["place"](pooled), place)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        hit = (state_logits.argmax(1) == state).float().mean().item()
        right += (hit - right) * max(0.02, 1 / step)
        found += (seen.item() - found) * max(0.02, 1 / step)
        if step % 100 == 0:
            say(f"qwen, eyes: step {step}, {spent:.0%}, right {right:.3f}, seen {found:.3f}")


def _one_frame(sample: Sample, rng: np.random.Generator) -> int:
    if sample.label and rng.random() < 0.5:
        return int(rng.choice(np.flatnonzero(sample.inside)))
    return int(rng.integers(len(sample.inside)))


def _shake(x: torch.Tensor, mirrored: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Frames (B, 3, H, W), some mirrored, all shifted and brightened at random."""
    x[torch.from_numpy(mirrored)] = x[torch.from_numpy(mirrored)].flip(-1)
    padded = functional.pad(x, (5, 5, 5, 5), mode="replicate")
    shifts = rng.integers(0, 11, (len(x), 2))
    x = torch.stack([p[:, b : b + x.shape[2], a : a + x.shape[3]] for p, (a, b) in zip(padded, shifts, strict=True)])
    return (x * torch.from_numpy(rng.uniform(0.8, 1.2, (len(x), 1, 1, 1)).astype(np.float32))).clamp(0, 1)


class _School:
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


def _train_words(
    net: Any,
    judge: torch.nn.Linear,
    parameters: list[torch.Tensor],
    school: _School,
    rng: np.random.Generator,
    core_minutes: float,
    peak: float,
    eyes: _Eyes | _Memory,
    say: Callable[[str], None],
    batch: int = 32,
) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.02, betas=(0.9, 0.98))
    mean = right = 0.0
    for step, spent in enumerate(schedule(core_minutes, peak, 60, optimizer), start=1):
        packaged = bool(rng.random() < 0.35)
        lessons = [school.lesson(rng, packaged) for _ in range(batch)]
        loss, verdict = word_loss(net, school.image, lessons, eyes)
        state = torch.tensor([lesson.state for lesson in lessons])
        # the grammar is most of the text and little of the task: ask for the class at once, before the first word
        by_state = functional.cross_entropy(judge(verdict), state)
        optimizer.zero_grad(set_to_none=True)
        (loss + by_state).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean += (loss.item() - mean) * max(0.03, 1 / step)
        right += ((judge(verdict).argmax(1) == state).float().mean().item() - right) * max(0.03, 1 / step)
        if step % 50 == 0:
            part = "words and eyes" if isinstance(eyes, _Eyes) else "words"
            say(f"qwen, {part}: step {step}, {spent:.0%}, loss {mean:.3f}, right {right:.3f}")


def word_loss(net: Any, image: int, lessons: list[Lesson], eyes: _Eyes | _Memory) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross entropy of the answers' tokens, and the state (B, width) from which each first word is written."""
    length = max(len(lesson.ids) for lesson in lessons)
    ids = torch.zeros(len(lessons), length, dtype=torch.long)
    labels = torch.full((len(lessons), length), IGNORED)
    place = torch.zeros(3, len(lessons), length, dtype=torch.long)
    for row, lesson in enumerate(lessons):
        n = len(lesson.ids)
        ids[row, :n] = torch.tensor(lesson.ids)
        labels[row, lesson.answer_from : n] = ids[row, lesson.answer_from : n]
        place[:, row, :n] = positions(lesson.ids, image)
    embedded = net.model.language_model.embed_tokens(ids).masked_scatter((ids == image)[..., None], eyes(lessons))
    with torch.autocast("cpu", torch.bfloat16):
        hidden = net.model.language_model(inputs_embeds=embedded, position_ids=place, use_cache=False).last_hidden_state
    hidden = hidden.float()
    wanted = labels[:, 1:].reshape(-1)
    kept = wanted != IGNORED
    logits = net.lm_head(hidden[:, :-1].reshape(len(kept), -1)[kept])
    before = torch.tensor([lesson.answer_from - 1 for lesson in lessons])
    return functional.cross_entropy(logits, wanted[kept]), hidden[torch.arange(len(lessons)), before]
