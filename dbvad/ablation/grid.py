"""Carrying the grid out, in this process or in several, and what it came to as one record."""

import importlib.metadata
import multiprocessing
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dbvad.ablation.cells import Training, Truth, read_result, state, work
from dbvad.ablation.ladder import Ladder
from dbvad.ablation.significance import what_seeds_can_show
from dbvad.ablation.table import ladder_rows, seeds_compared
from dbvad.training.loop import Interrupted
from dbvad.training.retrieval import verdict
from pipeline.words import counted

PATIENCE_S = 120.0  # for the step and the checkpoint of a training that is asked to stop

Outcome = tuple[Training, dict[str, str]]  # reasons by variant, of those that failed


def run_grid(grid: list[Training], out: Path, truth: Truth, *, device: str, jobs: int) -> Iterator[Outcome]:
    """Each training as it ends. Raises Interrupted, with all that was done kept."""
    if jobs == 1:
        for training in grid:
            yield training, work(training, out, truth, device)
    else:
        yield from _spread(grid, out, truth, device, min(jobs, len(grid)))


def plan(grid: list[Training], out: Path, truth: Truth) -> Iterator[tuple[Training, str, str]]:
    """What would be done with each training, and why."""
    for training in grid:
        try:
            yield training, *state(training, out, truth)
        except Exception as error:  # said in its row; a broken folder is no reason to hide the rest
            yield training, "fails", str(error)


def record(ladder: Ladder, grid: list[Training], truth: Truth, failed: dict[tuple[str, int], str]) -> dict[str, Any]:
    """The outcome of all cells that are there: rows of the table, and where each figure comes from."""
    results: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in ladder.variants}
    reasons: dict[str, dict[int, str]] = {name: {} for name in ladder.variants}
    for training in grid:
        for cell in training.cells:
            result = read_result(cell, truth)
            if reason := failed.get((cell.variant, cell.seed)):
                reasons[cell.variant][cell.seed] = reason
            elif result is not None:
                results[cell.variant][cell.seed] = result
    metrics = {name: {seed: result["metrics"] | _recalls(result) for seed, result in by_seed.items()}
               for name, by_seed in results.items()}
    published = {name: variant.published for name, variant in ladder.variants.items()}
    rows = ladder_rows(metrics, ladder.reference, published, reasons)
    for row in rows:
        row["runs"] = {str(seed): {"metrics": result["metrics"], "retrieval": result.get("retrieval"),
                                   "protocol": result["protocol"], "provenance": result["provenance"]}
                       for seed, result in results[row["name"]].items()}
    return {"title": ladder.title, "base": ladder.reference, "judged": "held-out training videos" if truth.holdout else
            "test videos", "annotations": truth.annotations.name if truth.annotations else None,
            "made": datetime.now(UTC).isoformat(timespec="seconds"), "dbvad": importlib.metadata.version("dbvad"),
            "significance": what_seeds_can_show(seeds_compared(rows, ladder.reference)), "rows": rows}


def untaught(rows: list[dict[str, Any]]) -> str:
    """A line on the variants with descriptions whose held-out texts are not found from their videos, or ""."""
    missed = []
    for row in rows:
        found = [verdict(run["retrieval"]) for run in row["runs"].values() if run["retrieval"]]
        if False in found:
            missed.append(f"{row['name']!r} ({found.count(False)} of {counted(len(found), 'seed')})")
    return ("held-out videos do not find their own description above chance (binomial 95 % interval), so DBM has "
            f"taught nothing that it says: {', '.join(missed)}") if missed else ""


def _recalls(result: dict[str, Any]) -> dict[str, float]:
    """What of the retrieval stands in the table."""
    everyone, alike = ((result.get("retrieval") or {}).get(name) for name in ("among_all", "among_label"))
    return ({"recall_all": everyone["recall_1"]} if everyone else {}) | (
        {"recall_label": alike["recall_1"], "chance_label": alike["chance_1"]} if alike else {})


def _spread(grid: list[Training], out: Path, truth: Truth, device: str, jobs: int) -> Iterator[Outcome]:
    """A process at a time takes the next training. One that dies costs the training in its hands, no more."""
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    waiting = list(reversed(grid))
    busy: dict[Connection, tuple[Any, Training]] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def start() -> tuple[Connection, Any]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, out, truth, device, threads), daemon=True)
        process.start()
        theirs.close()
        return ours, process

    def give(pipe: Connection, process: Any) -> None:
        if waiting:
            busy[pipe] = process, waiting.pop()
            pipe.send(busy[pipe][1])
        else:
            pipe.send(None)

    try:
        for _ in range(jobs):
            give(*start())
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                process, training = busy.pop(pipe)
                try:
                    failed = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    reason = f"its process died (exit code {process.exitcode}); out of memory? Lower --jobs"
                    failed = {cell.variant: reason for cell in training.cells}
                    pipe, process = start()
                if failed is None:
                    raise Interrupted("interrupted: run the same command again to go on")
                give(pipe, process)
                yield training, failed
    finally:
        for process, _ in busy.values():
            process.terminate()  # SIGTERM: a training saves a checkpoint first
        for process, _ in busy.values():
            process.join(PATIENCE_S)


def _serve(pipe: Connection, out: Path, truth: Truth, device: str, threads: int) -> None:
    """A process's life: trainings come in, reasons of failure go out; None: interrupted."""
    import torch

    torch.set_num_threads(threads)
    try:
        while (training := pipe.recv()) is not None:
            pipe.send(work(training, out, truth, device, quiet=True))
    except (Interrupted, KeyboardInterrupt):
        pipe.send(None)
    except (EOFError, OSError):  # the parent is gone
        sys.exit(1)
