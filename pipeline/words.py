"""Words that both houses print."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, which is given in the singular: "1 class", "2 test videos"."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'x', 'tch')) else 's'}"
