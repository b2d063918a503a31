"""`dbvad choose`: the variant that finished ladders speak for, on several sets at once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dbvad.cli.say import say as print


def choose(
    folders: Annotated[list[Path], typer.Argument(help="--out of one `dbvad ablate` a set, all of the same ladder.")],
    metric: Annotated[list[str] | None, typer.Option(help="auc, ap, ano_auc, macro_auc, video_auc or holdout_auc; "
                                                     "repeatable. Those of frames, or else what there is.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> int:
    """Choose a variant that gains on one set at least and loses on none, paired by seed.

    A figure counts as better or worse than the base's where the mean difference is beyond its standard deviation over
    seeds. Choose on held-out training videos, never on test videos.
    """
    from dbvad.ablation.choice import choose as choose_of
    from dbvad.ablation.choice import read_outcomes, verdicts
    from dbvad.ablation.table import TITLES, columns
    from dbvad.cli.output import print_table
    from pipeline.engine.config import ConfigError

    sets = read_outcomes(folders)
    there = [name for outcome in sets for name in columns(outcome["rows"]) if name in TITLES]
    metrics = list(dict.fromkeys(metric or there))
    if missing := [name for name in metrics if any(name not in _metrics(outcome) for outcome in sets)]:
        raise ConfigError(f"not every set has {missing[0]}: name by --metric what all of them were judged by "
                          f"({', '.join(sorted(set.intersection(*map(_metrics, sets)))) or 'nothing'})")
    found = verdicts([outcome["rows"] for outcome in sets], metrics)
    base = sets[0]["base"]
    chosen = choose_of(found, base)
    if as_json:
        import json

        variants = [{"name": one.name, "kept": one.kept, "gains": one.gains, "losses": one.losses,
                     "unknown": one.unknown, "differences": one.differences} for one in found]
        print(json.dumps({"base": base, "chosen": chosen, "metrics": metrics, "sets": [*map(str, folders)],
                          "variants": variants}, indent=2, ensure_ascii=False))
        return 0
    head = ["variant", *(f"{folder.name}: {TITLES.get(name, name)}" for folder in folders for name in metrics), "kept"]
    print_table(head, [[one.name, *(_shown(differences.get(name)) for differences in one.differences
                                    for name in metrics), _kept(one)] for one in found])
    print(f"difference to {base!r}, paired by seed, * beyond its standard deviation; kept: better somewhere, worse "
          f"nowhere")
    print(f"chosen: {chosen!r}" + ("" if chosen != base else ", for no variant is kept"))
    if tests := [str(folder) for folder, outcome in zip(folders, sets, strict=True)
                 if outcome["judged"] == "test videos"]:
        print(f"judged on what is listed as test videos: {', '.join(tests)}; a choice is worth something only if those "
              f"are held-out training videos")
    return 0


def _metrics(outcome: dict[str, Any]) -> set[str]:
    return {name for row in outcome["rows"] for name in row["metrics"]}


def _shown(difference: Any) -> str:
    from dbvad.ablation.table import gain

    return "not measured" if difference is None else gain(difference)


def _kept(one: Any) -> str:
    if one.unknown:
        return "no: not measured with two seeds everywhere"
    return "yes" if one.kept else "no: it loses" if one.losses else "no: it gains nothing"
