"""Video out: what is cut holds what was asked for, in every kind of file; what is written reads back."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.instruments import video
from pipeline.instruments.video import VideoError
from pipeline.instruments.video_out import Span, cut, write
from tests.videos import FPS, KINDS, barcode, empty, read_barcode

N_FRAMES, KEY_EVERY = 110, 30


def numbers(path: Path) -> list[int]:
    return [read_barcode(frame.image) for frame in video.decode(path, decoder="pyav")]


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_begins_with_the_key_frame_before_and_holds_every_picture(name: str, tmp_path: Path) -> None:
    source = barcode(tmp_path / name, N_FRAMES, **KINDS[name])
    spans = [Span(start, end, tmp_path / f"clip{start}") for start, end in ((0.0, 0.3), (1.5, 2.7), (3.9, 99.0))]
    made = cut(source, spans)
    assert [clip.path.stem for clip in made] == [span.path.name for span in spans]
    for clip, span in zip(made, spans, strict=True):
        found, last = numbers(clip.path), min(N_FRAMES, round(span.end_s * FPS)) - 1
        assert found[0] == pytest.approx(clip.start_s * FPS, abs=0.1)
        assert span.start_s * FPS - KEY_EVERY - 3 <= found[0] <= span.start_s * FPS + 1e-6
        whole = list(range(found[0], last + 1))
        assert [number for number in found if number <= last] == whole or name == "h264.avi"
        assert set(whole[:-2]) <= set(found)  # AVI keeps no times of pictures: the last ones may stay behind
        assert clip.end_s == pytest.approx((found[-1] + 1) / FPS, abs=4.5 / FPS)


def test_what_no_mp4_can_hold_keeps_its_own_kind(tmp_path: Path) -> None:
    for name, suffix in (("vp8.webm", ".webm"), ("mpeg2.mpg", ".mpg"), ("bframes.mkv", ".mp4")):
        source = barcode(tmp_path / name, 40, **KINDS[name])
        assert [clip.path.suffix for clip in cut(source, [Span(0, 1, tmp_path / "clip")])] == [suffix]


def test_nothing_lies_behind_the_end_and_no_file_is_a_fault(tmp_path: Path) -> None:
    assert cut(barcode(tmp_path / "v.mp4", 20), [Span(50, 60, tmp_path / "clip")]) == []
    with pytest.raises(VideoError, match="cannot be cut"):
        cut(empty(tmp_path / "empty.mp4"), [Span(0, 1, tmp_path / "clip")])
    assert not list(tmp_path.glob("clip*"))


def test_written_pictures_read_back_at_their_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (12, 3), np.uint8)
    times = [0.0, *np.cumsum(rng.choice([0.04, 0.08, 0.2], 11))]
    frames = [(float(time), np.broadcast_to(colour, (51, 67, 3))) for time, colour in zip(times, colours, strict=True)]
    assert write(tmp_path / "film.mp4", frames, 25.0) == 12
    seen = list(video.decode(tmp_path / "film.mp4", decoder="pyav"))
    assert [frame.pts_s for frame in seen] == pytest.approx(times, abs=1e-3)
    assert seen[0].image.shape == (50, 66, 3)
    for frame, colour in zip(seen, colours, strict=True):
        assert np.abs(frame.image.mean(axis=(0, 1)) - colour).max() < 12
