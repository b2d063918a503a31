"""Every picture of a file, in the order of showing, with its time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from pipeline.instruments._pyav import picture
from pipeline.instruments._pyav.files import opened, packets, ready
from pipeline.instruments._pyav.survey import LOSS, SLACK_FRAMES, Survey

Picture = tuple[float, Callable[[], np.ndarray]]  # seconds since the first frame, and what makes its image


@dataclass
class Refusals:
    """Packets of the video, and how many of them the decoder refused."""

    packets: int = 0
    refused: int = 0

    @property
    def too_many(self) -> bool:
        """Whether more was refused than can be left out."""
        return self.refused > max(LOSS * self.packets, SLACK_FRAMES)


def frames(path: Path | str, size: tuple[int, int], survey: Survey, met: Refusals) -> Iterator[Picture]:
    """Seconds since the first frame, and a function that makes the image (H, W, 3), for every frame.

    `size`: (width, height) as shown; a video whose size changes on the way keeps it. Raises VideoError where the file
    cannot be opened.
    """
    with opened(path, survey.options) as container:
        stream, clock = ready(container.streams[survey.probe.track]), survey.clock()
        scaler = VideoReformatter()
        for number, frame in enumerate(_decoded(container, stream, met)):
            # A refused packet takes its slot with it.
            time = survey.slot(number + met.refused) if survey.by_slot else clock(frame.pts)
            yield time, partial(picture.image, frame, size, survey.turn, scaler)


def _decoded(container: Any, stream: Any, met: Refusals) -> Iterator[Any]:
    """Every av.VideoFrame; packets that the decoder refuses are counted and left out."""
    for packet in packets(container, stream):
        met.packets += 1
        try:
            yield from stream.decode(packet)
        except FFmpegError:
            met.refused += 1
    try:
        yield from stream.decode(None)
    except FFmpegError:
        met.refused += 1
