"""Results of several seeds as one figure, and as a row of a table."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Literal

Result = Mapping[str, Any]
TITLES = {"auc": "AUC", "ap": "AP", "ap_trapezoid": "AP (trapezoid)", "ano_auc": "Ano-AUC", "macro_auc": "macro AUC",
          "false_alarms": "false alarms", "video_auc": "video AUC"}
COLUMNS = {"auc": "AUC", "ap": "AP", "ano_auc": "Ano-AUC", "macro_auc": "macro AUC"}


class SummaryError(ValueError):
    """Results that must not be averaged; the message says how they differ."""


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample) of each metric over runs. Raises SummaryError.

    The runs must have been judged by one protocol on the same test data; `varied` lists what else differs between
    their configurations, which should be the seed alone.
    """
    first = results[0]
    for other in results[1:]:
        for name, ours, theirs in (("protocol", first["protocol"], other["protocol"]),
                                   ("annotations", first["annotations"], other["annotations"]),
                                   ("test data", first["provenance"]["test_data"], other["provenance"]["test_data"])):
            if ours != theirs:
                raise SummaryError(f"{first['provenance']['run']} and {other['provenance']['run']} differ in {name} "
                                   f"({ours} and {theirs}): evaluate them alike before they are averaged")
    configs = [result["provenance"]["config"] for result in results]
    return {
        "runs": [result["provenance"]["run"] for result in results],
        "seeds": [config["seed"] for config in configs],
        "varied": [key for key in configs[0] if any(config.get(key) != configs[0][key] for config in configs)],
        "metrics": {name: _spread([result["metrics"][name] for result in results]) for name in first["metrics"]},
        "protocol": first["protocol"], "annotations": first["annotations"]}


def row(name: str, metrics: Mapping[str, float | Mapping[str, float | None] | None],
        style: Literal["markdown", "latex"]) -> str:
    """A table row of percentages, under a header in Markdown: metrics of one result, or of a summary."""
    cells = [name, *(_cell(metrics.get(key), style) for key in COLUMNS)]
    if style == "latex":
        return " & ".join(cell.replace("_", r"\_") for cell in cells) + r" \\"
    head = ["", *COLUMNS.values()]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), cells))


def percent(value: float | None) -> str:
    """0.8808 -> "88.08"; "-" for what is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def _spread(values: list[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": None, "std": None}
    return {"mean": fmean(known), "std": stdev(known) if len(known) > 1 else None}


def _cell(value: float | Mapping[str, float | None] | None, style: str) -> str:
    if not isinstance(value, Mapping):
        return percent(value)
    if value["std"] is None:
        return percent(value["mean"])
    sign = r" $\pm$ " if style == "latex" else " ± "
    return f"{percent(value['mean'])}{sign}{percent(value['std'])}"
