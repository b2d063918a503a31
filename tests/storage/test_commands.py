"""Commands with `--artifacts s3://...`, as a user types them: what a folder gives, a bucket gives."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.files import read_record
from pipeline.engine.place import local
from pipeline.manifest import read, write
from tests.detector.planted import World, plant
from tests.e2e.conftest import call
from tests.importing.published import write_crops
from tests.storage.conftest import SECRET, Server

WORLD = World(train=12, test=4, dim=8, text_dim=6, snippets=(3, 9))
QUICK = ["--set", "lr=1e-3", "--set", "batch=4", "--set", "precision=fp32", "--set", "device=cpu", "--epochs", "1"]
URL = "s3://art/planted"


@pytest.fixture
def planted(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same artifacts in a folder, which is returned, and at URL, seen through an empty mirror."""
    plant(tmp_path / "folder", WORLD)
    plant(local(URL), WORLD)
    monkeypatch.setenv("DBVAD_MIRROR", str(tmp_path / "elsewhere"))
    return tmp_path / "folder"


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that ends well."""
    capsys.readouterr()
    assert call(*arguments) == 0
    return capsys.readouterr().out


def test_train_evaluate_and_report_from_a_bucket(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                 ) -> None:
    results = []
    for place in (planted, URL):
        run = tmp_path / "run" / str(len(results))
        printed = told(capsys, "train", "--artifacts", place, "--out", run, *QUICK)
        assert f"next: dbvad evaluate {run} --artifacts {place}" in printed
        told(capsys, "evaluate", run, "--artifacts", place, "--annotations", planted / "events.csv", "--device", "cpu")
        results.append(read_record(run / "result.json", ""))
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["videos"] == 4
    told(capsys, "report", run, "--artifacts", URL, "--out", run / "report")
    assert (run / "report" / "index.html").stat().st_size > 1e6
    for path in run.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_sql_reads_through_the_mirror_what_it_needs(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "select video_id, count(*) as n, sum(relevance) as total from score group by all order by all"
    assert told(capsys, "sql", "-a", URL, "--json", query) == told(capsys, "sql", "-a", planted, "--json", query)
    assert {path.parent.parent.name for path in local(URL).rglob("*.parquet")} == {"score", local(URL).parent.name}
    assert "description_quality" in told(capsys, "sql", "-a", URL, "--views")


def test_artifacts_are_listed_shown_verified_and_collected(planted: Path, s3: Server, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "artifacts", "ls", "-a", URL) == told(capsys, "artifacts", "ls", "-a", planted)
    shown = told(capsys, "artifacts", "show", "train/video 001.mp4", "--stage", "score", "-a", URL)
    assert f"{URL}/score/train/video 001.mp4.parquet" in shown
    assert "48 shards read, 0 broken" in told(capsys, "artifacts", "verify", "-a", URL)

    key = "art/planted/score/test/video%20012.mp4.parquet"
    content = bytearray(s3.request("GET", key))
    content[100] ^= 1
    s3.request("PUT", key, bytes(content))
    assert call("artifacts", "verify", "-a", URL, "--json") == 3
    (fault,) = json.loads(capsys.readouterr().out)
    assert fault["shard"] == "score/test/video 012.mp4.parquet"

    manifest = read(local(URL))
    write(local(URL), replace(manifest, entries=manifest.entries[1:], made_by="import"))
    before = s3.names()
    assert "3 shards, " in told(capsys, "artifacts", "gc", "--delete", "-a", URL)
    gone = manifest.entries[0].video_id
    assert {*before} - {*s3.names()} == {f"planted/{stage}/{gone}.parquet" for stage in ("ingest", "score", "embed")}


def test_features_are_imported_into_a_bucket(s3: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Fighting001", "Normal_Videos_001"):
        write_crops(tmp_path / "features", name, 5)
    labels = tmp_path / "labels.csv"
    labels.write_text("video,label\nFighting001,Fighting\nNormal_Videos_001,normal\n")
    command = ["import", "features", tmp_path / "features", "--labels", labels, "-a", "s3://art/imported"]
    assert call(*command) == 0
    keys = s3.names()
    assert sorted(keys) == ["imported/ingest/Fighting001.parquet", "imported/ingest/Normal_Videos_001.parquet",
                            "imported/manifest.parquet", "imported/score/Fighting001.parquet",
                            "imported/score/Normal_Videos_001.parquet"]
    assert "0 imported, 2 up to date" in told(capsys, *command)
    assert s3.names() == keys


def test_nothing_there_yet_is_said(s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "-a", "s3://art/none", "--out", "run") == 1
    assert "no list of videos (manifest.parquet) in s3://art/none: run `dbvad pipeline run`" in capsys.readouterr().err
