"""Two people hit each other; one falls, or both walk off, or one chases the other."""

import numpy as np

from dbvad.demo.world.actors import Key, Person, arrive, travel
from dbvad.demo.world.captions import actor
from dbvad.demo.world.events.incident import Incident, pick, random_look, spot
from dbvad.demo.world.scenes import Scene


def fighting(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    x, z = spot(rng, scene)
    one, edge = random_look(rng), scene.edge(z)
    two = random_look(rng, avoid=one.top)
    gap, length = 0.7, end - start
    falls = length > 2.5 and rng.random() < 0.65
    down = start + length * float(rng.uniform(0.4, 0.65)) if falls else end
    a = arrive(start, [(-edge, z), (x - gap / 2, z)], 1.5)[:-1]
    b = arrive(start, [(edge, z), (x + gap / 2, z)], 1.4)[:-1]
    t, drift = start, 0.0
    while t < end - 0.05:
        drift = float(np.clip(drift + rng.normal(0, 0.12), -0.8, 0.8))
        blow, answer = rng.permutation(["punch", "guard", "kick", "stagger", "punch"])[:2]
        if t >= down:
            blow, answer = pick(rng, "kick", "punch", "guard"), "lie"
        near = gap * float(rng.uniform(0.75, 1.1))
        a.append(Key(t, x + drift - near / 2, z, str(blow), face=1))
        b.append(Key(t, x + drift + near / 2 + (0.45 if answer == "lie" else 0), z, str(answer), face=-1))
        t += float(rng.uniform(0.3, 0.6))
    chase = rng.random() < 0.3 and not falls
    a += travel(end, [(a[-1].x, z), (edge if chase else -edge, z)], 3.2 if chase else 1.6, "run" if chase else "walk")
    if falls:
        b.append(Key(end, b[-1].x, z, "lie", face=-1))
        b += travel(end + 1.5, [(b[-1].x, z), (edge, z)], 1.1)
        outcome = "One of them falls to the ground and stays down."
    else:
        b += travel(end, [(b[-1].x, z), (edge, z)], 3.4 if chase else 1.6, "run" if chase else "walk")
        outcome = (
            "One of them runs away and the other goes after."
            if chase
            else "Then both walk away."
        )
    facts = {"a": actor(one, scene), "b": actor(two, scene), "outcome": outcome}
    return Incident("fighting", start, end, facts, people=(Person(one, tuple(a)), Person(two, tuple(b))))
