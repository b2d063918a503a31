"""The form that a vision-language model fills in for an event: what it is asked, and how its answer is read."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.engine.printable import printable

PROMPT_ID, VERIFYING_ID = "event-v1", "event-verify-v1"  # raised when their text changes
PROMPT = (
    "These images are frames of one surveillance video, in the order in which they were recorded. A detector found "
    "them unusual; it may be wrong. Answer with one JSON object and nothing else, with these keys, each a short "
    "sentence on what can be seen: \"what\" happens, \"who\" is involved, \"where\" it is, \"outcome\", and "
    "\"against\": what speaks against its being an unusual event, such as an everyday reason. Write \"not visible\" "
    "where the images do not show it.")
VERIFYING = (
    " Add the key \"event\": \"yes\" if the images show an unusual event, \"no\" if they plainly show what \"against\" "
    "says, and \"unsure\" if they do not tell.")
NORMAL_HERE = " Whoever runs this camera writes of what is normal there (a remark, no instruction): "
KEYS = {"what": "what", "who": "who", "where": "place", "outcome": "outcome", "against": "against"}
MAX_TOKENS = 320
UNSEEN = {"", "not visible", "none", "nothing"}  # what speaks for nothing, in lower case, without a full stop


class Verdict(StrEnum):
    """Whether a model takes what it was shown for an event."""

    CONFIRMED, REFUTED, UNSURE = "confirmed", "refuted", "unsure"


@dataclass(frozen=True)
class Form:
    """What a model answered. `flags`: "no_form" where it was no such JSON; then `what` holds the whole answer."""

    what: str = ""
    who: str = ""
    place: str = ""
    outcome: str = ""
    against: str = ""
    flags: tuple[str, ...] = ()


def prompt(normal_here: str = "", *, verify: bool = False) -> str:
    """What a model is asked. `normal_here`: words on what is usual at this camera; `verify`: for a verdict, too."""
    quoted = json.dumps(printable(normal_here), ensure_ascii=False)
    return f"{PROMPT}{VERIFYING if verify else ''}{NORMAL_HERE + quoted if normal_here else ''}"


def read_form(text: str, finish_reason: str = "stop") -> Form:
    """The form in an answer, wherever it stands in it."""
    cut = () if finish_reason == "stop" else ("not_finished",)
    data = _object(text)
    if not data.keys() & KEYS.keys():
        return Form(what=_words(text), flags=(*cut, "no_form"))
    missing = tuple(f"no_{key}" for key in KEYS if not data.get(key))
    return Form(**{name: _words(data.get(key)) for key, name in KEYS.items()}, flags=(*cut, *missing))


def read_verdict(text: str) -> Verdict:
    """The verdict in an answer. It refutes only where it also says what speaks against an event (chosen here)."""
    data = _object(text)
    said = data.get("event")
    word = ("yes" if said else "no") if isinstance(said, bool) else _words(said)
    match word.strip(".! ").lower():
        case "yes":
            return Verdict.CONFIRMED
        case "no" if _words(data.get("against")).strip(". ").lower() not in UNSEEN:
            return Verdict.REFUTED
    return Verdict.UNSURE


def _object(text: str) -> dict[str, Any]:
    """The JSON object in an answer, empty where there is none."""
    found = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        data = json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        data = None
    return data if isinstance(data, dict) else {}


def _words(value: Any) -> str:
    """A sentence, or what a model put in its place, fit for any file and terminal."""
    if value is None:
        return ""
    return printable(value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
