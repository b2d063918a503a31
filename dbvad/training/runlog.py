"""The metrics of a run: JSON lines, and TensorBoard where it is installed."""

import math
from pathlib import Path
from typing import Any

from pipeline.engine.files import atomic_file, writing
from pipeline.engine.lines import line, whole_lines


class RunLog:
    """Context manager that writes log.jsonl; a resumed run keeps what lies up to step `keep` and goes on there."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        old = [told for told in whole_lines(path) if told["step"] <= keep] if keep and path.exists() else []
        self.path = path
        with atomic_file(path) as temporary:
            temporary.write_text("".join(_line(told) for told in old), encoding="utf-8")
        self.file = path.open("a", encoding="utf-8")
        self.board: Any = None
        try:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=keep + 1 if keep else None)
        except ImportError:
            pass

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """One line of numbers at a step."""
        with writing(self.path):
            self.file.write(_line({"step": step} | numbers))
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


def _line(content: dict[str, Any]) -> str:
    return line(plain(content))


def plain(value: Any) -> Any:
    """A value as JSON can hold it: tuples as lists, and null where a number is not finite."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
