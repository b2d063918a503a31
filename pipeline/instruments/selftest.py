"""Do the decoders of this machine give each frame at its index? Asked of a clip whose frames tell their number."""

from pathlib import Path

import av
import numpy as np

from pipeline.instruments.video import Decoder, VideoError, decode

FRAMES = 30
STEP = 8  # grey levels between a frame and the next: more than compression blurs


def write_clip(path: Path) -> Path:
    """A short H.264 clip; frame k is grey of level k * STEP."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * STEP, np.uint8), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def wrong_frames(path: Path, decoder: Decoder) -> int | None:
    """How many frames of `write_clip`'s clip come out wrong or not at all; None where the decoder cannot be used."""
    try:
        seen = {frame.index: round(float(frame.image.mean()) / STEP) for frame in decode(path, decoder=decoder)}
    except (ImportError, OSError, VideoError):
        return None
    return sum(seen.get(number) != number for number in range(FRAMES))
