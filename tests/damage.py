"""Bits that flip on disk, and disks that are full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow.parquet import ParquetFile


def flip(path: Path, place: int, bit: int = 1) -> None:
    """Flip a bit of the byte at `place`, from the end where negative."""
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def flip_column(path: Path, column: str, group: int = 0) -> None:
    """Flip a bit in a column's values of a Parquet file."""
    with ParquetFile(path) as file:
        chunks = [file.metadata.row_group(group).column(n) for n in range(file.metadata.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
    flip(path, chunk.data_page_offset + chunk.total_compressed_size // 2)


def flip_footer(path: Path) -> None:
    """Flip a bit in what a shard's footer says of how it was made."""
    flip(path, path.read_bytes().index(b'"fingerprint"') + 3)


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as on a disk that is full: the system itself says no."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
