"""Reference descriptions: one to three sentences on place, actors, actions and outcome, from a small grammar."""

from collections.abc import Mapping, Sequence

import numpy as np

from dbvad.demo.world.scenes import Scene
from dbvad.demo.world.sprites import CLOTHES, Look

CLASSES = ("fighting", "road_accident", "explosion", "robbery", "vandalism", "arson")

# A description names a class if it holds one of the class's words and of no other class's: see `named_class`.
CLASS_WORDS: dict[str, tuple[str, ...]] = {
    "fighting": ("fight", "brawl"),
    "road_accident": ("accident", "crash", "collision"),
    "explosion": ("explosion", "explode", "blast"),
    "robbery": ("robbery", "rob ", "robs", "robbed", "robber", "at gunpoint"),
    "vandalism": ("vandal", "graffiti", "smash"),
    "arson": ("arson", "sets fire", "set fire", "on fire", "ablaze"),
}

Facts = Mapping[str, str]

_EVENTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "fighting": (
        ("{When}, {a} and {b} fight {where}.", "A fight breaks out {where} {when} between {a} and {b}."),
        ("They punch and kick each other.",),
        ("{outcome}",),
    ),
    "road_accident": (
        ("{When}, {a} crashes into {b} {where}.", "A road accident happens {where} {when}: {a} hits {b}."),
        ("Debris lies on the ground and smoke rises from the bonnet.",),
        ("{outcome}",),
    ),
    "explosion": (
        ("{When}, the {target} explodes {where}.", "An explosion tears through the {target} {where} {when}."),
        ("A fireball is followed by thick dark smoke.",),
        ("{outcome}",),
    ),
    "robbery": (
        ("{When}, {a} robs {b} at gunpoint {where}.", "A robbery takes place {where} {when}: {a} points a gun at {b}."),
        ("The victim raises both hands.",),
        ("{outcome}",),
    ),
    "vandalism": (
        ("{When}, {a} {act} {where}.", "Vandalism takes place {where} {when}: {a} {act}."),
        ("{detail}",),
        ("{outcome}",),
    ),
    "arson": (
        ("{When}, {a} sets fire to the {target} {where}.", "Arson takes place {where} {when}: {a} burns the {target}."),
        ("Flames grow and smoke rises.",),
        ("{outcome}",),
    ),
}
_WHERE = {
    "street": ("on a street", "at the roadside"),
    "shop": ("in a shop",),
    "car park": ("in a car park",),
    "plaza": ("on a plaza",),
}
_QUIET = ("Nothing unusual happens.", "The scene is calm.")


def actor(look: Look, scene: Scene) -> str:
    """What an observer calls a person: clothes by colour, or only dark and light where the camera sees no colour."""
    kind = "hooded man" if look.hood else look.noun
    if scene.mono:
        return f"a {kind} in {'light' if sum(CLOTHES[look.top]) > 360 else 'dark'} clothes"
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind} in {look.top}"


def _fill(rng: np.random.Generator, templates: Sequence[Sequence[str]], scene: Scene, facts: Facts) -> str:
    when = "at night" if scene.night else "during the day"
    where = _WHERE[scene.place][rng.integers(len(_WHERE[scene.place]))]
    values = {"when": when, "When": when[0].upper() + when[1:], "where": where, **facts}
    sentences = [t[int(rng.integers(len(t)))].format(**values) for t in templates]
    if len(sentences) == 3 and rng.random() < 0.35:
        del sentences[1]
    return " ".join(s[0].upper() + s[1:] for s in sentences if s)


def event_caption(rng: np.random.Generator, scene: Scene, label: str, facts: Facts) -> str:
    """A description of an event of class `label` with the given facts."""
    return _fill(rng, _EVENTS[label], scene, facts)


def normal_caption(rng: np.random.Generator, scene: Scene, activities: Sequence[str]) -> str:
    """A description of what people do when nothing happens."""
    first = activities[0] if activities else "people pass by"
    more = " ".join(a[0].upper() + a[1:] + "." for a in activities[1:2])
    return _fill(
        rng,
        (("{When}, {first} {where}.", "{first} {where} {when}."), ("{more}",), _QUIET),
        scene,
        {"first": first, "more": more},
    ).replace("  ", " ")


def named_class(text: str) -> str:
    """The class that a description names, by the earliest class word in it, or "normal" if it names none."""
    low = text.lower()
    found = [(low.find(word), name) for name, words in CLASS_WORDS.items() for word in words if word in low]
    return min(found)[1] if found else "normal"
