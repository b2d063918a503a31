"""What of a plan a run is to do: which units are wanted, which of them can begin, and what keeps the others."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.engine.lock import Shard
from pipeline.engine.plan import Plan, State, Unit

UNASKED = "and was not asked for"


@dataclass
class Options:
    """What of the plan to carry out. `videos`: their ids, all if None; of those the ones of `shard`, all if None."""

    stages: Sequence[str]
    videos: Collection[str] | None = None
    retry_failed: bool = False
    force: bool = False
    keep_going: bool = False
    shard: Shard | None = None


def todo(plan: Plan, options: Options) -> tuple[list[Unit], list[tuple[Unit, str]]]:
    """Which units a run carries out, in order, and which it would but cannot, with the reason."""
    runs: dict[tuple[str, str], Unit] = {}
    blocked: dict[tuple[str, str], str] = {}
    for key, unit in plan.items():
        if not asked_for(unit, options) or not _wanted(unit, options):
            continue
        inputs = [(name, unit.video_id) for name in unit.inputs]
        obstacle = next((blocked.get(above) or _obstacle(plan[above]) for above in inputs
                         if above not in runs and plan[above].state is not State.DONE), None)
        if obstacle is None:
            runs[key] = unit
        else:
            blocked[key] = obstacle
    return list(runs.values()), [(plan[key], reason) for key, reason in blocked.items()]


def limited(units: list[Unit], limit: int | None) -> list[Unit]:
    """The units of the first `limit` videos that have any."""
    first = set(list(dict.fromkeys(unit.video_id for unit in units))[:limit])
    return [unit for unit in units if unit.video_id in first]


def asked_for(unit: Unit, options: Options) -> bool:
    """Whether the options speak of a unit, whatever its state."""
    return (unit.stage in options.stages and (options.videos is None or unit.video_id in options.videos)
            and (options.shard is None or options.shard.holds(unit.video_id)))


def _wanted(unit: Unit, options: Options) -> bool:
    if unit.state is State.QUARANTINED:
        return options.retry_failed or options.force
    return unit.state is not State.DONE or options.force


def _obstacle(unit: Unit) -> str:
    if unit.state in (State.QUARANTINED, State.BLOCKED):
        return f"{unit.stage} is {unit.state}: {unit.reason}"
    return f"{unit.stage} is {unit.state} ({unit.reason}) {UNASKED}: run `dbvad pipeline run {unit.stage}` first"


def wanting(blocked: list[tuple[Unit, str]]) -> Counter[str]:
    """Why units cannot even begin, and how many, where a stage before them was not asked for."""
    return Counter(f"{unit.stage}: {reason}" for unit, reason in blocked if UNASKED in reason)
