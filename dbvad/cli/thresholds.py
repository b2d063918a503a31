"""Options that say when scores are an event: the same for all commands that have them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dbvad.scoring.events import Thresholds

On = Annotated[float | None, typer.Option(min=0, max=1, help="Score at which an event begins; 0.5.")]
Off = Annotated[float | None, typer.Option(min=0, max=1, help="Score to which it goes on; 0.6 of --on.")]
MinLength = Annotated[float | None, typer.Option(min=0, help="Seconds; shorter events are none; 1.")]
MergeGap = Annotated[float | None, typer.Option(min=0, help="Seconds between events that are one; 2.")]
PreRoll = Annotated[float | None, typer.Option(min=0, help="Seconds that clips begin before; 2.")]
PostRoll = Annotated[float | None, typer.Option(min=0, help="Seconds that clips end after; 2.")]


def thresholds_of(**given: float | None) -> "Thresholds":
    """The rule of what was given, by the names that it has there; the rest by default. Raises ConfigError."""
    from dbvad.scoring.events import Thresholds
    from pipeline.engine.config import parse

    return parse(Thresholds, {name: value for name, value in given.items() if value is not None}, "the options")
