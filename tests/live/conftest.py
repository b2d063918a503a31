"""One camera's video and one RTSP server for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.faults import Proxy, RtspServer, camera_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cameras")
    camera_video(folder / "gate.mp4")
    return folder


@pytest.fixture(scope="session")
def server(videos: Path) -> Iterator[RtspServer]:
    server = RtspServer(videos)
    yield server
    server.kill()


@pytest.fixture
def proxy(server: RtspServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()
