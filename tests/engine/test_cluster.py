"""What a worker needs of a node, and what is said where no node has it."""

from pathlib import Path

import pytest

from pipeline import stages
from pipeline.engine.cluster import Needs, lacking, told
from pipeline.engine.config import ConfigError
from pipeline.stages import StagesFile


@pytest.mark.parametrize(("section", "text", "gpus"), [
    ("decode", "", 0),
    ("score", "", 1),
    ("score", "score: {gpus: 0.25}", 0.25),
    ("score", "score: {gpus: 0}", 0),
    ("score", "score: {device: cpu}", 0),
    ("score", "score: {device: cuda}", 1),
    ("describe", "", 1),
    ("describe", "describe: {engine: vllm}", 1),
    ("describe", "describe: {engine: vllm, vllm: {tensor_parallel_size: 2, data_parallel_size: 2}}", 4),
    ("describe", "describe: {engine: vllm, vllm: {base_urls: [http://a/v1]}}", 0),
    ("embed", "", 1),
])
def test_a_stage_takes_the_gpus_it_can_use(tmp_path: Path, section: str, text: str, gpus: float) -> None:
    (tmp_path / "stages.yaml").write_text(text)
    needs = stages.read(tmp_path / "stages.yaml").needs()[section]
    assert needs.resources(gpus_there=True).get("GPU", 0) == gpus
    assert needs.resources(gpus_there=False).get("GPU", 0) == (gpus if "gpus" in text else 0)


def test_needs_change_no_fingerprint() -> None:
    quiet, greedy = (stages.build(StagesFile.model_validate({"decode": more, "score": more}), Path("nowhere"))
                     for more in ({}, {"cpus": 4, "gpus": 1, "reserve_mb": 5}))
    assert [stage.identity() for stage in quiet] == [stage.identity() for stage in greedy]


def test_more_than_one_gpu_are_whole_ones(tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").write_text("score:\n  gpus: 1.5")
    with pytest.raises(ConfigError, match=r"stages.yaml:2: score.gpus: a share of a GPU is at most 1"):
        stages.read(tmp_path / "stages.yaml")


@pytest.mark.parametrize(("needs", "words"), [
    (Needs(cpus=0), "nothing"),
    (Needs(cpus=1), "1 CPU"),
    (Needs(cpus=2, gpus=0.5), "2 CPUs and 0.5 GPU"),
    (Needs(cpus=2, gpus=2, reserve_mb=8000), "2 CPUs, 2 GPUs and 8000 MB"),
])
def test_needs_in_words(needs: Needs, words: str) -> None:
    assert told(needs.resources(True)) == words


def test_what_is_lacking_is_told_beside_what_there_is() -> None:
    wanted = Needs(cpus=1, gpus=1).resources(True)
    assert lacking("score", wanted, [{"CPU": 4.0, "memory": 1.0}, {"CPU": 8.0}, {"CPU": 4.0}]) == (
        "a worker wants 1 CPU and 1 GPU, and no node has that: there are 4 CPUs | 8 CPUs. Lower score.cpus, gpus or "
        "reserve_mb in stages.yaml, or let such a node join")
    assert lacking("score", wanted, [{"CPU": 4.0, "GPU": 2.0}]) == (
        "waits for 1 CPU and 1 GPU on one node: the nodes that have it are taken")
