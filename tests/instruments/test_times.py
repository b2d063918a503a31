"""Time is what the frames say: wherever clocks start, whatever they do on the way, and whatever headers guess."""

import itertools
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.instruments._pyav.clock import BACK_STEPS, Clock
from pipeline.instruments.video import Decoder, Probe, VideoError, decode, probe
from tests import odd_videos, videos

N = 50
LENGTH_S = N / videos.FPS
EVEN = [k / videos.FPS for k in range(N)]


def reads(path: Path, decoder: Decoder = "auto", n: int = N) -> Probe:
    """Check that every frame comes once, in order, at its time; returns what the file is said to be."""
    decoding = decode(path, decoder=decoder)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(n))
    assert decoding.times.tolist() == pytest.approx([k / videos.FPS for k in range(n)], abs=1e-9)
    assert (decoding.probe.n_frames, decoding.decoded) == (n, n)
    assert decoding.probe.duration_s == pytest.approx(n / videos.FPS)
    assert decoding.duration_s == pytest.approx(decoding.probe.duration_s, abs=1e-9)
    return decoding.probe


@given(st.lists(st.one_of(st.none(), st.integers(-10**12, 10**12)), min_size=1, max_size=40), st.integers(1, 4000),
       st.integers(4000, 10**6), st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1001, 30000)]))
def test_time_begins_at_0_and_rises_whatever_the_clock_does(stamps: list[int | None], step: int, leap: int,
                                                            tick: Fraction) -> None:
    clock = Clock(tick, step, leap)
    times = [clock(stamp) for stamp in stamps]
    assert times[0] == 0
    assert all(a < b for a, b in itertools.pairwise(times))
    assert max(np.diff([0, *times]), default=0) <= leap * tick * (1 + 1e-9)


@given(st.integers(-10**12, 10**12), st.lists(st.integers(1, 4000), max_size=40), st.integers(1, 4000))
def test_a_clock_that_runs_is_kept_to_the_tick(start: int, steps: list[int], usual: int) -> None:
    clock, tick = Clock(Fraction(1, 90000), usual, 4000), Fraction(1, 90000)
    stamps = np.cumsum([start, *steps]).tolist()
    assert [clock(stamp) for stamp in stamps] == [float((stamp - start) * tick) for stamp in stamps]
    assert clock.restarts == clock.held == 0


def test_what_a_broken_clock_becomes() -> None:
    def times(*stamps: int | None) -> list[int]:
        clock = Clock(Fraction(1), 10, 100)
        return [round(clock(stamp)) for stamp in stamps]

    assert times(500, 510, 0, 10) == [0, 10, 20, 30]  # starts again
    assert times(0, 10, 5000, 5010) == [0, 10, 20, 30]  # leaps
    assert times(0, 10, 110, 120) == [0, 10, 110, 120]  # a pause
    assert times(0, 10, 10, 20, 30) == [0, 10, 11, 20, 30]  # stands still, and catches up
    assert times(0, 30, 30 - BACK_STEPS * 10, 40) == [0, 30, 31, 40]  # one stamp out of place
    assert times(0, None, 20, None) == [0, 10, 20, 30]


@pytest.mark.parametrize("start_s", [0.04, 7.3, 3600])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv", "asf"])
def test_a_clock_may_start_anywhere(tmp_path: Path, suffix: str, start_s: float) -> None:
    reads(odd_videos.beginning_at(tmp_path / f"a.{suffix}", N, start_s))


def test_a_clock_may_start_below_0(tmp_path: Path) -> None:
    """In mkv the frames are shown; mp4 then has an edit list, by which a player begins at 0."""
    reads(odd_videos.beginning_at(tmp_path / "a.mkv", N, -1))
    trimmed = odd_videos.beginning_at(tmp_path / "a.mp4", N, -1)
    assert [videos.read_barcode(frame.image) for frame in decode(trimmed)] == list(range(25, N))
    assert probe(trimmed).duration_s == 1


def test_a_clock_of_33_bits_wraps(tmp_path: Path) -> None:
    reads(odd_videos.beginning_at(tmp_path / "a.ts", N, 2**33 / 90000 - 1))


@pytest.mark.parametrize("starts", [(0, 0), (3600, 0), (0, 3600), (10, 11)])
def test_recordings_joined_in_one_file_go_on(tmp_path: Path, starts: tuple[float, float]) -> None:
    path = odd_videos.joined(tmp_path / "a.ts", [(N, starts[0]), (20, starts[1])])
    decoding = decode(path)
    assert [videos.read_barcode(frame.image) for frame in decoding] == [*range(N), *range(20)]
    assert decoding.times.tolist() == pytest.approx([k / videos.FPS for k in range(N + 20)])
    assert decoding.probe.n_frames == N + 20
    assert "jumps" in " ".join(decoding.probe.remarks)


def test_a_stream_that_turns_up_on_the_way(tmp_path: Path) -> None:
    path = odd_videos.with_a_stray_packet(tmp_path / "a.ts", 100)
    with av.open(str(path)) as container, pytest.raises(IndexError):  # what PyAV makes of it
        list(container.demux())
    assert len(list(decode(path))) in (99, 100)


def test_a_pause_is_no_jump(tmp_path: Path) -> None:
    pts = [*range(20), *range(20 + 9 * videos.FPS, 50 + 9 * videos.FPS)]
    decoding = decode(videos.barcode(tmp_path / "a.ts", N, pts=pts))
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
    assert decoding.times.tolist() == pytest.approx([t / videos.FPS for t in pts])
    assert not decoding.probe.remarks


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_seconds_of_a_varying_rate(tmp_path: Path, suffix: str, decoder: Decoder) -> None:
    pts = [*range(30), *range(30, 90, 3)]
    decoding = decode(videos.barcode(tmp_path / f"a.{suffix}", N, pts=pts), stride=16, decoder=decoder)
    assert [frame.index for frame in decoding] == [0, 16, 32, 48]
    assert decoding.times.tolist() == pytest.approx([t / videos.FPS for t in pts], abs=1e-9)
    assert decoding.probe.fps == pytest.approx(N / decoding.probe.duration_s)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_subtitles_and_data_that_run_on_do_not_count(tmp_path: Path, suffix: str) -> None:
    reads(odd_videos.outlasted(tmp_path / f"a.{suffix}", N, 20))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "flv", "asf", "avi", "ts"])
def test_sound_that_runs_on_does_not_count(tmp_path: Path, suffix: str) -> None:
    reads(videos.long_audio(tmp_path / f"a.{suffix}", N, 20))


@pytest.mark.parametrize("start_s", [0, 2, 3600])
@pytest.mark.parametrize("suffix", ["mkv", "flv", "asf"])
def test_half_a_file_is_truncated_wherever_its_clock_starts(tmp_path: Path, suffix: str, start_s: float) -> None:
    path = odd_videos.beginning_at(tmp_path / f"a.{suffix}", 200, start_s)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"ends at \d\.\d s of \d\.\d s") as caught:
        list(decode(path))
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(("suffix", "options"), [
    ("mp4", {"movflags": "frag_keyframe+empty_moov"}), ("mkv", {"live": "1"}), ("mkv", {"cluster_time_limit": "200"}),
])
def test_headers_without_a_count_or_a_length(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    whole = videos.barcode(tmp_path / "whole.mp4", N)
    reads(odd_videos.remux(whole, tmp_path / f"a.{suffix}", options=options))


@pytest.mark.parametrize(("codec", "format_", "rate"), [("libx264", "h264", 25), ("libx264", "h264", 12),
                                                        ("libx265", "hevc", 30)])
def test_a_bare_stream_has_the_rate_that_its_codec_tells(tmp_path: Path, codec: str, format_: str, rate: int) -> None:
    path = videos.barcode(tmp_path / f"a.{format_}", N, codec=codec, fps=rate)
    decoding = decode(path)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
    assert decoding.times.tolist() == pytest.approx([k / rate for k in range(N)])
    assert decoding.probe.remarks == (f"it keeps no times: {rate} frames a second, as its codec says, or assumed",)


def test_frames_in_the_order_of_decoding_under_another_name(tmp_path: Path) -> None:
    """ASF stamps packets as they are decoded: with B-frames, frames would come out of order by their stamps."""
    path = videos.barcode(tmp_path / "a.asf", N)
    assert reads(path).container == "asf"


@pytest.mark.parametrize(("position", "value"), [(12, 0x7FFFFFFB), (12, 0xFFFFFFFF), (16, 0x7FFFFFFB)])
def test_absurd_tables_of_times(tmp_path: Path, position: int, value: int) -> None:
    """decord dies of the first two, reserving memory for thousands of millions of frames."""
    path = odd_videos.with_times(tmp_path / "a.mp4", position, value)
    decoding = decode(path)
    assert [videos.read_barcode(frame.image) for frame in decoding] == list(range(N))
    assert decoding.decoder == "pyav"
    assert decoding.probe.duration_s == pytest.approx(LENGTH_S)


@pytest.mark.parametrize("write", [
    lambda path: struct.pack_into(">I", path, path.find(b"mvhd") + 20, 0xFFFFFFFF),
    lambda path: struct.pack_into(">I", path, path.find(b"mdhd") + 20, 1),
    lambda path: struct.pack_into(">I", path, path.find(b"tkhd") + 24, 0),
])
def test_lengths_in_an_mp4s_header_are_not_believed(tmp_path: Path, write: Callable[[bytearray], None]) -> None:
    path = videos.barcode(tmp_path / "a.mp4", N)
    data = bytearray(path.read_bytes())
    write(data)
    path.write_bytes(data)
    reads(path)


def test_an_avi_whose_header_counts_what_was_dropped(tmp_path: Path) -> None:
    path = videos.barcode(tmp_path / "a.avi", N, codec="mpeg4", pts=[k + 10 * (k > 20) for k in range(N)])
    found = probe(path)
    assert (found.n_frames, found.declared_frames) == (N, N + 10)
    assert found.duration_s == pytest.approx((N + 10) / videos.FPS)


def test_a_header_that_lies_does_not_cut_a_whole_file(tmp_path: Path) -> None:
    """An AVI that counts ten times its frames, a Matroska whose tag is of the film that it was taken from."""
    avi = videos.barcode(tmp_path / "a.avi", 200, codec="mpeg4")
    data = bytearray(avi.read_bytes())
    struct.pack_into("<I", data, data.find(b"strh") + 40, 2000)
    avi.write_bytes(data)
    mkv = videos.barcode(tmp_path / "a.mkv", 200)
    mkv.write_bytes(mkv.read_bytes().replace(b"00:00:08.", b"00:30:08."))
    for path in (avi, mkv):
        assert reads(path, n=200).declared_frames >= 2000
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
        with pytest.raises(VideoError) as caught:
            list(decode(path))
        assert caught.value.kind == "truncated"
