"""The choices at test time that a figure depends on, as a result file keeps them."""

from typing import Literal

from pydantic import Field

from pipeline.engine.config import Config

Scale = Literal["bins", "windows", "both"]
Ends = Literal["inclusive", "exclusive"]


class Protocol(Config):
    """How test videos are scored and judged; comparisons are fair only between figures of one protocol."""

    scale: Scale = "bins"  # how a long video is brought to the trained length (scores.py)
    crop: int | None = Field(None, ge=0)  # all crops are averaged by default
    smooth: float = Field(0.0, ge=0)  # standard deviation in snippets of a mean over neighbours (rescoring.py)
    names: float = Field(0.0, ge=0)  # weight of a snippet's likeness to the names of the anomalies
    ends: Ends = "inclusive"  # whether the end frame of an event belongs to it
    threshold: float = 0.5  # for false alarms only
    repeats: int = Field(1000, ge=0)  # of the bootstrap; 0: no intervals
