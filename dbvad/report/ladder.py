"""The result of an ablation as a table: a JSON list of rows {name, metrics: {metric: {mean, std}}, published}."""

from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

METRICS = {
    "auc": "AUC", "ap": "AP", "ano_auc": "Ano-AUC", "macro_auc": "AUC inside videos", "video_auc": "Video AUC",
    "false_alarms": "False alarms", "ap_trapezoid": "AP (trapezoid)",
}


class Figure(BaseModel):
    """A metric over seeds, a fraction in 0..1."""

    mean: float
    std: float | None = None  # of one seed there is none


class Step(BaseModel):
    """One row. `published`: by metric, as a fraction or in percent; or one number, of the first metric."""

    name: str
    metrics: dict[str, Figure]
    published: dict[str, float] | float | None = None


class LadderError(ValueError):
    """The file is no ladder; the message says where."""


def read_ladder(content: Any) -> dict[str, Any]:
    """Header and rows of the table, in percent. Raises LadderError."""
    rows = content.get("rows") if isinstance(content, dict) else content
    try:
        steps = TypeAdapter(list[Step]).validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        raise LadderError(f"{'.'.join(map(str, first['loc'])) or 'its top level'}: {first['msg']}") from None
    names = list(dict.fromkeys(name for step in steps for name in step.metrics))
    order = [name for name in METRICS if name in names] + [name for name in names if name not in METRICS]
    published = [name for name in order if any(name in _published(step, order) for step in steps)]
    return {
        "head": [METRICS.get(name, name) for name in order] + [f"{METRICS.get(name, name)}, published"
                                                              for name in published],
        "rows": [{"name": step.name, "figures": [_figure(step.metrics.get(name)) for name in order]
                  + [_percent(_published(step, order).get(name)) for name in published]} for step in steps],
    }


def _published(step: Step, order: list[str]) -> dict[str, float]:
    if isinstance(step.published, dict):
        return step.published
    return {} if step.published is None or not order else {order[0]: step.published}


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{100 * figure.mean:.2f}" + ("" if figure.std is None else f" ± {100 * figure.std:.2f}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value if value > 1 else 100 * value:.2f}"
