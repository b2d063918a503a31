"""Cutting a long text into pieces that a text encoder can read whole, without losing a word."""

import re
from collections.abc import Callable
from itertools import pairwise

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")


def pieces(text: str, fits: Callable[[str], bool]) -> list[str]:
    """`text` whole if it `fits`, else its sentences; a sentence that does not fit is cut at word borders.

    A single word that does not fit is cut between characters. Each piece fits, or is one character long; none is
    blank; together they hold every character of `text` but white space, in order.
    """
    if fits(text):
        return [text.strip()] if text.strip() else []
    found: list[str] = []
    for sentence in sentences(text):
        found += [sentence] if fits(sentence) else _words(sentence, fits)
    return found


def sentences(text: str) -> list[str]:
    """Sentences of `text`, stripped; a sentence ends at . ! ? … before white space, at 。！？ or at a line break."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    parts = (text[start:end].strip() for start, end in pairwise(cuts))
    return [part for part in parts if part]


def _words(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """As few pieces as a greedy fill makes, cut between words."""
    found: list[str] = []
    piece = ""
    for word in sentence.split():
        longer = f"{piece} {word}" if piece else word
        if fits(longer):
            piece = longer
            continue
        if piece:
            found.append(piece)
        if fits(word):
            piece = word
        else:
            *whole, piece = _characters(word, fits)
            found += whole
    return [*found, piece] if piece else found


def _characters(word: str, fits: Callable[[str], bool]) -> list[str]:
    found = [word[0]]
    for character in word[1:]:
        if fits(found[-1] + character):
            found[-1] += character
        else:
            found.append(character)
    return found
