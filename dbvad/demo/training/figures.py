"""What the trained models can do on stories that they did not train on, through the pipeline's instruments."""

from pathlib import Path

import numpy as np

from dbvad.demo.training.data import LABELS, Sample, pictures
from dbvad.demo.world.captions import named_class
from pipeline.instruments import clip
from pipeline.instruments.vlm import Request
from pipeline.instruments.vlm.prompts import load, render
from pipeline.instruments.vlm.transformers_local import TransformersEngine

LABEL_WORDS = {name: name.replace("_", " ") for name in LABELS} | {"normal": "normal activity"}


def clip_features(folder: Path, data: list[Sample]) -> np.ndarray:
    """The CLIP's features of every frame, (stories, frames, D) float32, each of length 1."""
    model = clip.load(str(folder))
    return np.stack([model.encode_images(list(pictures(sample.clip)))[:, 0] for sample in data])


def clip_figures(folder: Path, data: list[Sample]) -> dict[str, float]:
    """Zero-shot with the score stage's templates: seven-way accuracy, event against normal, ranking in a video."""
    from sklearn.metrics import roc_auc_score

    model, features = clip.load(str(folder)), clip_features(folder, data)
    prompts = [[f"a surveillance photo of {w}", f"a CCTV frame showing {w}"] for w in LABEL_WORDS.values()]
    scores = features @ np.stack([model.encode_texts(pair).mean(axis=0) for pair in prompts]).T
    inside = np.stack([s.inside for s in data])
    labels = np.array([s.label for s in data])
    state = np.where(inside, labels[:, None], 0)
    within = [roc_auc_score(i, s[:, label]) for i, s, label in zip(inside, scores, labels, strict=True) if label]
    named, margin = scores.argmax(-1) == state, scores[..., 1:].max(-1) - scores[..., 0]
    return {
        "frames' state named (of 7)": float(named.mean()),
        "events' frames named (of 7)": float(named[inside].mean()),
        "AUC event against normal frames": float(roc_auc_score(inside.ravel(), margin.ravel())),
        "AUC inside a video, by its own label": float(np.mean(within)),
    }


def qwen_figures(folder: Path, data: list[Sample], frames: int = 4, seed: int = 0) -> dict[str, float]:
    """Classes named with the neutral prompt, for frames of an event, of a normal video, and of calm around an event."""
    rng, prompt = np.random.default_rng(seed), render(load("neutral-v1"), [])
    right: dict[str, list[bool]] = {"event": [], "normal": [], "calm": []}
    with TransformersEngine(str(folder)) as engine:
        for sample in data:
            inside, outside = np.flatnonzero(sample.inside), np.flatnonzero(~sample.inside)
            if sample.label:
                shown = [*rng.choice(inside, frames - 1, replace=False), outside[0]]
                tries = [("event", shown, LABELS[sample.label]), ("calm", list(outside[:frames]), "normal")]
            else:
                tries = [("normal", list(rng.choice(outside, frames, replace=False)), "normal")]
            for kind, chosen, name in tries:
                images = tuple(sample.qwen[i] for i in sorted(chosen))
                right[kind].append(named_class(engine.describe(Request(images, prompt)).text) == name)
    return {
        "abnormal videos whose class is named, 3 of 4 frames inside the event": float(np.mean(right["event"])),
        "normal videos described without an event": float(np.mean(right["normal"])),
        "abnormal videos described without an event, no frame inside it": float(np.mean(right["calm"])),
    }
