"""A store on loopback that speaks S3, a bucket in it, and toys whose artifacts are there."""

import logging
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.engine.place import local
from pipeline.engine.store import Store
from tests.engine.world import World

TEXTS = {"a": "one two", "b": "three", "x": "upper!bad"}
SECRET = "a-secret-that-is-written-nowhere"


@dataclass(frozen=True)
class Server:
    """A store and the environment that leads to it."""

    address: str

    def request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Plain HTTP, past all that is tested here."""
        headers = {"Authorization": "AWS any:one", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.address}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            found: bytes = answer.read()
        return found

    def names(self, bucket: str = "art") -> list[str]:
        """Names of all objects of a bucket."""
        return re.findall(r"<Key>(.*?)</Key>", self.request("GET", f"{bucket}?list-type=2").decode())

    def environment(self, mirrors: Path) -> dict[str, str]:
        """What a user sets."""
        return {"AWS_ENDPOINT_URL": self.address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET,
                "DBVAD_MIRROR": str(mirrors), "DBVAD_S3_PATIENCE": "4"}


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Server(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def s3(moto: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """A store with an empty bucket `art`, keys in the environment, mirrors of this test's own."""
    moto.request("PUT", "art")
    for key in moto.names():
        moto.request("DELETE", f"art/{quote(unescape(key))}")
    for name, value in moto.environment(tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)
    return moto


@dataclass(frozen=True)
class Finished:
    """Toys, run into a folder and into the bucket `done`, in a process that began anew for neither."""

    here: World
    there: World


@pytest.fixture(scope="session")
def finished(moto: Server, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("finished")
    moto.request("PUT", "done")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in moto.environment(root / "mirror").items():
            patch.setenv(name, value)
        here, there = World(root).write(**TEXTS), in_bucket(root, "s3://done/toys")
        assert (here.run().counts, here.begun()) == (there.run().counts, there.begun())
    return Finished(here, there)


def in_bucket(root: Path, url: str = "s3://art/toys") -> World:
    """Toys whose artifacts are in a bucket."""
    world = World(root)
    world.store = Store(local(url))
    return world


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every shard and quarantine row, by path, as a newly made Store reads them."""
    store = Store(store.root)
    found = {}
    for stage in ("words", "upper", "count"):
        for video_id in store.videos(stage):
            found[f"{stage}/{video_id}"] = store.read(stage, video_id).to_pylist()
    return found | {f"quarantine/{row['stage']}/{row['video_id']}": [row] for row in store.quarantine_rows()}
