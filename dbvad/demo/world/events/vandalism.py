"""Somebody sprays, or smashes, what stands there."""

import numpy as np

from dbvad.demo.world.actors import Key, Person, arrive, travel
from dbvad.demo.world.captions import actor
from dbvad.demo.world.effects import Debris, Effect
from dbvad.demo.world.events.incident import Incident, choose_target, facing, random_look
from dbvad.demo.world.marks import Hole, Mist, Paint
from dbvad.demo.world.scenes import Scene

PAINTS = ((226, 24, 40), (30, 60, 230), (240, 60, 190), (20, 190, 70))


def vandalism(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = choose_target(rng, scene, "vandalism"), random_look(rng, hood=rng.random() < 0.4)
    z = target.z - target.reach
    side = facing(rng, scene, target, z)
    paint = target.kind not in ("shelf",) and rng.random() < 0.5
    x, edge = target.x - side * (0.42 * target.width + (0.1 if paint else 0.35)), scene.edge(z)
    tool = "spray" if paint else "bat"
    keys = arrive(start, [(-side * edge, z), (x, z)], 1.4, prop=tool)[:-1]
    effects: list[Effect] = []
    if paint:
        keys += [Key(start, x, z, "reach", tool, side), Key((start + end) / 2, x + side * 0.6, z, "reach", tool, side)]
        colour, number = PAINTS[rng.integers(len(PAINTS))], int(rng.integers(99))
        effects += [
            Paint(target.x, target.y + 0.1, target.z - 0.05, start, end, colour, number, 0.85 * target.width),
            Mist(x + side * 0.75, 1.35, z + 0.2, start, end, x + side * 1.35, colour, number),
        ]
        act = f"sprays graffiti on the {target.kind}"
        detail, outcome = "The paint spreads in large strokes.", "Then the vandal walks off."
    else:
        keys.append(Key(start, x, z, "swing", tool, side))
        chips = (226, 236, 240) if target.kind != "shelf" else (226, 112, 70)
        spot, size = target.x - side * 0.1, 0.42 * min(target.width, target.height)
        effects.append(Hole(spot, target.y + 0.1, target.z - 0.05, start + 0.4, end, size, int(rng.integers(2**31))))
        for blow in np.arange(start + 0.4, end - 0.2, 0.8):
            effects.append(
                Debris(
                    spot, target.y, target.z - 0.3, float(blow), end + 1, 2.4, chips, int(rng.integers(2**31)), 18
                )
            )
        act = f"smashes the {target.kind} with a bat"
        detail, outcome = (
            "Pieces fly with every blow.",
            "Then the vandal runs away.",
        )
    keys += travel(end, [(x, z), (side * edge, z)], 1.8 if paint else 3.2, "walk" if paint else "run", tool)
    facts = {"a": actor(look, scene), "act": act, "detail": detail, "outcome": outcome}
    return Incident("vandalism", start, end, facts, (Person(look, tuple(keys)),), effects=tuple(effects))
