"""When events happen in videos, as annotations say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipeline.lists import ListError

Format = Literal["auto", "ucf-crime", "xd-violence", "csv", "json", "via", "masks"]
Unit = Literal["frames", "seconds"]


@dataclass(frozen=True)
class Event:
    """One annotated event as the file gives it, in frames from 0 or in seconds; `label` may be empty."""

    start: Fraction
    end: Fraction
    label: str = ""


@dataclass(frozen=True)
class Annotations:
    """Events by the name the file uses; a name with no events is a video known to hold none.

    `half_open`: frame `end` is no more of the event, whatever the convention of others is. `of_training`: names that
    the file itself gives to another split than the test split. `only_abnormal`: the form names no normal videos.
    """

    path: Path
    format: str
    unit: Unit
    events: Mapping[str, tuple[Event, ...]]
    half_open: bool = False
    of_training: frozenset[str] = frozenset()
    only_abnormal: bool = False


def check(where: str, event: Event) -> Event:
    """The event, if it ends after it begins. Raises ListError."""
    if not 0 <= event.start <= event.end:
        raise ListError(f"{where}: an event from {float(event.start):g} to {float(event.end):g}: "
                        f"expected 0 <= start <= end")
    return event
