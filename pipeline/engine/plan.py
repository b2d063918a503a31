"""What is to be done: stages x videos -> done | missing | stale | blocked | quarantined, each with its reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from pipeline.engine.files import Damaged
from pipeline.engine.fingerprint import Fingerprinter, canonical, fingerprint
from pipeline.engine.sealed import Unsealed
from pipeline.engine.seen import PRINT_BYTES, Seen
from pipeline.engine.shard import file_name
from pipeline.engine.sources import in_columns
from pipeline.engine.stage import Source, Stage, recipe
from pipeline.engine.stamps import Names
from pipeline.engine.store import Store


class State(StrEnum):
    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    BLOCKED = "blocked"
    QUARANTINED = "quarantined"


Standing = tuple[State, str]  # with the reason
HASH = re.compile(r"[0-9a-f]{32}")
DONE: Standing = (State.DONE, "up to date")


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

    def __init__(self, stages: Sequence[Stage], sources: Sequence[Source], quick: bool = False) -> None:
        self.quick = quick
        self.stages = {stage.name: stage for stage in stages}
        self.sources = in_columns(sources)
        self.recipes: dict[str, list[dict[str, Any]]] = {}  # by the kind of the video
        self.prints = {stage.name: np.empty((0, PRINT_BYTES), np.uint8) for stage in stages}  # a row a video
        self.undone: dict[str, dict[int, Standing]] = {name: {} for name in self.stages}  # by the video's number
        self.hashes = _digests(self.sources.hashes)
        kinds: dict[str, int] = {}
        known: dict[int, int] = {}  # most videos share the very object
        self.likes: list[int] = []  # a video of each kind
        self.kinds = np.empty(len(sources), np.int32)  # of each video: those of one kind have the same facts
        for number, facts in enumerate(self.sources.facts):
            kind = known.get(id(facts))
            if kind is None:
                kind = known[id(facts)] = kinds.setdefault(canonical(facts), len(kinds))
                self.likes += [number] if kind == len(self.likes) else []
            self.kinds[number] = kind

    def __len__(self) -> int:
        return len(self.stages) * len(self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, video_id) for video_id in self.sources.ids for name in self.stages)

    def __getitem__(self, key: tuple[str, str]) -> Unit:
        name, video_id = key
        return self.unit(name, self.numbers[video_id])

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The places of the videos in the list of sources."""
        return {video_id: number for number, video_id in enumerate(self.sources.ids)}

    @cached_property
    def names(self) -> Names:
        """Of the shards, which are the same in every stage."""
        return Names(list(map(file_name, self.sources.ids)))

    def unit(self, name: str, number: int) -> Unit:
        """One stage on the video in a place of the list of sources."""
        state, reason = self.undone[name].get(number, DONE)
        return Unit(name, self.stages[name].inputs, self.sources[number], self.fingerprint(name, number),
                    self.recipes[name][self.kinds[number]], tuple(self._upstream(name, number).items()), state, reason)

    def fingerprint(self, name: str, number: int) -> str:
        """The one that the shard of a stage must have."""
        return self.prints[name][number].tobytes().hex()

    def quarantined(self) -> Iterator[Unit]:
        """The units that are in quarantine."""
        return (self.unit(name, number) for name, undone in self.undone.items()
                for number, (state, _) in undone.items() if state is State.QUARANTINED)

    def numbers_not_done(self) -> list[int]:
        """The videos of which not every stage is done, by their places."""
        return sorted(set().union(*self.undone.values()))

    def judge(self, name: str, store: Store) -> None:
        """Find out where a stage stands, after those before it."""
        stage = self.stages[name]
        identity = stage.identity()
        self.recipes[name] = [recipe(stage, stage.facts(self.sources[like]), identity) for like in self.likes]
        seen = Seen(store, name, self.names, self._made_of(stage), self.quick)
        prints, known = seen.prints()
        made = [Fingerprinter(one) for one in self.recipes[name]]
        for number in np.flatnonzero(~known).tolist():
            print_ = made[self.kinds[number]](self._upstream(name, number))
            prints[number] = np.frombuffer(bytes.fromhex(print_), np.uint8)
        self.prints[name] = prints
        undone = self.undone[name]
        for number in sorted(set().union(*(self.undone[above] for above in stage.inputs))):
            found = [(above, *self.undone[above][number]) for above in stage.inputs if number in self.undone[above]]
            if standing := _obstacle(found):
                undone[number] = standing
        for number in np.flatnonzero(~seen.as_seen(prints)).tolist():
            if number not in undone and not seen.is_current(number, self.sources.ids[number]):
                undone[number] = self._why_not(name, number, self.fingerprint(name, number), store)
        seen.save()

    def look_behind(self, store: Store) -> None:
        """Look at the footers of all shards of the videos that have work: what a stage is to read is not believed."""
        for number in self.numbers_not_done():
            for name, undone in self.undone.items():
                mark = self.fingerprint(name, number)
                if number not in undone and not store.is_current(name, self.sources.ids[number], mark):
                    undone[number] = self._why_not(name, number, mark, store)

    def _why_not(self, name: str, number: int, print_: str, store: Store) -> Standing:
        video_id, again = self.sources.ids[number], ""
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

    def _upstream(self, name: str, number: int) -> dict[str, str]:
        """What a fingerprint takes of the stages before: the root stage stands in it by the content hash of the source,
        so that a change of a label redoes only the stages that read labels."""
        inputs = self.stages[name].inputs
        if not inputs:
            return {"source": self.sources.hashes[number]}
        return dict(("source", self.sources.hashes[number]) if not self.stages[above].inputs
                    else (above, self.fingerprint(above, number)) for above in inputs)

    def _made_of(self, stage: Stage) -> np.ndarray:
        """What the fingerprints of a stage are made of, shape (videos, bytes): digests of the recipe and of each part
        of what is upstream, which are hashes already."""
        recipes = _digests([fingerprint(one) for one in self.recipes[stage.name]])
        upstream = [self.hashes if not self.stages[above].inputs else self.prints[above] for above in stage.inputs]
        return np.hstack([recipes[self.kinds], *(upstream or [self.hashes])])


def _digests(hashes: Sequence[str]) -> np.ndarray:
    """Hashes of 32 hex digits as bytes, shape (hashes, PRINT_BYTES)."""
    return np.frombuffer(b"".join(map(_digest, hashes)), np.uint8).reshape(-1, PRINT_BYTES)


def _digest(text: str) -> bytes:
    """Of other texts (what is wrong with a file stands in place of its hash where it cannot be read) another hash."""
    if HASH.fullmatch(text):
        return bytes.fromhex(text)
    return blake2b(text.encode(errors="surrogateescape"), digest_size=PRINT_BYTES).digest()


def make_plan(stages: Sequence[Stage], sources: Sequence[Source], store: Store, quick: bool = False) -> Plan:
    """Where every unit stands. `stages` in order: each input comes before the stage that reads it.

    `quick`: what lies in folders that have not changed is taken to be as it was seen (seen.py).
    """
    plan = Plan(stages, sources, quick)
    for stage in stages:
        plan.judge(stage.name, store)
    if quick:
        plan.look_behind(store)
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
