"""What an event is made of, and the choices that all choreographies share."""

import math
from dataclasses import dataclass

import numpy as np

from dbvad.demo.world.actors import Car, Person
from dbvad.demo.world.captions import Facts
from dbvad.demo.world.effects import Effect, Fire
from dbvad.demo.world.objects import Prop, Target
from dbvad.demo.world.scenes import Scene
from dbvad.demo.world.sprites import CLOTHES, HAIR, SKIN, TROUSERS, Look


@dataclass(frozen=True)
class Incident:
    """One event from `start` to `end` (seconds) with all who take part, their coming and going included."""

    label: str
    start: float
    end: float
    facts: Facts
    people: tuple[Person, ...] = ()
    cars: tuple[Car, ...] = ()
    effects: tuple[Effect, ...] = ()
    props: tuple[Prop, ...] = ()
    panic: bool = False  # whether others run away from its start

    def place(self, t: float) -> tuple[float, float, float]:
        """World point (x, y, z) where the event is to be seen at time t."""
        if self.label in ("explosion", "arson"):
            fire = next(e for e in self.effects if isinstance(e, Fire))
            return fire.x, 0.7, fire.z
        if self.label == "road_accident":
            drive = self.cars[0].at(t)
            return (drive.x, 0.7, drive.z) if drive else (0.0, 0.7, self.cars[0].drives[0].z)
        there = [state for state in (p.at(t) for p in self.people) if state]
        return float(np.mean([s.x for s in there])), 1.0, float(np.mean([s.z for s in there]))


def random_look(rng: np.random.Generator, *, hood: bool = False, mask: bool = False, avoid: str = "") -> Look:
    """Somebody's clothes, skin, hair and build; `avoid`: a colour that somebody else wears."""
    tops = [c for c in CLOTHES if c != avoid]
    return Look(
        top=str(rng.choice(("black", "grey"))) if hood else tops[rng.integers(len(tops))],
        trousers=TROUSERS[rng.integers(len(TROUSERS))],
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        noun="man" if rng.random() < 0.7 else "person",
        hood=hood,
        mask=mask,
        build=float(rng.uniform(1.0, 1.14)),
    )


def spot(rng: np.random.Generator, scene: Scene, share: float = 0.5) -> tuple[float, float]:
    """A place (x, z) in the picture where people can act, within `share` of its half width."""
    z = float(rng.choice(scene.layout.lanes[:2]))  # the near lanes: what happens there can be seen
    return float(rng.uniform(-share, share)) * scene.camera.half_width(z), z


def pick(rng: np.random.Generator, *choices: str) -> str:
    """One of them."""
    return choices[rng.integers(len(choices))]


def choose_target(rng: np.random.Generator, scene: Scene, label: str) -> Target:
    """A thing of the place that this can be done to."""
    fitting = [t for t in scene.layout.targets if label != "vandalism" or t.kind != "rubbish container"]
    chosen = fitting or list(scene.layout.targets)
    return chosen[rng.integers(len(chosen))]


def facing(rng: np.random.Generator, scene: Scene, target: Target, z: float) -> int:
    """Which way somebody at the target looks; at the picture's edge outwards, or they would stand outside it."""
    side = int(rng.choice((-1, 1)))
    return int(math.copysign(1, target.x)) if abs(target.x) > 0.3 * scene.camera.half_width(z) else side
