"""Somebody pours from a canister, lights it and runs."""

import numpy as np

from dbvad.demo.world.actors import Key, Person, arrive, travel
from dbvad.demo.world.captions import actor
from dbvad.demo.world.effects import Fire, Smoke
from dbvad.demo.world.events.incident import Incident, choose_target, facing, random_look
from dbvad.demo.world.marks import Sack
from dbvad.demo.world.scenes import Scene


def arson(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = choose_target(rng, scene, "arson"), random_look(rng, hood=rng.random() < 0.3)
    z = target.z - target.reach
    side = facing(rng, scene, target, z)
    x, edge = target.x - side * (0.42 * target.width + 0.4), scene.edge(z)
    length, seed = end - start, int(rng.integers(2**31))
    light, room = start + min(2.2, 0.25 * length), 0.85 if scene.place == "shop" else 1.0
    keys = arrive(start, [(-side * edge, z), (x, z)], 1.3, prop="canister")[:-1]
    keys += [Key(start, x, z, "pour", "canister", side), Key(light - min(0.8, 0.1 * length), x, z, "crouch", "", side)]
    keys += travel(light + 0.4, [(x, z), (-side * edge, z)], 3.4, "run")
    effects = (
        Sack(x - side * 0.15, z - 0.1, light - 0.3, end + 1, (232.0, 24.0, 20.0)),  # the canister, left behind
        Fire(
            target.x,
            0.1,
            target.z - 0.15,
            light,
            end,
            float(rng.uniform(1.3, 1.8)) * room,
            seed % 97,
            rise=min(2.0, 0.2 * length),
        ),
        Smoke(
            target.x,
            1.5,
            target.z - 0.2,
            light + 0.5,
            max(light + 0.6, end - 1.5),
            0.7 * room,
            165,
            seed % 89,
            rise=0.9,
        ),
    )
    facts = {
        "a": actor(look, scene),
        "target": target.kind,
        "outcome": "The arsonist runs away.",
    }
    return Incident(
        "arson", start, end, facts, (Person(look, tuple(keys)),), effects=effects, panic=bool(rng.random() < 0.4)
    )
