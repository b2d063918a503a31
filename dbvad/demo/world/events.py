"""The six anomalies, each a choreography of people, vehicles and effects between two moments."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dbvad.demo.world.actors import Car, Drive, Key, Person, arrive, travel
from dbvad.demo.world.captions import Facts, actor
from dbvad.demo.world.effects import Blast, Debris, Effect, Fire, Paint, Smoke
from dbvad.demo.world.places import Prop, Target
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


def random_look(rng: np.random.Generator, *, hood: bool = False, avoid: str = "") -> Look:
    tops = [c for c in CLOTHES if c != avoid]
    return Look(
        top=str(rng.choice(("black", "grey"))) if hood else tops[rng.integers(len(tops))],
        trousers=TROUSERS[rng.integers(len(TROUSERS))],
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        noun="man" if rng.random() < 0.7 else "person",
        hood=hood,
        build=float(rng.uniform(1.0, 1.14)),
    )


def _spot(rng: np.random.Generator, scene: Scene, share: float = 0.5) -> tuple[float, float]:
    z = float(rng.choice(scene.layout.lanes[:3]))  # the nearer lanes: what happens there can be seen
    return float(rng.uniform(-share, share)) * scene.camera.half_width(z), z


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return choices[rng.integers(len(choices))]


def fighting(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    x, z = _spot(rng, scene)
    one, edge = random_look(rng), scene.edge(z)
    two = random_look(rng, avoid=one.top)
    gap, length = 0.62, end - start
    falls = length > 3 and rng.random() < 0.6
    down = start + length * float(rng.uniform(0.55, 0.75)) if falls else end
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
        outcome = _pick(rng, "One of them ends up lying on the ground.", "One falls to the ground and stays down.")
    else:
        b += travel(end, [(b[-1].x, z), (edge, z)], 3.4 if chase else 1.6, "run" if chase else "walk")
        outcome = (
            "One of them runs away and the other goes after."
            if chase
            else _pick(rng, "Then both walk away.", "In the end they part.")
        )
    facts = {"a": actor(one, scene), "b": actor(two, scene), "outcome": outcome}
    return Incident("fighting", start, end, facts, people=(Person(one, tuple(a)), Person(two, tuple(b))))


def road_accident(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    z, way = scene.layout.roads[rng.integers(len(scene.layout.roads))]
    x = float(rng.uniform(-0.35, 0.35)) * scene.camera.half_width(z)
    far, hit = scene.edge(z) + 6, start + min(0.5, 0.15 * (end - start))
    speed = float(rng.uniform(6.5, 8.5)) if scene.place == "street" else 4.5
    ahead = 0.0 if way > 0 else math.pi
    colours = list(rng.permutation(list(CLOTHES)))
    body = replace(VAN if rng.random() < 0.25 else CAR, colour=str(colours[0]))
    skew = float(rng.choice((-1, 1)) * rng.uniform(0.25, 0.6))
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
        Debris(*nose, hit, end, 4.5, (206, 214, 220), int(rng.integers(2**31)), 40),
        Smoke(x + way * 2.8, 0.9, z - 0.2, hit + 0.2, end - 0.8, 0.8, 205, int(rng.integers(99))),
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
            place, tilt = x + way * 4.7, heading + float(rng.choice((-1, 1)) * rng.uniform(0.3, 0.7))
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
            place = x + way * 4.1
            cars.append(
                Car(
                    other,
                    (
                        Drive(hit - (far + way * place) / (speed * 0.45), -way * far, z, ahead),
                        Drive(hit - 0.1, place, z, ahead),
                        Drive(hit + 0.7, place + way * 1.7, z - 0.1, ahead - 0.12),
                        Drive(end, place + way * 1.7, z - 0.1, ahead - 0.12),
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
        outcome = _pick(rng, "Both cars stand damaged and people come to look.", "The vehicles block the road.")
    else:
        look = random_look(rng)
        at = x + way * 2.3
        keys = arrive(hit, [(at - 0.6, z - 4.0), (at, z)], 1.5)[:-1]
        keys += [
            Key(hit, at, z, "stagger", face=-way),
            Key(hit + 0.35, at + way * 1.6, z - 0.9, "lie", face=-way),
            Key(end, at + way * 1.7, z - 0.9, "lie", face=-way),
        ]
        keys += travel(end + 0.8, [(at + way * 1.7, z - 0.9), (at + way * 2, z - 3.5), (way * far, z - 3.5)], 1.3)
        people.append(Person(look, tuple(keys)))
        struck = f"a pedestrian, {actor(look, scene)}"
        outcome = _pick(rng, "The pedestrian lies on the road.", "The victim stays on the ground in front of the car.")
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
    room = 0.65 if scene.place == "shop" else 1.0
    effects = (
        Blast(target.x, target.y, target.z - 0.1, start, float(rng.uniform(1.8, 2.7)) * room),
        Debris(target.x, target.y, target.z - 0.2, start, end + 2, 7.5, (60, 54, 48), seed, 60),
        Fire(
            target.x,
            target.y * 0.4,
            target.z - 0.25,
            start,
            end,
            float(rng.uniform(1.2, 2.0)) * room,
            seed % 97,
            rise=0.2,
        ),
        Smoke(
            target.x,
            target.y + 0.4,
            target.z - 0.3,
            start + 0.1,
            max(start + 0.6, end - 2.2),
            1.9 * room,
            74,
            seed % 89,
            rise=1.5,
            density=0.75,
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
        "outcome": _pick(rng, "People run away.", "People nearby fall or flee.", "Passers-by run for cover."),
    }
    return Incident("explosion", start, end, facts, tuple(people), effects=effects, panic=True)


def _target(rng: np.random.Generator, scene: Scene, label: str) -> Target:
    fitting = [
        t for t in scene.layout.targets if not (label == "vandalism" and t.kind in ("rubbish bin", "door"))
    ] or list(scene.layout.targets)
    return fitting[rng.integers(len(fitting))] if fitting else Target("rubbish heap", *_flat(_spot(rng, scene)))


def _flat(spot: tuple[float, float]) -> tuple[float, float, float]:
    return spot[0], 0.3, spot[1] + 0.6


def robbery(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    thief, victim = random_look(rng, hood=True), random_look(rng)
    length = end - start
    seize, leave = start + 0.45 * length, start + 0.68 * length
    if scene.layout.till:
        vx, vz = scene.layout.till
        z, side = 5.7, -1 if vx > 0 else 1
        x = vx + side * 1.3
        v = [
            Key(-9, vx, vz, "stand", face=side),
            Key(start, vx, vz, "hands up", face=side),
            Key(end + 0.8, vx, vz, "stand", face=side),
            Key(9999, vx, vz),
        ]
        who = f"the cashier, {actor(victim, scene)}"
        outcome = _pick(
            rng, "The robber takes the money from the till and runs out.", "The robber flees with the takings."
        )
    else:
        vx, z = _spot(rng, scene, 0.4)
        side = int(rng.choice((-1, 1)))
        x = vx + side * 0.95
        v = arrive(start, [(-side * scene.edge(z), z), (vx, z)], 1.3, prop="bag")
        v = [
            *v[:-1],
            Key(start, vx, z, "hands up", "bag", side),
            Key(leave, vx, z, "hands up", "", side),
            Key(end + 0.5, vx, z, "stand", "", side),
            *travel(end + 1.2, [(vx, z), (-side * scene.edge(z), z)], 2.6, "run"),
        ]
        who = actor(victim, scene)
        outcome = _pick(rng, "The robber takes a bag and runs away.", "The robber grabs the bag and flees.")
    edge = side * scene.edge(z)
    r = arrive(start, [(edge, z), (x, z)], 1.7)[:-1]
    r += [
        Key(start, x, z, "aim", "gun", -side),
        Key(seize, x - side * 0.25, z, "grab", "gun", -side),
        Key(leave - 0.1, x - side * 0.25, z, "aim", "gun", -side),
    ]
    r += travel(leave, [(x, z), (edge, z)], max(2.8, abs(edge - x) / max(0.6, end - leave)), "run", "loot")
    facts = {"a": actor(thief, scene), "b": who, "outcome": outcome}
    return Incident(
        "robbery",
        start,
        end,
        facts,
        (Person(thief, tuple(r)), Person(victim, tuple(v))),
        panic=bool(rng.random() < 0.3),
    )


def vandalism(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = _target(rng, scene, "vandalism"), random_look(rng, hood=rng.random() < 0.4)
    z, side = target.z - target.reach, int(rng.choice((-1, 1)))
    paint = target.kind not in ("shelf",) and rng.random() < 0.45
    x, edge = target.x - side * (0.35 if paint else 0.7), scene.edge(z)
    tool = "spray" if paint else "bat"
    keys = arrive(start, [(-side * edge, z), (x, z)], 1.4, prop=tool)[:-1]
    effects: list[Effect] = []
    if paint:
        keys += [Key(start, x, z, "reach", tool, side), Key((start + end) / 2, x + side * 0.6, z, "reach", tool, side)]
        colour = [(200, 30, 40), (30, 60, 200), (20, 20, 24), (30, 160, 70)][rng.integers(4)]
        effects.append(Paint(target.x, target.y + 0.2, target.z - 0.05, start, end, colour, int(rng.integers(99))))
        act = _pick(rng, f"sprays graffiti on the {target.kind}", f"paints graffiti over the {target.kind}")
        detail, outcome = "The paint spreads in large strokes.", "The vandal walks off and leaves the damage behind."
    else:
        keys.append(Key(start, x, z, "swing", tool, side))
        chips = (188, 214, 226) if target.kind != "shelf" else (206, 92, 60)
        for blow in np.arange(start + 0.4, end - 0.2, 0.8):
            effects.append(
                Debris(
                    target.x, target.y, target.z - 0.3, float(blow), end + 1, 2.6, chips, int(rng.integers(2**31)), 22
                )
            )
        act = _pick(rng, f"smashes the {target.kind} with a bat", f"strikes and smashes the {target.kind} with a stick")
        detail, outcome = (
            _pick(rng, "Pieces fly with every blow.", "Shards fall to the ground."),
            "The vandal runs away and leaves it broken.",
        )
    keys += travel(end, [(x, z), (side * edge, z)], 1.8 if paint else 3.2, "walk" if paint else "run", tool)
    facts = {"a": actor(look, scene), "act": act, "detail": detail, "outcome": outcome}
    return Incident("vandalism", start, end, facts, (Person(look, tuple(keys)),), effects=tuple(effects))


def arson(rng: np.random.Generator, scene: Scene, start: float, end: float) -> Incident:
    target, look = _target(rng, scene, "arson"), random_look(rng, hood=rng.random() < 0.3)
    z, side = target.z - target.reach, int(rng.choice((-1, 1)))
    x, edge, length, seed = target.x - side * 0.75, scene.edge(z), end - start, int(rng.integers(2**31))
    light, room = start + min(3.0, 0.3 * length), 0.7 if scene.place == "shop" else 1.0
    keys = arrive(start, [(-side * edge, z), (x, z)], 1.3, prop="canister")[:-1]
    keys += [Key(start, x, z, "pour", "canister", side), Key(light - min(0.8, 0.1 * length), x, z, "crouch", "", side)]
    keys += travel(light + 0.4, [(x, z), (-side * edge, z)], 3.4, "run")
    effects = (
        Fire(
            target.x,
            0.1,
            target.z - 0.15,
            light,
            end,
            float(rng.uniform(1.7, 2.6)) * room,
            seed % 97,
            rise=min(3.0, 0.3 * length),
        ),
        Smoke(
            target.x, 1.0, target.z - 0.2, light + 0.5, max(light + 0.6, end - 1.5), 1.0 * room, 88, seed % 89, rise=1.3
        ),
    )
    facts = {
        "a": actor(look, scene),
        "target": target.kind,
        "outcome": _pick(rng, "The arsonist runs away.", "Then the person runs off and leaves it burning."),
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
