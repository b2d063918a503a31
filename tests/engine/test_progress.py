"""What a run prints where there is no terminal, on one, and into its log."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.engine import progress
from pipeline.engine.progress import Reporter


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock, time=lambda: 1e9 + clock.now))
    return clock


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def reporter(screen: io.StringIO, log: Path, **totals: int) -> Reporter:
    return Reporter(Console(file=screen, width=60), log, totals)


def test_plain_lines_tell_how_far_and_how_long(screen: io.StringIO, tmp_path: Path, clock: Clock) -> None:
    with reporter(screen, tmp_path / "log", decode=100, score=0) as told:
        told.begun("decode")
        for number in range(100):
            clock.now += 30 if number == 0 else 2  # the first one waits for the model
            told.unit("decode", f"{number}.mp4", "done", 1.0, 3)
    lines = screen.getvalue().splitlines()
    assert lines[0] == "decode: 1/100"  # nothing measured yet
    assert lines[1] == "decode: 4/100, about 3:12 left"
    assert lines[-1] == "decode: 100/100, 3:48"
    assert 20 < len(lines) < 40  # not one a video


def test_times_over_an_hour(screen: io.StringIO, tmp_path: Path, clock: Clock) -> None:
    with reporter(screen, tmp_path / "log", decode=1) as told:
        told.begun("decode")
        clock.now = 2 * 3600 + 61
        told.unit("decode", "a.mp4", "done")
    assert screen.getvalue() == "decode: 1/1, 2:01:01\n"


@pytest.mark.parametrize("name", ["a [bold]b[/] [/x].mp4", r"a\[red]b[/red]\[/.mp4", ":fire:.mp4", "事" * 99])
@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_printed_as_they_are(screen: io.StringIO, tmp_path: Path, name: str, terminal: bool) -> None:
    console = Console(file=screen, width=60, force_terminal=terminal, color_system=None)
    with Reporter(console, tmp_path / "log", {"decode": 2}) as told:
        told.unit("decode", name, "quarantined", reason=f"empty: {name}", remedy=f"remove {name}")
        told.note(f"about {name}", style="red")
    assert f"quarantined decode {name}: empty: {name}\n            remove {name}\n" in screen.getvalue()
    assert f"about {name}\n" in screen.getvalue()


def test_a_terminal_gets_one_bar_a_stage_with_work(screen: io.StringIO, tmp_path: Path) -> None:
    console = Console(file=screen, width=100, force_terminal=True, color_system=None)
    with Reporter(console, tmp_path / "log", {"decode": 2, "score": 0}) as told:
        told.unit("decode", "a.mp4", "done")
        told.unit("decode", "b.mp4", "quarantined", reason="empty", remedy="")
    bar = [line for line in screen.getvalue().splitlines() if "2/2" in line][-1]
    assert "decode" in bar
    assert "1 bad" in bar
    assert "score" not in screen.getvalue()


def test_the_log_is_json_lines_in_any_language(screen: io.StringIO, tmp_path: Path, clock: Clock) -> None:
    with reporter(screen, tmp_path / "deep" / "log", decode=1) as told:
        told.unit("decode", "Überfall\n2.mp4", "done", 1.23456, 7)
    events = [json.loads(line) for line in (tmp_path / "deep" / "log").read_text(encoding="utf-8").splitlines()]
    assert [event["event"] for event in events] == ["run_begun", "unit", "run_ended"]
    assert events[1].items() >= {"at": 1e9, "event": "unit", "stage": "decode", "video_id": "Überfall\n2.mp4",
                                 "outcome": "done", "seconds": 1.2346, "rows": 7, "reason": ""}.items()
    assert events[2]["error"] is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_does_not_end_the_run(screen: io.StringIO) -> None:
    with reporter(screen, Path("/dev/full"), decode=1) as told:
        told.unit("decode", "a.mp4", "done")
    assert "decode: 1/1" in screen.getvalue()
