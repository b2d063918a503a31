"""The outcome of `dbvad ablate`, ladder.json, as the table that the command itself prints."""

from typing import Any

from pydantic import BaseModel, ValidationError

from dbvad.ablation.table import cells


class Spread(BaseModel):
    """A metric over seeds, or its difference to the base, as a fraction; `std` None: there was one seed."""

    mean: float
    std: float | None = None
    clear: bool = False


class Variant(BaseModel):
    """One row. `published`: in percent; `failed`: seed -> reason."""

    name: str
    metrics: dict[str, Spread]
    seeds: list[int] = []
    difference: dict[str, Spread] = {}
    published: dict[str, float] = {}
    failed: dict[str, str] = {}


class Ladder(BaseModel):
    """`judged`: on which videos."""

    rows: list[Variant]
    title: str = ""
    base: str = ""
    judged: str = ""


class LadderError(ValueError):
    """The file is no ladder; the message says where."""


def read_ladder(content: Any) -> dict[str, Any]:
    """Header and body of the table, `title`, `base` and `judged`. Raises LadderError."""
    try:
        ladder = Ladder.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise LadderError(f"{'.'.join(map(str, first['loc'])) or 'its top level'}: {first['msg']}") from None
    head, body = cells([row.model_dump() for row in ladder.rows])
    return {"head": head, "body": body, "title": ladder.title, "base": ladder.base, "judged": ladder.judged}
