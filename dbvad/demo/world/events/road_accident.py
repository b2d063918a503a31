"""A vehicle hits another one, or a pedestrian."""

import math
from dataclasses import replace

import numpy as np

from dbvad.demo.world.actors import Car, Drive, Key, Person, arrive, travel
from dbvad.demo.world.captions import actor
from dbvad.demo.world.effects import Debris, Effect, Smoke
from dbvad.demo.world.events.incident import Incident, pick, random_look
from dbvad.demo.world.marks import Stain
from dbvad.demo.world.scenes import Scene
from dbvad.demo.world.sprites import CAR, CLOTHES, VAN


def road_accident(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    z, way = scene.layout.roads[rng.integers(len(scene.layout.roads))]
    clear = -math.copysign(1.0, scene.layout.targets[0].x)  # where nothing stands in front of it
    x = clear * float(rng.uniform(0.1, 0.4)) * scene.camera.half_width(z) - way * 2.0
    far, hit = scene.edge(z) + 6, start + min(0.5, 0.15 * (end - start))
    speed = float(rng.uniform(6.5, 8.5)) if scene.place == "street" else 4.5
    ahead = 0.0 if way > 0 else math.pi
    colours = list(rng.permutation(list(CLOTHES)))
    body = replace(VAN if rng.random() < 0.25 else CAR, colour=str(colours[0]))
    skew = float(rng.choice((-1, 1)) * rng.uniform(0.35, 0.7))
    stop = x + way * 0.9
    drives = [
        Drive(hit - (far + way * x) / speed, -way * far, z, ahead),
        Drive(hit, x, z, ahead),
        Drive(hit + 0.5, stop, z + 0.3, ahead + skew),
        Drive(end, stop, z + 0.3, ahead + skew),
        Drive(end + 1.2, stop + way * 1.5, z, ahead),
        Drive(end + 4.5, way * far, z, ahead),
    ]
    nose = (x + way * 2.2, 0.8, z)
    effects: list[Effect] = [
        Debris(*nose, hit, end + 1, 3.2, (216, 222, 228), int(rng.integers(2**31)), 46),
        Smoke(x + way * 2.4, 0.9, z - 0.2, hit + 0.2, end - 0.8, 1.0, 222, int(rng.integers(99)), life=2.4),
        Stain(x + way * 2.2, z - 1.1, hit + 0.2, end + 1.5, 1.1),
    ]
    people: list[Person] = []
    first = Car(body, tuple(drives), hazard=(hit + 0.8, end))
    cars = [first]
    if rng.random() < 0.65:
        other_way = -way if len(scene.layout.roads) > 1 or rng.random() < 0.5 else way
        other = replace(CAR, colour=str(colours[1]))
        if other_way == -way:
            lane = next((r for r, w in scene.layout.roads if w == -way), z + 1.6)
            heading = math.pi - ahead
            place, tilt = x + way * 4.2, heading + float(rng.choice((-1, 1)) * rng.uniform(0.4, 0.8))
            cars.append(
                Car(
                    other,
                    (
                        Drive(hit - 0.9 - (far - way * x) / speed, way * (far + 4), lane, heading),
                        Drive(hit - 0.9, place + way * 5.5, lane, heading),
                        Drive(hit, place - way * 0.3, z + 0.4, heading + way * 0.35),
                        Drive(hit + 0.6, place + way * 0.5, z + 0.7, tilt),
                        Drive(end, place + way * 0.5, z + 0.7, tilt),
                        Drive(end + 1.3, place - way, lane, heading),
                        Drive(end + 5, -way * far, lane, heading),
                    ),
                    hazard=(hit + 0.8, end),
                )
            )
        else:
            place = x + way * 3.8
            cars.append(
                Car(
                    other,
                    (
                        Drive(hit - (far + way * place) / (speed * 0.45), -way * far, z, ahead),
                        Drive(hit - 0.1, place, z, ahead),
                        Drive(hit + 0.7, place + way * 1.2, z - 0.1, ahead - 0.3),
                        Drive(end, place + way * 1.2, z - 0.1, ahead - 0.3),
                        Drive(end + 3, way * far, z, ahead),
                    ),
                    hazard=(hit + 0.8, end),
                )
            )
        struck = (
            f"{'an orange' if other.colour == 'orange' else 'a ' + other.colour} car"
            if not scene.mono
            else "another car"
        )
        outcome = "The vehicles block the road."
    else:
        look = random_look(rng)
        at = x + way * 2.3
        keys = arrive(hit, [(at - 0.6, z - 3.2), (at, z)], 1.5)[:-1]
        keys += [
            Key(hit, at, z, "stagger", face=-way),
            Key(hit + 0.35, at + way * 1.2, z - 1.2, "lie", face=-way),
            Key(end, at + way * 1.3, z - 1.2, "lie", face=-way),
        ]
        keys += travel(end + 0.8, [(at + way * 1.3, z - 1.2), (at + way * 2, z - 3.0), (way * far, z - 3.0)], 1.3)
        people.append(Person(look, tuple(keys)))
        struck = f"a pedestrian, {actor(look, scene)}"
        outcome = "The pedestrian lies on the road."
    if end - start > 3:
        helper = random_look(rng)
        side = -way * scene.edge(z - 2)
        keys = travel(hit + 0.6, [(side, z - 2.0), (x - way * 0.5, z - 2.0)], 3.2, "run")
        if keys[-1].t < end:
            keys += [
                Key(keys[-1].t, keys[-1].x, z - 2.0, pick(rng, "phone", "crouch", "stand"), face=way),
                *travel(max(end, keys[-1].t + 1), [(keys[-1].x, z - 2.0), (side, z - 2.0)], 1.5),
            ]
            people.append(Person(helper, tuple(keys)))
    colour = "" if scene.mono else f"{body.colour} "
    facts = {"a": f"{'an' if colour[:1] in ('o',) else 'a'} {colour}{body.noun}", "b": struck, "outcome": outcome}
    return Incident("road_accident", start, end, facts, tuple(people), tuple(cars), tuple(effects))
