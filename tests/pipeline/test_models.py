"""What a model is: its name and revision, or the content of a local checkpoint, wherever that lies."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.engine.hashing import HashCache
from pipeline.stages.models import identify


@pytest.fixture
def cache(tmp_path: Path) -> HashCache:
    return HashCache(tmp_path / "cache.json")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer" / "merges.txt").write_text("a b")
    (folder / "README.md").write_text("a card")
    return folder


def test_a_hub_model_is_its_name_and_revision(cache: HashCache) -> None:
    assert identify("ViT-B-16", "openai", cache) == {"name": "ViT-B-16", "revision": "openai"}
    assert identify("Qwen/Qwen2.5-VL-7B-Instruct", None, cache) == {"name": "Qwen/Qwen2.5-VL-7B-Instruct",
                                                                   "revision": None}


def test_a_local_model_is_its_content(model: Path, cache: HashCache, tmp_path: Path) -> None:
    first = identify(str(model), None, cache)
    assert list(first) == ["content"]
    copy = shutil.copytree(model, tmp_path / "elsewhere" / "other name")
    assert identify(str(copy), None, cache) == first
    assert identify(str(model), "ignored", cache) == first


@pytest.mark.parametrize(("name", "matters"), [
    ("model.safetensors", True), ("config.json", True), ("tokenizer/merges.txt", True), ("extra.json", True),
    ("README.md", False), (".git/HEAD", False),
])
def test_files_that_make_the_model_matter(model: Path, cache: HashCache, name: str, matters: bool) -> None:
    first = identify(str(model), None, cache)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("something else, of another length")
    assert (identify(str(model), None, cache) != first) is matters


def test_a_renamed_file_matters(model: Path, cache: HashCache) -> None:
    first = identify(str(model), None, cache)
    (model / "config.json").rename(model / "open_clip_config.json")
    assert identify(str(model), None, cache) != first


def test_weights_in_a_file_are_their_content(model: Path, cache: HashCache, tmp_path: Path) -> None:
    first = identify("ViT-B-16", str(model / "model.safetensors"), cache)
    assert first.keys() == {"name", "content"}
    copy = shutil.copy(model / "model.safetensors", tmp_path / "other.safetensors")
    assert identify("ViT-B-16", str(copy), cache) == first
    assert identify("ViT-L-14", str(copy), cache) != first


def test_weights_are_read_once(model: Path, cache: HashCache) -> None:
    first = identify(str(model), None, cache)
    cache.save()
    weights = model / "model.safetensors"
    then = weights.stat().st_mtime_ns
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(then, then))  # nothing but their content tells them apart
    assert identify(str(model), None, HashCache(cache.path)) == first
    os.utime(weights, (1, 1))
    assert identify(str(model), None, HashCache(cache.path)) != first
