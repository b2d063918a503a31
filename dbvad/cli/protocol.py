"""Options that say by which protocol recordings are scored: the same for all commands that have them."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from dbvad.scoring.protocol import Protocol

Scale = Annotated[Literal["bins", "windows", "both"], typer.Option(
    help="How a long video is brought to the trained length: windows keep what is short.")]
Crop = Annotated[int | None, typer.Option(help="One crop (0: centre); all are averaged by default.")]
Smooth = Annotated[float, typer.Option(min=0, help="Average scores over about so many snippets.")]
Live = Annotated[bool, typer.Option("--live", help="Score recordings as `dbvad watch` scores cameras, which see "
                                                   "nothing of what follows.")]
LookAhead = Annotated[int | None, typer.Option(min=0, help="With --live: as `dbvad watch` will have it; 0.")]


def protocol_of(scale: str, crop: int | None, smooth: float, live: bool, look_ahead: int | None) -> "Protocol":
    """The protocol of the options. Raises ConfigError, BadParameter."""
    from dbvad.scoring.protocol import Protocol
    from pipeline.engine.config import parse

    if look_ahead is not None and not live:
        raise typer.BadParameter("--look-ahead is of live scores: add --live")
    return parse(Protocol, {"scale": scale, "crop": crop, "smooth": smooth,
                            "look_ahead": (look_ahead or 0) if live else None}, "the options")
