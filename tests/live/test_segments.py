"""Packets on disk as they came, clips with their pre-roll, and a quota that holds."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from dbvad.detection.live import clips as clipping
from dbvad.detection.live.clips import Clips, trim
from dbvad.detection.live.journal import Journal
from dbvad.scoring.events import Event, Thresholds
from pipeline.instruments.live_video import LiveStream, open_stream
from pipeline.instruments.segments import SegmentWriter, cut, segments
from tests.live.faults import camera_video, until
from tests.videos import read_barcode

TAKE = 1700000000000


def recorded(folder: Path, video: Path, monkeypatch: pytest.MonkeyPatch, take: int = TAKE) -> Path:
    """A recording's packets as a camera's child keeps them, but at once."""
    monkeypatch.setattr(LiveStream, "_wait", lambda *_: None)
    with open_stream(f"file:{video}") as stream:
        writer = SegmentWriter(folder, take, stream)
        for packet, _ in stream:
            writer.write(packet)
        writer.close()
        assert writer.lost == 0
    return folder


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_barcode(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def event(start_s: float, end_s: float) -> Event:
    return Event("0123456789abcdef", "gate", start_s, end_s, 0, 0, 0.9, start_s, 0.8, "print")


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2"}])
def test_a_clip_begins_at_the_key_frame_before_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         options: dict[str, str]) -> None:
    from tests.videos import barcode

    folder = recorded(tmp_path / "ring", barcode(tmp_path / "gate.mp4", 300, gop=10, options=options), monkeypatch)
    parts = segments(folder)
    assert [part.start_s for part in parts] == pytest.approx([0, 4, 8])
    found = cut(parts, 3.5, 8.5, tmp_path / "clip")
    assert found is not None
    path, zero = found
    assert path.name == "clip.mp4"
    assert zero == pytest.approx(3.2)  # frame 80, a key frame; 3.5 s is frame 87
    assert numbers(path)[:130] == list(range(80, 210))
    assert len(numbers(path)) == 133  # up to frame 212; with B-frames the last ones are those decoded first


def test_a_killed_writer_leaves_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recorded(tmp_path / "ring", camera_video(tmp_path / "gate.mp4", 200), monkeypatch)
    last = segments(folder)[-1].path
    os.truncate(last, last.stat().st_size * 2 // 3)
    found = cut(segments(folder), 0, 100, tmp_path / "clip")
    assert found is not None
    assert 110 < len(numbers(found[0])) < 200


def test_of_nothing_there_is_no_clip(tmp_path: Path) -> None:
    assert cut([], 0, 1, tmp_path / "clip") is None


def test_a_full_disk_costs_the_clip_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ring").write_text("in the way")
    with open_stream(f"file:{camera_video(tmp_path / 'gate.mp4', 20)}") as stream:
        writer, frames = SegmentWriter(tmp_path / "ring", TAKE, stream), 0
        for packet, found in stream:
            writer.write(packet)
            frames += len(found)
    assert (frames, writer.lost) == (20, 20)


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    for k in range(10):
        path = tmp_path / ("a" if k % 2 else "b") / f"{k}.mkv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (k, k))
    assert trim(tmp_path, 3500) == 7
    assert sorted(path.name for path in tmp_path.rglob("*.mkv")) == ["7.mkv", "8.mkv", "9.mkv"]
    assert trim(tmp_path, 3500) == 0


def test_a_clip_is_cut_told_and_lies_beside_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "TRIM_S", 0.0)
    journal = Journal(tmp_path)
    clips = Clips(tmp_path, journal, print, 1 << 30)
    recorded(clips.segments("gate"), camera_video(tmp_path / "gate.mp4", 250), monkeypatch)
    scores = [(k / 5, k / 50) for k in range(50)]
    clips.want("gate", TAKE, event(5.0, 6.0), Thresholds(pre_roll_s=1, post_roll_s=1),
               lambda start, end: [point for point in scores if start <= point[0] <= end])
    line = until(lambda: list(journal.since(0)))[0]
    clips.stop()
    assert (line["kind"], line["id"], line["clip"], line["clip_start_s"]) == ("update", event(0, 0).id,
                                                                            "0123456789abcdef.mp4", 4.0)
    assert numbers(tmp_path / "clips" / line["clip"]) == list(range(100, 176))
    beside = json.loads((tmp_path / "clips" / "0123456789abcdef.json").read_text())
    assert (beside["start_s"], beside["end_s"]) == (1.0, 2.0)
    assert np.allclose(beside["scores"], [(at - 4, score) for at, score in scores if 4 <= at <= 7], atol=1e-3)


def test_the_ring_stays_within_its_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "TRIM_S", 0.0)
    video = camera_video(tmp_path / "gate.mp4", 250)
    limit = 2 * video.stat().st_size
    clips = Clips(tmp_path, Journal(tmp_path), print, limit)
    for turn in range(5):
        recorded(clips.segments("gate"), video, monkeypatch, TAKE + turn)
    until(lambda: sum(path.stat().st_size for path in clips.ring.rglob("*.mkv")) <= limit)
    clips.stop()
    assert segments(clips.segments("gate"))[-1].take == TAKE + 4
