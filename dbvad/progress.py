"""Progress of a long loop on stderr: a bar with the time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
PLAIN_EVERY_S = 15.0

Update = Callable[[int, str], None]  # how much is done, and a note


@contextmanager
def progress(what: str, total: int, done: int = 0, *, quiet: bool = False) -> Iterator[Update]:
    """Show the progress of `what` from `done` to `total` while the block runs; it calls what this yields."""
    if quiet:
        yield lambda now, note: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done, note="")
            yield lambda now, note: bar.update(task, completed=now, note=note)
    else:
        yield _PlainLines(what, total, done)


def track(what: str) -> Callable[[Iterable[T], int], Iterable[T]]:
    """A wrapper for a loop of known length that shows how far it is."""
    def wrap(items: Iterable[T], total: int) -> Iterator[T]:
        with progress(what, total) as update:
            for done, item in enumerate(items):
                update(done, "")
                yield item
    return wrap


class _PlainLines:
    def __init__(self, what: str, total: int, done: int) -> None:
        self.what, self.total, self.first = what, total, done
        self.began = self.told = time.monotonic()

    def __call__(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self.told < PLAIN_EVERY_S:
            return
        self.told = now
        left = (now - self.began) / max(1, done - self.first) * (self.total - done)
        print(f"{self.what}: {done}/{self.total}{', ' + note if note else ''}, about {_span(left)} left",
              file=sys.stderr, flush=True)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
