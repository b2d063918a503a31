"""What was left out, guessed or not understood, as it is said on the terminal and kept in results."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.words import few


@dataclass(frozen=True)
class Remark:
    """One thing that the user should know. `kind` groups them; `names`: all that it is about, if any."""

    kind: str
    text: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text} ({len(self.names)}): {few(self.names)}" if self.names else self.text

    def as_dict(self) -> dict[str, Any]:
        """For JSON: kind, text, names."""
        return asdict(self) | {"names": list(self.names)}


def remarks_on(*found: tuple[str, str, Iterable[str]]) -> list[Remark]:
    """A remark of (kind, text, names) each, for those that have names; the names sorted."""
    sorted_names = [(kind, text, tuple(sorted(names))) for kind, text, names in found]
    return [Remark(kind, text, names) for kind, text, names in sorted_names if names]


def remarks_from(stored: Iterable[Mapping[str, Any]]) -> list[Remark]:
    """Remarks as `as_dict` made them for a result, each once."""
    return list(dict.fromkeys(Remark(kept["kind"], kept["text"], tuple(kept["names"])) for kept in stored))
