"""What a run tells: a live display on a terminal, plain lines elsewhere, and a JSON-lines log of every unit."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.engine.lines import line
from pipeline.engine.printable import printable

PLAIN_EVERY_S = 5.0


class Reporter:
    """Context manager over one run. `totals`: videos to do by stage; stages with none are not shown.

    `about`: what else the log is to say of the run.
    """

    def __init__(self, console: Console, log: Path, totals: Mapping[str, int], about: Mapping[str, Any] = {}) -> None:
        self.console, self.about = console, about
        console.file = console.file  # the terminal, whatever an engine does with sys.stdout to keep a library off it
        self.totals = {stage: n for stage, n in totals.items() if n}
        self.finished = dict.fromkeys(self.totals, 0)
        self.bad = dict.fromkeys(self.totals, 0)
        self.first: dict[str, float] = {}  # when a stage's first video was handed out
        self.measured: dict[str, float] = {}  # when its first one was finished: a model's loading is no measure
        self.said = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(log, "a", encoding="utf-8")  # noqa: SIM115  closed by __exit__
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        if console.is_terminal:
            self.progress = Progress(
                TextColumn("{task.description:<9}"), BarColumn(bar_width=None), MofNCompleteColumn(),
                TextColumn("{task.fields[bad]}", style="yellow"), TimeRemainingColumn(elapsed_when_finished=True),
                console=console, expand=True)

    def __enter__(self) -> "Reporter":
        self.write("run_begun", totals=self.totals, **self.about)
        if self.progress:
            for stage, total in self.totals.items():
                self.tasks[stage] = self.progress.add_task(stage, total=total, bad="", start=False)
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.progress:
            self.progress.stop()
        self.write("run_ended", error=None if error is None else f"{type(error).__name__}: {error}")
        with suppress(OSError):
            self.log.close()

    def unit(self, stage: str, video_id: str, outcome: str, seconds: float = 0.0, rows: int = 0, reason: str = "",
             remedy: str = "", peak_mb: float = 0.0, cpu_s: float = 0.0) -> None:
        """A unit ended: `outcome` is done, quarantined, blocked or failed; `peak_mb`: its process's most memory;
        `cpu_s`: its process's time on processors since the unit before."""
        self.write("unit", stage=stage, video_id=video_id, outcome=outcome, seconds=round(seconds, 4), rows=rows,
                   peak_mb=round(peak_mb), cpu_s=round(cpu_s, 4), reason=reason)
        self.finished[stage] += 1
        self.measured.setdefault(stage, time.monotonic())
        if outcome == "quarantined":
            self.bad[stage] += 1
            self._print(("quarantined", "yellow"), f" {stage} ", (video_id, "bold"), f": {reason}",
                        f"\n            {remedy}" if remedy else "")
        if self.progress:
            task = self.tasks[stage]
            self.progress.start_task(task)
            bad = f"{self.bad[stage]} bad" if self.bad[stage] else ""
            self.progress.update(task, completed=self.finished[stage], bad=bad)
        elif time.monotonic() - self.said > PLAIN_EVERY_S or self.finished[stage] == self.totals[stage]:
            self._print(self._plain(stage))
            self.said = time.monotonic()

    def begun(self, stage: str) -> None:
        """The first video of a stage was handed out: its clock starts."""
        self.first.setdefault(stage, time.monotonic())

    def note(self, text: str, style: str = "") -> None:
        """A line for the user, above the bars."""
        self.write("note", text=text)
        self._print((text, style))

    def write(self, event: str, **fields: Any) -> None:
        """One line of the run log. A full disk is left to the stage that meets it: its message is the better one."""
        with suppress(OSError):
            self.log.write(line({"at": round(time.time(), 3), "event": event, **fields}))
            self.log.flush()

    def _print(self, *parts: str | tuple[str, str]) -> None:
        """Text with styles, never markup: names of files may look like it. Long lines stay whole."""
        shown = [printable(part) if isinstance(part, str) else (printable(part[0]), part[1]) for part in parts]
        self.console.print(Text.assemble(*shown), soft_wrap=True)

    def _plain(self, stage: str) -> str:
        done, total = self.finished[stage], self.totals[stage]
        spent = time.monotonic() - self.first.get(stage, time.monotonic())
        bad = f", {self.bad[stage]} quarantined" if self.bad[stage] else ""
        if done == total:
            return f"{stage}: {done}/{total}{bad}, {_clock(spent)}"
        since = time.monotonic() - self.measured[stage]
        left = f", about {_clock(since / (done - 1) * (total - done))} left" if done > 1 else ""
        return f"{stage}: {done}/{total}{bad}{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
