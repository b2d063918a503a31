"""A fresh folder of toys, and one whose run is finished: copied, as tests change it."""

import shutil
from pathlib import Path

import pytest

from tests.engine.world import World

TEXTS = {"a": "one two three", "b": "four", "c": "five six"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("finished")).write(**TEXTS)
    outcome = world.run()
    assert outcome.count("done") == 9, world.output
    return world


@pytest.fixture
def finished(once: World, tmp_path: Path) -> World:
    """Three videos, three stages, all done."""
    shutil.copytree(once.root, tmp_path, dirs_exist_ok=True)
    return World(tmp_path, output=once.output)
