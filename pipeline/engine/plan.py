"""What is to be done: stages x videos -> done | missing | stale | blocked | quarantined, each with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.engine.files import Damaged
from pipeline.engine.sealed import Unsealed
from pipeline.engine.stage import Source, Stage, basis, fingerprint
from pipeline.engine.store import Store


class State(StrEnum):
    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    BLOCKED = "blocked"
    QUARANTINED = "quarantined"


@dataclass
class Unit:
    """One stage on one video: the fingerprint its shard must have, and where it stands."""

    stage: str
    inputs: tuple[str, ...]
    source: Source
    fingerprint: str
    basis: dict[str, Any]
    state: State
    reason: str

    @property
    def video_id(self) -> str:
        return self.source.video_id


Plan = dict[tuple[str, str], Unit]  # by (stage, video_id), in order of stages within each video


def make_plan(stages: Sequence[Stage], sources: Sequence[Source], store: Store) -> Plan:
    """Where every unit stands. `stages` in order: each input comes before the stage that reads it."""
    identities = {stage.name: stage.identity() for stage in stages}
    roots = {stage.name for stage in stages if not stage.inputs}
    units: Plan = {}
    for source in sources:
        prints: dict[str, str] = {}
        for stage in stages:
            upstream = dict(("source", source.hash) if name in roots else (name, prints[name]) for name in stage.inputs)
            base = basis(stage, source, upstream, identities[stage.name])
            prints[stage.name] = fingerprint(base)
            inputs = [units[name, source.video_id] for name in stage.inputs]
            state, reason = _judge(stage.name, source, prints[stage.name], base, inputs, store)
            units[stage.name, source.video_id] = Unit(stage.name, stage.inputs, source, prints[stage.name], base,
                                                      state, reason)
    return units


def _judge(stage: str, source: Source, print_: str, base: dict[str, Any], inputs: list[Unit], store: Store,
           ) -> tuple[State, str]:
    for unit in inputs:
        if unit.state is State.QUARANTINED:
            return State.BLOCKED, f"{unit.stage} has this video in quarantine ({unit.reason})"
        if unit.state is State.BLOCKED:
            return State.BLOCKED, unit.reason
    if store.is_current(stage, source.video_id, print_):
        return State.DONE, "up to date"
    again = ""
    try:
        row = store.quarantined(stage, source.video_id)
        if row and row["fingerprint"] == print_:
            return State.QUARANTINED, f"{row['kind']}: {row['reason']}"
    except Damaged:
        again = "; its record in quarantine is damaged, so it is tried again"
    try:
        footer = store.look(store.path(stage, source.video_id))
    except FileNotFoundError:
        return State.MISSING, f"no shard yet{again}"
    except (Unsealed, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        return State.MISSING, f"the shard cannot be used: {what}{again}"
    return State.STALE, ("; ".join(changes(footer.basis, base)) or "made under another fingerprint") + again


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
