"""Decoding is exact in its indices and small in memory, and every broken file is named for what it is."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.instruments import video
from pipeline.instruments.video import VideoError, decode, probe
from tests import videos

N = 200
DECORD_IS_RIGHT = {name for name in videos.KINDS if name.endswith((".mp4", ".mkv", ".webm", ".avi"))} - {"av1.mp4"}
MEMORY_MB = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, arguments in videos.KINDS.items():
        videos.barcode(root / name, N, **arguments)
    return root


def numbers(path: Path, **arguments: Any) -> list[tuple[int, int]]:
    """(index, number drawn in the picture) of every frame."""
    return [(frame.index, videos.read_barcode(frame.image)) for frame in decode(path, **arguments)]


def exhaust(decoding: video.Decoding) -> tuple[list[video.Frame], VideoError | None]:
    """All frames, and the error behind them."""
    frames = []
    try:
        for frame in decoding:
            frames.append(frame)
    except VideoError as error:
        return frames, error
    return frames, None


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("name", videos.KINDS)
def test_every_frame_has_its_index(folder: Path, name: str, decoder: video.Decoder) -> None:
    for stride in (1, 7, 16):
        decoding = decode(folder / name, stride=stride, decoder=decoder)
        frames = list(decoding)
        assert [frame.index for frame in frames] == list(range(0, N, stride))
        assert [videos.read_barcode(frame.image) for frame in frames] == list(range(0, N, stride))
        times = [k / videos.FPS for k in range(0, N, stride)]
        assert [frame.pts_s for frame in frames] == pytest.approx(times, abs=2e-3)
        assert decoding.decoded == N
        assert decoding.declared == pytest.approx(N, abs=0.05 * N)
        takes = decoder == "auto" and stride == 1 and name in DECORD_IS_RIGHT
        assert decoding.decoder == ("decord" if takes else "pyav")
        assert not decoding.truncated
        assert not decoding.refused


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.sampled_from([1, 2, 16, 17, 50]), stride=st.integers(1, 60), decoder=st.sampled_from(["decord", "pyav"]))
def test_indices_are_the_multiples_of_the_stride(folder: Path, n: int, stride: int, decoder: video.Decoder) -> None:
    path = folder / f"length{n}.mp4"
    if not path.exists():
        videos.barcode(path, n)
    assert numbers(path, stride=stride, decoder=decoder) == [(k, k) for k in range(0, n, stride)]


@pytest.mark.parametrize("name", videos.FAULTS)
def test_faults_are_named(tmp_path: Path, name: str) -> None:
    write, kind = videos.FAULTS[name]
    with pytest.raises(VideoError) as caught:
        list(decode(write(tmp_path / name)))
    assert caught.value.kind == kind
    assert name in caught.value.reason
    assert caught.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(VideoError) as caught:
            probe(path)
        assert caught.value.kind == "missing"


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    Image.fromarray(videos.barcode_image(3)).save(path, "JPEG")
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert caught.value.kind == "not_video"


def test_an_unknown_codec(tmp_path: Path) -> None:
    path = videos.barcode(tmp_path / "codec.mp4", 20)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert caught.value.kind == "decode_error"


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi", "cut_in_front.mp4"])
def test_a_cut_video_still_gives_what_it_has(tmp_path: Path, name: str) -> None:
    decoding = decode(videos.FAULTS[name][0](tmp_path / name))
    frames, error = exhaust(decoding)
    assert error is not None
    assert decoding.truncated
    assert 60 < decoding.decoded < 0.95 * decoding.declared
    assert [frame.index for frame in frames] == list(range(decoding.decoded))
    assert [videos.read_barcode(frame.image) for frame in frames[:60]] == list(range(60))


def test_where_decord_gives_up_pyav_goes_on(tmp_path: Path) -> None:
    """The packets of a damaged mp4 look whole from outside, so decord starts on it."""
    path = videos.damaged(tmp_path / "damaged.mp4")
    decoding = decode(path)
    assert decoding.decoder == "decord"
    frames, error = exhaust(decoding)
    alone, _ = exhaust(decode(path, decoder="pyav"))
    assert error is not None
    assert decoding.decoder == "pyav"
    assert decoding.refused > 3
    assert [frame.index for frame in frames] == [frame.index for frame in alone]
    assert [frame.pts_s for frame in frames] == pytest.approx([frame.pts_s for frame in alone])
    assert [videos.read_barcode(frame.image) for frame in frames[:60]] == list(range(60))
    with pytest.raises(VideoError, match="decord"):
        list(decode(path, decoder="decord"))


def test_a_little_damage_is_left_out(tmp_path: Path) -> None:
    path = videos.barcode(tmp_path / "scratch.avi", N, codec="mjpeg")
    data = bytearray(path.read_bytes())
    start = data.find(b"\xff\xd8\xff", len(data) // 2)
    data[start:start + 200] = bytes(200)
    path.write_bytes(data)
    decoding = decode(path)
    frames = list(decoding)
    assert decoding.refused == 1
    assert decoding.decoded == len(frames) == N - 1


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "trimmed.mp4"])
def test_frames_that_are_never_shown_do_not_count(tmp_path: Path, name: str, decoder: video.Decoder) -> None:
    if name == "trimmed.mp4":
        path, first, n = videos.trimmed(tmp_path / name, N, 50), 50, N - 50
        assert probe(path).n_frames == n
    else:
        path, first, n = videos.started_late(tmp_path / name, 100, 10), 30, 70
    assert numbers(path, decoder=decoder) == [(k, first + k) for k in range(n)]
    with pytest.raises(VideoError, match="not for decord"):
        decode(path, decoder="decord")


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_times_of_a_variable_rate(tmp_path: Path, suffix: str, decoder: video.Decoder) -> None:
    pts = list(np.cumsum([1 + 4 * (k % 10 > 5) for k in range(60)]).tolist())
    path = videos.barcode(tmp_path / f"variable.{suffix}", 60, pts=pts)
    times = [frame.pts_s for frame in decode(path, decoder=decoder)]
    assert times == pytest.approx([(t - pts[0]) / videos.FPS for t in pts], abs=2e-3)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_frames_that_the_recorder_dropped_are_no_fault(tmp_path: Path, decoder: video.Decoder) -> None:
    """AVI declares a slot for each; the frames keep their slots' times."""
    pts = [k + k // 5 for k in range(100)]
    decoding = decode(videos.barcode(tmp_path / "drops.avi", 100, pts=pts), decoder=decoder)
    frames = list(decoding)
    assert decoding.declared > 110
    assert [videos.read_barcode(frame.image) for frame in frames] == list(range(100))
    assert [frame.pts_s for frame in frames] == pytest.approx([t / videos.FPS for t in pts], abs=2.1 / videos.FPS)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_longer_than_the_picture_is_no_fault(tmp_path: Path, suffix: str) -> None:
    assert len(list(decode(videos.long_audio(tmp_path / f"sound.{suffix}")))) == 50


def test_rotation_is_applied(tmp_path: Path) -> None:
    plain = next(iter(decode(videos.barcode(tmp_path / "plain.mp4", 5))))
    for degrees in (90, 180, 270):
        path = videos.barcode(tmp_path / f"{degrees}.mp4", 5, rotation=degrees)
        turned = next(iter(decode(path)))
        assert np.array_equal(turned.image, np.rot90(plain.image, degrees // 90))
        assert (probe(path).height, probe(path).width) == turned.image.shape[:2]
    upright = next(iter(decode(tmp_path / "90.mp4", short_side=48)))
    assert upright.image.shape == (80, 48, 3)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_large_videos_shrink_and_small_ones_stay(tmp_path: Path, decoder: video.Decoder) -> None:
    path = videos.barcode(tmp_path / "size.mp4", 20, size=(322, 178))
    for short_side, shape in ((101, (100, 182, 3)), (64, (64, 116, 3)), (178, (178, 322, 3)), (400, (178, 322, 3))):
        frames = list(decode(path, short_side=short_side, decoder=decoder))
        assert {frame.image.shape for frame in frames} == {shape}
        assert [videos.read_barcode(frame.image) for frame in frames] == list(range(20))


@pytest.mark.parametrize("short_side", [None, 64])
def test_both_decoders_give_the_same_pictures(tmp_path: Path, short_side: int | None) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 20)).astype(np.uint8))  # grey: colour edges may differ more
    scene = np.asarray(coarse.resize(videos.SIZE, Image.Resampling.BICUBIC).convert("RGB"))
    path = videos.write_video(tmp_path / "scene.mp4", [np.roll(scene, k, axis=1) for k in range(20)])
    one, two = ([frame.image.astype(int) for frame in decode(path, short_side=short_side, decoder=name)]
                for name in ("decord", "pyav"))
    assert np.abs(np.array(one) - np.array(two)).mean() < 1


def test_decoding_again_gives_the_same(folder: Path) -> None:
    decoding = decode(folder / "bframes.mp4", stride=50)
    first, second = list(decoding), list(decoding)
    assert decoding.decoded == N
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["cam:1.mp4", "50%03d.mp4", "été 日本 #1?.mp4", os.fsdecode(b"\xff.mp4")])
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = videos.barcode(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    for decoder in ("auto", "pyav"):
        assert numbers(path, decoder=decoder) == [(k, k) for k in range(3)]


def test_arguments_out_of_range(folder: Path) -> None:
    refused: tuple[dict[str, Any], ...] = ({"stride": 0}, {"short_side": 1}, {"decoder": "vlc"})
    for arguments in refused:
        with pytest.raises(ValueError, match="need stride"):
            decode(folder / "bframes.mp4", **arguments)


def test_an_error_crosses_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(VideoError("empty", "a.mp4: 0 bytes", "copy it again")))
    assert (error.kind, error.reason, error.remedy) == ("empty", "a.mp4: 0 bytes", "copy it again")


def test_probing_does_not_load_decord(folder: Path) -> None:
    code = ("import sys; from pipeline.instruments import video; video.identity(); video.probe(sys.argv[1]);"
            "sys.exit('decord' in sys.modules)")
    subprocess.run([sys.executable, "-c", code, str(folder / "bframes.mp4")], check=True)


def test_identity_names_rule_and_libraries() -> None:
    assert video.identity().keys() >= {"rule", "av"}
    assert video.identity()["av"].startswith(tuple("123456789"))


@pytest.mark.parametrize(("kind", "stride", "decoder"), [
    ("minute", 16, "pyav"), ("minute", 1, "pyav"), ("largest_for_decord", 1, "decord")])
def test_memory_stays_small_when_nobody_takes_the_frames(tmp_path: Path, kind: str, stride: int, decoder: str) -> None:
    """decord alone would hold the minute's 1,500 frames, 900 MB."""
    path = tmp_path / "large.mp4"
    if kind == "minute":
        videos.long_video(path, seconds=60)
    else:
        videos.barcode(path, video.PREFETCH_BYTES // (598 * 336 * 3) - 1, size=(1280, 720))
    code = """
import pathlib, re, sys, time
import PIL.Image, pyarrow.parquet
from pipeline.instruments import video
decoding = video.decode(sys.argv[1], stride=int(sys.argv[2]), short_side=336)
for frame in decoding:
    if frame.index == 16:
        time.sleep(3)
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]  # ru_maxrss survives exec
print(decoding.decoder, int(peak_kb) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path), str(stride)], check=True, capture_output=True,
                          text=True)
    used, peak_mb = done.stdout.split()
    assert used == decoder
    assert int(peak_mb) < MEMORY_MB
