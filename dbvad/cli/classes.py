"""The option for a user's own words, which events are likened to: the same for all commands that have it."""

from typing import Annotated

import typer

Classes = Annotated[str | None, typer.Option(help="Words of your own, 'a fire,a fall', to suggest for events by CLIP "
                                                  "likeness; they never trigger one.")]


def words_of(classes: str | None) -> list[str]:
    """The words, each once. Raises BadParameter."""
    words = [word.strip() for word in (classes or "").split(",") if word.strip()]
    if classes is not None and not words:
        raise typer.BadParameter("--classes names no word: give some, such as 'a fire,a fall'")
    return list(dict.fromkeys(words))
