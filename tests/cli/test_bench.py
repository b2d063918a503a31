"""`python -m bench`: what scripts print becomes ratios, and what cannot be run is named. The scripts themselves are
run by hand: they take minutes."""

import json
from pathlib import Path

import pytest

import bench.__main__ as benches

FOUND = {  # as the scripts print it
    "sql": {"found": {"shards": {"texts": {"cpu_s": 6.0}}, "compacted": {"texts": {"cpu_s": 0.6}}}},
    "decode": {"of_ffmpeg": {"pyav: with pictures": 1.0, "auto: the stage": 1.3}},
    "score": {"of_limit": {"matrix product": 1.0, "network alone": 0.83, "stage": 0.76}},
    "overlap": {"of_bound": 0.9},
    "engine": {"settings": {"videos": 1000}, "found": {name: {"cpu_s": cpu_s} for name, cpu_s in
                                                      (("first plan", 4.0), ("nothing to do", 2.0), ("again", 1.0),
                                                       ("one video more, --quick", 0.4))}},
    "importing": {"found": {"again": {"processor_s": 1.0}, "killed": {"processor_s": 2.0},
                            "gone on": {"processor_s": 2.0}, "train": {"waited": 0.01}}},
    "train": {"results": [{"side": side, "precision": precision, "videos_s": speed} for side, precision, speed in
                          (("VadCLIP-like", "fp32", 5.0), ("dbvad", "fp32", 15.0), ("dbvad", "bf16", 20.0))]},
    "on_ray": {"of_local": {"whole": 1.5, "steady": 1.02}},
    "describe": {"of_bare": {"stage": 0.95}},
    "watch": {"carried": 8, "cores": 2},
}


def test_every_script_has_its_ratios() -> None:
    scripts = {path.stem for path in benches.HERE.glob("*.py") if 'if __name__ == "__main__"' in path.read_text()}
    assert set(benches.BENCHES) == scripts - {"__main__"}
    for name, one in benches.BENCHES.items():
        figures = one.figures(FOUND[name])
        assert figures
        assert all(value > 0 for value in figures.values())
        assert set(one.aims) <= set(figures), "an aim is of a figure"
    assert benches.of_training(FOUND["train"]) == {"dbvad fp32 / VadCLIP-like": 3, "dbvad bf16 / VadCLIP-like": 4}
    assert benches.of_engine(FOUND["engine"]) == {"nothing to do / first plan": 0.25, "CPU ms a video": 1,
                                                   "one video more / first plan": 0.1}


def test_a_run_is_kept_shown_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.py").write_text("print('a table'); print('{\"of_bound\": 0.5}')")
    (tmp_path / "bad.py").write_text("raise SystemExit('no disk')")
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(benches, "HERE", tmp_path)
    given = benches.Bench((), lambda found: {"bound": found["of_bound"]}, {"bound": "at least 0.9"})
    missing = benches.Bench((), lambda found: {}, {}, benches.needs_module("no_such_module", "ray"))
    monkeypatch.setattr(benches, "BENCHES", {"good": given, "bad": given, "slow": given, "missing": missing})
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(tmp_path / "kept"), "--timeout", "5"])
    assert benches.main() == 1, "one script failed"
    said = capsys.readouterr().out
    for line in ("good       bound                                          0.500   at least 0.9",
                 "bad        left out: exit code 1: no disk", "slow       left out: no end after 5 s",
                 "missing    left out: needs no_such_module: pip install 'dbvad[ray]'"):
        assert line in said
    (kept,) = (tmp_path / "kept").glob("*.json")
    run = json.loads(kept.read_text())
    assert run["benches"]["good"]["found"] == {"of_bound": 0.5}
    assert {"commit", "cpu", "cores", "load", "at"} <= run.keys()
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(tmp_path / "kept"), "--history"])
    assert benches.main() == 0
    assert "good: bound" in (tmp_path / "kept" / "history.html").read_text()
