"""What a training run is made of: every value that its weights depend on, with its source.

"Stated" and "chosen" follow the design: the paper published no hyper-parameters, so a chosen value comes from
published relatives or from trials.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dbvad.data.descriptions import Texts


class TrainConfig(BaseModel):
    """Configuration of `dbvad train`; each field is a key of its YAML file and of `--set key=value`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The network
    tmm: Literal["none", "gcn", "progressive", "multi", "full"] = "full"  # `full` stated, the others are ablations
    sfp: Literal["off", "residual", "vadclip"] = "residual"  # stated; `vadclip` skips from v + t_y
    dbm: bool = True  # without it SFP has nothing to act on and is off too
    dropout: float = Field(0.1, ge=0, lt=1)
    pool: Literal["softmax", "sigmoid"] = "softmax"  # weights of the video feature
    context: int = Field(10, ge=1, le=60)  # learnable prompt tokens before a label

    # The words of a class
    prompts: dict[str, str] = Field(default_factory=dict)  # label -> words; by default the label itself, spelt out
    labels: Literal["auto", "prompt", "table"] = "auto"  # auto: prompt for features of our own CLIP stage, else table
    text_model: str | None = None  # CLIP of the text tower; by default the one that made the features
    text_pretrained: str | None = None
    label_embeddings: Path | None = None  # .npz with `labels` and `embeddings`: the table's frozen vectors

    # Chosen here; with both at 0 detection is as the paper states it
    directions: int = Field(32, ge=0)  # whitened principal ones, beside the features
    memory: float = Field(1.0, ge=0)  # the most that likeness to the training descriptions adds to a logit

    # The losses
    lambda_db: float = Field(0.1, ge=0)  # weight of L_db
    lambda_schedule: Literal["constant", "ramp"] = "constant"  # ramp: from 0 up to lambda_db in the first half (chosen)
    # abnormal_rows: only abnormal videos' texts are contrasted, with the videos of the whole batch, since texts of
    # "nothing happens" are interchangeable (after LaGoVAD's caption contrast, without its backgrounds and smoothing)
    contrast: Literal["symmetric", "abnormal_rows"] = "symmetric"
    tau: float = Field(0.07, ge=0.01, le=1)  # first temperature of L_db, learnable
    # Other than `own` is an ablation of what they say: another video's, another's of the same labels, the mean of those
    # of its labels, or DBM off
    descriptions: Texts = "own"
    detach_labels: bool = False  # an ablation: L_db does not train the prompt

    # The data
    bins: int = Field(256, ge=1)  # longest sequence; longer videos are averaged into as many bins
    allow_leaks: bool = False  # train although test videos have the content of training videos
    holdout: float = Field(0.0, ge=0, lt=1)  # share of training videos kept aside, by video

    # The schedule
    epochs: int = Field(10, ge=1)  # an epoch shows each crop of each video about once
    batch: int = Field(128, ge=2, multiple_of=2)  # half normal, half abnormal videos
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    milestones: tuple[int, ...] = (4, 8)  # epochs after which `step` multiplies lr by `gamma`
    gamma: float = Field(0.1, gt=0, le=1)
    select: Literal["last", "holdout"] = "last"  # weights of the last epoch, or of the best one on the hold-out
    keep_epochs: bool = False  # keep every epoch's weights, for the `oracle` figure of `dbvad evaluate`

    # The machine
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the hardware multiplies in it
    device: str = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.select == "holdout" and not self.holdout:
            raise ValueError("select is holdout, but no training video is held out: set holdout, say to 0.1")
        return self
