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
# The same one to eight words three times running, or a single character eight times.
LOOP = re.compile(r"\b(\w+(?:\W+\w+){0,7}?)(?:\W+\1\b){2,}|([^\W_])\2{7,}", re.IGNORECASE)


def check(text: str, finish_reason: str) -> list[str]:
    """Flags of a description, in this order: "empty", "truncated", "repeated", "refusing"; [] if nothing is wrong.

    empty: no letter in it. truncated: cut at the token limit. repeated: a sentence twice, or words in a loop.
    refusing: the model speaks of itself instead, or a content filter stopped it.
    """
    flags = {
        "empty": not re.search(r"[^\W\d_]", text),
        "truncated": finish_reason == "length",
        "repeated": _repeats(text),
        "refusing": finish_reason == "content_filter" or bool(REFUSAL.search(text.strip().replace("’", "'"))),
    }
    return [flag for flag, found in flags.items() if found]


def _repeats(text: str) -> bool:
    if LOOP.search(text):
        return True
    sentences = (" ".join(re.findall(r"\w+", sentence.lower())) for sentence in re.split(r"[.!?\n]+", text))
    return any(count > 1 for sentence, count in Counter(sentences).items() if " " in sentence)
