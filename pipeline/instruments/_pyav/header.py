"""What a file's header says of its length and its frames. Believed nowhere, but for telling a file that was cut."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.instruments._pyav.files import AVI, MATROSKA
from pipeline.instruments._pyav.packets import Track

FILE_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"  # an object in ASF's header
SEGMENT = b"\x18\x53\x80\x67"  # of Matroska, all but its head
HEADER_BYTES = 64 << 10
INDEX_BYTES, PADDING = 32, 2048  # what may come behind the last packet: an index, for each packet, and some tags


@dataclass(frozen=True)
class Reading:
    """How far a file was read: where its streams begin and end, in seconds; packets, and where the last one ends."""

    path: Path
    begin_s: float
    end_s: float
    packets: int
    last_byte: int


def declared(container: Any, track: Track) -> int:
    """How many frames the header says there are, or lets guess; 0 for nothing."""
    return track.indexed or track.stream.frames or rated(container, track.stream)


def rated(container: Any, stream: Any) -> int:
    """Length by rate."""
    length = float(stream.duration * stream.time_base) if stream.duration else (
        _tagged_s(stream) or (container.duration or 0) / av.time_base)
    return round(length * float(stream.average_rate or 0))


def extent(container: Any, track: Track, ordered: np.ndarray, duration_s: float, read: Reading) -> tuple[float, float]:
    """Where the video ends and where its header says that it does, in seconds from its start; (0, 0): not kept, or
    wrong, as the file is whole by the sizes in it and was read to its end.

    ordered, duration_s: its stamps and its length, as read.
    """
    stream, format_, tick = track.stream, container.format.name, float(track.stream.time_base)
    if track.indexed:
        return duration_s, duration_s * track.indexed / len(ordered)
    if _is_whole(read):
        return 0.0, 0.0
    if format_ == AVI and stream.frames and stream.average_rate:  # a cut AVI's duration is a guess
        return (int(ordered[-1] - ordered[0]) + track.last) * tick, float(stream.frames / stream.average_rate)
    begin, end = read.begin_s, read.end_s
    if format_ == MATROSKA and (length := _tagged_s(stream)):
        begin, end = int(ordered.min()) * tick, (int(ordered.max()) + track.last) * tick
    elif format_ in (MATROSKA, "flv"):
        length = (container.duration or 0) / av.time_base
    elif format_ == "asf":
        length = _asf_s(read.path)
    else:
        return 0.0, 0.0
    # Some writers give the length, others the stamp of the end.
    return end - begin, length - begin if length > begin else length


def _is_whole(read: Reading) -> bool:
    """Whether no byte is missing by the size that AVI and Matroska keep, and the packets reach to the end."""
    size = read.path.stat().st_size
    with read.path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if head.startswith(b"RIFF"):
        kept = int.from_bytes(head[4:8], "little") + 8
    elif (segment := head.find(SEGMENT)) >= 0 and len(head) > segment + 12 and head[segment + 4]:
        width = 9 - head[segment + 4].bit_length()  # leading zeros tell how many bytes the size has
        value = int.from_bytes(head[segment + 4:segment + 4 + width], "big") & ((1 << 7 * width) - 1)
        kept = segment + 4 + width + value if value < (1 << 7 * width) - 1 else 0  # all ones: not known
    else:
        return False
    return 8 < kept <= size <= kept + PADDING and size <= read.last_byte + read.packets * INDEX_BYTES + PADDING


def _tagged_s(stream: Any) -> float:
    """The length of a Matroska track by its tag, "00:00:12.000000000"; 0 without."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (ValueError, IndexError):
        return 0.0


def _asf_s(path: Path) -> float:
    """The length in an ASF header, which FFmpeg withholds when the file is cut; 0 for a broadcast."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    at = head.find(FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return 0.0
    length, _, preroll, flags = struct.unpack_from("<QQQI", head, at + 64)  # 100 ns, -, ms
    return 0.0 if flags & 1 else max(0.0, length / 1e7 - preroll / 1e3)
