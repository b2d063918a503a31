"""Pictures from the decode shards, small enough that a report can carry many."""

import io
from collections.abc import Iterable
from concurrent.futures import Executor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.engine.store import MissingShard, Store

WIDTH, QUALITY = 192, 55  # chosen here: about 4 kB a picture of a street, and a person in it can still be told
CHUNK = 64  # frames in memory at a time, the row group of a decode shard


def shrink(jpeg: bytes, width: int = WIDTH) -> bytes | None:
    """A JPEG about `width` pixels wide, a third more at most; None for bytes that are no readable JPEG."""
    try:
        image = Image.open(io.BytesIO(jpeg))
        image.draft("RGB", (width, 1))  # lets the decoder skip what is thrown away: several times faster
        small = image.convert("RGB")
        if small.width > width * 4 // 3 or small.height > 2 * width:  # a little wider costs less than resizing it
            small.thumbnail((width, 2 * width), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return buffer.getvalue()


def thumbnails(store: Store, video_id: str, wanted: Iterable[int], pool: Executor, width: int = WIDTH,
               ) -> dict[int, bytes]:
    """Shrunk pictures of the wanted frames by frame index; those that cannot be read are left out. Raises Damaged."""
    indices = pa.array(sorted(set(wanted)), pa.int64())
    found: dict[int, bytes] = {}
    if not len(indices):
        return found
    try:
        for table in store.batches("decode", video_id, CHUNK, ["frame_idx", "jpeg"]):
            rows = table.filter(pc.is_in(table["frame_idx"], indices))
            small = pool.map(shrink, rows["jpeg"].to_pylist(), [width] * rows.num_rows)
            found |= {index: jpeg for index, jpeg in zip(rows["frame_idx"].to_pylist(), small, strict=True) if jpeg}
    except MissingShard:
        pass
    return found


def spread(frame_idx: np.ndarray, times: np.ndarray, budget: int, per_second: float = 1.0) -> np.ndarray:
    """Frames at regular distances, `per_second` and `budget` at most, but never fewer than 8 of a short video."""
    if not len(frame_idx) or not budget:
        return frame_idx[:0]
    seconds = float(times[-1] - times[0])
    count = min(budget, max(8, int(seconds * per_second) + 1), len(frame_idx))
    return np.asarray(frame_idx[np.linspace(0, len(frame_idx) - 1, count).round().astype(np.int64)])
