"""The small models: batched vision equals that of transformers, lessons are honest, shipped ones work."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dbvad.demo.build_models import HELD_OUT, MODELS, STORIES
from dbvad.demo.training import qwen_lessons, qwen_sight
from dbvad.demo.training import qwen_training as training
from dbvad.demo.training.data import LABELS, pictures, sample_scene
from dbvad.demo.training.figures import clip_figures, qwen_figures
from dbvad.demo.world import MODEL_SEEDS, catalogue, named_class
from dbvad.demo.world.dataset import MAX_SEED
from pipeline.instruments.vlm.prompts import load, render

NEUTRAL = render(load("neutral-v1"), [])


@pytest.fixture(scope="module")
def stories():
    return [sample_scene(seed) for seed in MODEL_SEEDS[STORIES : STORIES + 6]]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory, stories):
    texts = [t for s in stories for t in (*s.event_texts, *s.normal_texts)] + [NEUTRAL] * 20
    net, processor = training.build(tmp_path_factory.mktemp("qwen"), texts, seed=0)
    return net.eval(), processor


def _school(stories, processor):
    return qwen_lessons.School(stories, processor, (NEUTRAL, load("class_aware-v1")))


def test_batched_vision_equals_that_of_transformers(qwen, stories):
    net, processor = qwen
    frames = pictures(stories[0].qwen[:3])
    content = [{"type": "image"}] * 3 + [{"type": "text", "text": NEUTRAL}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.fromarray(f) for f in frames], return_tensors="pt")
    with torch.no_grad():
        mine = qwen_sight.see(net.model.visual, qwen_sight.to_float(frames)).flatten(0, 1)
        theirs = net.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
    assert torch.allclose(mine, theirs, atol=1e-5)
    ids = inputs["input_ids"][0].tolist()
    assert ids == _school(stories, processor)._prefix(3, NEUTRAL)
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    expected, _ = net.model.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"])
    assert torch.equal(qwen_sight.positions(ids, image), expected[:, 0])


def test_a_lesson_speaks_of_an_event_only_if_a_frame_shows_it(qwen, stories):
    _, processor = qwen
    school, rng, kinds = _school(stories, processor), np.random.default_rng(0), set()
    for _ in range(120):
        lesson = school.lesson(rng, packaged=bool(rng.random() < 0.5))
        sample = stories[lesson.sample]
        shown = bool(sample.inside[lesson.frames].any())
        answer = processor.tokenizer.decode(lesson.ids[lesson.answer_from :])
        assert named_class(answer) == (LABELS[sample.label] if shown else "normal")
        assert lesson.state == (sample.label if shown else 0)
        assert 1 <= len(lesson.frames) <= 8
        assert lesson.frames == sorted(set(lesson.frames))
        kinds.add((bool(sample.label), shown))
    assert kinds == {(True, True), (True, False), (False, False)}


def test_models_never_train_on_a_seed_that_a_dataset_can_have():
    trained = MODEL_SEEDS[: STORIES + HELD_OUT]
    assert not any(video.seed in trained for seed in (0, 7, MAX_SEED - 1) for video in catalogue(96, 48, seed))


@pytest.mark.skipif(not (MODELS / "clip").exists(), reason="dbvad/demo/models is not in this checkout")
class TestShipped:
    def test_size_and_cards(self):
        files = [f for f in MODELS.rglob("*") if f.is_file()]
        assert sum(f.stat().st_size for f in files) < 25_000_000
        for name in ("clip", "qwen"):
            card = (MODELS / name / "README.md").read_text()
            assert all(f"## {part}" in card for part in ("Data", "Figures", "Limits"))

    def test_qwen_head_sizes_are_those_that_vllm_takes(self):
        config = json.loads((MODELS / "qwen" / "config.json").read_text())
        text, vision = config["text_config"], config["vision_config"]
        assert text["hidden_size"] // text["num_attention_heads"] in (32, 64, 80, 96, 112, 128)
        assert vision["hidden_size"] // vision["num_heads"] in (32, 64, 80, 96, 112, 128)

    def test_clip_tells_events_from_normal_life(self, stories):
        figures = clip_figures(MODELS / "clip", stories)
        assert figures["AUC event against normal frames"] > 0.75

    def test_qwen_names_what_the_frames_show(self, stories):
        figures = list(qwen_figures(MODELS / "qwen", stories).values())
        assert np.mean(figures) > 0.3  # guessing among seven: 0.14; the card has the figures on 150 stories
