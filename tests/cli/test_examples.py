"""The files that are shipped can be read, and stages.yaml tells the truth about the defaults."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from pipeline import stages

ROOT = Path(__file__).parents[2]


SHIPPED = [ROOT / "stages.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_stages_file_is_valid(path: Path) -> None:
    assert stages.read(path).describe.revision


def test_stages_yaml_shows_the_defaults() -> None:
    shown = yaml.safe_load((ROOT / "stages.yaml").read_text())
    defaults = stages.StagesFile().model_dump(mode="json")
    del shown["describe"]["revision"]  # pinned there, so that a download is the one that was tested
    assert shown.pop("engine") == defaults["engine"]
    for section, values in shown.items():
        for key, value in values.items():
            assert defaults[section][key] == value, f"{section}.{key}"


def test_the_cluster_file_is_one_for_ray() -> None:
    jsonschema = pytest.importorskip("jsonschema")  # Ray's own
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((ROOT / "examples" / "cluster" / "ray-aws.yaml").read_text()), schema)


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "cluster").glob("*.sh")), ids=lambda path: path.name)
def test_a_shipped_script_is_one_for_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
