"""Tables for people, JSON and CSV for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.engine.printable import printable

CELL = 200  # characters of one value in a table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None,
                limit: int | None = None, cell: int = CELL) -> None:
    """A table on standard output; `limit`: rows shown at most, the rest is counted; `cell`: characters of a value."""
    table = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    left = 0
    for number, row in enumerate(rows):
        if limit is None or number < limit:
            for head, value in zip(table.columns, row, strict=True):
                if number == 0 and isinstance(value, int | float) and not isinstance(value, bool):
                    head.justify = "right"
            table.add_row(*(_cell(value, cell) for value in row))
        else:
            left += 1
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)
    if left:
        console.print(f"... {left} more rows (--json or --csv prints all)")


def print_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A JSON array of objects, one a line."""
    print("[", end="")
    for number, row in enumerate(rows):
        print("," if number else "", "\n", _json(dict(zip(columns, row, strict=True))), sep="", end="")
    print("\n]")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV with a header; lists and bytes as JSON."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    shown = sys.stdout.isatty()
    for row in rows:
        cells = [_json(value) if isinstance(value, list | dict | bytes) else value for value in row]
        writer.writerow([printable(cell) if shown and isinstance(cell, str) else cell for cell in cells])


def _json(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _cell(value: Any, width: int = CELL) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        text = ", ".join(map(_cell, value[:9])) + (f", ... ({len(value)})" if len(value) > 9 else "")
        return f"[{text}]".replace("[", r"\[")
    text = "" if value is None else printable(str(value))
    return (text if len(text) <= width else f"{text[:width - 3]}...").replace("[", r"\[")
