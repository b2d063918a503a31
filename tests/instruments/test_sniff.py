"""A video is known by its content: under any suffix it is told from other files, and decoded."""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.instruments.sniff import HEAD_BYTES, looks_like_video, video_format
from pipeline.instruments.video import VideoError, decode
from tests import odd_videos, videos

N = 40
# suffix that FFmpeg's writer goes by -> (FFmpeg's name of what is read, arguments of `barcode`)
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("mov", {}), "mov": ("mov", {}), "3gp": ("mov", {}), "mkv": ("matroska", {}),
    "webm": ("matroska", {"codec": "libvpx"}), "avi": ("avi", {"codec": "mpeg4"}), "flv": ("flv", {}),
    "asf": ("asf", {}), "wmv": ("asf", {"codec": "wmv2"}), "vob": ("mpeg", {"codec": "mpeg2video"}),
    "mpg": ("mpeg", {"codec": "mpeg2video"}), "ts": ("mpegts", {}), "m2ts": ("mpegts", {}), "h264": ("h264", {}),
    "hevc": ("hevc", {"codec": "libx265"}), "mxf": ("mxf", {"codec": "mpeg2video"}), "rm": ("rm", {"codec": "rv10"}),
    "ivf": ("ivf", {"codec": "libvpx"}), "wtv": ("wtv", {"codec": "mpeg2video"}), "m4v": ("mov", {}),
    "ogv": ("ogg", {"codec": "libvpx"}), "nut": ("nut", {"codec": "mpeg4"}),
    "m2v": ("mpegvideo", {"codec": "mpeg2video"}),
}
OTHERS: dict[str, bytes] = {
    "empty": b"", "text": b"This is a letter.\n" * 500, "G": b"G" * 9000, "zeros": bytes(9000), "pdf": b"%PDF-1.7\n",
    "wav": b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(2000), "webp": b"RIFF\x24\x08\x00\x00WEBPVP8 " + bytes(2000),
    "m4a": b"\x00\x00\x00\x1cftypM4A \x00\x00\x00\x00M4A mp42isom", "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
    "avif": b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00",
    "jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 ",
    "mp3": b"ID3\x04" + bytes(500), "ico": b"\x00\x00\x01\x00\x01\x00\x10\x10", "csv": b"video,label\na.mp4,fight\n",
    "wma": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" + bytes(5000),
    "opus": b"OggS\x00\x02" + bytes(22) + b"OpusHead", "mka": b"\x1aE\xdf\xa3\x93B\x82\x88matroska" + b"A_OPUS",
    "npy": b"\x93NUMPY\x01\x00v\x00", "sqlite": b"SQLite format 3\x00", "elf": b"\x7fELF\x02\x01",
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_video_under_a_recorders_suffix(tmp_path: Path, suffix: str) -> None:
    """Told by its content and decoded, whatever the name says; as .dav, .264, .divx or .mp4 of an MPEG-PS."""
    expected, arguments = FORMATS[suffix]
    path = videos.barcode(tmp_path / f"a.{suffix}", N, **arguments)
    for name in ("a.dav", "a.264", "a.mp4", "a.dat", "a"):
        path = path.rename(tmp_path / name)
        assert video_format(path) == expected
        decoding = decode(path)
        assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
        assert decoding.times.tolist() == pytest.approx([k / videos.FPS for k in range(N)])


def test_a_dahua_recorders_dav(tmp_path: Path) -> None:
    """Its clock is that of the day; its header keeps no length."""
    path = odd_videos.dahua(tmp_path / "a.dav", N)
    assert video_format(path) == "dhav"
    decoding = decode(path)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
    assert decoding.times.tolist() == pytest.approx([k / videos.FPS for k in range(N)])
    assert decoding.duration_s == pytest.approx(N / videos.FPS)


def test_a_camera_that_saves_to_a_server(tmp_path: Path) -> None:
    path = odd_videos.hxvs(tmp_path / "a.264", N)
    assert video_format(path) == "hxvs"
    decoding = decode(path)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
    assert decoding.times.tolist() == pytest.approx([k / videos.FPS for k in range(N)])


@pytest.mark.parametrize(("header", "told"), [(b"IMKH" + bytes(36), "mpeg"),
                                              (b"RIFF" + bytes(4) + b"CDXAfmt " + bytes(28), "mpeg")])
def test_a_recorders_header_before_the_stream(tmp_path: Path, header: bytes, told: str) -> None:
    path = videos.barcode(tmp_path / "a.vob", N, codec="mpeg2video")
    path.write_bytes(header + path.read_bytes())
    path = path.rename(tmp_path / "a.mp4")
    assert video_format(path) == told
    assert [videos.read_barcode(frame.image) for frame in decode(path)] == list(range(N))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_none(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(OTHERS[kind])
    assert not looks_like_video(path)


def test_pictures_archives_and_sound_are_none(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8))
    for suffix in ("jpg", "png", "gif", "bmp", "tiff", "webp", "jp2", "ico"):
        picture.save(tmp_path / f"a.{suffix}")
        assert not looks_like_video(tmp_path / f"a.{suffix}"), suffix
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "text" * 1000)
    assert not looks_like_video(tmp_path / "a.zip")
    for suffix in ("mka", "m4a", "wma"):
        assert not looks_like_video(videos.audio_only(tmp_path / f"a.{suffix}")), suffix


@given(st.binary(max_size=3000))
def test_any_bytes_are_judged_without_a_fault(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert looks_like_video(Path(file.name)) in (True, False)


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert not looks_like_video(tmp_path)
    assert not looks_like_video(tmp_path / "gone.mp4")


def test_only_the_head_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.append(-1 if size is None else size)
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda *_: Watched(videos.barcode_image(1).tobytes() * 9))
    assert not looks_like_video(tmp_path)
    assert read == [HEAD_BYTES]


def test_a_video_that_cannot_be_opened_is_named_for_what_it_starts_like(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(5000))
    with pytest.raises(VideoError, match="starts like a video") as caught:
        decode(path)
    assert caught.value.kind == "truncated"
