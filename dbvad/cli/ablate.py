"""`dbvad ablate`: variants over seeds, and their table."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dbvad.cli.evaluate import Ends, Format
from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print

Style = Literal["table", "markdown", "latex"]
HOLDOUT = 0.2  # of the training videos, where --select holdout finds none set


def ablate(
    ladder: Annotated[str, typer.Argument(help="modules, temporal, descriptions, frames, ours, levers, or "
                                           "a YAML file.")],
    artifacts: ArtifactsOption = Path("artifacts"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the cells; ablations/LADDER.")] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0-4 or 0,3,7.")] = "0-4",
    annotations: Annotated[Path | None, typer.Option(help="When events happen in the test videos.")] = None,
    format: Annotated[Format, typer.Option(help="Format of the annotations.")] = "auto",
    ends: Annotated[Ends | None, typer.Option(help="Does an event's end frame belong to it? inclusive")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of training keys.")] = None,
    preset: Annotated[str | None, typer.Option(help="ucf-crime or xd-violence, :cosine for that schedule.")] = None,
    stages: Annotated[Path, typer.Option(help="The stages file: says where a local CLIP lies.")] = Path("stages.yaml"),
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A training key of all "
                                                       "variants; a variant's own goes before it.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="This variant and the base; repeatable.")] = None,
    select: Annotated[Literal["holdout"] | None, typer.Option(help="Judge by held-out training videos, and say which "
                                                              "variant to choose; no test video is read.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and why.")] = False,
    style: Annotated[Style, typer.Option(help="How to print the table.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> int:
    """Train and judge every variant of a ladder with every seed, and print the table.

    Cells are done once: run it again to go on after an interruption, with more seeds, or with more variants. A cell
    that fails costs itself (exit code 3). Writes OUT/ladder.json, which `dbvad report --ladder` shows, and ladder.md.
    """
    from dbvad.ablation.cells import Truth, trainings
    from dbvad.ablation.choice import choose, verdicts
    from dbvad.ablation.grid import plan, record, run_grid
    from dbvad.ablation.ladder import read_ladder, read_seeds
    from dbvad.cli.dataset import check_unchanged
    from dbvad.cli.train import keys, with_local_clip
    from dbvad.evaluation.evaluate import save_result
    from dbvad.training.loop import Interrupted
    from pipeline.engine.config import ConfigError
    from pipeline.engine.files import atomic_file

    if annotations is not None and not annotations.is_file():
        raise ConfigError(f"no annotations at {annotations}")
    check_unchanged(artifacts)
    chosen = read_ladder(ladder)
    chosen = chosen.only(only) if only else chosen
    common = with_local_clip(keys(config, list(settings or []), None, preset), stages)
    if select:
        common = {"holdout": HOLDOUT} | common
    truth = Truth(None if select else annotations, format, select is not None)
    folder = out or Path("ablations") / Path(ladder).stem
    grid = trainings(chosen, read_seeds(seeds), artifacts, folder, train=common,
                     protocol={"ends": ends} if ends else {})
    if dry_run:
        return _show_plan([row for training in grid for row in _plan_rows(training, plan, folder, truth)], as_json)

    failed: dict[tuple[str, int], str] = {}
    try:
        for done, (training, reasons) in enumerate(run_grid(grid, folder, truth, device=common.get("device", "auto"),
                                                            jobs=jobs), start=1):
            failed |= {(name, training.config.seed): reason for name, reason in reasons.items()}
            print(f"[{done}/{len(grid)}] seed {training.config.seed}: "
                  f"{', '.join(cell.variant for cell in training.cells)}"
                  + "".join(f"; failed: {reason}" for reason in [*reasons.values()][:1]), file=sys.stderr, flush=True)
            found = record(chosen, grid, truth, failed)
            save_result(folder / "ladder.json", found)
    except (Interrupted, KeyboardInterrupt):
        print(f"interrupted: what was finished is kept in {folder}, run the same command again to go on",
              file=sys.stderr)
        raise typer.Exit(130) from None
    with atomic_file(folder / "ladder.md") as temporary:
        temporary.write_text(_text(found, "markdown") + "\n", encoding="utf-8")
    if select:
        found["chosen"] = choose(verdicts([found["rows"]], ["holdout_auc"]), found["base"])
        save_result(folder / "ladder.json", found)
    _show(found, style, folder, failed, as_json)
    return 3 if failed else 0


def _plan_rows(training: Any, plan: Any, folder: Path, truth: Any) -> list[dict[str, Any]]:
    (_, todo, reason), = plan([training], folder, truth)
    return [{"variant": cell.variant, "seed": cell.seed, "todo": todo, "why": reason} for cell in training.cells]


def _show_plan(rows: list[dict[str, Any]], as_json: bool) -> int:
    from dbvad.cli.output import print_json, print_table

    head = ["variant", "seed", "todo", "why"]
    body = [[row[key] for key in head] for row in rows]
    if as_json:
        print_json(head, body)
    else:
        print_table(head, body)
    return 0


def _text(found: dict[str, Any], style: Literal["markdown", "latex"]) -> str:
    """The table, then that of tests and what they are where two seeds are paired."""
    from dbvad.ablation.table import comparisons, render, text

    head, body = comparisons(found["rows"])
    tests = ["", render(head, body, style), "", _stated(found)] if body else []
    return "\n".join([text(found["rows"], style), *tests])


def _stated(found: dict[str, Any]) -> str:
    return f"difference to {found['base']!r}, paired by seed, {found['significance']}"


def _show(found: dict[str, Any], style: Style, folder: Path, failed: dict[tuple[str, int], str],
          as_json: bool) -> None:
    from dbvad.ablation.grid import untaught
    from dbvad.ablation.table import cells, comparisons
    from dbvad.cli.output import print_table

    if as_json:
        import json

        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if style == "table":
        head, body = cells(found["rows"])
        print_table(head, body, title=found["title"] or None)
        head, body = comparisons(found["rows"])
        if body:
            print_table(head, body)
            print(_stated(found))
    else:
        print(_text(found, style))
    if line := untaught(found["rows"]):
        print(line)
    for (name, seed), reason in failed.items():
        print(f"failed: {name}, seed {seed}: {reason}")
    print(f"mean ± standard deviation over seeds; in brackets the difference to {found['base']!r}, paired by seed, "
          f"* beyond its standard deviation; judged on {found['judged']}")
    if "chosen" in found:
        print(f"chosen on held-out training videos: {found['chosen']!r}; judge it on the test videos with --only "
              f"{found['chosen']!r}, without --select, and with another --out")
    print(f"the outcome is in {folder}/ladder.json, the table in ladder.md")
