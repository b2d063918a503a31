"""A small Qwen2.5-VL from scratch, in three steps: its eyes, its words, both together.

1. Vision tower: what state a frame is in (an event's class or normal) and where in it that can be seen, by heads that
   are thrown away.
2. Language model on the vision tower's cached tokens: key frames and a prompt -> description.
3. Both, end to end.

Everything runs through the modules of transformers' own model, the vision tower in batches (qwen_sight).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from dbvad.demo.tiny_qwen import build_config, build_processor, save_qwen
from dbvad.demo.training.data import LABELS, Sample, pictures, seen_head, seen_loss, seen_where
from dbvad.demo.training.qwen_lessons import OTHER_PROMPTS, Lesson, School, one_frame, shake
from dbvad.demo.training.qwen_sight import COLUMNS, MERGE, PATCH, ROWS, positions, see, to_float, to_patches
from dbvad.demo.training.schedule import schedule
from dbvad.demo.world.places import PLACES
from pipeline.instruments.vlm.prompts import load as load_prompt
from pipeline.instruments.vlm.prompts import render
from pipeline.instruments.vlm.transformers_local import quiet

PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 168 * 112}  # 224 x 168 frames come out as QWEN_SIZE
IGNORED = -100
SEEN = 0.5  # weight of what is where against what happens


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
    patches = to_patches(to_float(frames)).flatten(0, 1)
    _, size, parts = torch.linalg.svd(patches - patches.mean(0), full_matrices=False)
    width = len(visual.patch_embed.proj.weight)
    weight = 0.5 * parts[:width] / (size[:width, None] / len(patches) ** 0.5 + 0.05)
    with torch.no_grad():
        visual.patch_embed.proj.weight.copy_(weight.view(width, 3, 1, PATCH, PATCH).expand(-1, -1, 2, -1, -1) / 2)


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
    school = School(data, processor, (render(neutral, []), aware))
    memory = _Memory(net.model.visual, data)
    judge = torch.nn.Linear(net.config.text_config.hidden_size, len(LABELS))
    words = [*net.model.language_model.parameters(), *judge.parameters()]
    _train_words(net, judge, words, school, rng, 0.25 * core_minutes, 2e-3, memory, say)
    eyes, everything = _Eyes(net.model.visual, data), [*net.parameters(), *judge.parameters()]
    _train_words(net, judge, everything, school, rng, 0.18 * core_minutes, 5e-4, eyes, say)
    save_qwen(net, out)


class _Eyes:
    """The live vision tower, in place of its cached tokens."""

    def __init__(self, visual: Any, data: list[Sample]) -> None:
        self.visual, self.data = visual, data

    def __call__(self, lessons: list[Lesson]) -> torch.Tensor:
        images = pictures(self.data[lesson.sample].qwen[frame] for lesson in lessons for frame in lesson.frames)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = see(self.visual, to_float(images))
        return tokens.flatten(0, 1).float()


class _Memory:
    """What the vision tower saw in each frame, kept."""

    def __init__(self, visual: Any, data: list[Sample]) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            self.tokens = torch.stack([see(visual, to_float(pictures(sample.qwen))).bfloat16() for sample in data])

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
        chosen = [(data[s], one_frame(data[s], rng)) for s in rng.integers(len(data), size=batch)]
        mirrored = rng.random(batch) < 0.5
        images = shake(to_float(pictures(sample.qwen[f] for sample, f in chosen)), mirrored, rng)
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


def _train_words(
    net: Any,
    judge: torch.nn.Linear,
    parameters: list[torch.Tensor],
    school: School,
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
