"""Describing engines: one small protocol, so that a stage need not know which of them writes the texts.

An engine is shown a few key frames and a prompt and answers with a text. All engines send the same conversation: one
user message, every image first, in order, then the prompt; no system message but what the model's own chat template
adds.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """What an engine is asked: key frames in temporal order, and a prompt.

    `images`: JPEG bytes, at least one. `temperature` 0 is greedy and `seed` then has no effect; above 0 the answer is
    sampled with that seed.
    """

    images: tuple[bytes, ...]
    prompt: str
    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What an engine says: the text without special tokens, stripped of blanks at both ends.

    `finish_reason`: "stop" (the model ended its answer), "length" (cut at `max_tokens`) or the server's own word.
    `prompt_tokens` counts image tokens too; `output_tokens` counts the closing token, as OpenAI-compatible servers do.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    latency_ms: float


class RequestError(Exception):
    """This request cannot be answered and never will be (a corrupt image, a prompt too long); the others go on.

    `kind` is a short word to group by; `remedy` tells the user what to do.
    """

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.remedy = kind, reason, remedy

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str, str]]:  # crosses a process border
        return type(self), (self.kind, self.reason, self.remedy)


class EngineError(Exception):
    """The engine cannot start or go on (no model, no server, out of memory). The message holds the remedy."""


class Engine(AbstractContextManager["Engine"], Protocol):
    """A model ready to describe; entering it starts it, leaving it frees all that it holds."""

    @property
    def model(self) -> str:
        """The model as the user named it."""
        ...

    @property
    def revision(self) -> str:
        """The commit of a hub model, as asked for or as found; "" for a local folder, or where it is unknown."""
        ...

    def describe(self, request: Request) -> Answer:
        """Answer one request; may be called from many threads. Raises RequestError, EngineError."""
        ...
