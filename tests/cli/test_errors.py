"""Every mistake that a new user makes is answered by one message that names the remedy, and no traceback."""

from pathlib import Path

import pytest

from tests.e2e.conftest import call, moving


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one video and an empty stages.yaml."""
    (tmp_path / "videos" / "normal").mkdir(parents=True)
    moving(tmp_path / "videos" / "normal" / "a.mp4", 20, seed=0)
    (tmp_path / "stages.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    assert call(*arguments) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err + captured.out


MISTAKES: dict[str, tuple[str | None, list[str], list[str]]] = {
    "wrong config path": (None, ["pipeline", "run", "-c", "stage.yaml"], ["stage.yaml", "no configuration"]),
    "wrong stage": (None, ["pipeline", "run", "decod"], ["no stage 'decod'", "did you mean 'decode'?"]),
    "stages upside down": (None, ["pipeline", "run", "--from", "embed", "--to", "decode"], ["comes after"]),
    "stages twice": (None, ["pipeline", "run", "decode", "--from", "decode"], ["not both"]),
    "wrong command": (None, ["pipelin"], ["No such command 'pipelin'"]),
    "misspelt key": ("decode:\n  strde: 4\n", ["pipeline", "status"], ["stages.yaml:2", "'decode.strde'", "'stride'"]),
    "misspelt section": ("decod:\n  stride: 4\n", ["pipeline", "status"], ["stages.yaml:1", "'decode'"]),
    "wrong value": ("decode:\n  stride: 0\n", ["pipeline", "status"], ["stages.yaml:2", "decode.stride", "0"]),
    "not YAML": ("decode: [1\n", ["pipeline", "status"], ["stages.yaml", "not valid YAML"]),
    "no videos folder": ("dataset: {videos: vids}\n", ["pipeline", "status"], ["vids", "dataset.videos"]),
    "no labels file": ("dataset: {labels: csv, labels_file: l.csv}\n", ["pipeline", "status"], ["l.csv"]),
    "csv without a file": ("dataset: {labels: csv}\n", ["pipeline", "status"], ["labels_file"]),
    "unknown prompt": ("describe: {prompt: neutral}\n", ["pipeline", "status"], ["neutral", "neutral-v1"]),
    "no such video": (None, ["pipeline", "status", "--why", "b*"], ["no video matches b*", "normal/a.mp4"]),
    "no artifacts yet": (None, ["sql", "select 1"], ["no artifacts at artifacts", "dbvad pipeline run"]),
    "artifacts in a file": (None, ["pipeline", "run", "ingest", "-a", "stages.yaml"], ["stages.yaml", "--artifacts"]),
    "artifacts below a file": (None, ["artifacts", "gc", "-a", "stages.yaml/x"], ["no artifacts at", "--artifacts"]),
    "artifacts that are none": (None, ["artifacts", "verify", "-a", "nowhere"], ["no artifacts at nowhere"]),
    "failures of none": (None, ["pipeline", "failures", "-a", "nowhere"], ["no artifacts at nowhere"]),
    "a folder for a file": (None, ["pipeline", "run", "-c", "videos"], ["cannot read videos", "name a YAML file"]),
    "two formats": (None, ["sql", "select 1", "--json", "--csv"], ["not both"]),
    "stage of a shard": (None, ["artifacts", "show", "x.mp4", "--stage", "dec"], ["did you mean 'decode'?"]),
    "a stage before its input": (None, ["pipeline", "run", "score", "select"],
                                 ["1 blocked: score: decode is missing", "1 blocked: select: decode is missing",
                                  "run `dbvad pipeline run decode` first"]),
    "no shard yet": (None, ["artifacts", "show", "x.mp4"], ["no shard of 'x.mp4'", "dbvad pipeline run"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(here: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config, arguments, words = MISTAKES[name]
    if config is not None:
        (here / "stages.yaml").write_text(config)
    message = " ".join(said(capsys, *arguments).replace("│", " ").split())
    for word in words:
        assert word in message


def test_a_video_without_a_label_is_quarantined_with_the_remedy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "videos" / "normal" / "a.mp4").rename(here / "videos" / "b.mp4")
    output = said(capsys, "pipeline", "run", "ingest", code=3)
    assert "unlabelled" in output
    assert "folder named after its label" in " ".join(output.split())


def test_a_missing_model_stops_the_stage_and_not_the_videos(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "stages.yaml").write_text("score: {model: ViT-B-61, pretrained: openai}\n")
    output = said(capsys, "pipeline", "run", "--to", "score")
    assert "ViT-B-61" in output
    assert "ViT-B-16" in output
    said(capsys, "pipeline", "failures", code=0)


def test_sql_mistakes_name_the_views(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "artifacts").mkdir()
    assert "described" in said(capsys, "sql", "select * from descriptions")
    assert "only queries are allowed" in said(capsys, "sql", "drop view ingest")


def test_empty_tables_are_typed_before_anything_ran(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "artifacts").mkdir()
    assert said(capsys, "sql", "select * from embed", "--json", code=0).split() == ["[", "]"]
    assert "embedding float[]" in " ".join(said(capsys, "sql", "--views", code=0).split())
