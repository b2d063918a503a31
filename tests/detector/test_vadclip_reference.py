"""The VadCLIP-like reference learns on our artifacts and is judged as our detector is."""

import json

import numpy as np
import pytest
import torch

from dbvad.model.sfp import LabelTable
from tests.detector.planted import CLASSES, World, plant
from tools import vadclip_reference
from tools.vadclip_reference import Reference


def test_it_finds_a_planted_signal(tmp_path, capsys):
    events = plant(tmp_path, World(train=32, test=16, snippets=(10, 30), strength=2.0))
    np.savez(tmp_path / "labels.npz", labels=["normal", *CLASSES],
             embeddings=np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32))
    settings = [f"label_embeddings={tmp_path}/labels.npz", "epochs=80", "lr=1e-3", "batch=16", "bins=32",
                "precision=fp32"]
    vadclip_reference.main(["--artifacts", str(tmp_path), "--annotations", str(events), "--seeds", "1",
                            "--out", str(tmp_path / "runs"), *(part for text in settings for part in ("--set", text))])
    assert "| VadCLIP-like |" in capsys.readouterr().out
    result = json.loads((tmp_path / "runs" / "seed-1" / "result.json").read_text())
    assert result["metrics"]["auc"] > 0.9
    assert result["provenance"]["config"]["seed"] == 1


def test_a_shorter_sequence_is_padded_to_its_length_and_cut_back():
    torch.manual_seed(0)
    network = Reference(LabelTable(torch.randn(3, 8)), 8, 16).eval()
    assert network.length == 16
    x = torch.randn(2, 5, 8)
    found = network(x, torch.ones(2, 5, dtype=torch.bool))
    assert found.logits.shape == (2, 5)
    assert found.features.shape == (2, 5, 8)


def test_without_class_vectors_it_says_what_is_missing(tmp_path):
    events = plant(tmp_path, World(train=8, test=4, dim=8, text_dim=6, snippets=(3, 9)))
    with pytest.raises(SystemExit, match="class vectors of 8 numbers: --set label_embeddings"):
        vadclip_reference.main(["--artifacts", str(tmp_path), "--annotations", str(events), "--seeds", "0",
                                "--out", str(tmp_path / "runs")])
