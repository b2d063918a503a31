"""Prompts as versioned files: `<name>-v<number>.txt` beside this module, never edited once texts were made with them.

A line that holds `{labels}` is for labelled (abnormal) videos: it is left out where a video has no label, so that a
normal video is asked nothing about an event it does not show.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

LABELS = "{labels}"


class PromptError(ValueError):
    """No such prompt, or an unusable one; the message names the remedy."""


@dataclass(frozen=True)
class Prompt:
    """`id`, a packaged name with version or a file's content hash, stands for `text` in fingerprints and results."""

    id: str
    text: str

    @property
    def uses_labels(self) -> bool:
        return LABELS in self.text


def available() -> list[str]:
    """Ids of the packaged prompts."""
    return sorted(file.name.removesuffix(".txt") for file in resources.files(__name__).iterdir()
                  if file.name.endswith(".txt"))


def load(prompt: str | Path) -> Prompt:
    """A packaged prompt by id (`neutral-v1`), or a user's own text file by path; its id is `file:<stem>-<hash>`.

    Raises PromptError.
    """
    name = str(prompt)
    if name in available():
        return Prompt(name, (resources.files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip())
    path = Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, available(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"packaged prompts: {', '.join(available())}."
        raise PromptError(f"no prompt and no file is named {name!r}; {hint} A file of your own is named by its path.")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt file {name} cannot be read as UTF-8 text: {error}") from error
    if not text.replace(LABELS, "").strip():
        raise PromptError(f"prompt file {name} is empty: write what the model shall be asked into it")
    return Prompt(f"file:{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}", text)


def render(prompt: Prompt, labels: Sequence[str] = ()) -> str:
    """The text to send for a video with these labels; without labels the lines that need them are left out."""
    lines = [line for line in prompt.text.split("\n") if labels or LABELS not in line]
    return "\n".join(lines).replace(LABELS, ", ".join(labels)).strip()
