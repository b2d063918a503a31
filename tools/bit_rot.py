"""Bit rot: no flipped bit may become another number. `python tools/bit_rot.py [--places 300] [--seed 0]`.

Makes a small folder with everything that dbvad writes (the demo's world through all six stages, videos in quarantine,
caches, run logs, a run), flips one bit at a time at a random place of a random file, and asks every command that reads
what it finds. A flip is harmless if all answers stay, healed if they stay and a command says what it made anew, said if
the command that answers otherwise names the damage. Anything else is WRONG, and makes exit code 1.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dbvad.cli import INTERNAL
from dbvad.cli import main as dbvad
from dbvad.progress import track

VIEWS = ("videos", "ingest", "decode", "score", "selected", "described", "embed", "quarantine", "runs")
SAYS = re.compile(r"damaged|not what was written|not as written|cannot be (used|read)", re.IGNORECASE)
VARYING = {"seconds", "waited", "run", "page", "commit"}  # not of the data
OUTCOMES = ("harmless", "healed", "said", "WRONG")


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, its figures, and whatever it printed."""

    code: object
    figures: Any
    text: str


@dataclass(frozen=True)
class Flip:
    """One flipped bit, and what the commands made of it; `why` names the first that went wrong."""

    path: str
    place: int
    bit: int
    outcome: str
    why: str = ""


def ask(*arguments: object, page: Path | None = None) -> Answer:
    """Run a command in this process; `page`: a file that belongs to its answer."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            dbvad([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
    try:
        figures = _steady(json.loads(out.getvalue()))
    except ValueError:
        figures = out.getvalue()
    if page is not None and page.exists():
        figures = figures, hashlib.sha256(page.read_bytes()).hexdigest()
    return Answer(code, figures, out.getvalue() + err.getvalue())


def questions(root: Path, config: Path | None, annotations: Path) -> Iterator[tuple[str, Answer]]:
    """Every command that reads, on `root`/artifacts and `root`/run; what it writes lies in `root`."""
    artifacts, run = ("--artifacts", root / "artifacts"), root / "run"
    stages = ("--stages", config or "none.yaml")
    quick = ("--set", "epochs=1", "--set", "batch=4", "--set", "device=cpu", "--set", "precision=fp32", *stages)
    if config is not None:
        yield "status", ask("pipeline", "status", "--json", "--config", config, *artifacts)
        yield "run", ask("pipeline", "run", "--dry-run", "--json", "--config", config, *artifacts)
        yield "failures", ask("pipeline", "failures", "--json", "--config", config, *artifacts)
    for view in VIEWS:
        yield f"sql {view}", ask("sql", "--json", f"select * from {view} order by all", *artifacts)
    yield "train", ask("train", "--json", "--out", root / "again", *quick, *artifacts)
    page = root / "report" / "index.html"  # before the run is evaluated anew, and that before it is trained anew
    yield "report", ask("report", run, "--json", "--out", page, *artifacts, page=page)
    yield "evaluate", ask("evaluate", run, "--json", "--annotations", annotations, "--device", "cpu", *artifacts)
    yield "resume", ask("train", "--json", "--resume", "--out", run, *stages, *artifacts)


def drill(root: Path, config: Path | None, annotations: Path, places: int, seed: int) -> list[Flip]:
    """Flip bits in copies of `root`, which stands as it was at the end."""
    whole = root.with_name(f"{root.name}-whole")
    shutil.copytree(root, whole, symlinks=True)
    expected = dict(questions(root, config, annotations))
    if faults := [f"{name}: {answer.text}" for name, answer in expected.items() if answer.code not in (0, 3)]:
        raise RuntimeError("undamaged, and yet " + "\n".join(faults))
    draw, found = random.Random(seed), []
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in track("flip bits")(range(places), places):
        shutil.rmtree(root)
        shutil.copytree(whole, root, symlinks=True)
        path, bit = draw.choice(files), 1 << draw.randrange(8)
        content = bytearray((root / path).read_bytes())
        place = draw.randrange(len(content))
        content[place] ^= bit
        stat = (root / path).stat()
        (root / path).write_bytes(content)
        os.utime(root / path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        answers = dict(questions(root, config, annotations))
        found.append(Flip(str(path), place, bit, *judge(expected, answers)))
    shutil.rmtree(root)
    whole.rename(root)
    return found


def judge(expected: Mapping[str, Answer], answers: Mapping[str, Answer]) -> tuple[str, str]:
    """The outcome of a flip, and what went wrong."""
    outcome = "harmless"
    for name, answer in answers.items():
        before = expected[name]
        if answer.code == INTERNAL:
            return "WRONG", f"{name}: {answer.text[-400:]}"
        same = answer.code == before.code and answer.figures == before.figures
        if not same and not SAYS.search(answer.text):
            return "WRONG", f"{name}: exit code {answer.code}, and not a word: {_difference(before, answer)}"
        if not same:
            outcome = "said"
        elif SAYS.search(answer.text) and not SAYS.search(before.text) and outcome == "harmless":
            outcome = "healed"
    return outcome, ""


def make(home: Path, videos: int) -> tuple[Path, Path, Path]:
    """The folder to damage, its stages file and the truth of its videos."""
    import yaml

    from dbvad.cli.demo import write_stages
    from dbvad.demo.world.dataset import render_dataset

    render_dataset(home, videos, videos // 2, 7)
    for number, content in enumerate((b"", b"no video at all")):
        bad = home / "videos" / "train" / "normal" / f"bad{number}.mp4"
        bad.parent.mkdir(parents=True, exist_ok=True)
        bad.write_bytes(content)
    write_stages(home / "stages.yaml", "transformers")
    stages = yaml.safe_load((home / "stages.yaml").read_text())
    stages["describe"]["max_tokens"] = 12
    (home / "stages.yaml").write_text(yaml.safe_dump(stages))
    root, config, truth = home / "work", home / "stages.yaml", home / "temporal.txt"
    artifacts = ("--artifacts", root / "artifacts")
    for command in (("pipeline", "run", "--config", config),
                    ("train", "--out", root / "run", "--set", "epochs=2", "--set", "batch=4", "--set", "device=cpu",
                     "--stages", config),
                    ("evaluate", root / "run", "--annotations", truth, "--device", "cpu")):
        done = ask(*command, *artifacts)
        if done.code not in (0, 3):
            raise RuntimeError(done.text)
    return root, config, truth


def table(found: Sequence[Flip]) -> Table:
    """Outcomes by kind of file."""
    shown = Table()
    for column in ("file", *OUTCOMES):
        shown.add_column(column, justify="left" if column == "file" else "right")
    kinds = Counter((_kind(flip.path), flip.outcome) for flip in found)
    for kind in sorted({kind for kind, _ in kinds}):
        shown.add_row(kind, *(str(kinds[kind, outcome] or "") for outcome in OUTCOMES))
    shown.add_section()
    totals = Counter(flip.outcome for flip in found)
    shown.add_row(f"all {len(found)}", *(str(totals[outcome]) for outcome in OUTCOMES))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description="flips bits in artifacts and runs, and asks every command that reads")
    parser.add_argument("--places", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, default=8, help="training videos; half as many test videos")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        found = drill(*make(Path(home), given.videos), given.places, given.seed)
    Console().print(table(found))
    wrong = [flip for flip in found if flip.outcome == "WRONG"]
    for flip in wrong:
        print(f"{flip.path}, byte {flip.place}, bit {flip.bit}: {flip.why}")
    print(f"{len(found)} places, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _kind(path: str) -> str:
    first, second, *_ = (*Path(path).parts, "")
    return f"{first}/{second}" if first == "artifacts" or first == "run" else first


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(entry) for key, entry in value.items() if key not in VARYING}
    return [_steady(entry) for entry in value] if isinstance(value, list) else value


def _difference(before: Answer, after: Answer) -> str:
    one, other = str(before.figures), str(after.figures)
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    was, now = (text[max(0, at - 60):at + 60] for text in (one, other))
    return f"...{was}... became ...{now}...; it printed: {after.text[-300:]}"


if __name__ == "__main__":
    sys.exit(main())
