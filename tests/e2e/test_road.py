"""From a folder of videos to six tables, through decord, PyAV, open_clip and transformers."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.engine.store import Store
from tests import videos
from tests.e2e.conftest import BAD, World, call, options, plan


def test_run_goes_through_and_says_what_is_bad(world: World) -> None:
    assert world.exit_code == 3
    assert f"{len(BAD)} in quarantine" in world.output
    assert "warning" not in world.output.lower()


def test_every_bad_file_is_in_quarantine_with_kind_and_remedy(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    call("pipeline", "failures", "--json", *options(world.root))
    rows = json.loads(capsys.readouterr().out)
    assert {row["video_id"]: row["kind"] for row in rows} == BAD
    assert all(row["reason"] and row["remedy"] for row in rows)


def test_every_good_video_reached_every_stage(world: World) -> None:
    store = Store(world.artifacts)
    folder = world.root / "videos"
    good = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} - {*BAD}
    for stage in ("ingest", "decode", "score", "select", "describe", "embed"):
        assert set(store.videos(stage)) >= good
    assert len(good) == 9


def test_test_videos_have_features_but_no_key_frames_and_no_text(world: World) -> None:
    store = Store(world.artifacts)
    for video in ("test/fighting/v0.mp4", "test/normal/v0.mp4"):
        assert store.read("score", video).num_rows > 0
        assert [store.read(stage, video).num_rows for stage in ("select", "describe", "embed")] == [0, 0, 0]


def test_a_second_run_does_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(world.root, capsys) == {}
    assert call("pipeline", "run", *options(world.root)) == 3
    assert "nothing to do" in capsys.readouterr().out


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """A copy of the world to change; its models and videos lie elsewhere than before."""
    shutil.copytree(world.root, tmp_path / "moved", symlinks=True, ignore=shutil.ignore_patterns("runs"))
    return tmp_path / "moved"


def change(root: Path, section: str, **values: object) -> None:
    config = yaml.safe_load((root / "stages.yaml").read_text())
    config.setdefault(section, {}).update(values)
    (root / "stages.yaml").write_text(yaml.safe_dump(config))


def test_a_moved_dataset_and_a_touched_file_change_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(copy / "videos" / "train" / "fighting" / "v0.mp4", (1, 1))
    assert plan(copy, capsys) == {}


def test_a_new_prompt_redoes_describe_and_embed_only(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, "describe", prompt="class_aware-v1")
    redone = plan(copy, capsys)
    assert set(redone) == {"describe", "embed"}
    assert any("prompt.id 'neutral-v1' -> 'class_aware-v1'" in reason for reason in redone["describe"])


def test_a_new_stride_redoes_decode_and_below_only(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, "decode", stride=8)
    redone = plan(copy, capsys)
    assert set(redone) == {"decode", "score", "select", "describe", "embed"}
    assert "stale: stride 16 -> 8" in redone["decode"]


def test_workers_and_deadlines_redo_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, "decode", workers=1, timeout_s=5, memory_mb=300)
    change(copy, "describe", concurrency=2)
    assert plan(copy, capsys) == {}


def test_a_new_label_redoes_what_reads_labels(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["video,label,split"]
    for path in sorted((copy / "videos").rglob("*.*")):
        split, label, _ = path.relative_to(copy / "videos").parts
        video = path.relative_to(copy / "videos").as_posix()
        new = "robbery" if video == "train/fighting/v1.mp4" else label
        lines.append(f'"{video}",{new},{split}')
    (copy / "labels.csv").write_text("\n".join(lines))
    change(copy, "dataset", labels="csv", labels_file="labels.csv")
    redone = plan(copy, capsys, "--video", "train/fighting/*")
    assert set(redone) == {"ingest", "score", "select", "describe", "embed"}
    assert plan(copy, capsys, "--video", "train/fighting/v0.mp4") == {}


def test_the_same_video_gives_the_same_bytes(copy: Path, world: World) -> None:
    for stage in ("ingest", "decode", "score"):
        shutil.rmtree(copy / "artifacts" / stage)
    video = "train/fighting/v2.mp4"
    assert call("pipeline", "run", "--to", "score", "--video", video, *options(copy)) == 0
    for stage in ("ingest", "decode", "score"):
        paths = [Store(root / "artifacts").path(stage, video) for root in (copy, world.root)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), stage


def test_a_mended_file_leaves_quarantine(copy: Path) -> None:
    broken = copy / "videos" / "train" / "normal" / "empty.mp4"
    shutil.copy(copy / "videos" / "train" / "normal" / "v0.mp4", broken)
    video = "train/normal/empty.mp4"
    assert call("pipeline", "run", "--to", "decode", "--video", video, *options(copy)) == 0
    assert Store(copy / "artifacts").quarantined("ingest", video) is None


def test_artifacts_are_whole_and_say_how_they_were_made(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("artifacts", "verify", "--artifacts", world.artifacts) == 0
    call("artifacts", "show", "train/fighting/v0.mp4", "--artifacts", world.artifacts)
    shown = capsys.readouterr().out
    for fact in ('"stride": 16', '"decoder": "pyav"', '"decoded_frames": 100', '"snippet_frames": 16', "neutral-v1"):
        assert fact in shown


def test_verify_finds_a_shard_with_a_flipped_byte(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Store(copy / "artifacts").path("decode", "train/fighting/v0.mp4")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    assert call("artifacts", "verify", "--artifacts", copy / "artifacts") == 3
    assert "1 broken" in capsys.readouterr().out


def test_gc_lists_and_deletes_shards_of_videos_that_are_gone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = "train/fighting/v0.mp4"
    (copy / "videos" / video).unlink()
    call("artifacts", "gc", *options(copy))
    assert f"decode/{video}.parquet" in capsys.readouterr().out
    assert Store(copy / "artifacts").path("decode", video).exists()
    call("artifacts", "gc", "--delete", *options(copy))
    assert not Store(copy / "artifacts").path("decode", video).exists()
    assert plan(copy, capsys) == {}


QUERIES = {
    "frames per label": "select coalesce(labels[1], 'normal') as label, sum(decoded) as frames from ingest join "
                        "(select video_id, count(*) as decoded from decode group by 1) using (video_id) group by 1",
    "quarantined files with reasons": "select video_id, kind, reason, remedy from quarantine",
    "key frames of one video": "select rank, frame_idx, score, strategy from selected "
                               "where video_id = 'train/fighting/v0.mp4' order by rank",
    "descriptions containing a word": "select video_id, text from described where text ilike '%e%'",
    "nearest descriptions to a text": "select video_id, list_cosine_similarity(embedding, clip_text('a fight')) as s "
                                      "from embed order by s desc limit 3",
    "quality": "select count(*) from description_quality",
    "what was slow": "select stage, max(seconds), max(peak_mb) from runs where event = 'unit' group by 1",
}


@pytest.mark.parametrize("name", QUERIES)
def test_sql_answers(world: World, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sql", QUERIES[name], "--json", *options(world.root)) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    if name == "frames per label":
        assert {row["label"]: row["frames"] for row in rows} == {"fighting": 7 + 8 + 9 + 7 + 4 + 1, "normal": 7 + 8 + 7}
    if name == "quarantined files with reasons":
        assert {row["video_id"] for row in rows} == {*BAD}
    if name == "key frames of one video":
        assert [row["rank"] for row in rows] == [0, 1, 2]
        assert {row["strategy"] for row in rows} == {"kess"}
    if name == "nearest descriptions to a text":
        assert rows[0]["s"] >= rows[-1]["s"]


def test_the_profile_of_the_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pipeline", "profile", "--artifacts", world.artifacts, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {stage["name"] for stage in found["stages"]} <= {"ingest", "decode", "score", "select", "describe", "embed"}
    assert max(found["bounds"].values()) <= 1.05 * found["seconds"]
    assert call("pipeline", "profile", "--artifacts", world.artifacts) == 0
    assert "its bound is" in capsys.readouterr().out
    assert call("pipeline", "profile", "--artifacts", world.artifacts, "--run", "none") == 1
    assert "no run 'none' in" in capsys.readouterr().err


def test_ten_minutes_of_720p_are_decoded_in_400_mb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos" / "train" / "normal").mkdir(parents=True)
    videos.long_video(tmp_path / "videos" / "train" / "normal" / "long.mp4")
    (tmp_path / "stages.yaml").write_text("")
    assert call("pipeline", "run", "--to", "decode", *options(tmp_path)) == 0
    capsys.readouterr()
    call("sql", "select max(peak_mb) as mb, max(rows) as frames from runs where stage = 'decode'", "--json",
         *options(tmp_path))
    (row,) = json.loads(capsys.readouterr().out)
    assert row["frames"] == 15_000 // 16 + 1
    assert 50 < row["mb"] < 400
