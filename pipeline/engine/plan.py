"""What is to be done: stages x videos -> done | missing | stale | blocked | quarantined, each with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipeline.engine.files import Damaged
from pipeline.engine.fingerprint import Fingerprinter
from pipeline.engine.sealed import Unsealed
from pipeline.engine.seen import Seen
from pipeline.engine.stage import Source, Stage, recipe
from pipeline.engine.store import Store


class State(StrEnum):
    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    BLOCKED = "blocked"
    QUARANTINED = "quarantined"


Standing = tuple[State, str]  # with the reason
DONE: Standing = (State.DONE, "up to date")
PRINT_BYTES = 16


@dataclass(slots=True)
class Unit:
    """One stage on one video: the fingerprint its shard must have, and where it stands."""

    stage: str
    inputs: tuple[str, ...]
    source: Source
    fingerprint: str
    recipe: dict[str, Any]
    upstream: tuple[tuple[str, str], ...]
    state: State
    reason: str

    @property
    def video_id(self) -> str:
        return self.source.video_id

    @property
    def basis(self) -> dict[str, Any]:
        """What the fingerprint is a hash of."""
        return self.recipe | {"upstream": dict(self.upstream)}


class Plan(Mapping[tuple[str, str], Unit]):
    """Where every unit stands, by (stage, video_id), in order of stages within each video.

    A million videos have millions of units: kept are their fingerprints, as bytes, and a word on those that are not
    done; units are made of that when they are asked for. Only what depends on one video's other stages is looked at
    together, so that a plan is made stage by stage, with the shards of one in mind at a time.
    """

    def __init__(self, stages: Sequence[Stage], sources: Sequence[Source]) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.sources = sources
        self.identities = {stage.name: stage.identity() for stage in stages}
        self.recipes: dict[str, dict[str, tuple[dict[str, Any], Fingerprinter]]] = {name: {} for name in self.stages}
        self.prints = {name: bytearray() for name in self.stages}
        self.undone: dict[str, dict[int, Standing]] = {name: {} for name in self.stages}  # by the video's number

    def __len__(self) -> int:
        return len(self.stages) * len(self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, source.video_id) for source in self.sources for name in self.stages)

    def __getitem__(self, key: tuple[str, str]) -> Unit:
        name, video_id = key
        return self.unit(name, self.numbers[video_id])

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The places of the videos in the list of sources."""
        return {source.video_id: number for number, source in enumerate(self.sources)}

    def unit(self, name: str, number: int) -> Unit:
        """One stage on the video in a place of the list of sources."""
        stage, source = self.stages[name], self.sources[number]
        recipe, _ = self._recipe(stage, source)
        state, reason = self.undone[name].get(number, DONE)
        return Unit(name, stage.inputs, source, self.fingerprint(name, number), recipe,
                    tuple(self._upstream(stage, number).items()), state, reason)

    def fingerprint(self, name: str, number: int) -> str:
        """The one that the shard of a stage must have."""
        return self.prints[name][PRINT_BYTES * number:PRINT_BYTES * (number + 1)].hex()

    def quarantined(self) -> Iterator[Unit]:
        """The units that are in quarantine."""
        return (self.unit(name, number) for name, undone in self.undone.items()
                for number, (state, _) in undone.items() if state is State.QUARANTINED)

    def numbers_not_done(self) -> list[int]:
        """The videos of which not every stage is done, by their places."""
        return sorted(set().union(*self.undone.values()))

    def judge(self, name: str, store: Store) -> None:
        """Find out where a stage stands, after those before it."""
        stage, seen = self.stages[name], Seen(store, name)
        for number, source in enumerate(self.sources):
            _, fingerprint_of = self._recipe(stage, source)
            print_ = fingerprint_of(self._upstream(stage, number))
            self.prints[name] += bytes.fromhex(print_)
            above = [(above, *self.undone[above][number]) for above in stage.inputs if number in self.undone[above]]
            standing = _obstacle(above)
            if standing is None and not seen.is_current(source.video_id, print_):
                standing = self._why_not(name, number, print_, store)
            if standing is not None:
                self.undone[name][number] = standing
        seen.save()

    def _why_not(self, name: str, number: int, print_: str, store: Store) -> Standing:
        video_id, again = self.sources[number].video_id, ""
        try:
            row = store.quarantined(name, video_id)
            if row and row["fingerprint"] == print_:
                return State.QUARANTINED, f"{row['kind']}: {row['reason']}"
        except Damaged:
            again = "; its record in quarantine is damaged, so it is tried again"
        try:
            footer = store.look(store.path(name, video_id))
        except FileNotFoundError:
            return State.MISSING, f"no shard yet{again}"
        except (Unsealed, OSError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            return State.MISSING, f"the shard cannot be used: {what}{again}"
        changed = changes(footer.basis, self.unit(name, number).basis)
        return State.STALE, ("; ".join(changed) or "made under another fingerprint") + again

    def _recipe(self, stage: Stage, source: Source) -> tuple[dict[str, Any], Fingerprinter]:
        facts = stage.facts(source)
        known, key = self.recipes[stage.name], repr(facts)
        if key not in known:
            made = recipe(stage, facts, self.identities[stage.name])
            known[key] = made, Fingerprinter(made)
        return known[key]

    def _upstream(self, stage: Stage, number: int) -> dict[str, str]:
        """What a fingerprint takes of the stages before: the root stage stands in it by the content hash of the source,
        so that a change of a label redoes only the stages that read labels."""
        if not stage.inputs:
            return {"source": self.sources[number].hash}
        return dict(("source", self.sources[number].hash) if not self.stages[name].inputs
                    else (name, self.fingerprint(name, number)) for name in stage.inputs)


def make_plan(stages: Sequence[Stage], sources: Sequence[Source], store: Store) -> Plan:
    """Where every unit stands. `stages` in order: each input comes before the stage that reads it."""
    plan = Plan(stages, sources)
    for stage in stages:
        plan.judge(stage.name, store)
    return plan


def _obstacle(above: Sequence[tuple[str, State, str]]) -> Standing | None:
    for name, state, reason in above:
        if state is State.QUARANTINED:
            return State.BLOCKED, f"{name} has this video in quarantine ({reason})"
        if state is State.BLOCKED:
            return State.BLOCKED, reason
    return None


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two bases, in words: "stride 16 -> 8", "decode changed"."""
    found = []
    for key in ("version", "contract"):
        if old.get(key) != new.get(key):
            found.append(f"{new.get('stage')} {key} {old.get(key)} -> {new.get(key)}")
    for part in ("params", "facts"):
        for key, before, after in _differences(old.get(part, {}), new.get(part, {})):
            short, new_short = _short(before), _short(after)
            found.append(f"{key} changed" if short == new_short else f"{key} {short} -> {new_short}")
    for name, _, _ in _differences(old.get("upstream", {}), new.get("upstream", {})):
        found.append("the video's content changed" if name == "source" else f"{name} changed")
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            for inner, b, a in _differences(before, after):
                yield f"{key}.{inner}", b, a
        elif before != after:
            yield key, before, after


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
