"""The stages files that are shipped can be read, and stages.yaml tells the truth about the defaults."""

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
    for section, values in shown.items():
        for key, value in values.items():
            assert defaults[section][key] == value, f"{section}.{key}"
