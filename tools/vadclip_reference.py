"""The reference that works as VadCLIP does (bench/vadclip_like.py), trained on artifacts and judged by our protocol.

    python tools/vadclip_reference.py --artifacts DIR --annotations FILE --set label_embeddings=FILE.npz [--seeds 0-4]

Videos, batches, bins, schedule, precision and weight decay are those of `dbvad train` with the same keys (--set), the
weights those of the last epoch, scores and metrics those of `dbvad evaluate`. What is not VadCLIP's: for features that
have no text tower a table of class vectors stands in for it as in our SFP, frozen ones with learnable ones beside them.
Writes OUT/seed-N/result.json and scores.parquet, and prints the table row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import vadclip_like
from dbvad.ablation.ladder import read_seeds
from dbvad.cli.train import keys
from dbvad.data.dataset import epoch_batches, read_training
from dbvad.data.features import writable_cache
from dbvad.evaluation.evaluate import evaluate, save_result
from dbvad.evaluation.summary import row, summarise
from dbvad.model.detector import Detected
from dbvad.model.sfp import LabelTable
from dbvad.scoring.protocol import Ends, Protocol, Scale
from dbvad.training.checkpoint import Facts, Model
from dbvad.training.config import TrainConfig
from dbvad.training.label_texts import label_texts
from dbvad.training.loop import learning_rate, prefetch
from pipeline.engine.store import Store
from pipeline.instruments.hardware import pick_precision


class Reference(vadclip_like.VadclipLike):
    """Its network in the detector's place: (B, T, D) and mask (B, T) -> logits and features, T up to `length`."""

    def __init__(self, labels: LabelTable, width: int, length: int) -> None:
        vadclip_like.LENGTH = length  # of its sequences, which it pads to
        no_tower = SimpleNamespace(context_length=1, width=1, tokenize=list)
        super().__init__(no_tower, [], width)  # type: ignore[arg-type]
        self.labels, self.width, self.length = labels, width, length

    def encode_labels(self) -> Tensor:
        """(C, D) from the table."""
        return self.labels()

    def padded(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, length, D)."""
        return pad(x, (0, 0, 0, self.length - x.shape[1]))

    def forward(self, x: Tensor, mask: Tensor) -> Detected:
        h = self.encode_video(self.padded(x), mask.sum(dim=1).tolist())[:, :x.shape[1]]
        return Detected(self.classifier(h + self.video_ffn(h)).squeeze(-1), h)


def train(config: TrainConfig, artifacts: Path, out: Path) -> Model:
    """As `dbvad.training.loop`, with its losses."""
    device, precision = torch.device("cpu"), pick_precision(config.precision, torch.device("cpu"))
    data = read_training(Store(artifacts), bins=config.bins, cache=writable_cache(artifacts, out), descriptions=False)
    torch.manual_seed(config.seed)
    labels = label_texts(config, data, device)
    if not isinstance(labels, LabelTable) or labels.width != data.index.dim:
        raise SystemExit(f"it needs class vectors of {data.index.dim} numbers: --set label_embeddings=FILE.npz")
    network = Reference(labels, data.index.dim, config.bins)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    step = 0
    for epoch in range(config.epochs):
        plan = epoch_batches(np.arange(len(data.labels)), data.abnormal, crops=data.index.crops, batch=config.batch,
                             seed=config.seed, epoch=epoch)
        for batch, _ in prefetch(data, plan, device):
            optimizer.param_groups[0]["lr"] = learning_rate(config, step, len(plan))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = network.losses(network.padded(batch.x), batch.mask.sum(dim=1).tolist(), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    index = data.index
    facts = Facts(data.classes, index.dim, index.feature_source, index.model, index.identity, data.fingerprint,
                  config.epochs)
    return Model(network.eval(), None, config, facts)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--ends", choices=get_args(Ends), default="inclusive")
    parser.add_argument("--scale", choices=get_args(Scale), default="bins")
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--out", type=Path, default=Path("runs/vadclip-like"))
    given = parser.parse_args(arguments)
    values = {"labels": "table"} | keys(None, given.settings, None, None)
    protocol = Protocol(scale=given.scale, ends=given.ends, repeats=0)
    results = []
    for seed in read_seeds(given.seeds):
        out = given.out / f"seed-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        model = train(TrainConfig.model_validate(values | {"seed": seed}), given.artifacts, out)
        results.append(evaluate(out, given.artifacts, given.annotations, protocol=protocol, model=model))
        save_result(out / "result.json", results[-1])
        print(f"seed {seed}: {results[-1]['metrics']}", file=sys.stderr, flush=True)
    print(row("VadCLIP-like", summarise(results)["metrics"], "markdown"))


if __name__ == "__main__":
    main()
