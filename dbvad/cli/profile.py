"""`dbvad pipeline profile`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbvad.cli.pipeline import ArtifactsOption, JsonOption
from dbvad.cli.say import say as print

if TYPE_CHECKING:
    from pipeline.engine.profile import Profile

COLUMNS = ["stage", "videos", "at a time", "busy s", "idle %", "waited s", "cores a video", "needs s"]


def profile(
    artifacts: ArtifactsOption = Path("artifacts"),
    run: Annotated[str | None, typer.Option("--run", help="Its name, as `dbvad sql \"select distinct run from runs\"` "
                                                          "tells; default: the last.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What bounded a run: how idle its workers and processors were, and what to change."""
    from dbvad.cli.errors import need_artifacts
    from pipeline.engine.lines import damaged, whole_lines
    from pipeline.engine.profile import NoProfile
    from pipeline.engine.profile import profile as read

    need_artifacts(artifacts)
    logs = {log.stem: log for log in sorted((artifacts / "runs").glob("*.jsonl"))}
    if run is not None and run not in logs:
        raise typer.BadParameter(f"no run {run!r} in {artifacts / 'runs'}; the last is {next(reversed(logs), None)!r}")
    if not logs:
        raise typer.BadParameter(f"nothing was run on {artifacts} yet: `dbvad pipeline run`")
    log = logs[run or next(reversed(logs))]
    try:
        found = read(whole_lines(log))
    except NoProfile as error:
        raise typer.BadParameter(f"{log}: {error}") from None
    if lost := damaged(log):
        print(f"{lost} lines of {log} are not as they were written, and left out")
    show(found, log.stem, as_json)


def show(found: "Profile", name: str, as_json: bool) -> None:
    """As a table with its reading, or as one JSON object."""
    import json
    from dataclasses import asdict

    from dbvad.cli.output import print_table

    if as_json:
        print(json.dumps(asdict(found) | {"run": name, "bounds": found.bounds, "cpu_share": found.cpu_share,
                                          "advice": found.advice}))
        return
    print_table(COLUMNS, [(stage.name, stage.units, stage.slots, round(stage.busy, 1), round(100 * stage.idle),
                           round(stage.waited, 1), round(stage.cores, 2), round(stage.least, 1))
                          for stage in found.stages])
    (bound, least), *_ = found.bounds.items()
    processors = (f"the stages used {found.cpu_share:.0%} of {found.cores} cores" if found.cores else
                  "it ran on a cluster, whose processors are not counted")
    print(f"run {name}: {found.seconds:.1f} s; its bound is {bound} with {least:.1f} s, {least / found.seconds:.0%} of "
          f"that; {processors}")
    for line in found.advice:
        print(f"- {line}")
