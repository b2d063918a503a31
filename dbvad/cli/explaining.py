"""Options of `dbvad watch` about the model that explains events, and what they come to."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from dbvad.detection.live.cameras import Cameras
    from dbvad.detection.live.journal import Journal
    from dbvad.detection.live.review import Review

Explain = Annotated[bool, typer.Option("--explain", help="Let the describing model of --config say what it sees in "
                                                         "each event; no alert waits for it.")]
Verify = Annotated[Literal["off", "annotate", "suppress"], typer.Option(
    help="Let it also judge whether it was an event: annotate adds the verdict, suppress waits for it and withholds "
         "what is refuted.")]
Within = Annotated[float, typer.Option("--verify-within", min=0, help="Seconds that --verify suppress holds an event "
                                                                      "back at most.")]
StagesFile = Annotated[Path, typer.Option("--config", "-c", help="Stages file whose describe section names the model.")]


def reviewing(cameras: "Cameras", explain: bool, verify: Literal["off", "annotate", "suppress"], within_s: float,
              config: Path, out: Path, journal: "Journal", say: Callable[[str], None]) -> "Review | None":
    """What asks the model, None where no camera wants it. Raises ConfigError."""
    from functools import partial

    from dbvad.detection.live.apart import engine_apart
    from dbvad.detection.live.explaining import Explainer
    from dbvad.detection.live.review import Review
    from pipeline import stages

    for camera in cameras.cameras:
        if camera.normal_here and not camera.explained(explain, verify):
            say(f"{camera.name}: its normal_here is for what explains events: add --explain, or explain: true there")
    if not any(camera.explained(explain, verify) for camera in cameras.cameras):
        return None
    params = stages.read(config).describe
    explainer = Explainer(partial(engine_apart, params, out / "servers"), say)
    return Review(cameras, explain, verify, journal, explainer, within_s=within_s,
                  sampling={"temperature": params.temperature, "seed": params.seed})


def reviewed(review: "Review") -> str:
    """What came of it, in a line."""
    counts = review.explainer.counts
    unexplained = {how: number for how, number in counts.items() if how != "answered" and number}
    if review.explainer.waiting:
        unexplained["not answered in time"] = review.explainer.waiting
    without = "; without: " + ", ".join(f"{number} {how}" for how, number in unexplained.items()) if unexplained else ""
    return (f"{counts['answered']} events explained{without}; {review.suppressed} suppressed, {review.unverified} "
            f"went out unverified")
