from pathlib import Path

import pytest

from tests.vlm.fakes import Fake


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)
