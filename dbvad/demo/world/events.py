"""The six anomalies, each a choreography of people, vehicles and effects between two moments."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dbvad.demo.world.actors import Car, Drive, Key, Person, arrive, travel
from dbvad.demo.world.captions import Facts, actor
from dbvad.demo.world.effects import Blast, Debris, Effect, Fire, Smoke
from dbvad.demo.world.marks import Hole, Mist, Paint, Sack, Stain
from dbvad.demo.world.objects import Prop, Target
from dbvad.demo.world.scenes import Scene
from dbvad.demo.world.sprites import CAR, CLOTHES, HAIR, SKIN, TROUSERS, VAN, Look

SUITED: dict[str, tuple[str, ...]] = {  # the places where each class can happen
    "fighting": ("street", "shop", "car park", "plaza"),
    "road_accident": ("street", "car park"),
    "explosion": ("street", "shop", "car park", "plaza"),
    "robbery": ("street", "shop", "car park", "plaza"),
    "vandalism": ("street", "shop", "car park", "plaza"),
    "arson": ("street", "shop", "car park", "plaza"),
}
PAINTS = ((226, 24, 40), (30, 60, 230), (240, 60, 190), (20, 190, 70))


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


def _spot(rng: np.random.Generator, scene: Scene, share: float = 0.5) -> tuple[float, float]:
    z = float(rng.choice(scene.layout.lanes[:2]))  # the near lanes: what happens there can be seen
    return float(rng.uniform(-share, share)) * scene.camera.half_width(z), z


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return choices[rng.integers(len(choices))]


def fighting(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    x, z = _spot(rng, scene)
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
            blow, answer = _pick(rng, "kick", "punch", "guard"), "lie"
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
                Key(keys[-1].t, keys[-1].x, z - 2.0, _pick(rng, "phone", "crouch", "stand"), face=way),
                *travel(max(end, keys[-1].t + 1), [(keys[-1].x, z - 2.0), (side, z - 2.0)], 1.5),
            ]
            people.append(Person(helper, tuple(keys)))
    colour = "" if scene.mono else f"{body.colour} "
    facts = {"a": f"{'an' if colour[:1] in ('o',) else 'a'} {colour}{body.noun}", "b": struck, "outcome": outcome}
    return Incident("road_accident", start, end, facts, tuple(people), tuple(cars), tuple(effects))


def explosion(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, seed = _target(rng, scene, "explosion"), int(rng.integers(2**31))
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
        x, z = _spot(rng, scene, 0.7)
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


def _target(rng: np.random.Generator, scene: Scene, label: str) -> Target:
    fitting = [t for t in scene.layout.targets if label != "vandalism" or t.kind != "rubbish container"]
    chosen = fitting or list(scene.layout.targets)
    return chosen[rng.integers(len(chosen))]


def _facing(rng: np.random.Generator, scene: Scene, target: Target, z: float) -> int:
    """Which way somebody at the target looks; at the picture's edge outwards, or they would stand outside it."""
    side = int(rng.choice((-1, 1)))
    return int(math.copysign(1, target.x)) if abs(target.x) > 0.3 * scene.camera.half_width(z) else side


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
        vx, z = _spot(rng, scene, 0.4)
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


def vandalism(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = _target(rng, scene, "vandalism"), random_look(rng, hood=rng.random() < 0.4)
    z = target.z - target.reach
    side = _facing(rng, scene, target, z)
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


def arson(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = _target(rng, scene, "arson"), random_look(rng, hood=rng.random() < 0.3)
    z = target.z - target.reach
    side = _facing(rng, scene, target, z)
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


EVENTS: dict[str, Callable[[np.random.Generator, Scene, float, float], Incident]] = {
    "fighting": fighting,
    "road_accident": road_accident,
    "explosion": explosion,
    "robbery": robbery,
    "vandalism": vandalism,
    "arson": arson,
}
