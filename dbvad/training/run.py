"""A training run in progress: what changes from step to step, and how it is kept."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from dbvad.data.dataset import Batch, TrainingData
from dbvad.model.memory import Alignment
from dbvad.training.checkpoint import CHECKPOINT, MODEL, Facts, Model, load_checkpoint, save_checkpoint, save_model
from dbvad.training.config import TrainConfig
from dbvad.training.distributed import Group
from dbvad.training.losses import bag_scores
from dbvad.training.network import TrainingNetwork
from dbvad.training.remember import video_means
from dbvad.training.retrieval import retrieval
from dbvad.training.runlog import RunLog, plain
from pipeline.engine.files import Damaged, atomic_file, read_record, write_record

BEST = "best.safetensors"
COUNTERS = ("step", "loss_sum", "loss_count", "loss", "best", "best_epoch", "holdout_auc", "retrieval")


class TrainError(Exception):
    """Training cannot begin or go on; the message names the reason and the remedy."""


@dataclass(frozen=True)
class Result:
    """What a run came to.

    `loss`: mean of the last epoch. `holdout_auc`: over the scores of held-out videos, NaN without. `retrieval`: whether
    their descriptions are found from them, None without. `videos`: trained on, of which `abnormal` and `described`.
    `dropped`: why videos were left out, by id. `warnings`: remarks on the training videos. `waited`: share of the time
    spent on data.
    """

    run: str
    epochs: int
    best_epoch: int
    steps: int
    loss: float
    holdout_auc: float
    retrieval: Mapping[str, Any] | None
    videos: int
    held_out: int
    abnormal: int
    described: int
    dropped: Mapping[str, str]
    warnings: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    data: str
    device: str
    precision: str
    processes: int
    seconds: float
    waited: float


class Run:
    """Network, optimizer and counters of a run whose folder is `out`.

    `chosen`, `held`: indices of the videos that are trained on and held out. `alignment`: of the memory, if there is
    one. Only the group's leader writes.
    """

    def __init__(self, config: TrainConfig, data: TrainingData, network: TrainingNetwork,
                 optimizer: torch.optim.Optimizer, out: Path, chosen: np.ndarray, held: np.ndarray,
                 group: Group, alignment: Alignment | None = None) -> None:
        self.config, self.data, self.network, self.optimizer, self.out = config, data, network, optimizer, out
        self.chosen, self.held, self.group, self.alignment = chosen, held, group, alignment
        self.step, self.loss_sum, self.loss_count, self.loss, self.waited = 0, 0.0, 0, math.nan, 0.0
        self.best, self.best_epoch, self.holdout_auc = -math.inf, 0, math.nan
        self.retrieval: dict[str, Any] | None = None  # by the weights that are kept
        self.began = self.saved_at = time.monotonic()

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def count(self, loss: float, waited: float) -> None:
        """One step more."""
        self.step += 1
        self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
        self.waited += waited

    def save(self) -> None:
        """Keep all that the rest of the run depends on; every process calls this, for each has its own randomness."""
        states = self.group.collect(_random_state(self.device))
        if self.group.leads:
            save_checkpoint(self.out / CHECKPOINT, {
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "random": states,
                "config": self.config.model_dump_json(), "data": self.data.fingerprint,
                **{name: getattr(self, name) for name in COUNTERS}})
        self.saved_at = time.monotonic()

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises TrainError if data or configuration are not those it was begun with."""
        if saved["data"] != self.data.fingerprint:
            raise TrainError(f"the training data are not those that {self.out} was trained on so far: start anew with "
                             f"another --out, or with --overwrite")
        begun, now = TrainConfig.model_validate_json(saved["config"]).model_dump(), self.config.model_dump()
        changed = [f"{key} was {begun[key]!r}, is now {value!r}" for key, value in now.items()
                   if value != begun[key] and key != "device"]
        if changed:
            raise TrainError(f"{self.out} was begun with another configuration ({'; '.join(changed)}): resume it as it "
                             f"was, or start anew with another --out")
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.group.rank < len(saved["random"]):
            _set_random_state(saved["random"][self.group.rank], self.device)
        for name in COUNTERS:
            setattr(self, name, saved[name])

    def end_epoch(self, epoch: int, log: RunLog | None) -> None:
        """Look at the hold-out, and keep the weights that are to be kept."""
        self.loss, self.loss_sum, self.loss_count = self.loss_sum / max(1, self.loss_count), 0.0, 0
        if len(self.held):
            self.holdout_auc = self._holdout_auc()
            better = self.holdout_auc > self.best
            kept = better if self.config.select == "holdout" else epoch == self.config.epochs
            if kept and (self.alignment is None or self.retrieval is None):  # by the alignment it is always the same
                self.retrieval = self._retrieval()
            if better:
                self.best, self.best_epoch = self.holdout_auc, epoch
                if self.config.select == "holdout" and self.group.leads:
                    save_model(self.out / BEST, self.model(epoch))
        if self.config.keep_epochs and self.group.leads:
            save_model(self.out / "epochs" / f"epoch-{epoch:02d}.safetensors", self.model(epoch))
        if log:
            log.write(self.step, {"epoch": epoch, "epoch_loss": self.loss, "holdout_auc": self.holdout_auc})

    def finish(self, precision: str) -> Result:
        """Publish the model; from here on the run counts as trained."""
        epochs, seconds, data = self.config.epochs, time.monotonic() - self.began, self.data
        if self.config.select != "holdout":
            self.best_epoch = epochs
        result = Result(
            run=str(self.out), epochs=epochs, best_epoch=self.best_epoch, steps=self.step, loss=self.loss,
            holdout_auc=self.holdout_auc, retrieval=self.retrieval, videos=len(self.chosen), held_out=len(self.held),
            abnormal=int(data.abnormal[self.chosen].sum()), described=int(data.described[self.chosen].sum()),
            dropped=data.index.dropped, warnings=tuple(remark.as_dict() for remark in data.remarks),
            classes=data.classes, data=data.fingerprint, device=str(self.device),
            precision=precision, processes=self.group.size, seconds=seconds, waited=self.waited / max(seconds, 1e-9))
        if self.group.leads:
            write_record(self.out / "train.json", plain(asdict(result)))
            if self.config.select == "holdout":
                with atomic_file(self.out / MODEL) as temporary:
                    shutil.copyfile(self.out / BEST, temporary)
            else:
                save_model(self.out / MODEL, self.model(epochs))
        return result

    def model(self, epoch: int) -> Model:
        """What detection needs of the network as it is now."""
        self.network.eval()
        described = self.chosen[self.data.described[self.chosen]]
        head = self.network.class_head(torch.from_numpy(self.data.descriptions[described]).to(self.device),
                                       torch.from_numpy(self.data.labels[described]).to(self.device))
        index = self.data.index
        facts = Facts(self.data.classes, index.dim, index.feature_source, index.model, index.identity,
                      self.data.fingerprint, epoch, index.recipe,
                      tuple(sorted({video.content for video in index.videos if video.content})))
        return Model(self.network.detector, head, self.config, facts)

    @torch.inference_mode()
    def _holdout_auc(self) -> float:
        """AUC of the held-out videos' bag scores, centre crop: no frame-level truth is needed."""
        self.network.eval()
        scores = [bag_scores(self.network.detector(batch.x, batch.mask).logits, batch.mask).cpu().numpy()
                  for batch in self._centre_crops(self.held)]
        return float(roc_auc_score(self.data.abnormal[self.held], np.concatenate(scores)))

    @torch.inference_mode()
    def _retrieval(self) -> dict[str, Any] | None:
        """Of the held-out videos with a description, which is their own whatever the others are taught.

        By the memory's alignment, which detection uses; without a memory as DBM compares them.
        """
        held = self.held[self.data.described[self.held]]
        if self.network.dbm is None or not len(held):
            return None
        if self.alignment is not None:
            z = F.normalize(self.alignment.video(video_means(self.data, held)), dim=-1)
            said = self.alignment.text(torch.from_numpy(self.data.descriptions[held]))
            return retrieval((z @ said.T).numpy(), self.data.labels[held])
        self.network.eval()
        met = []
        for batch in self._centre_crops(held):
            found = self.network.detector(batch.x, batch.mask)
            met.append(self.network.meet(found.logits, found.features, batch))
        z_video, z_text = (torch.cat(side) for side in zip(*met, strict=True))
        return retrieval((z_video @ z_text.T).cpu().numpy(), self.data.labels[held])

    def _centre_crops(self, videos: np.ndarray) -> Iterator[Batch]:
        return (batch.to(self.device) for batch in self.data.centre_crops(videos, self.config.batch))


def uses_text(config: TrainConfig) -> bool:
    """Whether the run trains on descriptions."""
    return config.dbm and config.lambda_db > 0 and config.descriptions != "none"


def retrieval_of(out: Path) -> dict[str, Any] | None:
    """The `retrieval` of a finished run; None without, or where its train.json cannot be read."""
    try:
        return read_record(out / "train.json", "Train it again").get("retrieval")
    except (OSError, Damaged):
        return None


def refuse_to_mix(out: Path, overwrite: bool) -> None:
    """Raises TrainError if the folder holds a run that a new one would write over."""
    if not overwrite and any((out / name).exists() for name in (MODEL, CHECKPOINT)):
        raise TrainError(f"{out} holds a run already: go on with --resume, name another folder by --out, or replace it "
                         f"with --overwrite")


def clear(out: Path) -> None:
    """Make the run folder, without the files of an older run. Raises TrainError."""
    for name in (MODEL, CHECKPOINT, BEST, "log.jsonl", "train.json", "config.yaml", "result.json", "scores.parquet",
                 "calibration.json"):
        (out / name).unlink(missing_ok=True)
    for folder in ("epochs", "tensorboard"):
        shutil.rmtree(out / folder, ignore_errors=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make the run folder {out}: {error}; name another by --out") from error


def run_config(out: Path) -> TrainConfig:
    """The configuration of the run in `out`, which a resumed run keeps. Raises CheckpointError."""
    return TrainConfig.model_validate_json(load_checkpoint(out / CHECKPOINT)["config"])


def _random_state(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
