"""A masked person holds up a cashier, or somebody with a bag."""

import numpy as np

from dbvad.demo.world.actors import Key, Person, arrive, travel
from dbvad.demo.world.captions import actor
from dbvad.demo.world.effects import Effect
from dbvad.demo.world.events.incident import Incident, random_look, spot
from dbvad.demo.world.marks import Sack
from dbvad.demo.world.scenes import Scene


def robbery(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    thief, victim = random_look(rng, hood=True, mask=True), random_look(rng)
    length = end - start
    effects: list[Effect] = []
    seize, leave = start + 0.45 * length, max(start + 0.7 * length, end - 1.1)
    if scene.layout.till:
        vx, vz = scene.layout.till
        z, side = scene.layout.lanes[1], -1 if vx > 0 else 1
        x = vx + side * 1.15
        v = [
            Key(-9, vx, vz, "stand", face=side),
            Key(start, vx, vz, "hands up", face=side),
            Key(end + 0.8, vx, vz, "stand", face=side),
            Key(9999, vx, vz),
        ]
        who = f"the cashier, {actor(victim, scene)}"
        outcome = "The robber takes the money and runs away."
    else:
        vx, z = spot(rng, scene, 0.4)
        side = int(rng.choice((-1, 1)))
        x = vx + side * 1.05
        effects.append(Sack(vx + side * 0.45, z - 0.05, start + 0.3, leave))
        v = arrive(start, [(-side * scene.edge(z), z), (vx, z)], 1.3, prop="bag")
        v = [
            *v[:-1],
            Key(start, vx, z, "hands up", "bag", side),
            Key(leave, vx, z, "hands up", "", side),
            Key(end + 0.5, vx, z, "stand", "", side),
            *travel(end + 1.2, [(vx, z), (-side * scene.edge(z), z)], 2.6, "run"),
        ]
        who = actor(victim, scene)
        outcome = "The robber takes the bag and runs away."
    edge = side * scene.edge(z)
    r = arrive(start, [(edge, z), (x, z)], 1.7)[:-1]
    r += [
        Key(start, x, z, "aim", "gun", -side),
        Key(seize, x - side * 0.15, z, "aim", "gun", -side),
        Key(leave - 0.1, x - side * 0.15, z, "aim", "gun", -side),
    ]
    r += travel(leave, [(x, z), (edge, z)], max(2.8, abs(edge - x) / max(0.6, end - leave)), "run", "loot")
    facts = {"a": actor(thief, scene), "b": who, "outcome": outcome}
    return Incident(
        "robbery",
        start,
        end,
        facts,
        (Person(thief, tuple(r)), Person(victim, tuple(v))),
        effects=tuple(effects),
        panic=bool(rng.random() < 0.3),
    )
