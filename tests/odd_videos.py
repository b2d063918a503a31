"""Videos as recorders, phones, editors and muxers leave them; more of `tests.videos`. Made through PyAV alone."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests import videos

ONE, UNIT = 1 << 16, 1 << 30  # a display matrix is of 16.16 and 2.30 fixed-point numbers


def _packets(container: Any, stream: Any) -> list[Any]:
    return [packet for packet in container.demux(stream) if packet.size]


def remux(source: Path, path: Path, *, start_s: float = 0, format: str | None = None,
          options: dict[str, str] | None = None) -> Path:
    """The same packets in another container, their clock starting at `start_s`; any source of one video track."""
    with av.open(str(source)) as whole, av.open(str(path), "w", format=format, options=options or {}) as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in _packets(whole, whole.streams.video[0]):
            shift = round(Fraction(start_s) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = stream
            copy.mux(packet)
    return path


def beginning_at(path: Path, n_frames: int, start_s: float) -> Path:
    """A barcode video whose clock starts there."""
    whole = videos.barcode(path.with_name(f"whole-{path.stem}.mp4"), n_frames)
    remux(whole, path, start_s=start_s, options={"avoid_negative_ts": "disabled"} if start_s < 0 else {})
    whole.unlink()
    return path


def joined(path: Path, parts: Sequence[tuple[int, float]]) -> Path:
    """Transport streams one after the other in one file, as `cat` joins a recorder's: (frames, start of the clock)."""
    data = b""
    for n_frames, start_s in parts:
        data += beginning_at(path.with_name(f"part-{path.stem}.ts"), n_frames, start_s).read_bytes()
    path.write_bytes(data)
    return path


def with_a_stray_packet(path: Path, n_frames: int) -> Path:
    """A transport stream with one flipped bit: a packet in its middle is of a stream that nobody announced."""
    data = bytearray(videos.barcode(path, n_frames).read_bytes())
    packets = range(len(data) // 188 // 2 * 188, len(data), 188)
    video = next(at for at in packets if data[at + 1:at + 3] == b"\x41\x00")  # the start of a frame, of stream 0x100
    data[video + 2] = 1
    path.write_bytes(data)
    return path


def with_matrix(path: Path, source: Path, matrix: Sequence[int]) -> Path:
    """A copy of an mp4 with the numbers a b u c d v x y w in its track's header."""
    data = bytearray(source.read_bytes())
    start = data.find(b"tkhd") + 44
    data[start:start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def with_aspect(path: Path, aspect: Fraction, size: tuple[int, int], codec: str = "libx264") -> Path:
    """A disc, round where pixels have this aspect."""
    width, height = size
    across = (np.arange(width) - width / 2 + .5) * float(aspect)
    down = np.arange(height)[:, None] - height / 2 + .5
    disc = np.where(across ** 2 + down ** 2 < (height / 3) ** 2, 230, 20).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=videos.FPS, options=videos.OPTIONS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([disc] * 3, 2), "rgb24")))
        container.mux(stream.encode(None))
    return path


def with_tracks(path: Path, tracks: Sequence[tuple[Path, bool]]) -> Path:
    """Several videos as tracks of one file: (file, whether it is marked default). A picture is a track of one frame."""
    with av.open(str(path), "w") as container:
        sources = [(av.open(str(source)), default) for source, default in tracks]
        copies = []
        for source, default in sources:
            copy: Any = container.add_stream_from_template(source.streams.video[0])
            copy.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
            copies.append(copy)
        for (source, _), copy in zip(sources, copies, strict=True):
            for packet in _packets(source, source.streams.video[0]):
                packet.pts, packet.dts, packet.stream = packet.pts or 0, packet.dts or 0, copy
                container.mux(packet)
            source.close()
    return path


def still(path: Path, size: tuple[int, int] = (320, 240)) -> Path:
    """A picture."""
    Image.fromarray(videos.barcode_image(9999, size)).save(path)
    return path


def outlasted(path: Path, n_frames: int, until_s: int) -> Path:
    """A video beside which a track of subtitles (mkv) or data goes on after the last frame."""
    whole = videos.barcode(path.with_name("whole.mp4"), n_frames)
    with av.open(str(whole)) as film, av.open(str(path), "w") as container:
        copy = container.add_stream_from_template(film.streams.video[0])
        other: Any = (container.add_mux_stream("subrip", rate=1000) if path.suffix == ".mkv"
                      else container.add_data_stream("bin_data"))
        other.time_base = Fraction(1, 1000)
        for packet in _packets(film, film.streams.video[0]):
            packet.stream = copy
            container.mux(packet)
        line = av.Packet(b"hello")
        line.time_base, line.stream, line.pts, line.dts = other.time_base, other, 500, 500
        line.duration = until_s * 1000 - 500
        container.mux(line)
    return path


def dahua(path: Path, n_frames: int, start: int = 0x6A9D5000) -> Path:
    """A .dav: each frame of H.264 in a box of Dahua's, with the date to the second and a clock of milliseconds."""
    options = {"preset": "ultrafast", "bf": "0", "x264-params": "annexb=1:repeat-headers=1:keyint=30"}
    whole = videos.barcode(path.with_name("whole.h264"), n_frames, options=options)
    data = b""
    with av.open(str(whole)) as container:
        stream = container.streams.video[0]
        for number, packet in enumerate(_packets(container, stream)):
            extra = struct.pack("<BBBB", 0x81, 0, 0x2, videos.FPS) + struct.pack("<BBBBHH", 0x82, 0, 0, 0, *videos.SIZE)
            body, milliseconds = bytes(packet), number * 1000 // videos.FPS
            length = 24 + len(extra) + len(body) + 8
            data += b"DHAV" + struct.pack("<BBBBIIIHBB", 0xFD if packet.is_keyframe else 0xFC, 0, 0, 0, number, length,
                                          start + milliseconds // 1000, milliseconds, len(extra), 0)
            data += extra + body + b"dhav" + struct.pack("<I", length)
    path.write_bytes(data)
    whole.unlink()
    return path


def hxvs(path: Path, n_frames: int) -> Path:
    """A .264 as cheap cameras save it to an FTP server: frames of H.264 in boxes with a clock of milliseconds."""
    options = {"preset": "ultrafast", "bf": "0", "x264-params": "annexb=1:repeat-headers=1:keyint=30"}
    whole = videos.barcode(path.with_name("whole.h264"), n_frames, options=options)
    data = b"HXVS" + struct.pack("<III", *videos.SIZE, 0)
    with av.open(str(whole)) as container:
        stream = container.streams.video[0]
        for number, packet in enumerate(_packets(container, stream)):
            body = bytes(packet)
            data += b"HXVF" + struct.pack("<III", len(body), number * 1000 // videos.FPS + 174_000_000,
                                          packet.is_keyframe) + body
    path.write_bytes(data)
    whole.unlink()
    return path


def with_times(path: Path, position: int, value: int) -> Path:
    """An mp4 whose table of frame times (stts) holds an absurd number: at 12 how many frames, at 16 how long each."""
    data = bytearray(videos.barcode(path, 50).read_bytes())
    start = data.find(b"stts") + position
    data[start:start + 4] = struct.pack(">I", value)
    path.write_bytes(data)
    return path


def growing(path: Path, n_frames: int) -> Path:
    """A video whose pictures are twice as large from the middle on, as a WebRTC recording's."""
    with av.open(str(path), "w") as container:
        copy: Any = None
        for part, size in enumerate((videos.SIZE, (2 * videos.SIZE[0], 2 * videos.SIZE[1]))):
            source = write_part(path.with_name(f"part{part}.webm"), n_frames // 2, part * (n_frames // 2), size)
            with av.open(str(source)) as whole:
                copy = copy or container.add_stream_from_template(whole.streams.video[0])
                for packet in _packets(whole, whole.streams.video[0]):
                    shift = round(Fraction(part * (n_frames // 2), videos.FPS) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.pts + shift, copy
                    container.mux(packet)
    return path


def write_part(path: Path, n_frames: int, first: int, size: tuple[int, int]) -> Path:
    """Frames `first` and following of a barcode video."""
    return videos.write_video(path, (videos.barcode_image(first + k, size) for k in range(n_frames)), codec="libvpx")
