"""stages.yaml as a whole: defaults, paths relative to the file, and one CLIP model for pictures and texts."""

from pathlib import Path

import pytest

from pipeline import stages
from pipeline.engine.config import ConfigError
from pipeline.stages import ORDER, StagesFile, build, read


def parsed(folder: Path, text: str) -> StagesFile:
    path = folder / "stages.yaml"
    path.write_text(text)
    return read(path)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    found = parsed(tmp_path, "")
    assert found.score == StagesFile().score
    assert found.dataset.videos == tmp_path / "videos"
    assert found.decode.stride == 16


def test_the_shipped_file_spells_the_defaults_out() -> None:
    shipped = read(Path(stages.__file__).parents[2] / "stages.yaml")
    defaults = StagesFile()
    for name in ("ingest", "decode", "score", "select", "embed"):
        assert getattr(shipped, name) == getattr(defaults, name), name
    assert shipped.describe.model_copy(update={"revision": None}) == defaults.describe


def test_stages_come_in_order_and_each_reads_what_comes_before(tmp_path: Path) -> None:
    built = build(parsed(tmp_path, ""), tmp_path / "artifacts")
    assert tuple(stage.name for stage in built) == ORDER
    for position, stage in enumerate(built):
        assert set(stage.inputs) <= set(ORDER[:position])
        assert stage.contract.artifact == stage.name


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    for name in ("clip", "qwen"):
        (tmp_path / name).mkdir()
    (tmp_path / "weights.pt").touch()
    (tmp_path / "mine.txt").write_text("Describe.")
    found = parsed(tmp_path, "dataset: {videos: v, labels: csv, labels_file: l.csv}\n"
                             "score: {model: clip, pretrained: null}\n"
                             "embed: {model: ViT-B-32, pretrained: weights.pt}\n"
                             "describe: {model: qwen, prompt: mine.txt}\n")
    assert (found.dataset.videos, found.dataset.labels_file) == (tmp_path / "v", tmp_path / "l.csv")
    assert (found.score.model, found.score.pretrained) == (str(tmp_path / "clip"), None)
    assert (found.embed.model, found.embed.pretrained) == ("ViT-B-32", str(tmp_path / "weights.pt"))
    assert (found.describe.model, found.describe.prompt) == (str(tmp_path / "qwen"), str(tmp_path / "mine.txt"))


@pytest.mark.parametrize(("text", "model"), [
    ("score: {model: ViT-L-14, pretrained: laion}", ("ViT-L-14", "laion")),
    ("score: {model: ViT-L-14, pretrained: laion}\nembed:", ("ViT-L-14", "laion")),
    ("score: {model: ViT-L-14, pretrained: laion}\nembed: {workers: 2}", ("ViT-L-14", "laion")),
    ("score: {model: ViT-L-14, pretrained: laion}\nembed: {model: ViT-B-32}", ("ViT-B-32", "openai")),
    ("embed: {model: ViT-B-32}", ("ViT-B-32", "openai")),
])
def test_embed_takes_the_model_of_score_unless_it_names_its_own(tmp_path: Path, text: str, model: tuple[str, str],
                                                                ) -> None:
    found = parsed(tmp_path, text).embed
    assert (found.model, found.pretrained) == model


@pytest.mark.parametrize(("text", "message"), [
    ("decode:\n  strides: 8", "stages.yaml:2: unknown key 'decode.strides': did you mean 'stride'?"),
    ("scores: {}", "stages.yaml:1: unknown key 'scores': did you mean 'score'?"),
    ("score: {crops: 3}", "stages.yaml:1: score.crops: input should be 1, 5 or 10 (found 3)"),
    ("describe:\n  vllm:\n    base_url: []", "stages.yaml:3: unknown key 'describe.vllm.base_url': did you mean "
                                             "'base_urls'?"),
    ("score: 5", "stages.yaml:1: score: expected keys and values (found 5)"),
])
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(tmp_path, text)
    assert message in str(error.value)
