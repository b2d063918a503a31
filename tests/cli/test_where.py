"""Where `dbvad pipeline run` does its work: --engine, --address and --shard, in the words of the command line."""

import sys
from pathlib import Path

import pytest

from dbvad.cli import main

HEAD = "127.0.0.1:1"  # nobody listens there


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A dataset of one file."""
    (tmp_path / "videos" / "normal").mkdir(parents=True)
    (tmp_path / "videos" / "normal" / "a.mp4").write_text("no video")
    (tmp_path / "stages.yaml").write_text("dataset: {videos: videos}")
    return ["--config", str(tmp_path / "stages.yaml"), "--artifacts", str(tmp_path / "artifacts")]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["pipeline", "run", "ingest", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(("more", "message"), [
    (["--shard", "0/4"], "'0/4' is no shard: write NUMBER/COUNT"),
    (["--engine", "ray", "--shard", "1/4"], "--shard is for runs without Ray"),
    (["--address", HEAD], "--address is of a Ray cluster: give --engine ray as well"),
    (["--engine", "ray", "--address", HEAD], f"no Ray cluster at {HEAD} (Connection refused)"),
    (["--engine", "ray", "--address", "head"], "'head' is no address of a cluster: give HOST:PORT"),
])
def test_what_cannot_be_is_said(options: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str],
                                ) -> None:
    assert run(*options, *more) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_stages_file_names_the_engine_and_the_command_line_another(tmp_path: Path, options: list[str],
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stages.yaml").write_text(f"engine: ray\nray: {{address: '{HEAD}'}}\ndataset: {{videos: videos}}")
    assert run(*options) == 1
    assert f"no Ray cluster at {HEAD}" in capsys.readouterr().err
    assert run(*options, "--engine", "local") == 3


def test_without_ray_nothing_is_read_first(options: list[str], monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(*options, "--engine", "ray") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'dbvad[ray]'" in err


def test_parts_together_see_every_video_once(options: list[str]) -> None:
    assert sorted(run(*options, "--shard", f"{part}/2") for part in (1, 2)) == [0, 3]
