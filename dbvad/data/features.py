"""Features of many videos in one memory-mapped file, so that a batch is one gather and no loop over videos.

A video of more than `bins` snippets is averaged into `bins` when the file is made (chosen, as VadCLIP does each time it
reads one). The file is a cache under artifacts/cache, named by what it was made from; deleting it costs time only. Its
bytes are checked each time it is opened (4 GB in some seconds), and it is made anew if one has changed.
"""

import os
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
import torch
from torch import Tensor

from dbvad.data.mapped import MappedRows
from pipeline.engine.files import Damaged, atomic_file, check_sum, digest, read_record, write_record
from pipeline.engine.store import Store

VERSION = 1  # raised when the layout or the averaging changes


class FeatureError(ValueError):
    """Features that cannot be trained on; the message names the video and the remedy."""


@dataclass(frozen=True)
class Features:
    """`file`: a video's crops one after another; `offsets`, `lengths` (V,): its first row, and its rows a crop."""

    file: MappedRows
    offsets: np.ndarray
    lengths: np.ndarray
    crops: int

    @property
    def rows(self) -> np.ndarray:
        """(R, D) float16. Pages that are read here stay with the process until the next gather."""
        return self.file.array

    def gather(self, videos: np.ndarray, crops: np.ndarray) -> tuple[Tensor, Tensor]:
        """One crop of each of B videos: features (B, T, D) float16, zeros in padded places, and mask (B, T)."""
        counts = self.lengths[videos]
        first = self.offsets[videos] + crops * counts
        lengths, starts = (torch.from_numpy(part).unsqueeze(1) for part in (counts, first))
        place = torch.arange(int(lengths.max())).unsqueeze(0)
        mask = place < lengths
        index = torch.minimum(starts + place, starts + lengths - 1)  # no row but of the crops that are wanted
        with self.file.reading(first, counts) as rows:
            x = torch.from_numpy(rows).index_select(0, index.reshape(-1)).reshape(*index.shape, -1)
        return x.masked_fill_(~mask.unsqueeze(-1), 0), mask

    def mean(self, video: int) -> np.ndarray:
        """Mean over the snippets and crops of a video: (D,) float32."""
        first, count = self.offsets[video:video + 1], self.lengths[video:video + 1] * self.crops
        with self.file.reading(first, count) as rows:
            mean: np.ndarray = rows[first[0]:first[0] + count[0]].mean(axis=0, dtype=np.float32)
        return mean


def read_features(store: Store, video_id: str, crops: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, crops, D) float16 of one video, and the first frame of each snippet (T,). Raises FeatureError."""
    table = store.read("score", video_id, ["frame_idx", "crop", "embedding"])
    column = table["embedding"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    frames, crop = table["frame_idx"].to_numpy(), table["crop"].to_numpy()
    remedy = f"make them again: dbvad pipeline run score --video {quote(video_id)} --force"
    if len(frames) % crops or not np.array_equal(crop, np.tile(np.arange(crops), len(frames) // crops)):
        raise FeatureError(f"{video_id}: its score shard does not hold {crops} crops a snippet: {remedy}")
    features = flat.reshape(-1, crops, column.type.list_size)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
    if bad.size:
        raise FeatureError(f"{video_id}: its features hold NaN or infinity, first at frame {frames[bad[0] * crops]}: "
                           f"{remedy}")
    return features, frames[::crops]


def bin_edges(length: int, bins: int) -> np.ndarray:
    """First snippet of each bin, and the end of the last: (min(length, bins) + 1,). Bins differ by at most one."""
    count = min(length, bins)
    return np.arange(count + 1) * length // count


def bin_means(features: np.ndarray, bins: int) -> np.ndarray:
    """(T, ...) -> (min(T, bins), ...): as it is, or averaged in float32 over bins of neighbouring snippets."""
    if len(features) <= bins:
        return features
    edges = bin_edges(len(features), bins)
    sums = np.add.reduceat(features, edges[:-1], axis=0, dtype=np.float32)
    return sums / np.diff(edges).reshape(-1, *[1] * (features.ndim - 1))


def open_features(store: Store, videos: Sequence[tuple[str, str]], *, crops: int, dim: int, bins: int, cache: Path,
                  track: Callable[[Iterable[str], int], Iterable[str]] = lambda ids, total: ids) -> Features:
    """The features of `videos`, (video_id, fingerprint of its score shard), from the cache or made now.

    `track` wraps the loop that reads the shards, for progress. Raises FeatureError.
    """
    key = digest([VERSION, crops, dim, bins, *videos])[:24]
    data, record = cache / f"features-{key}.f16", cache / f"features-{key}.json"
    lengths = _whole(data, record)
    if lengths is None:
        _write(store, videos, crops, dim, bins, data, record, track)
        lengths = np.array(read_record(record, "Delete it")["lengths"], dtype=np.int64)
    return Features(MappedRows(data, dim), np.cumsum(lengths * crops) - lengths * crops, lengths, crops)


def _whole(data: Path, record: Path) -> np.ndarray | None:
    """Rows a crop of each video, if the cache is there and as it was written."""
    try:
        told = read_record(record, "It is made anew")
        if check_sum(data) != told["crc"]:
            raise Damaged(data, "its content is not what was written", "It is made anew")
        return np.array(told["lengths"], dtype=np.int64)
    except Damaged as error:
        print(error, file=sys.stderr)
    except OSError:  # not there, or not for us to read
        pass
    return None


def _write(store: Store, videos: Sequence[tuple[str, str]], crops: int, dim: int, bins: int, data: Path, record: Path,
           track: Callable[[Iterable[str], int], Iterable[str]]) -> None:
    """The rows first and the record last: where there is a record the rows are whole."""
    lengths, crc, ids = [], 0, [video_id for video_id, _ in videos]
    with atomic_file(data) as temporary, open(temporary, "wb") as file:
        for video_id in track(store.ahead("score", ids), len(ids)):
            features, _ = read_features(store, video_id, crops)
            if features.shape[2] != dim:
                raise FeatureError(f"{video_id}: its features have width {features.shape[2]}, those of other videos "
                                   f"{dim}: one model must make them all, run `dbvad pipeline run score`")
            for crop in range(crops):
                rows = bin_means(features[:, crop], bins)
                part = np.ascontiguousarray(rows, dtype=np.float16).tobytes()
                crc = zlib.crc32(part, crc)
                file.write(part)
            lengths.append(len(rows))
    write_record(record, {"of": digest(videos), "lengths": lengths, "crc": crc}, indent=None)


def outdated(cache: Path, videos: Sequence[tuple[str, str]]) -> list[Path]:
    """Packed features in a cache that were made from others than `videos`, as in `open_features`; nobody opens them."""
    gone, made_from = list[Path](), digest(videos)
    for data in sorted(cache.glob("features-*.f16")):
        record = data.with_suffix(".json")
        with suppress(Damaged, OSError):
            if read_record(record, "It is made anew").get("of") == made_from:
                continue
        gone += [data, record]
    return gone


def writable_cache(artifacts: Path, run: Path) -> Path:
    """artifacts/cache, shared by all runs, or a folder in the run where the artifacts cannot be written to."""
    return artifacts / "cache" if os.access(artifacts, os.W_OK) else run / "cache"
