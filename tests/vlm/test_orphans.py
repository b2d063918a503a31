"""No process of a managed server outlives whoever started it, however that one ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.instruments.vlm.managed import end_remains
from tests.vlm.fakes import Fake, alive, token_in

SERVING = """
import sys, time
from pipeline.instruments.vlm.managed import VllmServer
from pipeline.instruments.vlm.options import VllmOptions

with VllmServer("org/model", options=VllmOptions.model_validate_json(sys.argv[1]), logs=sys.argv[2]):
    print("ready", flush=True)
    time.sleep(600)
"""
DESCRIBING = """
import sys
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.vllm_server import VllmEngine
from tests.vlm.fakes import request

with VllmEngine("org/model", options=VllmOptions.model_validate_json(sys.argv[1]), logs=sys.argv[2]) as engine:
    print("ready", flush=True)
    engine.describe(request("fault=slow"))
"""


def start(fake: Fake, script: str = SERVING) -> "subprocess.Popen[str]":
    """A process that has a managed server."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, fake.options(request_timeout_s=60.0).model_dump_json(), str(fake.logs)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def supervisor_of(process: "subprocess.Popen[str]") -> psutil.Process:
    (supervisor,) = psutil.Process(process.pid).children()
    return supervisor


@pytest.mark.parametrize(("number", "script"), [
    (signal.SIGKILL, SERVING), (signal.SIGTERM, SERVING), (signal.SIGINT, DESCRIBING)], ids=["KILL", "TERM", "INT"])
def test_nothing_outlives_the_parent(fake: Fake, number: signal.Signals, script: str) -> None:
    process = start(fake, script)
    token, supervisor = token_in(fake.logs), supervisor_of(process)
    assert alive(token) == 2  # the server, and its engine core in a session of its own
    process.send_signal(number)
    process.wait(60)
    assert not alive(token, within_s=60)
    supervisor.wait(60)


def test_what_a_double_kill_leaves_is_ended_by_the_next_start_and_nothing_else_is(fake: Fake, tmp_path: Path) -> None:
    process, beside = start(fake), None
    try:
        token, supervisor = token_in(fake.logs), supervisor_of(process)
        supervisor.kill()
        process.kill()
        process.wait()
        assert alive(token) == 2
        beside = start(fake)  # cleans up at its start
        assert not alive(token)
        other = token_in(fake.logs)
        assert alive(other) == 2
        assert end_remains(fake.logs) == 0  # its starter lives
        assert alive(other) == 2
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()
    assert not alive(other, within_s=60)


def test_a_record_whose_process_id_was_reused_is_known_as_stale(fake: Fake) -> None:
    process = start(fake)
    token = token_in(fake.logs)
    (path,) = fake.logs.glob("vllm-*.json")
    record = json.loads(path.read_text())
    try:
        path.write_text(json.dumps(record | {"owner": os.getpid(), "owner_started": time.time() - 1e6}))
        (fake.logs / "vllm-torn.json").write_text('{"token":')
        assert end_remains(fake.logs) == 2
        assert not alive(token)
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
