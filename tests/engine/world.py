"""A folder of toy videos and their artifacts, and what a test wants to know of a run."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.engine.files import TEMP_MARK
from pipeline.engine.hand import Engine
from pipeline.engine.hashing import hash_file
from pipeline.engine.plan import Plan, make_plan
from pipeline.engine.runner import Outcome, carry_out, local
from pipeline.engine.stage import Source
from pipeline.engine.store import Store
from pipeline.engine.todo import Options
from tests.engine.toys import Toy, chain


@dataclass
class World:
    """`run` and `plan` take the chain of toys, or the stages given."""

    root: Path
    labels: dict[str, str] = field(default_factory=dict)
    output: str = ""
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self.videos = self.root / "videos"
        self.calls_file = self.root / "calls"
        self.store = Store(self.root / "artifacts")

    def write(self, **texts: str) -> "World":
        """Videos by name: `write(a="one two")` makes a.txt."""
        self.videos.mkdir(exist_ok=True, parents=True)
        for name, text in texts.items():
            (self.videos / f"{name}.txt").write_text(text)
        return self

    def sources(self) -> list[Source]:
        return [Source(path.name, path, hash_file(path), facts={"label": self.labels.get(path.stem, "none")})
                for path in sorted(self.videos.iterdir())]

    def chain(self, **common: Any) -> list[Toy]:
        return chain(self.calls_file, **common)

    def plan(self, stages: Sequence[Toy] | None = None) -> Plan:
        return make_plan(stages or self.chain(), self.sources(), self.store)

    def states(self, stages: Sequence[Toy] | None = None) -> dict[tuple[str, str], str]:
        """{("upper", "a"): "stale: ..."}, without the units that are done."""
        return {(unit.stage, unit.video_id.removesuffix(".txt")): f"{unit.state}: {unit.reason}"
                for unit in self.plan(stages).values() if unit.state != "done"}

    def run(self, stages: Sequence[Toy] | None = None, *, only: Sequence[str] = (), limit: int | None = None,
            engine: Engine = local, **options: Any) -> Outcome:
        """Carry out; what was printed is in `output`, the outcome in `outcome` too."""
        stages = list(stages or self.chain())
        screen = io.StringIO()
        try:
            self.outcome = carry_out(stages, self.sources(), self.store,
                                     Options(list(only) or [stage.name for stage in stages], **options),
                                     Console(file=screen, width=200), limit=limit, engine=engine)
            return self.outcome
        finally:
            self.output = screen.getvalue()

    def calls(self) -> list[tuple[str, str, str, float, int]]:
        """(begun | ended, stage, video, time, pid) in the order in which it happened."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [(event, stage, video.removesuffix(".txt"), float(at), int(pid))
                for event, stage, video, at, pid in (line.split("\t") for line in lines)]

    def begun(self) -> Counter[tuple[str, str]]:
        """How often each (stage, video) was begun since the last question."""
        found = Counter((stage, video) for event, stage, video, _, _ in self.calls() if event == "begun")
        self.calls_file.unlink(missing_ok=True)
        return found

    def failure(self, stage: str, video: str) -> dict[str, Any]:
        """The quarantine row, or {}."""
        return self.store.quarantined(stage, f"{video}.txt") or {}

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Every table of the artifacts, by path below them."""
        from pyarrow.parquet import ParquetFile

        root = self.store.root
        return {str(path.relative_to(root)): ParquetFile(path).read().to_pylist()
                for path in sorted(root.rglob("*.parquet"))}

    def leftovers(self) -> list[str]:
        """Temporary files anywhere below the artifacts."""
        return [path.name for path in self.store.root.rglob("*") if TEMP_MARK in path.name]
