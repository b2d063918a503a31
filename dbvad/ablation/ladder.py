"""A ladder: variants of the method by name, each a few changed keys, from a YAML file of one's own or of this package.

The package's ladders hold the published figures where the paper gives some, to stand beside ours.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from dbvad.scoring.protocol import Protocol
from dbvad.training.config import TrainConfig
from pipeline.engine.config import Config, ConfigError, load, parse

FOLDER = Path(__file__).parent / "ladders"


class Variant(Config):
    """What one row of the table changes.

    `artifacts`: a folder of its own, in which {artifacts} stands for the common one. `published`: metric -> percent.
    """

    train: dict[str, Any] = Field(default_factory=dict)
    protocol: dict[str, Any] = Field(default_factory=dict)
    artifacts: str | None = None
    published: dict[str, float] = Field(default_factory=dict)


class Ladder(Config):
    """`train`, `protocol`: keys of all variants. `base`: the variant that others are compared with, the first one."""

    title: str = ""
    base: str = ""
    train: dict[str, Any] = Field(default_factory=dict)
    protocol: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _base_is_there(self) -> Self:
        if self.base and self.base not in self.variants:
            raise ValueError(f"base is {self.base!r}, but the variants are {', '.join(self.variants)}")
        if odd := [name for name in self.variants if not name.strip() or name.startswith(".") or "/" in name]:
            raise ValueError(f"a variant names a folder, so it cannot be called {odd[0]!r}")
        return self

    @property
    def reference(self) -> str:
        """Name of the base variant."""
        return self.base or next(iter(self.variants))

    def only(self, names: list[str]) -> "Ladder":
        """The base and the named variants. Raises ConfigError."""
        if unknown := [name for name in names if name not in self.variants]:
            raise ConfigError(f"no variant {unknown[0]!r} in this ladder: it has {', '.join(self.variants)}")
        kept = {name: variant for name, variant in self.variants.items() if name in {*names, self.reference}}
        return self.model_copy(update={"variants": kept, "base": self.reference})

    def training(self, name: str, common: dict[str, Any], seed: int) -> TrainConfig:
        """Configuration of a variant: the common keys, the ladder's, the variant's. Raises ConfigError."""
        values = self.train | common | self.variants[name].train | {"seed": seed}
        return parse(TrainConfig, values, f"variant {name!r}: train")

    def judging(self, name: str, common: dict[str, Any]) -> Protocol:
        """Protocol of a variant, likewise; without a bootstrap unless asked for. Raises ConfigError."""
        values = {"repeats": 0} | self.protocol | common | self.variants[name].protocol
        return parse(Protocol, values, f"variant {name!r}: protocol")


def names() -> list[str]:
    """The package's own ladders."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_ladder(name: str) -> Ladder:
    """A ladder of the package by its name, or a YAML file. Raises ConfigError."""
    if name in names():
        return load(FOLDER / f"{name}.yaml", Ladder)
    if Path(name).suffix in (".yaml", ".yml"):
        return load(Path(name), Ladder)
    raise ConfigError(f"no ladder {name!r}: there are {', '.join(names())}, or name a YAML file with `variants`")


def read_seeds(text: str) -> list[int]:
    """ "0-4", "0,2,7-9" -> numbers. Raises ConfigError."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"--seeds {text}: expected different numbers, such as 0-4 or 0,1,2")
    return found


