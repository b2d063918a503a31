"""Videos for tests, made on the spot: barcode videos, whose frames tell their own number, and files with every fault.

The container follows the suffix of the path. Every writer returns the path that it wrote. Frames are 8-bit RGB arrays
(H, W, 3); sizes are (width, height).
"""

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints a page about itself on every start

ROWS, COLUMNS = 4, 8  # 16 bits of the number in the upper blocks, their complement in the lower ones
SIZE = (160, 96)
FPS = 25
OPTIONS = {
    "libx264": {"preset": "ultrafast", "bf": "3", "crf": "20"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=30:bframes=3:open-gop=1"},
    "libsvtav1": {"preset": "8", "crf": "20"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "1M"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"},
}
PIXELS = {"mjpeg": "yuvj420p"}

# What a barcode video looks like in each kind of file that users have: file name -> arguments of `barcode`.
KINDS: dict[str, dict[str, Any]] = {
    "bframes.mp4": {},
    "bframes.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.avi": {},
    "hevc.mp4": {"codec": "libx265"},
    "hevc.mkv": {"codec": "libx265"},
    "h264.ts": {},
    "hevc.ts": {"codec": "libx265"},
    "av1.mp4": {"codec": "libsvtav1"},
    "opengop.mp4": {"open_gop": True},
    "opengop.mkv": {"open_gop": True},
    "flash.flv": {},
    "mpeg2.mpg": {"codec": "mpeg2video"},
}


def barcode_image(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A number below 65,536 as black and white blocks, large enough to survive compression and resizing."""
    bits = [(number >> bit) & 1 for bit in range(16)]
    blocks = np.array(bits + [1 - bit for bit in bits], np.uint8).reshape(ROWS, COLUMNS) * 219 + 16
    rows, columns = np.arange(size[1]) * ROWS // size[1], np.arange(size[0]) * COLUMNS // size[0]
    return np.repeat(blocks[rows][:, columns][..., None], 3, axis=2)


def read_barcode(image: np.ndarray) -> int:
    """The number drawn in an image (H, W, 3). Raises ValueError where the blocks contradict each other."""
    height, width = image.shape[:2]
    bits = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            block = image[int((row + .3) * height / ROWS):int((row + .7) * height / ROWS),
                          int((column + .3) * width / COLUMNS):int((column + .7) * width / COLUMNS)]
            bits.append(int(block.mean() > 128))
    if any(bit == complement for bit, complement in zip(bits[:16], bits[16:], strict=True)):
        raise ValueError(f"no barcode here: {bits}")
    return sum(bit << k for k, bit in enumerate(bits[:16]))


def write_video(path: Path | str, frames: Iterable[np.ndarray], *, codec: str = "libx264", fps: int = FPS,
                pts: Sequence[int] | None = None, rotation: int = 0, gop: int = 30,
                options: dict[str, str] | None = None) -> Path:
    """Encode frames. `pts`: times in units of 1/fps, if the rate varies; `rotation`: degrees, only in the metadata."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=OPTIONS.get(codec, {}) | (options or {}))
        stream.pix_fmt, stream.gop_size = PIXELS.get(codec, "yuv420p"), gop
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for k, image in enumerate(frames):
            if not k:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = pts[k] if pts else k, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def barcode(path: Path | str, n_frames: int, *, size: tuple[int, int] = SIZE, open_gop: bool = False,
            **kwargs: Any) -> Path:
    """A video whose frame k shows the number k. Further arguments are `write_video`'s."""
    if open_gop:
        kwargs["options"] = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=30:bframes=3"}
    return write_video(path, (barcode_image(k, size) for k in range(n_frames)), **kwargs)


def long_video(path: Path | str, seconds: int = 600, size: tuple[int, int] = (1280, 720)) -> Path:
    """A long video in about a second: one group of 100 frames (a block that moves), its packets repeated."""
    loop = Path(path).with_name(f"loop-{Path(path).name}")
    write_video(loop, (_moving_block(k, size) for k in range(100)), gop=100, options={"bf": "2"})
    with av.open(str(loop)) as source, av.open(str(path), "w") as sink:
        stream = source.streams.video[0]
        copy = sink.add_stream_from_template(stream)
        packets: list[Any] = [packet for packet in source.demux(stream) if packet.size]
        for turn in range(seconds * FPS // 100):
            for packet in packets:
                again = av.Packet(bytes(packet))
                shift = int(turn * 100 / FPS / packet.time_base)
                again.pts, again.dts = packet.pts + shift, packet.dts + shift
                again.time_base, again.is_keyframe, again.stream = packet.time_base, packet.is_keyframe, copy
                sink.mux(again)
    loop.unlink()
    return Path(path)


def _moving_block(k: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    image = np.full((height, width, 3), 40, np.uint8)
    left = (width - width // 8) * k // 100
    image[height // 3:height // 2, left:left + width // 8] = 200
    return image


def empty(path: Path) -> Path:
    """A file of 0 bytes."""
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    """Text under the name of a video."""
    path.write_text("This is a letter, not a video.\n" * 200)
    return path


def _keep(path: Path, fraction: float) -> Path:
    os.truncate(path, int(path.stat().st_size * fraction))
    return path


def truncated_mp4(path: Path) -> Path:
    """An mp4 cut before its index (moov), as an interrupted copy leaves it."""
    return _keep(barcode(path, 100), 0.6)


def cut(path: Path, n_frames: int = 200) -> Path:
    """The first half of the bytes of a video; the header still tells the whole length."""
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    return _keep(barcode(path, n_frames, codec=codec), 0.5)


def cut_faststart(path: Path) -> Path:
    """An mp4 with its index in front, cut: it opens, and ends in the middle."""
    whole = barcode(path.with_name(f"whole-{path.name}"), 200)
    _remux(whole, path, {"movflags": "faststart"})
    whole.unlink()
    return _keep(path, 0.5)


def damaged(path: Path) -> Path:
    """A whole mp4 with the middle third of its pictures overwritten with zeros."""
    barcode(path, 200)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(bytes(size // 3))
    return path


def zero_frames(path: Path) -> Path:
    """A whole container without one frame: it announces a video stream (avi) or nothing at all (mp4)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
    return path


def audio_only(path: Path) -> Path:
    """A second of silence, no video stream."""
    with av.open(str(path), "w") as container:
        _silence(container, container.add_stream("aac", rate=16000, layout="mono"), 1)
    return path


def long_audio(path: Path, n_frames: int = 50, audio_s: float = 5) -> Path:
    """A whole video whose sound goes on after its last frame."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options=OPTIONS["libx264"])
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for k in range(n_frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(barcode_image(k), "rgb24")))
        container.mux(video.encode(None))
        _silence(container, audio, audio_s)
    return path


def trimmed(path: Path, n_frames: int, skip: int) -> Path:
    """An mp4 whose edit list leaves out the first `skip` of its frames, as an editor's lossless trim does."""
    data = bytearray(barcode(path, n_frames).read_bytes())
    clock = data.find(b"mdhd") + 16
    start = data.find(b"elst") + 8
    count, length, offset, rate = struct.unpack(">IIiI", data[start:start + 16])
    ticks = struct.unpack(">I", data[clock:clock + 4])[0] * skip // FPS
    length = length * (n_frames - skip) // n_frames
    data[start:start + 16] = struct.pack(">IIiI", count, length, offset + ticks, rate)
    path.write_bytes(data)
    return path


def started_late(path: Path, n_frames: int = 100, skip: int = 10) -> Path:
    """A video copied from the middle of a group of pictures: its first frames cannot be decoded."""
    whole = barcode(path.with_name(f"whole-{path.name}"), n_frames)
    _remux(whole, path, {}, skip)
    whole.unlink()
    return path


def _remux(source: Path, path: Path, options: dict[str, str], skip: int = 0) -> None:
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options) as part:
        copy = part.add_stream_from_template(whole.streams.video[0])
        packets: list[Any] = [packet for packet in whole.demux(video=0) if packet.size][skip:]
        first = packets[0].dts
        for packet in packets:
            packet.dts, packet.pts, packet.stream = packet.dts - first, packet.pts - first, copy
            part.mux(packet)


def _silence(container: Any, stream: Any, seconds: float) -> None:
    for k in range(int(seconds * 16000) // 1024 + 1):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, k * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


# Files that must end in quarantine: name -> (writer, the kind of VideoError that it stands for).
FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty.mp4": (empty, "empty"),
    "letter.mp4": (text, "not_video"),
    "truncated.mp4": (truncated_mp4, "truncated"),
    "cut_in_front.mp4": (cut_faststart, "truncated"),
    "cut.mkv": (cut, "truncated"),
    "cut.avi": (cut, "truncated"),
    "cut.flv": (cut, "truncated"),
    "damaged.mp4": (damaged, "decode_error"),
    "no_frames.avi": (zero_frames, "no_frames"),
    "no_frames.mp4": (zero_frames, "no_frames"),
    "sound.mp4": (audio_only, "no_video_stream"),
    "sound.mkv": (audio_only, "no_video_stream"),
}
