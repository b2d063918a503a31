"""What is known of a public dataset: classes, their words, how lists write labels, schedules, the headline metric."""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from dbvad.training.config import TrainConfig
from pipeline.lists.labels import class_in_path, find_label, same_label, says_normal
from pipeline.lists.names import bare_name, nfc, video_name

FOLDER = Path(__file__).parent


class PresetError(ValueError):
    """No such preset, schedule or label; the message names the nearest."""


class LabelRule(BaseModel):
    """How lists write the labels of a video: names or codes, joined by `separator`.

    `normal`: what a normal video goes by (compared as labels are; nothing at all also means normal); `normal_word`: so
    does any text that holds the word. `codes`: code -> label. `filler`: stands for no label. `in_names`: pattern whose
    group 1 is the labels' text in a video's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    normal: tuple[str, ...] = ("normal",)
    normal_word: bool = False
    codes: dict[str, str] = Field(default_factory=dict)
    separator: str = "|"
    filler: str = ""
    in_names: str | None = None

    def parse(self, text: str, classes: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The event labels in `text`, () for a normal video. Raises PresetError for one that is not of `classes`.

        Without `classes` any label will do.
        """
        if self.is_normal(text):
            return ()
        parts = [part.strip() for part in text.split(self.separator)]
        found = [nfc(self.codes.get(part, part)) for part in parts if part not in ("", self.filler)]
        labels = dict.fromkeys(label if not classes else self._known(label, classes) for label in found)
        return tuple(label for label in labels if not self.is_normal(label))

    def is_normal(self, text: str) -> bool:
        """Whether a text stands for a normal video."""
        return any(same_label(text, name) for name in self.normal) or (self.normal_word and says_normal(text))

    def class_of(self, name: str, classes: tuple[str, ...] = ()) -> str | None:
        """The labels' text that a video's path shows by the rule, in its name or as a known class; None if none."""
        return self.from_name(name) or class_in_path(video_name(name)[0], classes, self.is_normal)

    def from_name(self, name: str) -> str | None:
        """The labels' text in a video's name; None if there is none."""
        found = re.search(self.in_names, bare_name(video_name(name)[0])) if self.in_names else None
        return found[1] if found else None

    def _known(self, label: str, classes: tuple[str, ...]) -> str:
        if self.is_normal(label):
            return label
        if (found := find_label(label, classes)) is None:
            raise PresetError(f"no class {label!r}: {_nearest(label, [*self.codes, *classes, *self.normal])}")
        return found


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
