"""Help is quick: it imports no model library."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from dbvad.cli import app, main

HEAVY = ("torch", "transformers", "open_clip", "decord", "av", "duckdb", "pyarrow", "sklearn", "openai", "plotly")


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys; from dbvad.cli import main\n"
            "try: main(['--help'])\n"
            f"finally: print('HEAVY', [name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pipeline" in done.stdout
    assert "HEAVY []" in done.stdout


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*path, "--help"])
    assert end.value.code == 0
    assert "Usage" in capsys.readouterr().out
