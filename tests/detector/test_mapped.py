"""The rows of a file larger than memory: the same numbers, and no page stays with the process."""

from pathlib import Path

import numpy as np
import pytest

from dbvad.data.features import Features
from dbvad.data.mapped import MappedRows

DIM, LENGTHS, CROPS = 64, np.array([300, 1, 77, 256] * 20), 10  # 14 MB


@pytest.fixture
def features(tmp_path):
    rows = np.random.default_rng(0).standard_normal((int(LENGTHS.sum()) * CROPS, DIM), np.float32).astype(np.float16)
    path = tmp_path / "rows.f16"
    path.write_bytes(rows.tobytes())
    return rows, Features(MappedRows(path, DIM), np.cumsum(LENGTHS * CROPS) - LENGTHS * CROPS, LENGTHS, CROPS)


def mapped_kb(name: str) -> int:
    """Pages of a mapped file that count as this process's memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            ours = rest[-1].endswith(name)
        elif first == "Rss:" and ours:
            found += int(rest[0])
    return found


def test_the_numbers_are_those_of_the_file(features):
    rows, mapped = features
    np.testing.assert_array_equal(mapped.rows, rows)
    rng = np.random.default_rng(1)
    for _ in range(20):
        videos = rng.permutation(len(LENGTHS))[:32]
        crops = rng.integers(CROPS, size=32)
        x, mask = mapped.gather(videos, crops)
        for row, (video, crop) in enumerate(zip(videos, crops, strict=True)):
            first, length = mapped.offsets[video] + crop * LENGTHS[video], LENGTHS[video]
            np.testing.assert_array_equal(x[row, :length], rows[first:first + length])
            assert not x[row, length:].any()
            assert mask[row].sum() == length
    for video in (0, len(LENGTHS) - 1):
        first, count = mapped.offsets[video], LENGTHS[video] * CROPS
        np.testing.assert_array_equal(mapped.mean(video), rows[first:first + count].mean(axis=0, dtype=np.float32))


def test_no_page_of_it_stays_with_the_process(features):
    rows, mapped = features
    float(mapped.rows.sum(dtype=np.float32))
    assert mapped_kb("rows.f16") > rows.nbytes / 1024 * 0.9  # so that this test can fail
    mapped.gather(np.arange(8), np.zeros(8, int))
    assert mapped_kb("rows.f16") == 0
    np.testing.assert_array_equal(mapped.rows, rows)  # they come back
    mapped.mean(0)
    assert mapped_kb("rows.f16") == 0
