"""A seal on a Parquet file: check sums of every byte, so that what is read is what was written.

Parquet's own check sums cover pages alone, neither their headers nor the footer, which a flipped bit turns into other
rows. The seal lies between the last page and the footer, where readers of Parquet do not look:

    pages | JSON: column, end and CRC-32 of each stretch | length and CRC-32 of the rest, magic | footer

A stretch is what one column has in one row group, so that a reader of some columns checks those alone. CRC-32 (chosen:
it finds every flip of up to 32 bits in a row, is in the standard library, and reads some 7 GB/s here) is no signature.
"""

import json
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow.parquet as pq

MAGIC = b"dbvad-1\n"
MARK = struct.Struct("<II8s")  # bytes of the JSON; CRC of JSON, footer and the file's last 8 bytes; magic
END = struct.Struct("<I4s")  # bytes of the footer; Parquet's magic
TAIL = 16 << 10  # bytes that hold seal and footer of most shards: one look at the disk
CHUNK = 1 << 20


class Unsealed(ValueError):
    """No whole seal: the file is torn, damaged, foreign, or older than seals; the message says which it looks like."""


class NoSeal(Unsealed):
    """Not a sign of a seal, as in files of other programs."""


class Stretch(NamedTuple):
    """Bytes from the end of the stretch before to `end`; `column` "" belongs to none."""

    column: str
    end: int
    crc: int


class Seal(NamedTuple):
    """A whole seal: where it begins, its raw text, and the raw footer, whose bytes are those that were written."""

    start: int
    text: bytes
    footer: bytes

    @property
    def stretches(self) -> list[Stretch]:
        """In the order of the file, all that is before the seal."""
        return [Stretch(*entry) for entry in json.loads(self.text)]


def seal(path: Path) -> None:
    """Put a seal on a Parquet file that its writer has closed."""
    metadata = pq.read_metadata(path)
    ends: dict[int, str] = {}
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            ends[first + chunk.total_compressed_size] = chunk.path_in_schema.split(".")[0]
    with open(path, "rb+") as file:
        size = os.fstat(file.fileno()).st_size
        length, _ = END.unpack(_read(file, size - END.size, size))
        pages = size - END.size - length
        ends.setdefault(pages, "")
        stretches = [Stretch(ends[end], end, crc) for end, crc in _sums(file, sorted(ends))]
        rest = _read(file, pages, size)
        told = json.dumps(stretches, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(pages)
        file.write(told + MARK.pack(len(told), zlib.crc32(rest, zlib.crc32(told)), MAGIC) + rest)


class Readable(Protocol):
    """What of a file it takes to read its end."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def read(self, size: int = -1, /) -> bytes: ...


def read_seal(file: Readable) -> Seal:
    """The seal of an open file, itself checked. Raises Unsealed, OSError."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - TAIL)
    tail = _read(file, start, size)
    if len(tail) < END.size or tail[-4:] != b"PAR1":
        raise Unsealed("its end is not that of a Parquet file: it is torn, damaged, or another file")
    length, _ = END.unpack(tail[-END.size:])
    mark = size - END.size - length - MARK.size
    if mark < 0:
        raise Unsealed("its footer is damaged")
    if mark < start:
        start, tail = mark, _read(file, mark, start) + tail
    told, crc, magic = MARK.unpack_from(tail, mark - start)
    if magic != MAGIC:
        raise NoSeal("its footer is damaged, or it was made by a version of dbvad that did not seal its files")
    if mark - told < 0:
        raise Unsealed("its seal is damaged")
    if mark - told < start:
        start, tail = mark - told, _read(file, mark - told, start) + tail
    text, rest = tail[mark - told - start:mark - start], tail[mark - start + MARK.size:]
    if zlib.crc32(rest, zlib.crc32(text)) != crc:
        raise Unsealed("its footer is not what was written")
    return Seal(mark - told, text, rest)


def check_columns(file: BinaryIO, seal: Seal, columns: Collection[str] | None = None) -> None:
    """Check the bytes of some columns of an open file, all by default. Raises Unsealed, OSError."""
    start = 0
    for stretch in seal.stretches:
        if columns is None or not stretch.column or stretch.column in columns:
            _, crc = next(_sums(file, [stretch.end], start))
            if crc != stretch.crc:
                raise Unsealed(f"column {stretch.column} is not what was written"
                               if stretch.column else "its first bytes are not what was written")
        start = stretch.end
    if start != seal.start:
        raise Unsealed("bytes were put into it, or taken out")


def verify(path: Path, columns: Collection[str] | None = None) -> None:
    """Check footer and columns (all by default) of a sealed file. Raises Unsealed, OSError."""
    with open(path, "rb") as file:
        check_columns(file, read_seal(file), columns)


def verify_if_sealed(path: Path) -> None:
    """As `verify`, but a file of another program, which has no seal, passes. Raises Unsealed, OSError."""
    with suppress(NoSeal):
        verify(path)


def _sums(file: Readable, ends: list[int], start: int = 0) -> Iterator[tuple[int, int]]:
    """CRC-32 of the bytes up to each end."""
    file.seek(start)
    for end in ends:
        crc = 0
        while start < end and (part := file.read(min(CHUNK, end - start))):
            crc, start = zlib.crc32(part, crc), start + len(part)
        yield end, crc


def _read(file: Readable, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
