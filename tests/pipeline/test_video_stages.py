"""ingest and decode over one video: what their shards say of it, and what is said to the user."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from pipeline.contracts import frame_times
from pipeline.engine.runner import carry_out
from pipeline.engine.stage import BadVideo, Source, Stage
from pipeline.engine.store import Store
from pipeline.engine.todo import Options
from pipeline.stages import score
from pipeline.stages.decode import CHUNK, Decode, DecodeParams
from pipeline.stages.ingest import REMARKED, Ingest, IngestParams
from tests import odd_videos, videos


def source(path: Path, **more: Any) -> Source:
    return Source(path.name, path, "h", path.stat().st_size, {"split": "train", "labels": []}, **more)


def run(stage: Stage, root: Path, *sources: Source) -> tuple[Store, list[str]]:
    """Publish the shards of a stage; returns them, and what was noted."""
    store, notes = Store(root / "artifacts"), []
    with stage.open(notes.append) as work:
        for one in sources:
            product = work(one, store)
            store.publish(stage.contract, one.video_id, product.rows, fingerprint="f", basis={}, meta=product.meta)
    return store, notes


@pytest.mark.parametrize(("n", "stride"), [(1, 1), (1, 16), (16, 16), (17, 16), (50, 16), (50, 7), (2 * CHUNK + 5, 1),
                                           (3 * CHUNK, 1), (20, 100)])
def test_every_frame_has_its_time_whatever_the_stride(tmp_path: Path, n: int, stride: int) -> None:
    path = videos.barcode(tmp_path / "a.mp4", n)
    store, _ = run(Decode(DecodeParams(stride=stride)), tmp_path, source(path))
    table = store.read("decode", path.name)
    assert table["frame_idx"].to_pylist() == list(range(0, n, stride))
    assert frame_times(table) == pytest.approx([k / videos.FPS for k in range(n)], abs=1e-9)
    assert [len(times) for times in table["times_s"].to_pylist()] == [min(stride, n - k) for k in range(0, n, stride)]
    meta = store.footer("decode", path.name).meta
    assert (meta["decoded_frames"], meta["duration_s"]) == (n, pytest.approx(n / videos.FPS))


def test_seconds_find_their_frames_by_the_frames_times(tmp_path: Path) -> None:
    """300 frames at 30 a second, then 100 at 10: 10 s to 20 s are the frames 300 to 399, by no mean rate."""
    pts = [*range(300), *range(300, 600, 3)]
    path = videos.barcode(tmp_path / "a.mp4", 400, pts=pts, fps=30)
    store, _ = run(Decode(DecodeParams()), tmp_path, source(path))
    times = frame_times(store.read("decode", path.name))
    assert [k for k, time in enumerate(times) if 10 <= time < 20] == list(range(300, 400))


def test_a_video_that_killed_its_process_is_read_by_the_other_decoder(tmp_path: Path) -> None:
    path = videos.barcode(tmp_path / "a.mp4", 20)
    every = Decode(DecodeParams(stride=1))
    assert run(every, tmp_path, source(path))[0].footer("decode", "a.mp4").meta["decoder"] == "decord"
    store, _ = run(every, tmp_path, source(path, cautious=True))
    meta = store.footer("decode", "a.mp4").meta
    assert (meta["decoder"], meta["decoder_reason"]) == ("pyav", "a process died decoding it")
    with pytest.raises(BadVideo, match=r"decord dies of a\.mp4") as caught:
        run(Decode(DecodeParams(decoder="decord")), tmp_path, source(path, cautious=True))
    assert "decoder: auto" in caught.value.remedy


def test_an_ingested_video_is_what_its_packets_say(tmp_path: Path) -> None:
    path = odd_videos.beginning_at(tmp_path / "a.mkv", 50, 3600)
    store, notes = run(Ingest(IngestParams()), tmp_path, source(path))
    (row,) = store.read("ingest", "a.mkv").to_pylist()
    assert (row["n_frames"], row["duration_s"], row["fps"]) == (50, pytest.approx(2), 25)
    assert (row["width"], row["height"], row["codec"]) == (*videos.SIZE, "h264")
    assert store.footer("ingest", "a.mkv").meta["declared_frames"] > 50  # what the header let guess, apart
    assert notes == []


def test_what_is_remarkable_is_noted_and_kept(tmp_path: Path) -> None:
    film, cover = videos.barcode(tmp_path / "film.mp4", 20), odd_videos.still(tmp_path / "cover.jpg")
    paths = [odd_videos.with_tracks(tmp_path / f"{k:02}.mkv", [(cover, True), (film, False)]) for k in range(12)]
    store, notes = run(Ingest(IngestParams()), tmp_path, *map(source, paths))
    (remark,) = store.footer("ingest", "11.mkv").meta["remarks"]
    assert "is the film; left out: track 0 (mjpeg" in remark
    assert notes[0] == f"00.mkv: {remark}"
    assert len(notes) == REMARKED + 1
    assert "dbvad artifacts show" in notes[-1]


def test_frames_that_the_decoder_leaves_out_in_silence_are_spoken_of(tmp_path: Path) -> None:
    path = videos.started_late(tmp_path / "a.mkv", 100, 10)
    store, notes = run(Decode(DecodeParams()), tmp_path, source(path))
    assert notes == ["a.mkv: 90 packets gave 70 frames"]
    assert store.footer("decode", "a.mkv").meta["remark"] == "90 packets gave 70 frames"


def test_a_bad_video_is_named(tmp_path: Path) -> None:
    faults: list[tuple[Stage, Path, str]] = [
        (Decode(DecodeParams()), videos.cut_faststart(tmp_path / "a.mp4"), "truncated"),
        (Decode(DecodeParams()), videos.text(tmp_path / "b.mp4"), "not_video"),
        (Ingest(IngestParams()), videos.text(tmp_path / "b.mp4"), "not_video")]
    for stage, path, kind in faults:
        with pytest.raises(BadVideo) as caught:
            run(stage, tmp_path, source(path))
        assert caught.value.kind == kind


ABORTING = """
import os

class logging:
    QUIET = 0
    set_level = staticmethod(lambda level: None)

def VideoReader(*_, **__):
    os.abort()
"""


def test_where_decord_kills_its_process_pyav_reads_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "decord.py").write_text(ABORTING)
    monkeypatch.syspath_prepend(str(tmp_path / "libraries"))
    videos.barcode(tmp_path / "a.mp4", 20)
    videos.barcode(tmp_path / "b.ts", 20)  # not for decord
    store, console = Store(tmp_path / "artifacts"), Console(file=io.StringIO(), width=200)
    stages: list[Stage] = [Ingest(IngestParams(workers=1)), Decode(DecodeParams(workers=1, stride=1))]
    outcome = carry_out(stages, [source(tmp_path / "a.mp4"), source(tmp_path / "b.ts")], store,
                        Options(["ingest", "decode"]), console)
    assert outcome.counts == {("ingest", "done"): 2, ("decode", "done"): 2}
    metas = [store.footer("decode", name).meta for name in ("a.mp4", "b.ts")]
    assert [meta["decoder"] for meta in metas] == ["pyav", "pyav"]
    assert [meta.get("decoder_reason") for meta in metas] == ["a process died decoding it", None]
    assert len(frame_times(store.read("decode", "a.mp4"))) == 20
    said = console.file.getvalue()
    assert "decode: a.mp4: the decode process ended (killed by SIGABRT); it is tried once more" in said


@pytest.mark.parametrize(("workers", "said", "threads"), [(1, None, 8), (3, None, 2), (9, None, 1), (3, "8", 8)])
def test_workers_of_score_share_the_cores_unless_it_is_said_what_torch_may_use(
    workers: int, said: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "cores", lambda: 8)
    monkeypatch.setattr(score.ScoreParams, "load", lambda self: None)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        with score.Score(score.ScoreParams(workers=workers), {}, {}).open(print):
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
