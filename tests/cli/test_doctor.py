"""`dbvad doctor` finds what is wrong and says what to do."""

import itertools
import json
from pathlib import Path

import pytest

from pipeline.instruments import selftest
from tests.e2e.conftest import call


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> dict[str, tuple[str, str]]:
    assert call("doctor", "--json", *arguments) == code
    rows = json.loads(capsys.readouterr().out)
    return {row["check"]: (row["state"], row["what was seen, what to do"]) for row in rows}


def test_a_sound_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    checks = doctor(capsys, code=0)
    assert checks["pyav"][0] == "ok"
    assert checks["decord"][0] in ("ok", "note")
    assert checks["stages file"][0] == "note"


def test_faults_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages.yaml").write_text("dataset: {videos: gone}\ndescribe: {engine: vllm, vllm: "
                                          "{base_urls: ['http://127.0.0.1:9/v1']}}\n")
    checks = doctor(capsys, "--quick", code=1)
    assert checks["videos"][0] == "fault"
    state, advice = checks["vLLM at http://127.0.0.1:9/v1"]
    assert state == "fault"
    assert "start the server there" in advice


def test_the_self_test_sees_frames_at_the_wrong_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = selftest.write_clip(tmp_path / "clip.mp4")
    assert selftest.wrong_frames(clip, "pyav") == 0
    whole = selftest.decode

    def off_by_one(*arguments: object, **options: object) -> object:
        frames = list(whole(*arguments, **options))  # type: ignore[arg-type]
        return [type(a)(a.index, a.pts_s, b.image) for a, b in itertools.pairwise(frames)]

    monkeypatch.setattr(selftest, "decode", off_by_one)
    assert selftest.wrong_frames(clip, "pyav") == selftest.FRAMES
