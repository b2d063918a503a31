"""Words that both houses print."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """A number with its noun, which is given in the singular: "1 class", "2 test videos"."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'x', 'tch')) else 's'}"


def few(names: Sequence[str], count: int = 3, between: str = ", ") -> str:
    """The first names, and how many more there are."""
    return between.join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
