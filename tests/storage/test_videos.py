"""`dataset.videos: s3://...`: the same videos, hashes, quarantine and tables as from a folder."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from pipeline.engine.files import here
from pipeline.engine.place import Url, mirrors
from pipeline.engine.remote import scratch
from pipeline.engine.remote.s3 import Objects
from pipeline.engine.stage import BadVideo, Source, StageError
from pipeline.engine.store import Store
from tests import videos
from tests.e2e.conftest import call, moving
from tests.storage.conftest import Server
from tests.storage.test_bucket import noted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    for name in ("normal/a.mp4", "fighting/ein Überfall, #2+3.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        moving(root / name, 40, seed=len(name))
    videos.empty(root / "normal" / "empty.mp4")
    videos.text(root / "normal" / "letter.mp4")
    shutil.copy(root / "normal" / "a.mp4", root / "fighting" / "without suffix")
    (root / "normal" / ".hidden.mp4").write_bytes(b"x")
    (root / "notes.txt").write_text("no video")
    return root


def upload(s3: Server, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.request("PUT", f"art/videos/{quote(str(path.relative_to(folder)))}", path.read_bytes())


def run(root: Path, source: str, artifacts: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    config = root / f"{artifacts}.yaml"
    config.write_text(json.dumps({"dataset": {"videos": source}, "decode": {"workers": 1}, "ingest": {"workers": 1}}))
    capsys.readouterr()
    code = call("pipeline", "run", "ingest", "decode", "-c", config, "-a", root / artifacts)
    return code, capsys.readouterr().out


def tables(root: Path) -> dict[str, Any]:
    """All shards by path, footers included; quarantine without its tracebacks."""
    found = {}
    for path in root.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        dropped = [name for name in ("traceback",) if name in table.column_names]
        found[str(path.relative_to(root))] = (table.drop_columns(dropped).to_pylist(), table.schema.metadata)
    return found


def test_videos_in_a_bucket_are_those_in_a_folder(s3: Server, folder: Path, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                  ) -> None:
    upload(s3, folder)
    local, stored = run(tmp_path, str(folder), "folder", capsys), run(tmp_path, "s3://art/videos", "bucket", capsys)
    assert local[0] == stored[0] == 3
    assert "5 videos" in stored[1]
    assert "2 files that are no videos: 1 hidden, 1 .txt" in stored[1]
    found, wanted = tables(tmp_path / "bucket"), tables(tmp_path / "folder")
    manifests = [parts.pop("manifest.parquet")[0] for parts in (found, wanted)]
    assert found == wanted
    assert manifests[0] == manifests[1]
    assert {path.split("/")[0] for path in found} == {"ingest", "decode", "quarantine"}
    assert [path for path in mirrors().rglob("*") if path.is_file()] == []  # nothing stays of the videos

    asked: list[str] = []
    monkeypatch.setattr(Objects, "get", noted(asked, "get", Objects.get))
    monkeypatch.setattr(Objects, "part", noted(asked, "part", Objects.part))
    moving(folder / "normal" / "a.mp4", 50, seed=1)
    s3.request("PUT", "art/videos/normal/a.mp4", (folder / "normal" / "a.mp4").read_bytes())
    assert call("pipeline", "status", "--json", "-c", tmp_path / "bucket.yaml", "-a", tmp_path / "bucket") == 0
    states = {row["stage"]: row for row in json.loads(capsys.readouterr().out)}
    assert (states["ingest"]["done"], states["ingest"]["stale"]) == (2, 1)
    # By their first bytes it is told whether files without a known suffix are videos; else what has changed is read.
    assert asked == ["part fighting/without suffix", "part notes.txt", "get normal/a.mp4"]


def stored(s3: Server, content: bytes = b"content") -> Source:
    s3.request("PUT", "art/videos/a.mp4", content)
    url = Url.parse("s3://art/videos")
    return Source("a.mp4", Path("a.mp4"), "hash", stored=scratch.Stored(url, "a.mp4", Objects(url).head("a.mp4").etag))


def test_a_video_is_there_while_it_is_read(s3: Server) -> None:
    with stored(s3).file() as path:
        assert (path.name, path.read_bytes()) == ("a.mp4", b"content")
    assert not path.exists()


def test_a_video_that_changes_meanwhile_costs_itself(s3: Server) -> None:
    source = stored(s3)
    for change in (lambda: stored(s3, b"other"), lambda: s3.request("DELETE", "art/videos/a.mp4")):
        change()
        with pytest.raises(BadVideo, match="changed or removed while the run was at work"), source.file():
            pass


def test_a_video_that_does_not_fit_stops_the_stage(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "FREE", 1 << 60)
    with pytest.raises(StageError, match=r"s3://art/videos/a.mp4 has 0.0 GB, and .* DBVAD_MIRROR"), stored(s3).file():
        pass


def test_what_a_killed_process_left_is_removed(s3: Server) -> None:
    left = mirrors() / "scratch" / f"{here()}-99999999" / "tmpx" / "a.mp4"
    others = mirrors() / "scratch" / "othermachine-99999999" / "a.mp4"
    for path in (left, others):
        path.parent.mkdir(parents=True)
        path.touch()
    scratch._folder.cache_clear()
    with stored(s3).file():
        assert not left.exists()
        assert others.exists()


def test_an_empty_prefix_is_told(s3: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "stages.yaml"
    for source, said in (("s3://art/nothing", "no video below s3://art/nothing"),
                         ("s3://me:pass@art/x", "stages.yaml:1: dataset.videos: a URL of a store holds no user"),
                         ("ftp://art/x", "ftp:// is no place for data here")):
        config.write_text(json.dumps({"dataset": {"videos": source}}))
        assert call("pipeline", "status", "-c", config, "-a", tmp_path / "artifacts") == 1
        told = capsys.readouterr().err
        assert said in told
        assert "pass@" not in told


def test_the_doctor_asks_the_store(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbvad.cli import doctor

    (tmp_path / "stages.yaml").write_text("dataset: {videos: 's3://art/videos'}\n")
    assert ("videos", "ok", "s3://art/videos answers") in list(doctor._configuration(tmp_path / "stages.yaml"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (fault,) = (check for check in doctor._configuration(tmp_path / "stages.yaml") if check[0] == "videos")
    assert fault[1] == "fault"
    assert "no answer from http://127.0.0.1:9" in fault[2]
    assert Store(tmp_path).shards("ingest") == []
