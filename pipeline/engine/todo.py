"""What of a plan a run is to do: which units are wanted, which of them can begin, and what keeps the others."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.engine.lock import Shard
from pipeline.engine.plan import Plan, State, Unit

UNASKED = "and was not asked for"


@dataclass
class Options:
    """What of the plan to carry out. `videos`: their ids, all if None; of those the ones of `shard`, all if None.

    `quick`: how it is made (plan.py).
    """

    stages: Sequence[str]
    videos: Collection[str] | None = None
    retry_failed: bool = False
    force: bool = False
    keep_going: bool = False
    shard: Shard | None = None
    quick: bool = False


def todo(plan: Plan, options: Options) -> tuple[list[Unit], list[tuple[Unit, str]]]:
    """Which units a run carries out, in order, and which it would but cannot, with the reason."""
    runs: list[Unit] = []
    blocked: list[tuple[Unit, str]] = []
    for number in range(len(plan.sources)) if options.force else plan.numbers_not_done():
        if not _speaks_of(plan.sources.ids[number], options):
            continue
        begins: set[str] = set()
        cannot: dict[str, str] = {}
        units = {name: plan.unit(name, number) for name in plan.stages}
        for name, unit in units.items():
            if name not in options.stages or not _wanted(unit, options):
                continue
            obstacle = next((cannot.get(above) or _obstacle(units[above]) for above in unit.inputs
                             if above not in begins and units[above].state is not State.DONE), None)
            if obstacle is None:
                begins.add(name)
                runs.append(unit)
            else:
                cannot[name] = obstacle
                blocked.append((unit, obstacle))
    return runs, blocked


def limited(units: list[Unit], limit: int | None) -> list[Unit]:
    """The units of the first `limit` videos that have any."""
    first = set(list(dict.fromkeys(unit.video_id for unit in units))[:limit])
    return [unit for unit in units if unit.video_id in first]


def asked_for(unit: Unit, options: Options) -> bool:
    """Whether the options speak of a unit, whatever its state."""
    return unit.stage in options.stages and _speaks_of(unit.video_id, options)


def _speaks_of(video_id: str, options: Options) -> bool:
    return ((options.videos is None or video_id in options.videos)
            and (options.shard is None or options.shard.holds(video_id)))


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
