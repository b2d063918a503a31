"""The table of an ablation: mean and standard deviation over seeds, and the difference to the base, paired by seed."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Literal

from dbvad.ablation.significance import paired
from dbvad.evaluation.summary import COLUMNS, percent

Metrics = Mapping[str, float | None]
Style = Literal["markdown", "latex"]
TITLES = COLUMNS | {"video_auc": "video AUC", "holdout_auc": "hold-out AUC"}
RETRIEVAL = {"recall_all": "own text first of all", "recall_label": "first of its label", "chance_label": "by chance"}


def ladder_rows(results: Mapping[str, Mapping[int, Metrics]], base: str, published: Mapping[str, Mapping[str, float]],
                failed: Mapping[str, Mapping[int, str]]) -> list[dict[str, Any]]:
    """One row a variant: figures by seed -> {metric: {mean, std}}, and the differences to the base's of equal seed.

    `std` is that of a sample, None for one seed. `clear`: the mean difference is beyond its standard deviation.
    `interval`, `p`: see `significance.paired`.
    """
    rows = []
    for name, by_seed in results.items():
        reference = results.get(base, {}) if name != base else {}
        metrics, difference = {}, {}
        for metric in dict.fromkeys(key for figures in by_seed.values() for key in figures):
            found = {seed: value for seed, figures in by_seed.items() if (value := figures.get(metric)) is not None}
            if found:
                metrics[metric] = _spread(list(found.values()))
            pairs = [value - other for seed, value in found.items()
                     if (other := reference.get(seed, {}).get(metric)) is not None]
            if pairs:
                spread = _spread(pairs)
                clear = spread["std"] is not None and abs(spread["mean"]) > spread["std"]
                difference[metric] = spread | {"clear": clear} | paired(pairs)
        rows.append({"name": name, "seeds": list(by_seed), "metrics": metrics, "difference": difference,
                     "published": dict(published.get(name, {})),
                     "failed": {str(seed): reason for seed, reason in failed.get(name, {}).items()}})
    return rows


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that a table shows: those of frames, or of whole videos where there are no others."""
    found = {metric for row in rows for metric in row["metrics"]}
    judged = [name for name in COLUMNS if name in found] or [name for name in TITLES if name in found]
    return judged + [name for name in RETRIEVAL if name in found]


def cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: "88.08 ± 0.40 (+2.10 ± 0.31*)", the difference in brackets, * beyond its deviation."""
    shown, titles = columns(rows), TITLES | RETRIEVAL
    told = [name for name in shown if any(name in row["published"] for row in rows)]
    head = ["variant", "seeds", *(titles[name] for name in shown), *(f"{titles[name]}, published" for name in told)]
    body = [[row["name"], _seeds(row), *(_cell(row, name) for name in shown),
             *(f"{row['published'][name]:.2f}" if name in row["published"] else "" for name in told)] for row in rows]
    return head, body


def text(rows: Sequence[Mapping[str, Any]], style: Style) -> str:
    """The table in Markdown, or the body of a LaTeX tabular."""
    return render(*cells(rows), style)


def comparisons(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what the differences are worth: "+2.10 [1.05, 3.15] p 0.062"; no cells without pairs."""
    shown = [name for name in columns(rows) if name not in RETRIEVAL]
    body = [[row["name"], *(_tested(row["difference"].get(name)) for name in shown)] for row in rows
            if any(row["difference"].get(name, {}).get("interval") for name in shown)]
    return ["difference", *(TITLES[name] for name in shown)], body


def gain(found: Mapping[str, Any]) -> str:
    """A difference: "+2.10 ± 0.31*", * beyond its deviation."""
    return f"{'+' if found['mean'] >= 0 else ''}{_figure(found)}{'*' if found['clear'] else ''}"


def seeds_compared(rows: Sequence[Mapping[str, Any]], base: str) -> int:
    """The most seeds that a variant shares with the base."""
    common = next(({*row["seeds"]} for row in rows if row["name"] == base), set())
    return max((len(common & {*row["seeds"]}) for row in rows if row["name"] != base), default=0)


def render(head: list[str], body: list[list[str]], style: Style) -> str:
    """Header and cells in Markdown, or as the body of a LaTeX tabular."""
    if style == "markdown":
        return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))
    return "\n".join(" & ".join(_latex(cell) for cell in line) + r" \\" for line in (head, *body))


def _spread(values: list[float]) -> dict[str, Any]:
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None}


def _seeds(row: Mapping[str, Any]) -> str:
    failed = f", {len(row['failed'])} failed" if row["failed"] else ""
    return f"{len(row['seeds'])}{failed}"


def _cell(row: Mapping[str, Any], metric: str) -> str:
    if metric not in row["metrics"]:
        return ""
    cell = _figure(row["metrics"][metric])
    if metric in row["difference"] and metric not in RETRIEVAL:
        cell += f" ({gain(row['difference'][metric])})"
    return cell


def _tested(found: Mapping[str, Any] | None) -> str:
    if found is None or found.get("interval") is None:
        return ""
    low, high = found["interval"]
    p = "" if found["p"] is None else f" p {found['p']:.2g}"
    return f"{100 * found['mean']:+.2f} [{100 * low:.2f}, {100 * high:.2f}]{p}"


def _figure(spread: Mapping[str, Any]) -> str:
    return percent(spread["mean"]) + ("" if spread["std"] is None else f" ± {percent(spread['std'])}")


def _latex(cell: str) -> str:
    for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$")):
        cell = cell.replace(plain, escaped)
    return cell
