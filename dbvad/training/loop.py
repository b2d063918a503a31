"""Training: artifacts in, a run folder with a model out. Reads top to bottom.

Everything that is drawn is drawn by the seed: the network's first weights and its dropout from torch's generator, whose
state a checkpoint carries, and the batches of an epoch by seed and epoch alone. So a resumed run and an uninterrupted
one end in the same weights, bit for bit on a CPU.
"""

import ctypes
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from dbvad.data.dataset import Batch, TrainingData, epoch_batches, read_training, split_holdout
from dbvad.data.features import writable_cache
from dbvad.progress import progress, track
from dbvad.training.checkpoint import CHECKPOINT, load_checkpoint
from dbvad.training.config import TrainConfig
from dbvad.training.distributed import Group, join
from dbvad.training.interrupt import stop_on_signal
from dbvad.training.label_texts import label_texts
from dbvad.training.network import Losses, TrainingNetwork
from dbvad.training.remember import find_directions, remember, video_means
from dbvad.training.run import Result, Run, TrainError, clear, refuse_to_mix, uses_text
from dbvad.training.runlog import RunLog
from pipeline.engine.files import WriteError, atomic_file
from pipeline.engine.store import Store
from pipeline.instruments.hardware import pick_device, pick_precision
from pipeline.lists.remarks import Remark
from pipeline.words import few

SAVE_EVERY_S = 60.0  # the most work that a power cut costs
LOG_EVERY = 10  # steps


class Interrupted(Exception):
    """Stopped by Ctrl-C or SIGTERM with a checkpoint to go on from."""


def train(config: TrainConfig, artifacts: Path, out: Path, *, resume: bool = False, overwrite: bool = False,
          data: TrainingData | None = None, quiet: bool = False) -> Result:
    """Train on the artifacts' training videos and leave the model in `out`.

    A resumed run needs the configuration and the data that it was begun with. Under torchrun the processes share each
    batch. `data`: the training videos where they are open already. `quiet`: without progress. Raises TrainError,
    WriteError, Interrupted, DataError, FeatureError, CheckpointError.
    """
    with join() as group:
        if group.leads and not resume:
            refuse_to_mix(out, overwrite)
        try:
            return _train(config, artifacts, out, resume, group, data, quiet)
        except WriteError as error:
            if not (out / CHECKPOINT).exists():
                raise
            raise TrainError(f"{error}. The last checkpoint is kept, go on from it with: dbvad train --resume --out "
                             f"{out}") from error


def _train(config: TrainConfig, artifacts: Path, out: Path, resume: bool, group: Group, data: TrainingData | None,
           quiet: bool) -> Result:
    forget_shapes()
    saved = load_checkpoint(out / CHECKPOINT) if resume else None
    try:
        device = pick_device(f"cuda:{group.local_rank}" if config.device == "auto" and torch.cuda.is_available()
                             else config.device)
    except ValueError as error:
        raise TrainError(str(error)) from error
    precision = pick_precision(config.precision, device)

    with group.leader_first():
        data = data or read_training(Store(artifacts), bins=config.bins, cache=writable_cache(artifacts, out),
                                     descriptions=uses_text(config), allow_leaks=config.allow_leaks,
                                     track=track("read features"))
    trim()
    chosen, held = split_holdout(data.abnormal, config.holdout, config.seed)
    trained_on = data.taught(config.descriptions, chosen, config.seed)

    torch.manual_seed(config.seed)
    texts = label_texts(config, data, device) if uses_text(config) and config.sfp != "off" else None
    alignment, memory = None, None
    remembers = uses_text(config) and config.memory > 0
    # All features are read for them, so once for both.
    means = video_means(data, chosen) if remembers or config.directions else torch.empty(0)
    if remembers:
        remembered = remember(config, trained_on, chosen, means)
        if isinstance(remembered, Remark):
            trained_on = replace(trained_on, remarks=(*trained_on.remarks, remembered))
        else:
            alignment, memory = remembered
    directions = find_directions(config, data, chosen, means)
    network = TrainingNetwork(config, data.index.dim, data.descriptions.shape[1], texts, group, directions)
    network.detector.memory = memory
    network.to(device)
    optimizer = make_optimizer(network, config)
    if group.rank:
        torch.manual_seed(config.seed + group.rank * 10**6)  # the same first weights, another dropout
    run = Run(config, trained_on, network, optimizer, out, chosen, held, group, alignment)
    if saved:
        run.restore(saved)
    elif group.leads:
        clear(out)
        with atomic_file(out / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))

    def plan(epoch: int) -> np.ndarray:
        whole = epoch_batches(chosen, data.abnormal[chosen], crops=data.index.crops, batch=config.batch,
                              seed=config.seed, epoch=epoch)
        try:
            return group.share(whole)
        except ValueError as error:
            raise TrainError(str(error)) from error

    steps_per_epoch = len(plan(0))
    total = config.epochs * steps_per_epoch
    with (RunLog(out / "log.jsonl", keep=run.step) if group.leads else nullcontext()) as log, \
            stop_on_signal() as stopped, progress("train", total, run.step, quiet=quiet or not group.leads) as update:
        while run.step < total:
            epoch, first = divmod(run.step, steps_per_epoch)
            for batch, waited in prefetch(trained_on, plan(epoch)[first:], device):
                for parameters in optimizer.param_groups:
                    parameters["lr"] = learning_rate(config, run.step, steps_per_epoch)
                network.lambda_db = description_weight(config, run.step, total)
                losses = forward(network, batch, precision)
                overdue = group.leads and time.monotonic() - run.saved_at > SAVE_EVERY_S
                (loss, bce, db), (stop, save) = _agree(losses, (stopped.is_set(), overdue), group)
                if not math.isfinite(loss):
                    raise _not_finite(losses, batch, data, run.step, config, group)
                descend(network, losses, optimizer, group)

                run.count(loss, waited)
                update(run.step, f"epoch {epoch + 1}/{config.epochs}, loss {loss:.4f}")
                if log and run.step % LOG_EVERY == 0:
                    log.write(run.step, {"epoch": epoch + 1, "loss": loss, "bce": bce, "db": db,
                                         "lr": optimizer.param_groups[0]["lr"]})
                if run.step % steps_per_epoch == 0:
                    run.end_epoch(epoch + 1, log)
                if stop or save or run.step == total:
                    run.save()
                if stop and run.step < total:
                    raise Interrupted(f"stopped after step {run.step} of {total}; "
                                      f"go on with: dbvad train --resume --out {out}")
    return run.finish(precision)


def forget_shapes() -> None:
    """Let oneDNN keep no compiled products, nor torch what it prepared for them: packed batches differ in length, so
    memory for each would be held (with bfloat16 6 MB a step, in the midst of what the next one needs).

    To be called before the process's first product on a CPU; a value that the user has set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")  # torch's: the layers of a text tower share theirs


def trim() -> None:
    """Hand memory that reading has freed back to the system, where the C library can (glibc)."""
    if give_back := getattr(ctypes.CDLL(None), "malloc_trim", None):
        give_back(0)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: `constant`, `step` (x gamma after each milestone epoch), or `cosine` to 0 at the end."""
    if config.schedule == "step":
        return config.lr * config.gamma ** sum(step >= epoch * steps_per_epoch for epoch in config.milestones)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * step / (config.epochs * steps_per_epoch))) / 2
    return config.lr


def description_weight(config: TrainConfig, step: int, total: int) -> float:
    """Lambda of a step. `ramp`: while the scores still point nowhere, the video's vector is no event's."""
    return config.lambda_db * (min(1.0, 2 * step / total) if config.lambda_schedule == "ramp" else 1.0)


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with decay for matrices; none for biases, norms and the temperature (chosen)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    # On a card in one kernel instead of dozens, which the processor would have to start.
    return torch.optim.AdamW(groups, lr=config.lr, fused=parameters[0].is_cuda or None)


def forward(network: TrainingNetwork, batch: Batch, precision: str) -> Losses:
    """The losses of a batch, in training mode; `precision` fp32 or bf16."""
    network.train()
    with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return network(batch)


def descend(network: TrainingNetwork, losses: Losses, optimizer: torch.optim.Optimizer, group: Group) -> None:
    """One step down the gradient, which is averaged over the processes."""
    losses.total.backward()
    group.average_gradients(network)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)  # now: gradients that lie between activations would keep holes open


def prefetch(data: TrainingData, plan: np.ndarray, device: torch.device) -> Iterator[tuple[Batch, float]]:
    """The batches of a plan (steps, 2, B), each read while the one before is worked on, and the seconds waited."""
    def read(videos: np.ndarray, crops: np.ndarray) -> Batch:
        batch = data.batch(videos, crops)
        return Batch._make(part.pin_memory() for part in batch) if device.type == "cuda" else batch

    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(read, *plan[0])
        for following in [*plan[1:], None]:
            asked = time.monotonic()
            batch = pending.result()
            waited = time.monotonic() - asked
            if following is not None:
                pending = reader.submit(read, *following)
            yield batch.to(device), waited


def _agree(losses: Losses, flags: tuple[bool, bool], group: Group) -> tuple[list[float], list[bool]]:
    """Mean losses (total, bce, db) over the processes, and each flag if any process raised it; one message."""
    numbers = torch.stack([losses.total.detach(), losses.bce.detach().mean(), losses.db.detach()]).float()
    *means, stop, save = group.sum(torch.cat([numbers, numbers.new_tensor(flags)])).tolist()
    return [value / group.size for value in means], [stop > 0, save > 0]


def _not_finite(losses: Losses, batch: Batch, data: TrainingData, step: int, config: TrainConfig,
                group: Group) -> TrainError:
    bad = batch.video[~torch.isfinite(losses.bce.detach())].tolist()
    videos = [data.index.videos[video].video_id for share in group.collect(bad) for video in share]
    names = few(videos) or "none alone, it is the loss of the descriptions"
    return TrainError(f"the loss was not finite at step {step + 1}; videos without a finite score: {names}. "
                      f"Lower lr (now {config.lr:g}), or set precision=fp32")
