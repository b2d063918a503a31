"""The network while it is trained: the detector, with SFP and DBM on top."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dbvad.data.dataset import Batch
from dbvad.model.dbm import DBM
from dbvad.model.detector import ClassHead, Detector
from dbvad.model.directions import Directions
from dbvad.model.sfp import SFP, LabelTable, PromptedLabels, aggregate
from dbvad.training.config import TrainConfig
from dbvad.training.distributed import Group
from dbvad.training.losses import contrastive_loss, mil_loss


class Losses(NamedTuple):
    """`total` = mean of `bce` (B,) + lambda * `db`."""

    total: Tensor
    bce: Tensor
    db: Tensor


class TrainingNetwork(nn.Module):
    """Batch -> losses.

    `label_texts`: module that gives the classes' texts (C, D'), run only in steps that use them. `text_width`: of the
    descriptions, 0 for none. With lambda = 0 DBM and SFP are not built: they would have no gradient. `group`: the
    processes that share a batch; the contrast of L_db spans all of it. `directions`: what stands beside the features.
    """

    def __init__(self, config: TrainConfig, width: int, text_width: int,
                 label_texts: PromptedLabels | LabelTable | None, group: Group | None = None,
                 directions: Directions | None = None) -> None:
        super().__init__()
        self.config, self.group = config, group or Group()
        self.lambda_db = config.lambda_db  # of the step, as the loop sets it
        self.detector = Detector(width, tmm=config.tmm, length=config.bins, dropout=config.dropout,
                                 directions=directions)
        width = self.detector.width
        self.dbm = DBM(width, text_width, config.tau) if text_width else None
        self.label_texts = label_texts
        self.sfp = None if label_texts is None or config.sfp == "off" else SFP(width, label_texts.width, config.sfp)

    def forward(self, batch: Batch) -> Losses:
        logits, features = self.detector(batch.x, batch.mask)
        bce = mil_loss(logits, batch.mask, batch.abnormal)
        db = self.description_loss(logits, features, batch)
        return Losses(bce.mean() + self.lambda_db * db, bce, db)

    def description_loss(self, logits: Tensor, features: Tensor, batch: Batch) -> Tensor:
        """L_db; 0 without DBM."""
        if self.dbm is None:
            return logits.new_zeros(())
        gather = self.group.gather
        z_video, z_text = map(gather, self.meet(logits, features, batch))
        video, described, abnormal = (gather(part.long()) for part in (batch.video, batch.described, batch.abnormal))
        if self.config.contrast == "abnormal_rows":
            return contrastive_loss(z_video, z_text, self.dbm.scale, video, described.bool() & abnormal.bool(),
                                    torch.ones_like(described).bool())
        return contrastive_loss(z_video, z_text, self.dbm.scale, video, described.bool())

    def meet(self, logits: Tensor, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Videos and descriptions (B, D) as DBM, which must be there, compares them."""
        assert self.dbm is not None
        u = aggregate(features, logits, batch.mask, self.config.pool)
        if self.sfp is not None and self.label_texts is not None:
            texts = self.label_texts()
            u = self.sfp(u, texts.detach() if self.config.detach_labels else texts, batch.labels)
        return self.dbm.video(u), self.dbm.text(batch.descriptions)

    @torch.no_grad()
    def class_head(self, descriptions: Tensor, labels: Tensor) -> ClassHead | None:
        """Class prototypes from training descriptions (N, D') and their labels (N, C); None without DBM.

        A class that no description belongs to keeps a zero prototype.
        """
        if self.dbm is None:
            return None
        with torch.random.fork_rng(devices=[]):  # looking at a model must not change how it goes on
            head = ClassHead(self.detector.width, labels.shape[1]).to(descriptions.device)
        head.video_ffn.load_state_dict(self.dbm.video_ffn.state_dict())
        head.prototypes.copy_(nn.functional.normalize(labels.T @ self.dbm.text(descriptions), dim=-1))
        head.scale.copy_(self.dbm.scale)
        return head
