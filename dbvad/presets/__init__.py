"""What is known of a public dataset: classes, their words, how lists write labels, schedules, the headline metric."""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from dbvad.training.config import TrainConfig

FOLDER = Path(__file__).parent


class PresetError(ValueError):
    """No such preset, schedule or label; the message names the nearest."""


class LabelRule(BaseModel):
    """How lists write the labels of a video: names or codes, joined by `separator`.

    `normal`: what a normal video goes by (case does not matter; nothing at all also means normal). `codes`: code ->
    label. `filler`: stands for no label. `in_names`: pattern whose group 1 is the labels' text in a video's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    normal: tuple[str, ...] = ("normal",)
    codes: dict[str, str] = Field(default_factory=dict)
    separator: str = "|"
    filler: str = ""
    in_names: str | None = None

    def parse(self, text: str, classes: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The event labels in `text`, () for a normal video. Raises PresetError for one that is not of `classes`.

        Without `classes` any label will do.
        """
        if text.strip().lower() in map(str.lower, self.normal):
            return ()
        parts = [part.strip() for part in text.split(self.separator)]
        found = [self.codes.get(part, part) for part in parts if part not in ("", self.filler)]
        for label in found:
            if classes and label not in classes:
                known = [*self.codes, *classes, *self.normal]
                raise PresetError(f"no class {label!r}: {_nearest(label, known)}")
        return tuple(label for label in dict.fromkeys(found) if label.lower() not in map(str.lower, self.normal))

    def from_name(self, video_id: str) -> str | None:
        """The labels' text in a video's name; None if there is none."""
        found = re.search(self.in_names, video_id) if self.in_names else None
        return found[1] if found else None


class Preset(BaseModel):
    """A public dataset with one of its schedules; made by `load`.

    `classes`: label -> words, normal first. `features`: CLIP model of the published features. `fps`: of the videos.
    `ends`, `scale`, `crop`: the protocol of evaluation (all crops averaged if None). `train`: TrainConfig keys.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    metric: Literal["auc", "ap"]
    fps: float
    classes: dict[str, str]
    labels: LabelRule
    features: str
    annotations: Literal["ucf-crime", "xd-violence"]
    ends: Literal["inclusive", "exclusive"] = "inclusive"
    scale: Literal["bins", "windows", "both"] = "bins"
    crop: int | None = None
    train: dict[str, Any]
    schedules: dict[str, dict[str, Any]]
    schedule: str

    @property
    def training(self) -> dict[str, Any]:
        """Keys of TrainConfig: those of the dataset, of its schedule, and the classes' words."""
        values = {"prompts": self.classes} | self.train | self.schedules[self.schedule]
        return TrainConfig.model_validate(values).model_dump(exclude_unset=True)

    @property
    def event_classes(self) -> tuple[str, ...]:
        """All classes but normal."""
        return tuple(label for label in self.classes if label != "normal")


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem.replace("_", "-") for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Preset:
    """The preset `name`, or `name:schedule` for a schedule other than its first. Raises PresetError."""
    dataset, _, schedule = name.partition(":")
    if dataset not in names():
        raise PresetError(f"no preset {dataset!r}: {_nearest(dataset, names())}")
    content = yaml.safe_load((FOLDER / f"{dataset.replace('-', '_')}.yaml").read_text(encoding="utf-8"))
    known = list(content["schedules"])
    if schedule and schedule not in known:
        raise PresetError(f"preset {dataset} has no schedule {schedule!r}: {_nearest(schedule, known)}")
    return Preset.model_validate(content | {"name": dataset, "schedule": schedule or known[0]})


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
