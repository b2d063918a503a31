"""The card of a bundle: what the model is, what it was measured at, and by what protocol, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbvad.evaluation.summary import TITLES, percent
from pipeline.engine.files import atomic_file


def write_card(path: Path, manifest: Mapping[str, Any], result: Mapping[str, Any] | None, *, calibrated: bool) -> None:
    """Write the card. `manifest`: of the bundle; `result`: of `dbvad evaluate` on the run, if it was evaluated."""
    clip, config = manifest["clip"], manifest["config"]
    parts = [
        "# A video anomaly detector, trained by dbvad",
        "It gives each snippet of a video an abnormal confidence between 0 and 1. It was trained from video-level "
        "labels; it knows what it was shown, and nothing else is promised of it.",
        "```\ndbvad detect VIDEOS --model THIS_FOLDER\n```",
        "## What it is",
        _table(["", ""], [
            ("classes", ", ".join(manifest["classes"])),
            ("CLIP", f"{clip['name']}, {clip['width']} numbers, {_identity(clip['identity'])}"),
            ("snippets", _snippets(manifest["snippets"])),
            ("network", f"TMM {config['tmm']}, trained on up to {config['bins']} snippets"),
            ("epoch", manifest["epoch"]), ("seed", config["seed"]),
            ("training data", manifest["training_data"]), ("weights", manifest["weights"]),
            ("dbvad", manifest["dbvad"]),
            ("calibration", "calibration.json" if calibrated else "none: thresholds are not tied to a rate of false "
                                                                  "alarms"),
        ]),
        "## What it was measured at", *_measured(manifest, result)]
    with atomic_file(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _measured(manifest: Mapping[str, Any], result: Mapping[str, Any] | None) -> list[str]:
    if result is None:
        return ["It was not evaluated before it was exported, so there is no figure."]
    protocol, made = result["protocol"], result["provenance"]
    rows = []
    for name, value in result["metrics"].items():
        low, high = result["intervals"].get(name) or (None, None)
        rows.append((TITLES.get(name, name), percent(value), f"{percent(low)} to {percent(high)}" if low is not None
                     else ""))
    if isinstance(result["localization"], Mapping):
        rows.append(("mAP@IoU 0.1-0.5", percent(result["localization"]["average"]), ""))
    other = "" if made["training_data"] == manifest["training_data"] else (
        "\n\nBeware: this result is of a model that was trained on other data than this one.")
    annotations = result["annotations"]
    return [
        _table(["metric", "%", "95 % interval"], rows),
        f"{result['videos']} test videos ({result['abnormal_videos']} abnormal), {result['frames']} frames, "
        + (f"annotations {annotations['file']}, ends {annotations['ends']}" if annotations else "no annotations")
        + f". Protocol: scale {protocol['scale']}, crop {'all' if protocol['crop'] is None else protocol['crop']}, "
          f"smooth {protocol['smooth']:g}, names {protocol['names']:g}, weights of "
          f"{'the last epoch' if protocol['selection'] == 'last' else 'the best epoch on held-out training videos'}."
        + other,
        f"Provenance: test data {made['test_data']}, training data {made['training_data']}, epoch {made['epoch']}, "
        f"seed {made['seed']}, commit {made['commit'] or 'unknown'}, "
        + ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        + ". The whole result is in result.json."]


def _identity(identity: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in identity.items() if value) or "known by its name only"


def _snippets(recipe: Mapping[str, Any]) -> str:
    if not recipe:
        return "imported features"
    decode, score = recipe["decode"], recipe["score"]
    return (f"every {decode['stride']}th frame, {score['frames_per_snippet']} a snippet, short side "
            f"{decode['short_side']}, crops {score['crops']}")


def _table(head: list[str], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
