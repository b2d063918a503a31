"""One camera's video, one RTSP server and one CLIP for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.instruments import clip as clips
from pipeline.instruments.clip import Clip
from tests.live.faults import Proxy, RtspServer, camera_video
from tests.tiny import tiny_clip


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The models here are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return clips.load(str(tiny_clip(tmp_path_factory.mktemp("clip"))), precision="fp32", device="cpu")
