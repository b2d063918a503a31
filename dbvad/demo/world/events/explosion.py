"""Something blows up and burns, and people run."""

import math

import numpy as np

from dbvad.demo.world.actors import Key, Person, arrive, travel
from dbvad.demo.world.effects import Blast, Debris, Effect, Fire, Smoke
from dbvad.demo.world.events.incident import Incident, choose_target, random_look, spot
from dbvad.demo.world.marks import Stain
from dbvad.demo.world.scenes import Scene


def explosion(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, seed = choose_target(rng, scene, "explosion"), int(rng.integers(2**31))
    room = 0.75 if scene.place == "shop" else 1.0
    blasts = [start]
    while blasts[-1] + 3.2 < end:
        blasts.append(blasts[-1] + float(rng.uniform(1.7, 2.7)))  # what is stored there goes up bit by bit
    effects: tuple[Effect, ...] = (
        *(
            Blast(target.x, target.y, target.z - 0.1, at, float(rng.uniform(1.3, 1.9)) * room * (0.8 if n else 1.0))
            for n, at in enumerate(blasts)
        ),
        Stain(target.x, target.z - 0.4, start, end + 1.5, 1.5 * room),
        Debris(target.x, target.y, target.z - 0.2, start, end + 1, 5.0, (66, 58, 50), seed, 60),
        Fire(
            target.x,
            target.y * 0.4,
            target.z - 0.25,
            start,
            end,
            float(rng.uniform(0.7, 1.0)) * room,
            seed % 97,
            rise=0.2,
        ),
        Smoke(
            target.x,
            target.y,
            target.z - 0.3,
            start + 0.1,
            max(start + 0.6, end - 2.0),
            1.7 * room,
            40,
            seed % 89,
            rise=0.75,
            life=3.0,
            density=0.85,
        ),
    )
    people = []
    for _ in range(int(rng.integers(1, 4))):
        x, z = spot(rng, scene, 0.7)
        side = math.copysign(scene.edge(z), x - target.x)
        keys = [*arrive(start, [(-side, z), (x, z)], 1.3)[:-1], Key(start, x, z, "stagger", face=-1 if side > 0 else 1)]
        if rng.random() < 0.5:
            keys.append(Key(start + 0.4, x + math.copysign(0.5, side), z, "lie", face=1))
        keys += travel(start + float(rng.uniform(0.8, 1.6)), [(x + math.copysign(0.5, side), z), (side, z)], 3.4, "run")
        people.append(Person(random_look(rng), tuple(keys)))
    facts = {
        "target": target.kind,
        "outcome": "People run away.",
    }
    return Incident("explosion", start, end, facts, tuple(people), effects=effects, panic=True)
