"""Two gloo processes, as torchrun starts them on one machine or on two, make the steps of one."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dbvad.training.config import TrainConfig
from dbvad.training.distributed import Group
from dbvad.training.loop import train
from tests.detector.planted import World, plant

CONFIG = TrainConfig(epochs=3, lr=1e-3, batch=8, precision="fp32", device="cpu", dropout=0, lambda_db=1)
PROGRAM = """
import sys, torch
from pathlib import Path
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
torch.set_num_threads(1)
train(TrainConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def launch(tmp_path, config, *placing):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", *placing, str(tmp_path / "program.py"),
               config.model_dump_json(), str(tmp_path), str(tmp_path / "two")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "GLOO_SOCKET_IFNAME": "lo"})


def on_one_machine():
    return [["--standalone", "--nproc-per-node", "2"]]


def on_two_machines():
    with socket.create_server(("127.0.0.1", 0)) as found:
        meeting = f"127.0.0.1:{found.getsockname()[1]}"
    return [["--nnodes", "2", "--node-rank", str(node), "--nproc-per-node", "1", "--rdzv-backend", "c10d",
             "--rdzv-endpoint", meeting, "--rdzv-id", "dbvad", "--local-addr", "127.0.0.1"] for node in range(2)]


@pytest.fixture
def artifacts(tmp_path):
    missing = {"train/video 005.mp4": {"text": None}}  # so that the processes have unequal numbers of descriptions
    plant(tmp_path, World(train=16, test=0, dim=8, text_dim=6, snippets=(3, 20), changed=missing))
    return tmp_path


@pytest.mark.parametrize("placed", [on_one_machine, on_two_machines])
def test_two_processes_make_the_steps_of_one(artifacts, placed):
    nodes = [launch(artifacts, CONFIG, *placing) for placing in placed()]
    try:
        for node in nodes:
            said = node.communicate(timeout=200)[1]
            assert node.returncode == 0, said
            assert "Warning" not in said
    finally:
        for node in nodes:
            node.kill()
    assert len(list((artifacts / "cache").glob("*.f16"))) == 1
    result = train(CONFIG, artifacts, artifacts / "one")
    one, two = (load_file(artifacts / name / "model.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
    told = json.loads((artifacts / "two" / "train.json").read_text())
    assert (told["processes"], told["steps"]) == (2, result.steps)
    assert told["loss"] == pytest.approx(result.loss, rel=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused():
    plan = np.arange(5 * 2 * 6).reshape(5, 2, 6)
    shares = [Group(rank, 3).share(plan) for rank in range(3)]
    assert sorted(np.concatenate(shares, axis=2).ravel().tolist()) == plan.ravel().tolist()
    with pytest.raises(ValueError, match="set batch to a multiple of 8"):
        Group(0, 4).share(plan)
