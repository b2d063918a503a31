"""The metrics of a run: JSON lines, and TensorBoard where it is installed."""

import json
import math
from pathlib import Path
from typing import Any


class RunLog:
    """Context manager that writes log.jsonl; a resumed run keeps what lies up to step `keep` and goes on there."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        old = path.read_text().splitlines() if keep and path.exists() else []
        path.write_text("".join(line + "\n" for line in old if json.loads(line)["step"] <= keep))
        self.file = path.open("a", encoding="utf-8")
        self.board: Any = None
        try:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=keep + 1 if keep else None)
        except ImportError:
            pass

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """One line of numbers at a step."""
        self.file.write(json.dumps(plain({"step": step} | numbers)) + "\n")
        self.file.flush()
        if self.board:
            for name, value in numbers.items():
                if math.isfinite(value):
                    self.board.add_scalar(name, value, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.board:
            self.board.close()


def plain(value: Any) -> Any:
    """A value as JSON can hold it: tuples as lists, and null where a number is not finite."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
