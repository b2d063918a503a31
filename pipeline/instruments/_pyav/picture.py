"""What a player shows of a decoded frame: turned and mirrored as its display matrix says, in square pixels."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

# Pixels less square than that are a header's mistake, and are shown as they are stored (chosen here; 352x576 of
# recorders is 2.2, the widest lens for film 2).
SQUARE_ENOUGH = 4

Turn = tuple[bool, bool, bool]  # whether rows and columns are exchanged; then rows, then columns reversed
UPRIGHT: Turn = (False, False, False)


def turn(frame: Any) -> Turn:
    """One of the eight ways in which a display matrix can turn and mirror a frame by right angles.

    To be asked of few frames: PyAV keeps one that was asked for its side data until the next garbage collection.
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])  # a point (x, y) is shown at (ax + cy, bx + dy)
            return (False, d < 0, a < 0) if abs(a) + abs(d) >= abs(b) + abs(c) else (True, b < 0, c < 0)
    return UPRIGHT


def shown_size(frame: Any, aspect: Fraction | None, turned: Turn) -> tuple[int, int]:
    """Width and height as a player shows them. `aspect`: of a pixel; the stored height is kept, the width scaled to
    an even one."""
    width, height = frame.width, frame.height
    if aspect and aspect != 1 and 1 / SQUARE_ENOUGH <= aspect <= SQUARE_ENOUGH:
        width = max(2, round(width * aspect / 2) * 2)
    return (height, width) if turned[0] else (width, height)


def image(frame: Any, size: tuple[int, int], turned: Turn, scaler: VideoReformatter) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB. `size`: its width and height as shown, whatever those of the frame.

    `scaler`: one for all frames of a video, as it keeps what it prepares for one.
    """
    exchanged, rows, columns = turned
    width, height = size[::-1] if exchanged else size
    # Bilinear is nearest to decord's scaling: 0.0 to 0.3 levels of 255 apart on average on real surveillance clips.
    # One thread: those of a scaler wait for one another longer than they work, the more the busier the machine is.
    scaled = scaler.reformat(frame, width=width, height=height, format="rgb24", interpolation="BILINEAR", threads=1)
    stored = scaled.to_ndarray()
    if turned == UPRIGHT:
        return stored
    picture = stored.transpose(1, 0, 2) if exchanged else stored
    return np.ascontiguousarray(picture[:: -1 if rows else 1, :: -1 if columns else 1])
