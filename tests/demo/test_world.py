"""The rendered world: same seed same pixels, truth that fits the pixels, seeds kept apart, a dataset that resumes."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.demo.training.data import THINGS, pictures, sample_scene, seen_where
from dbvad.demo.world import CLASSES, MODEL_SEEDS, NORMAL, Renderer, catalogue, named_class, render_dataset, tell
from dbvad.demo.world.dataset import MAX_SEED, MAX_SPLIT
from pipeline.instruments import video


@pytest.mark.parametrize("label", [NORMAL, *CLASSES])
def test_same_seed_same_frames_in_any_order(label):
    first, second = Renderer(tell(5, label)), Renderer(tell(5, label))
    picked = np.linspace(0, first.story.n_frames - 1, 5).astype(int)
    forward = [first.frame(int(i)) for i in picked]
    backward = [second.frame(int(i)) for i in picked[::-1]][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert forward[0].shape == (168, 224, 3)
    assert forward[0].dtype == np.uint8


def test_other_seed_other_frames():
    assert not np.array_equal(Renderer(tell(1, NORMAL)).frame(0), Renderer(tell(2, NORMAL)).frame(0))


@given(seed=st.integers(0, 10**6), label=st.sampled_from(CLASSES))
@settings(max_examples=30, deadline=None)
def test_spans_lie_inside_the_video_in_order(seed, label):
    story = tell(seed, label)
    assert 200 <= story.n_frames <= 600
    assert 1 <= len(story.spans) <= 2
    edges = [edge for span in story.spans for edge in span]
    assert edges == sorted(set(edges))
    assert edges[0] >= 0
    assert edges[-1] < story.n_frames
    assert story.inside(edges[0]) == 0
    assert story.inside(edges[0] - 1) is None
    assert named_class(story.reference) == label


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_normal_stories_have_no_event_and_their_text_names_none(seed):
    story = tell(seed, NORMAL)
    assert story.spans == ()
    assert named_class(story.reference) == NORMAL


@pytest.mark.parametrize("label", CLASSES)
def test_an_event_can_be_seen_where_the_truth_has_it(label):
    """The same story without its event differs from it inside the span."""
    seen = 0
    for seed in range(4):
        story = tell(seed, label)
        people = {id(p) for i in story.incidents for p in i.people}
        cars = {id(c) for i in story.incidents for c in i.cars}
        effects = {id(e) for i in story.incidents for e in i.effects}
        calm = replace(
            story,
            people=tuple(p for p in story.people if id(p) not in people),
            cars=tuple(c for c in story.cars if id(c) not in cars),
            effects=tuple(e for e in story.effects if id(e) not in effects),
        )
        first, last = story.spans[0]
        shown, missing = Renderer(story), Renderer(calm)
        change = [np.abs(shown.frame(f).astype(int) - missing.frame(f)).max() for f in range(first + 3, last - 3, 7)]
        seen += bool(np.mean(np.array(change) > 25) > 0.8)
    assert seen >= 3


def test_there_are_short_events_and_videos_of_two():
    stories = [tell(seed, label) for seed in range(12) for label in CLASSES]
    lengths = [(last - first + 1) / s.n_frames for s in stories for first, last in s.spans]
    assert 0.05 < np.mean(np.array(lengths) < 0.1) < 0.5
    assert 0.05 < np.mean([len(s.spans) == 2 for s in stories]) < 0.5


def test_model_seeds_and_dataset_seeds_are_disjoint():
    largest = catalogue(2, 2, MAX_SEED - 1)
    assert max(v.seed for v in largest) - 1 + MAX_SPLIT - 1 < MODEL_SEEDS.start
    seeds = [v.seed for s in (0, 7, 8) for v in catalogue(200, 200, s)]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ValueError, match="belong to the models' training"):
        catalogue(1, 1, MAX_SEED)
    with pytest.raises(ValueError, match="models train on seeds"):
        sample_scene(catalogue()[0].seed)


def test_catalogue_grows_without_moving_what_is_there():
    small, large = catalogue(24, 12), catalogue(240, 120)
    assert {v.video_id: v for v in small}.items() <= {v.video_id: v for v in large}.items()
    assert {v.label for v in small if v.split == "test"} == {NORMAL, *CLASSES}
    assert len({v.name for v in large}) == len(large)


def test_training_sample_has_frames_of_both_kinds():
    seed = next(s for s in MODEL_SEEDS if tell(s).label != NORMAL)
    sample = sample_scene(seed, frames=6)
    assert pictures(sample.clip).shape == (6, 128, 128, 3)
    assert pictures(sample.qwen).shape == (6, 112, 140, 3)
    assert sample.inside.sum() == 4
    assert {named_class(t) for t in sample.event_texts} == {tell(seed).label}
    assert {named_class(t) for t in sample.normal_texts} == {NORMAL}


def test_what_is_where_is_in_the_picture_and_names_the_event():
    for seed in range(3):
        for label in CLASSES:
            story = tell(seed, label)
            first, last = story.spans[0]
            for frame in (first - 1, (first + last) // 2):
                things = story.things(frame)
                assert {kind for kind, _, _ in things} <= {*THINGS, "box"}
                assert all(0 <= x < 1 and 0 <= y < 1 for _, x, y in things)
                named = {kind for kind, _, _ in things} & set(CLASSES)
                assert named == (set() if frame < first else {label})


def test_cells_share_what_lies_between_them_and_mirror_it():
    seed = next(s for s in MODEL_SEEDS if tell(s).label == NORMAL)
    gun, fire = THINGS.index("gun"), THINGS.index("fire")
    seen = (np.array([[gun, 0.25, 0.25], [fire, 0.75, 0.5]], np.float32),)
    sample = replace(sample_scene(seed, frames=1), things=seen)
    grid = seen_where([(sample, 0), (sample, 0)], 2, 2, np.array([False, True])).reshape(2, 2, 2, len(THINGS))
    assert grid[0, ..., gun].tolist() == [[1, 0], [0, 0]]
    assert grid[1, ..., gun].tolist() == [[0, 1], [0, 0]]
    assert grid[0, ..., fire].tolist() == [[0, 0.5], [0, 0.5]]
    assert grid.sum() == 4


def test_dataset_is_resumable_and_its_files_agree(tmp_path):
    videos = render_dataset(tmp_path, train=2, test=1, seed=3, workers=1)
    paths = [tmp_path / "videos" / v.video_id for v in videos]
    before = [p.read_bytes() for p in paths]
    stamps = [p.stat().st_mtime_ns for p in paths]
    with (tmp_path / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    for path, v in zip(paths, videos, strict=True):
        mine = [r for r in rows if r["video_id"] == v.video_id]
        assert video.probe(path).n_frames == int(mine[0]["n_frames"])
        assert (mine[0]["event"] == "-1") == (v.label == NORMAL)
    lines = (tmp_path / "temporal.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"{v.name}.mp4" for v in videos]
    assert json.loads((tmp_path / "descriptions.json").read_text()).keys() == {v.video_id for v in videos}
    os.unlink(paths[1])
    render_dataset(tmp_path, train=2, test=1, seed=3, workers=1)
    assert [p.read_bytes() for p in paths] == before
    assert paths[0].stat().st_mtime_ns == stamps[0]
    assert not list(tmp_path.rglob("*.part"))
