"""Fingerprints: hashes of what a product depends on, with one spelling for equal values."""

import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring as quoted  # what the spelling below uses, without its set-up
from typing import Any

SPELLING = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

HERE = "\0upstream\0"  # no value of a recipe


def canonical(value: Any) -> str:
    """JSON with one spelling for equal values."""
    return SPELLING.encode(value)


def fingerprint(basis: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical basis, as 32 hex digits."""
    return hashlib.sha256(canonical(basis).encode()).hexdigest()[:32]


class Fingerprinter:
    """`fingerprint` of the many bases that share a recipe: what they share is spelt and hashed once."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        head, _, self.tail = canonical({**recipe, "upstream": HERE}).partition(canonical(HERE))
        self.head = hashlib.sha256(head.encode())

    def __call__(self, upstream: Mapping[str, str]) -> str:
        """The fingerprint of the recipe with this upstream."""
        found = self.head.copy()
        told = ",".join([f"{quoted(name)}:{quoted(print_)}" for name, print_ in sorted(upstream.items())])
        found.update(f"{{{told}}}{self.tail}".encode())
        return found.hexdigest()[:32]
