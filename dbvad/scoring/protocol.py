"""The choices at test time that a figure depends on, as a result file keeps them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.engine.config import Config

Scale = Literal["bins", "windows", "both"]
Ends = Literal["inclusive", "exclusive"]


class Protocol(Config):
    """How test videos are scored and judged; comparisons are fair only between figures of one protocol."""

    scale: Scale = "bins"  # how a long video is brought to the trained length (scores.py)
    crop: int | None = Field(None, ge=0)  # all crops are averaged by default
    smooth: float = Field(0.0, ge=0)  # standard deviation in snippets of a mean over neighbours (rescoring.py)
    look_ahead: int | None = Field(None, ge=0)  # live: as many snippets later (windows.py); None: the whole video
    names: float = Field(0.0, ge=0)  # weight of a snippet's likeness to the names of the anomalies
    ends: Ends = "inclusive"  # whether the end frame of an event belongs to it
    threshold: float = 0.5  # for false alarms only
    repeats: int = Field(1000, ge=0)  # of the bootstrap; 0: no intervals

    @model_validator(mode="after")
    def _live_sees_no_more(self) -> Self:
        if self.look_ahead is not None and (self.scale != "windows" or self.smooth or self.names):
            raise ValueError("live scores come from windows as the footage goes on: they have no other scale, no "
                             "smoothing, and no likeness to names, which need the whole recording")
        return self

    @property
    def scoring(self) -> dict[str, Any]:
        """What the scores of detection depend on; the rest is how they are judged."""
        return self.model_dump(include={"scale", "crop", "smooth", "look_ahead"})

    def told(self) -> str:
        """What scores depend on, for people."""
        live = "" if self.look_ahead is None else f", live with a look-ahead of {self.look_ahead}"
        crop = "" if self.crop is None else f", crop {self.crop}"
        return f"scale {self.scale}{crop}{f', smooth {self.smooth:g}' if self.smooth else ''}{live}"
