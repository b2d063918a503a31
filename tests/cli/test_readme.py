"""The README and docs/ speak of every command, and every command line in them exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dbvad.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by the words that call it."""
    command = command or get_command(app)
    inner = getattr(command, "commands", {})
    if not inner or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in inner.items():
        yield from commands(child, (*path, name))


def lines() -> list[str]:
    """Command lines in the code blocks, continuation lines joined, pipes and comments cut."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console|bash)\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").strip()
                if line.startswith("dbvad "):
                    found.append(line)
    return found


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    words = " ".join(("dbvad", *path))
    assert any(re.search(rf"{words}\b", page.read_text()) for page in PAGES), f"no page speaks of `{words}`"


@pytest.mark.parametrize("line", lines())
def test_every_documented_line_exists(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("|")] if "|" in words else words
    command, rest = get_command(app), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}
    used = {word.split("=")[0] for word in rest if word.startswith("-") and not re.fullmatch(r"-\d.*", word)}
    assert used <= known, f"{line!r} uses {used - known}, which `{command.name}` does not have"
    takes = any(parameter.param_type_name == "argument" for parameter in command.params)
    assert takes or not [word for word in rest[:1] if not word.startswith("-")], f"{line!r} names no command"


def test_documented_lines_were_found() -> None:
    assert len(lines()) > 10


def test_every_make_target_is_documented() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"help", "clean"}
    text = "".join(page.read_text() for page in PAGES)
    assert {target for target in targets if f"make {target}" not in text} == set()
