"""`dbvad pipeline`: run, status, failures."""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dbvad.cli.places import ArtifactsOption, artifacts_option
from dbvad.cli.say import say as print

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.engine.hand import Engine
    from pipeline.engine.lock import Shard
    from pipeline.engine.runner import Outcome
    from pipeline.engine.stage import Source, Stage
    from pipeline.engine.store import Store
    from pipeline.engine.todo import Options
    from pipeline.stages import StagesFile

STAGES = ("ingest", "decode", "score", "select", "describe", "embed")
NOTHING = "nothing to do: every shard that can be made is up to date"
app = typer.Typer(no_args_is_help=True, help="From video files to features and texts, stage by stage: "
                                             f"{', '.join(STAGES)}.")


ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The stages file.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Make every warning an error (exit code 1).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VideoOption = Annotated[list[str] | None, typer.Option("--video", help="Only this video, or those whose ids match this "
                                                                       "pattern (`fight/*`); may be repeated.")]


@app.command()
def run(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages to run; default: all.")] = None,
    config: ConfigOption = Path("stages.yaml"),
    artifacts: ArtifactsOption = Path("artifacts"),
    first: Annotated[str | None, typer.Option("--from", help="First stage to run.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last stage to run.")] = None,
    video: VideoOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many videos that have work.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes a stage, in place of stages.yaml's.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try quarantined videos again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Redo what is up to date too.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="When a stage cannot run at all, go on with what "
                                                                  "the others can do.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done and why, and stop.")] = False,
    engine: Annotated[Literal["local", "ray"] | None, typer.Option(
        "--engine", help="Processes of this machine, or of all nodes of a Ray cluster, in place of stages.yaml's."
    )] = None,
    address: Annotated[str | None, typer.Option("--address", metavar="HOST:PORT", help="Head of the Ray cluster; by "
                                                "default the one that this machine is a node of.")] = None,
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts of the videos, "
                                              "beside runs of the other parts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not look at shards in folders that have not changed since "
                                                        "the last plan: one that another program overwrote in place "
                                                        "goes unseen until it is read.")] = False,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Bring every video up to date. What is done stays done; run again after an interruption to go on."""
    from rich.console import Console

    from dbvad.cli.dataset import StrictError, chosen, open_dataset, record, warnings
    from pipeline.engine.runner import carry_out, local
    from pipeline.engine.store import Store
    from pipeline.engine.todo import Options
    from pipeline.stages import read

    console = Console(stderr=as_json)
    wanted = choose(stages, first, last)
    part = _part(shard)
    parsed = read(config)
    where = engine or parsed.engine
    if where == "ray":
        if part:
            raise typer.BadParameter("--shard is for runs without Ray, which hands the videos out itself")
        config, artifacts = config.resolve(), artifacts.resolve()  # nodes do not work in this folder
    elif address:
        raise typer.BadParameter("--address is of a Ray cluster: give --engine ray as well")
    carrier = _on_ray(parsed, address) if where == "ray" else local
    built, listing = open_dataset(config, artifacts, console)
    if strict and warnings(listing):
        raise StrictError("the dataset has the faults above, and --strict allows none: nothing was run")
    for stage in built:
        if workers is not None and stage.name in wanted:
            stage.workers = workers
    ids = chosen(listing.sources.ids, video)
    options = Options(wanted, ids, retry_failed, force, keep_going, part, quick)
    store = Store(artifacts)
    if dry_run:
        print_todo(built, listing.sources, store, options, limit, as_json)
        return 0
    with terminable():
        outcome = carry_out(built, listing.sources, store, options, console, limit=limit,
                            planned=lambda plan: record(config, artifacts, plan), engine=carrier)
    _print_outcome(outcome, artifacts, as_json)
    if outcome.stage_errors or outcome.wanting:
        return 1
    return 3 if outcome.quarantined else 0


@app.command()
def status(
    config: ConfigOption = Path("stages.yaml"),
    artifacts: ArtifactsOption = Path("artifacts"),
    video: VideoOption = None,
    why: Annotated[str | None, typer.Option("--why", metavar="VIDEO", help="Give the reason for every stage of this "
                                                                           "video (a pattern: `*` for all).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Where every stage stands, and why what is not done is not."""
    from rich.console import Console

    from dbvad.cli.dataset import chosen, import_standing, imported, open_dataset, tell_left_over
    from dbvad.cli.output import print_json, print_table
    from pipeline.engine.plan import State, make_plan
    from pipeline.engine.store import Store

    names = [why] if why else video
    if (found := imported(artifacts)) is not None:
        standing = import_standing(found, artifacts, names)
    else:
        built, listing = open_dataset(config, artifacts, Console(stderr=True))
        ids = chosen(listing.sources.ids, names)
        sources = listing.sources if ids is None else [source for source in listing.sources if source.video_id in ids]
        plan = make_plan(built, sources, Store(artifacts))
        standing = [(unit.video_id, unit.stage, unit.state, unit.reason) for unit in plan.values()]
    tell_left_over(artifacts)
    if why:
        columns: list[str] = ["video", "stage", "state", "reason"]
        rows: list[tuple[object, ...]] = [(name, stage, str(state), reason) for name, stage, state, reason in standing]
    else:
        counts = Counter((stage, state) for _, stage, state, _ in standing)
        reasons: dict[str, Counter[str]] = {stage: Counter() for _, stage, _, _ in standing}
        for _, stage, state, reason in standing:
            reasons[stage][reason] += state is not State.DONE
        columns = ["stage", *(str(state) for state in State), "why not done (videos)"]
        rows = [(stage, *(counts[stage, state] for state in State),
                 "; ".join(f"{reason} ({n})" for reason, n in why_not.most_common(3) if n))
                for stage, why_not in reasons.items()]
    (print_json if as_json else print_table)(columns, rows)


@app.command()
def failures(
    config: ConfigOption = Path("stages.yaml"),
    artifacts: ArtifactsOption = Path("artifacts"),
    traceback: Annotated[bool, typer.Option("--traceback", help="Print what the program said, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Quarantined videos: what is wrong with each, and what to do about it."""
    from dbvad.cli.dataset import ChangedDataset, check_unchanged
    from dbvad.cli.errors import need_artifacts
    from dbvad.cli.output import print_json, print_table
    from pipeline.engine.store import Store
    from pipeline.manifest import quarantine, read

    need_artifacts(artifacts)
    try:
        check_unchanged(artifacts, config)
    except ChangedDataset as changed:
        print(f"as of the last run: {changed}", file=sys.stderr)
    found = quarantine(Store(artifacts), read(artifacts).entries)
    columns = ["stage", "video_id", "kind", "reason", "remedy", *(["attempts", "traceback"] if as_json else [])]
    rows = [[row[column] for column in columns] for row in found]
    if as_json:
        print_json(columns, rows)
    elif not rows:
        print("no video is in quarantine")
    else:
        print_table(columns, rows)
        for row in found if traceback else []:
            print(f"\n{row['stage']} {row['video_id']}\n{row['traceback'].rstrip()}")


def choose(stages: list[str] | None, first: str | None, last: str | None) -> list[str]:
    """The stages asked for, in order. Raises a usage error that names the nearest stage."""
    import difflib

    for name in [*(stages or []), *filter(None, (first, last))]:
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"stages: {', '.join(STAGES)}"
            raise typer.BadParameter(f"no stage {name!r}: {hint}")
    if stages and (first or last):
        raise typer.BadParameter("name stages, or give --from and --to, not both")
    start = STAGES.index(first) if first else 0
    end = STAGES.index(last) if last else len(STAGES) - 1
    if start > end:
        raise typer.BadParameter(f"--from {first} comes after --to {last}: stages run as {', '.join(STAGES)}")
    return [name for name in STAGES[start:end + 1] if not stages or name in stages]


def _part(shard: str | None) -> "Shard | None":
    from pipeline.engine.lock import Shard

    try:
        return Shard.parse(shard) if shard else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from None


def _on_ray(parsed: "StagesFile", address: str | None) -> "Engine":
    """The engine of the cluster that the command line or stages.yaml names. Raises NoCluster without Ray."""
    from pipeline.engine.on_ray import check_installed, on_ray

    check_installed()
    cluster = parsed.ray.model_copy(update={"address": address}) if address else parsed.ray
    return lambda log: on_ray(log, cluster, parsed.needs())


def print_todo(built: list["Stage"], sources: "Sequence[Source]", store: "Store", options: "Options",
                limit: int | None, as_json: bool) -> None:
    """A table of what a run would do, and why."""
    from dbvad.cli.output import print_json, print_table
    from pipeline.engine.plan import make_plan
    from pipeline.engine.todo import limited, todo

    units, blocked = todo(make_plan(built, sources, store, options.quick and not options.force), options)
    units = limited(units, limit)
    if as_json:
        print_json(["stage", "video", "action", "reason"],
                   [(u.stage, u.video_id, "run", f"{u.state}: {u.reason}") for u in units]
                   + [(u.stage, u.video_id, "blocked", reason) for u, reason in blocked])
        return
    counts = Counter((unit.stage, "run", f"{unit.state}: {unit.reason}") for unit in units)
    counts.update((unit.stage, "blocked", reason) for unit, reason in blocked)
    order = [stage.name for stage in built]
    rows = sorted(((stage, action, n, reason) for (stage, action, reason), n in counts.items()),
                  key=lambda row: order.index(row[0]))
    if rows:
        print_table(["stage", "action", "videos", "why"], rows)
    else:
        print(NOTHING)


def _print_outcome(outcome: "Outcome", artifacts: Path, as_json: bool) -> None:
    from dbvad.cli.output import print_json, print_table

    stages = [stage for stage in STAGES if any(name == stage for name, _ in outcome.counts)]
    kinds = ("done", "quarantined", "blocked", "failed")
    rows = [(stage, *(outcome.counts[stage, kind] for kind in kinds)) for stage in stages]
    for reason, videos in outcome.wanting.items():
        print(f"{videos} blocked: {reason}", file=sys.stderr)
    if as_json:
        print_json(["stage", *kinds], rows)
        return
    if any(outcome.count(kind) for kind in ("done", "quarantined", "failed")):
        print_table(["stage", *kinds], rows)
    elif not outcome.wanting:
        print(NOTHING)
    if outcome.quarantined:
        print(f"{len(outcome.quarantined)} in quarantine: `dbvad pipeline failures{artifacts_option(artifacts)}` says "
              "what is wrong with each")


class terminable:
    """While open, SIGTERM interrupts like Ctrl-C, so that children end and nothing is left behind."""

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGTERM, self._raise)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self.before)

    @staticmethod
    def _raise(number: int, frame: FrameType | None) -> None:
        print("stopping", file=sys.stderr)
        raise KeyboardInterrupt
