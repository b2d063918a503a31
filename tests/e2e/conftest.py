"""One small dataset taken down the whole road by the real libraries, shared by the tests of this folder."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from dbvad.cli import main
from tests import videos
from tests.tiny import tiny_clip, tiny_qwen

BAD = {  # video id -> kind under which it must be found in quarantine
    "train/normal/empty.mp4": "empty",
    "train/normal/letter.mp4": "not_video",
    "train/normal/truncated.mp4": "truncated",
    "train/normal/cut.mkv": "truncated",
    "train/normal/no frames.avi": "no_frames",
    "train/normal/sound.mp4": "no_video_stream",
    "train/normal/outside.mp4": "outside",
}


@dataclass(frozen=True)
class World:
    """A folder with stages.yaml, videos, models and the artifacts of a finished run."""

    root: Path
    exit_code: int
    output: str

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"


def call(*arguments: object) -> int:
    """The exit code of a `dbvad` command, run in this process."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    code = end.value.code
    assert isinstance(code, int)
    return code


def options(root: Path) -> list[str]:
    return ["--config", str(root / "stages.yaml"), "--artifacts", str(root / "artifacts")]


def plan(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, set[str]]:
    """What a run would do: stage -> reasons."""
    capsys.readouterr()
    assert call("pipeline", "run", "--dry-run", "--json", *options(root), *arguments) == 0
    found: dict[str, set[str]] = {}
    for row in json.loads(capsys.readouterr().out):
        if row["action"] == "run":
            found.setdefault(row["stage"], set()).add(row["reason"])
    return found


def moving(path: Path, n_frames: int, seed: int) -> Path:
    """A short video of blocks that move."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (6, 8, 3), np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    return videos.write_video(path, (np.roll(image, 2 * k, axis=1) for k in range(n_frames)))


def make_videos(folder: Path) -> None:
    """Good videos of every odd kind, and every kind of bad file."""
    for place, (split, label, count) in enumerate((("train", "fighting", 3), ("train", "normal", 2),
                                                   ("test", "fighting", 1), ("test", "normal", 1))):
        (folder / split / label).mkdir(parents=True)
        for number in range(count):
            moving(folder / split / label / f"v{number}.mp4", 100 + 20 * number, seed=10 * place + number)
    good, bad = folder / "train" / "fighting", folder / "train" / "normal"
    moving(good / "ein Überfall, 2.mp4", 60, seed=7)
    moving(good / "one.mp4", 1, seed=8)
    videos.empty(bad / "empty.mp4")
    videos.text(bad / "letter.mp4")
    videos.truncated_mp4(bad / "truncated.mp4")
    videos.cut(bad / "cut.mkv")
    videos.zero_frames(bad / "no frames.avi")
    videos.audio_only(bad / "sound.mp4")
    elsewhere = folder.parent / "elsewhere.mp4"
    shutil.copy(good / "v0.mp4", elsewhere)
    (bad / "outside.mp4").symlink_to(elsewhere)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> World:
    root = tmp_path_factory.mktemp("world")
    make_videos(root / "videos")
    tiny_clip(root / "models" / "clip")
    tiny_qwen(root / "models" / "qwen")
    config = {
        "score": {"model": "models/clip", "pretrained": None},
        "describe": {"model": "models/qwen", "max_tokens": 16, "precision": "fp32"},
        "select": {"frames": 3}, "decode": {"short_side": 112},
    }
    (root / "stages.yaml").write_text(yaml.safe_dump(config))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open(root / "output.txt", "w") as file:
        import contextlib

        with contextlib.redirect_stdout(file):
            code = call("pipeline", "run", *options(root))
    return World(root, code, (root / "output.txt").read_text())
