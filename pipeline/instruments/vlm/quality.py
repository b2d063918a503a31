"""Faults of a description that can be seen from its text: what is asked for once more, and flagged if it stays so.

The rules and their numbers are chosen here.
"""

import re
from collections import Counter

REFUSAL = re.compile(
    r"\b(as an ai\b|i(?:'m| am) (?:sorry|unable|not able)\b"
    r"|i (?:cannot|can't|can not|won't|will not|am not able to) (?:\w+ )?"
    r"(?:assist|help|describe|provide|comply|fulfil|fulfill|identify|analy[sz]e|process|answer|view|see|discuss))"
    r"|^(?:sorry|i apologi[sz]e)\b",
    re.IGNORECASE,
)
FLAGS = ("empty", "truncated", "unfinished", "repeated", "refusing")
CUT_SHORT = {"length": "truncated", "content_filter": "refusing"}  # every other reason but "stop": unfinished
# The same one to eight words three times running, or a single character eight times.
LOOP = re.compile(r"\b(\w+(?:\W+\w+){0,7}?)(?:\W+\1\b){2,}|([^\W_])\2{7,}", re.IGNORECASE)


def check(text: str, finish_reason: str) -> list[str]:
    """Flags of a description, in the order of FLAGS; [] if nothing is wrong, which takes an answer that is finished.

    empty: no letter in it. truncated: cut at the token limit. unfinished: ended by anything else but the model (an
    abort, an error, a call of a tool, a word not known here). repeated: a sentence twice, or words in a loop. refusing:
    the model speaks of itself instead, or a content filter stopped it.
    """
    found = {
        "empty": not re.search(r"[^\W\d_]", text),
        "repeated": _repeats(text),
        "refusing": bool(REFUSAL.search(text.strip().replace("’", "'"))),
    }
    if not finished(finish_reason):
        found[CUT_SHORT.get(finish_reason, "unfinished")] = True
    return [flag for flag in FLAGS if found.get(flag)]


def finished(finish_reason: str) -> bool:
    """Whether the model itself ended its answer."""
    return finish_reason == "stop"


def _repeats(text: str) -> bool:
    if LOOP.search(text):
        return True
    sentences = (" ".join(re.findall(r"\w+", sentence.lower())) for sentence in re.split(r"[.!?\n]+", text))
    return any(count > 1 for sentence, count in Counter(sentences).items() if " " in sentence)
