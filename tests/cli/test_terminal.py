"""Whatever names hold, and whatever a terminal can show: nothing gets through that a terminal obeys."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from dbvad.cli import main
from dbvad.cli.output import print_json, print_table
from pipeline.contracts import INGEST
from pipeline.engine.progress import Reporter
from pipeline.engine.store import Store
from tests.manifests import write_manifest

ODD = "a\x1b[31m\x9b\u202ered.mp4"


def ingest(root: Path, video_id: str) -> None:
    row = {"video_id": video_id, "path": video_id, "split": "train", "labels": [], "source_hash": "h", "size": 1,
           "duration_s": 1.0, "fps": 25.0, "n_frames": 25, "width": 320, "height": 240, "codec": "h264"}
    Store(root).publish(INGEST, video_id, pa.Table.from_pylist([row], schema=INGEST.schema), fingerprint="f", basis={})


def test_a_run_tells_of_names_without_obeying_them(tmp_path: Path) -> None:
    screen = io.StringIO()
    with Reporter(Console(file=screen, width=200), tmp_path / "log.jsonl", {"ingest": 1}) as reporter:
        reporter.unit("ingest", ODD, "quarantined", reason=f"{ODD} is broken", remedy=f"see {ODD}")
        reporter.note(ODD)
    assert screen.getvalue().count("a\\u001b[31m\\u009b\\u202ered.mp4") == 4
    assert not {"\x1b", "\x9b", "\u202e"} & set(screen.getvalue() + (tmp_path / "log.jsonl").read_text())


def test_tables_and_json_show_names_and_json_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["video"], [(ODD,), ([ODD],)])
    print_json(["video"], [(ODD,)])
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert json.loads(shown[shown.index("[\n"):]) == [{"video": ODD}]


def test_errors_and_messages_show_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest(tmp_path, ODD)
    path = Store(tmp_path).path("ingest", ODD)
    path.write_bytes(b"torn")
    for arguments in (["artifacts", "verify"], ["artifacts", "show", ODD], ["train", "--out", str(tmp_path / ODD)],
                      ["sql", "from ingest"], ["report", str(tmp_path / ODD)]):
        with pytest.raises(SystemExit):
            main([*arguments, "--artifacts", str(tmp_path)])
        said = capsys.readouterr()
        assert not {"\x1b", "\x9b", "\u202e"} & set(said.out + said.err), arguments


@pytest.mark.parametrize("setting", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_terminal_that_is_no_utf_8_ends_no_command(tmp_path: Path, setting: dict[str, str]) -> None:
    ingest(tmp_path, "ünï 事.mp4")
    write_manifest(tmp_path)
    for more in ((), ("--json",), ("--csv",)):
        done = subprocess.run([sys.executable, "-m", "dbvad", "sql", "--artifacts", str(tmp_path), *more,
                               "select video_id, '─ ±' as more from ingest"],
                              capture_output=True, env={**os.environ, **setting})
        assert done.returncode == 0, done.stderr.decode()
        assert b"\\xfcn\\xef \\u4e8b.mp4" in done.stdout or "ünï 事.mp4".encode() in done.stdout


def test_a_system_that_cannot_spell_a_name_is_named(tmp_path: Path) -> None:
    ingest(tmp_path, "ünï 事.mp4")
    write_manifest(tmp_path)
    done = subprocess.run([sys.executable, "-m", "dbvad", "sql", "--artifacts", str(tmp_path), "from ingest"],
                          capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "set PYTHONUTF8=1" in done.stderr
