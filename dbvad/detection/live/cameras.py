"""Which cameras there are: cameras.yaml, or addresses on the command line."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dbvad.scoring.events import Thresholds
from pipeline.engine.config import Config, ConfigError, load, parse
from pipeline.instruments.live_video import SCHEMES, masked

Verify = Literal["off", "annotate", "suppress"]
YAML = (".yaml", ".yml")


class Camera(Config):
    """One camera; times in seconds. `thresholds`, `explain`, `verify`: what stands here goes before the command line's.

    `explain`: a model says what it sees in each event. `verify`: whether it also judges if it was one, and what follows
    (review.py). `normal_here`: what is usual there, in the user's own words, for that model.
    """

    name: str = Field(pattern=r"^[\w][\w .-]{0,63}$")
    url: str
    thresholds: Thresholds = Thresholds()
    stall_s: float = Field(10, gt=0)  # without a frame it counts as lost
    min_fps: float = Field(0.5, ge=0)  # fewer frames a second: it crawls, and is opened anew
    timeout_s: float = Field(5, gt=0)  # FFmpeg's, for opening and reading
    queue: int = Field(8, ge=1)  # sampled frames that wait at most; then the oldest is dropped
    explain: bool | None = None
    verify: Verify | None = None
    normal_here: str = Field("", max_length=1000)

    @field_validator("thresholds", mode="before")
    @classmethod
    def _on_and_off(cls, data: Any) -> Any:
        """YAML 1.1 reads the keys `on` and `off` as true and false."""
        words = {True: "on", False: "off"}
        return {words.get(key, key): value for key, value in data.items()} if isinstance(data, dict) else data

    @field_validator("verify", mode="before")
    @classmethod
    def _off(cls, data: Any) -> Any:
        """YAML 1.1 reads the word `off` as false."""
        return "off" if data is False else data

    @model_validator(mode="after")
    def _verified_is_explained(self) -> Self:
        if self.explain is False and self.verify not in (None, "off"):
            raise ValueError(f"verify: {self.verify} needs what explain: false turns off: leave out one of them")
        return self

    @model_validator(mode="after")  # of the camera: the error of a field shows its value, and with it a password
    def _known(self) -> Self:
        scheme, _, rest = self.url.partition(":")
        if Path(self.url).exists():
            raise ValueError(f"{self.url!r} is no source: write file:{self.url} for a video that is to be played")
        if not is_address(self.url) or not rest.strip("/"):
            raise ValueError(f"{masked(self.url)!r} is no source: write rtsp://..., another address of "
                             f"{', '.join(SCHEMES[1:-2])}, camera:0 or file:PATH")
        if scheme == "file" and not Path(rest).is_file():
            raise ValueError(f"there is no file {rest}")
        return self

    def verified(self, base: Verify) -> Verify:
        """The camera's policy where it names one, else `base`."""
        return self.verify or ("off" if self.explain is False else base)

    def explained(self, base: bool, verify: Verify) -> bool:
        """Whether a model is shown its events, as one that verifies is. `base`, `verify`: where it names none."""
        return self.verified(verify) != "off" or (base if self.explain is None else self.explain)

    def over(self, base: Thresholds) -> Thresholds:
        """The camera's thresholds where it names them, else those of `base`. Raises ConfigError."""
        named = base.model_dump(exclude_unset=True) | self.thresholds.model_dump(exclude_unset=True)
        return parse(Thresholds, named, f"the thresholds of {self.name}")


class Cameras(Config):
    """cameras.yaml."""

    cameras: tuple[Camera, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.cameras:
            raise ValueError("no camera is named")
        names = [camera.name.casefold() for camera in self.cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} stands there twice: give each camera its own")
        return self


def is_address(word: str) -> bool:
    """Whether it begins as the address of a source does."""
    scheme, separator, _ = word.partition(":")
    return bool(separator) and scheme in SCHEMES


def read(sources: list[str]) -> Cameras:
    """Cameras of the command line: one YAML file, or addresses, named by host and path. Raises ConfigError."""
    if len(sources) == 1 and sources[0].endswith(YAML):
        if not Path(sources[0]).is_file():
            raise ConfigError(f"there is no file {sources[0]}: docs/cameras.md shows what it holds")
        return load(Path(sources[0]), Cameras)
    if files := [source for source in sources if source.endswith(YAML) and not is_address(source)]:
        raise ConfigError(f"{files[0]} stands beside other sources: name one file of cameras, or addresses alone")
    names: list[str] = []
    for source in sources:
        plain = re.sub(r"[^\w.-]+", "-", masked(source).partition(":")[2])[-40:].strip("-.") or "camera"
        name = plain if source.partition(":")[0] != "camera" else f"camera-{plain}"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return parse(Cameras, {"cameras": [{"name": name, "url": url} for name, url in zip(names, sources, strict=True)]},
                 "the command line")
