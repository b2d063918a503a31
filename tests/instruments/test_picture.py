"""The picture is what a player shows: turned and mirrored, in square pixels, of the film among the tracks."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.instruments import video
from pipeline.instruments.video import Decoder, decode, probe
from tests import odd_videos, videos
from tests.odd_videos import ONE, UNIT

WIDTH, HEIGHT = videos.SIZE
DECODERS: list[Decoder] = ["auto", "pyav", "decord"]
# What a display matrix of right angles does to a picture: a b u c d v x y w -> the picture as shown.
MATRICES: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "upright": ((ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT), lambda p: p),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0, WIDTH * ONE, 0, UNIT), lambda p: p[:, ::-1]),
    "flipped": ((ONE, 0, 0, 0, -ONE, 0, 0, HEIGHT * ONE, UNIT), lambda p: p[::-1]),
    "half turn": ((-ONE, 0, 0, 0, -ONE, 0, WIDTH * ONE, HEIGHT * ONE, UNIT), lambda p: p[::-1, ::-1]),
    "to the right": ((0, ONE, 0, -ONE, 0, 0, HEIGHT * ONE, 0, UNIT), lambda p: np.rot90(p, -1)),
    "to the left": ((0, -ONE, 0, ONE, 0, 0, 0, WIDTH * ONE, UNIT), lambda p: np.rot90(p)),
    "transposed": ((0, ONE, 0, ONE, 0, 0, 0, 0, UNIT), lambda p: p.transpose(1, 0, 2)),
    "transversed": ((0, -ONE, 0, -ONE, 0, 0, HEIGHT * ONE, WIDTH * ONE, UNIT),
                    lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    "none": ((0, 0, 0, 0, 0, 0, 0, 0, 0), lambda p: p),
}


def first(path: Path, **arguments: object) -> np.ndarray:
    return next(iter(decode(path, **arguments))).image  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_all_display_matrices(tmp_path: Path, matrix: str, codec: str, decoder: Decoder) -> None:
    numbers, shown = MATRICES[matrix]
    plain = videos.barcode(tmp_path / "plain.mp4", 3, codec=codec)
    path = odd_videos.with_matrix(tmp_path / "turned.mp4", plain, numbers)
    image = first(path, decoder=decoder)
    assert np.array_equal(image, shown(first(plain, decoder="pyav")))
    assert (probe(path).height, probe(path).width) == image.shape[:2]
    small = first(path, decoder=decoder, short_side=48)
    assert small.shape[:2] == tuple(side // 2 for side in image.shape[:2])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("aspect", "size", "shown"), [
    (Fraction(64, 45), (720, 576), (1024, 576)),  # PAL, wide
    (Fraction(10, 11), (704, 480), (640, 480)),  # D1 of a recorder, NTSC
    (Fraction(24, 11), (352, 576), (768, 576)),  # half D1, PAL
    (Fraction(1, 1), (320, 240), (320, 240)),
    (Fraction(255, 1), (320, 240), (320, 240)),  # a mistake
])
def test_pixels_are_square(tmp_path: Path, aspect: Fraction, size: tuple[int, int], shown: tuple[int, int],
                           decoder: Decoder) -> None:
    path = odd_videos.with_aspect(tmp_path / "a.mp4", aspect, size)
    image = first(path, decoder=decoder)
    assert image.shape == (shown[1], shown[0], 3)
    assert (probe(path).width, probe(path).height) == shown
    if aspect < 255:
        bright = image[..., 1] > 128
        across, down = bright.any(0).sum(), bright.any(1).sum()
        assert across == pytest.approx(down, abs=4)
    assert first(path, decoder=decoder, short_side=100).shape[:2] == (100, round(shown[0] * 100 / shown[1] / 2) * 2)


def test_both_decoders_make_pixels_square_alike(tmp_path: Path) -> None:
    path = odd_videos.with_aspect(tmp_path / "a.mkv", Fraction(12, 11), (704, 576))
    one, two = (first(path, decoder=name).astype(int) for name in ("decord", "pyav"))
    assert np.abs(one - two).mean() < 1


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("width", [*sorted(video.NO_WIDTHS - {1, 2, 3, 4, 6, 8, 12}), 32, 40, 96])
def test_pictures_of_any_width_have_three_channels(tmp_path: Path, width: int, decoder: Decoder) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.full((48, width, 3), level, np.uint8) for level in (40, 200)])
    decoding = decode(path, decoder=decoder)
    assert [(frame.image.shape, round(float(frame.image.mean()), -1)) for frame in decoding] == [
        ((48, width, 3), 40), ((48, width, 3), 200)]
    assert decoding.decoder == ("decord" if width not in video.NO_WIDTHS and decoder != "pyav" else "pyav")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("still_first", [True, False])
def test_the_film_not_the_picture(tmp_path: Path, suffix: str, still_first: bool, decoder: Decoder) -> None:
    film, cover = videos.barcode(tmp_path / "film.mp4", 30), odd_videos.still(tmp_path / "cover.jpg")
    tracks = [(cover, True), (film, False)]
    path = odd_videos.with_tracks(tmp_path / f"a.{suffix}", tracks if still_first else tracks[::-1])
    decoding = decode(path, decoder=decoder)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(30))
    assert (decoding.probe.width, decoding.probe.n_frames, decoding.probe.track) == (WIDTH, 30, int(still_first))
    (remark,) = decoding.probe.remarks
    assert f"left out: track {int(not still_first)} (mjpeg 320x240)" in remark


def test_a_few_pictures_are_no_film(tmp_path: Path) -> None:
    film, slides = videos.barcode(tmp_path / "film.mp4", 60), videos.barcode(
        tmp_path / "slides.mp4", 3, codec="mjpeg", size=(320, 192))
    assert probe(odd_videos.with_tracks(tmp_path / "a.mkv", [(slides, True), (film, False)])).n_frames == 60


@pytest.mark.parametrize(("defaults", "track"), [((True, False), 0), ((False, True), 1), ((True, True), 1),
                                                 ((False, False), 1)])
def test_of_two_films_the_default_then_the_larger(tmp_path: Path, defaults: tuple[bool, bool], track: int) -> None:
    front = videos.barcode(tmp_path / "front.mp4", 30)
    rear = videos.barcode(tmp_path / "rear.mp4", 30, size=(320, 192))
    path = odd_videos.with_tracks(tmp_path / "a.mkv", list(zip((front, rear), defaults, strict=True)))
    assert (probe(path).track, probe(path).width) == (track, (WIDTH, 320)[track])


def test_of_two_alike_the_first(tmp_path: Path) -> None:
    one, two = (videos.barcode(tmp_path / f"{name}.mp4", n) for name, n in (("one", 30), ("two", 29)))
    assert probe(odd_videos.with_tracks(tmp_path / "a.mp4", [(one, True), (two, True)])).n_frames == 30


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_keep_the_size_of_the_first(tmp_path: Path, decoder: Decoder) -> None:
    decoding = decode(odd_videos.growing(tmp_path / "a.webm", 40), decoder=decoder)
    frames = list(decoding)
    assert [videos.read_barcode(frame.image) for frame in frames] == list(range(40))
    assert {frame.image.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}


@pytest.mark.parametrize(("codec", "pixels", "flags"), [
    ("libx264", "gray", ""), ("libx264", "yuv444p", ""), ("libx264", "yuv422p10le", ""), ("libx264", "yuv420p10le", ""),
    ("libx264", "yuvj420p", ""), ("libx264", "yuv420p", "+ilme+ildct"), ("png", "rgba", ""),
])
def test_pixels_of_other_kinds(tmp_path: Path, codec: str, pixels: str, flags: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(videos.PIXELS, codec, pixels)
    path = videos.barcode(tmp_path / "a.mov", 10, codec=codec, options={"flags": flags} if flags else {})
    for decoder in DECODERS[:2]:
        assert [videos.read_barcode(frame.image) for frame in decode(path, decoder=decoder)] == list(range(10))
