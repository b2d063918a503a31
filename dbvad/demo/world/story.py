"""One video from a seed: its scene, who passes, what happens, and the truth about it."""

from dataclasses import dataclass, replace

import numpy as np

from dbvad.demo.world.actors import Car, Drive, Key, Person, arrive, flee, travel
from dbvad.demo.world.camera import FPS, HEIGHT, WIDTH
from dbvad.demo.world.captions import CLASSES, event_caption, normal_caption
from dbvad.demo.world.effects import Effect, Glare, Smoke
from dbvad.demo.world.events import EVENTS, SUITED, Incident, random_look
from dbvad.demo.world.marks import Paint
from dbvad.demo.world.objects import Prop
from dbvad.demo.world.places import PLACES
from dbvad.demo.world.scenes import Scene, build_scene
from dbvad.demo.world.sprites import CAR, CLOTHES, VAN

NORMAL = "normal"


@dataclass(frozen=True)
class Story:
    """All that a video shows. `label` is a class or "normal"; `spans`: first and last frame of its events."""

    seed: int
    label: str
    scene: Scene
    n_frames: int
    incidents: tuple[Incident, ...]
    people: tuple[Person, ...]
    cars: tuple[Car, ...]
    effects: tuple[Effect, ...]
    props: tuple[Prop, ...]
    activities: tuple[str, ...]
    clock: int  # seconds since midnight at frame 0

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return tuple((round(i.start * FPS), min(self.n_frames, round(i.end * FPS)) - 1) for i in self.incidents)

    def inside(self, frame: int) -> int | None:
        """The number of the event that runs at `frame`, or None."""
        return next((n for n, (first, last) in enumerate(self.spans) if first <= frame <= last), None)

    def things(self, frame: int) -> list[tuple[str, float, float]]:
        """What is in the picture: (kind, x, y), with x and y as shares of width and height.

        Kinds are poses, what is held, "car" and "wreck", effects by name, and the label where an event is to be seen.
        """
        t, found = frame / FPS, []
        for person in self.people:
            state = person.at(t)
            if state:
                found += [(kind, state.x, 1.0, state.z) for kind in (state.pose, state.prop) if kind]
        wrecked = {id(c) for i in self.incidents if i.start + 1 < t < i.end for c in i.cars}
        for car in self.cars:
            drive = car.at(t)
            if drive:
                found.append(("wreck" if id(car) in wrecked else "car", drive.x, 0.7, drive.z))
        for effect in self.effects:
            if effect.span[0] <= t <= effect.span[1]:
                depth = getattr(effect, "depth", effect.z)
                found.append((type(effect).__name__.lower(), effect.x, getattr(effect, "y", 0.3), depth))
        event = self.inside(frame)
        if event is not None:
            found.append((self.label, *self.incidents[event].place(t)))
        found = [thing for thing in found if thing[3] > 1]  # not what happens on the lens
        pixels = self.scene.camera.project([thing[1:] for thing in found]) if found else ()
        places = [(thing[0], px / WIDTH, py / HEIGHT) for thing, (px, py, _) in zip(found, pixels, strict=True)]
        return [(kind, float(x), float(y)) for kind, x, y in places if 0 <= x < 1 and 0 <= y < 1]

    def caption(self, rng: np.random.Generator, event: int | None = 0) -> str:
        """A description of event number `event`, or of normal life if None or if there is none."""
        if event is None or not self.incidents:
            return normal_caption(rng, self.scene, self.activities)
        incident = self.incidents[event]
        return event_caption(rng, self.scene, incident.label, incident.facts)

    @property
    def reference(self) -> str:
        """The reference description of the video, always the same for one seed."""
        return self.caption(np.random.default_rng((self.seed, 2)), 0)


def _walkers(
    rng: np.random.Generator, scene: Scene, duration: float, rate: float, kept_clear: list[tuple[float, float]]
) -> list[Person]:
    """Passers-by; most keep away from the near lanes during the `kept_clear` intervals."""
    people, t = [], -8.0
    near, far = scene.layout.lanes[:3], scene.layout.lanes[3:]
    while t < duration:
        away = any(start - 8 < t < end for start, end in kept_clear) and rng.random() < 0.75
        z = float(rng.choice(far if away or rng.random() < 0.4 else near)) + float(rng.uniform(-0.25, 0.25))
        way, edge = int(rng.choice((-1, 1))), scene.edge(z)
        speed, look = float(rng.uniform(0.95, 1.5)), random_look(rng)
        prop = str(rng.choice(("", "", "bag", "phone", "box")))
        pose = "carry" if prop == "box" else "walk"
        stop = float(rng.uniform(-0.7, 0.7)) * edge
        keys = travel(t, [(-way * edge, z), (stop, z)], speed, pose, prop)
        if rng.random() < 0.35:
            wait = float(rng.uniform(1.5, 6))
            keys[-1] = Key(keys[-1].t, stop, z, "phone" if prop == "phone" else "stand", prop, way)
            keys += travel(keys[-1].t + wait, [(stop, z), (way * edge, z)], speed, pose, prop)
        else:
            keys = travel(t, [(-way * edge, z), (way * edge, z)], speed, pose, prop)
        people.append(Person(look, tuple(keys)))
        t += float(rng.exponential(1 / rate))
    return people


def _traffic(rng: np.random.Generator, scene: Scene, duration: float, quiet: list[tuple[float, float]]) -> list[Car]:
    """Passing vehicles, none of which is in the picture during a `quiet` interval."""
    cars = []
    for z, way in scene.layout.roads:
        t = float(rng.uniform(-4, 4))
        while t < duration:
            edge, speed = (
                scene.edge(z) + 4,
                float(rng.uniform(5, 8) if scene.place == "street" else rng.uniform(2.5, 4)),
            )
            body = replace(VAN if rng.random() < 0.25 else CAR, colour=list(CLOTHES)[rng.integers(len(CLOTHES))])
            ahead = 0.0 if way > 0 else float(np.pi)
            wait = float(rng.uniform(3, 6)) if rng.random() < 0.22 else 0.0  # a harmless stop, indicators on
            at, half = float(rng.uniform(-0.5, 0.5)) * edge, edge / speed
            crossing, stop = 2 * half + wait, t + half + way * at / speed
            if not any(t < end and t + crossing > start for start, end in quiet):
                drives = [Drive(t, -way * edge, z, ahead), Drive(t + crossing, way * edge, z, ahead)]
                if wait:
                    drives[1:1] = [Drive(stop, at, z, ahead), Drive(stop + wait, at, z, ahead)]
                cars.append(Car(body, tuple(drives), (stop, stop + wait) if wait else (-1.0, -1.0)))
            t += crossing * 0.5 + wait + float(rng.exponential(5 if scene.place == "street" else 9))
    return cars


def _distractions(
    rng: np.random.Generator, scene: Scene, duration: float, count: int, kept_clear: list[tuple[float, float]]
) -> tuple[list[Person], list[Effect], list[str]]:
    """Harmless things that look a little like events: they make the normal frames hard."""
    people: list[Person] = []
    effects: list[Effect] = []
    said: list[str] = []
    kinds = ["jogger", "meeting", "crouch", "crowd", "steam", "cleaner", "old graffiti"] + (
        ["headlights"] * 2 if scene.night and scene.place != "shop" else []
    )
    for kind in rng.permutation(kinds)[:count]:
        z = float(rng.choice(scene.layout.lanes))
        x, edge, way = (
            float(rng.uniform(-0.6, 0.6)) * scene.camera.half_width(z),
            scene.edge(z),
            int(rng.choice((-1, 1))),
        )
        t = float(rng.uniform(1, max(2, duration - 8)))
        if kind == "jogger":
            for start in np.arange(t, duration, 9)[:3]:
                people.append(
                    Person(
                        random_look(rng), tuple(travel(float(start), [(-way * edge, z), (way * edge, z)], 3.0, "run"))
                    )
                )
            said.append("someone runs past")
        elif kind == "meeting":
            stay, greeting = float(rng.uniform(5, 14)), str(rng.choice(("talk", "reach", "hug")))
            apart = 0.2 if greeting == "hug" else 0.42
            for side in (-1, 1):
                keys = arrive(t, [(side * edge, z), (x + side * apart, z)], 1.3)[:-1]
                keys.append(Key(t, x + side * apart, z, greeting, face=-side))
                if stay > 2:
                    keys.append(Key(t + 2, x + side * apart, z, "talk", face=-side))
                keys += travel(t + stay, [(x + side * apart, z), (side * edge, z)], 1.2)
                people.append(Person(random_look(rng), tuple(keys)))
            said.append("two people meet and talk")
        elif kind == "crouch":
            keys = [*arrive(t, [(-way * edge, z), (x, z)], 1.2)[:-1], Key(t, x, z, "crouch", face=way)]
            people.append(Person(random_look(rng), tuple(keys + travel(t + 3.5, [(x, z), (way * edge, z)], 1.2))))
            said.append("a person crouches to tie a shoe")
        elif kind == "crowd":
            people += _walkers(rng, scene, duration, 0.28, kept_clear)
            said.append("a crowd of people walks by")
        elif kind == "steam":
            effects.append(Smoke(x, 0.1, z + 0.4, -2, duration, 0.45, 225, int(rng.integers(99)), density=0.28))
            said.append("steam rises from the ground")
        elif kind == "cleaner" and scene.layout.targets:
            target = scene.layout.targets[rng.integers(len(scene.layout.targets))]
            at, beside = target.z - target.reach, target.x - way * (0.42 * target.width + 0.1)
            keys = [
                Key(-1, beside, at, "reach", "cloth", way),
                Key(duration * 0.3, beside + way * 0.4, at, "reach", "cloth", way),
            ]
            people.append(
                Person(
                    random_look(rng),
                    (*keys, *travel(duration * 0.5, [(beside + way * 0.4, at), (-way * edge, at)], 1.2)),
                )
            )
            said.append(f"a person wipes the {target.kind}")
        elif kind == "old graffiti" and scene.layout.targets:
            target = scene.layout.targets[rng.integers(len(scene.layout.targets))]
            colour = ((170, 40, 50), (50, 70, 170), (40, 40, 44))[rng.integers(3)]
            number, width = int(rng.integers(99)), 0.8 * target.width
            effects.append(Paint(target.x, target.y + 0.1, target.z - 0.05, -9, -5, colour, number, width))
        elif kind == "headlights":
            for start in np.arange(t, duration, 11)[:2]:
                effects.append(
                    Glare(
                        float(rng.uniform(40, 180)),
                        float(rng.uniform(50, 90)),
                        float(start),
                        float(start) + 1.6,
                        float(rng.uniform(0.6, 1.1)),
                    )
                )
            said.append("headlights flash over the scene")
    return people, effects, said


def _windows(rng: np.random.Generator, duration: float, two: bool) -> list[tuple[float, float]]:
    """Start and end seconds of one or two events; about a quarter last under a tenth of the video."""
    if two:
        lengths = [float(rng.uniform(2.5, 0.2 * duration)) for _ in range(2)]
        first = float(rng.uniform(2, 0.25 * duration))
        second = float(rng.uniform(first + lengths[0] + 0.22 * duration, duration - lengths[1] - 1.5))
        return [(first, first + lengths[0]), (second, second + lengths[1])]
    length = (
        float(rng.uniform(0.05, 0.095) * duration) if rng.random() < 0.28 else float(rng.uniform(0.14, 0.45) * duration)
    )
    length = max(1.8, length)
    start = float(rng.uniform(1.5, duration - length - 1.0))
    return [(start, start + length)]


def tell(seed: int, label: str | None = None) -> Story:
    """The story of `seed`; with a label, of that class ("normal" or one of CLASSES), else of one drawn at random.

    Raises ValueError for a label that is no class.
    """
    rng = np.random.default_rng(seed)
    if label is None:
        label = NORMAL if rng.random() < 0.4 else CLASSES[rng.integers(len(CLASSES))]
    elif label not in (NORMAL, *CLASSES):
        raise ValueError(f"no class is called {label!r}; the classes are: normal, {', '.join(CLASSES)}")
    places = SUITED.get(label, PLACES)
    scene = build_scene(rng, places[rng.integers(len(places))], night=bool(rng.random() < 0.42))
    duration = float(np.clip(20 + rng.exponential(9), 20, 60))
    incidents: list[Incident] = []
    if label != NORMAL:
        two = duration > 26 and rng.random() < 0.3
        incidents = [EVENTS[label](rng, scene, start, end) for start, end in _windows(rng, duration, two)]
    windows = [(i.start, i.end) for i in incidents]
    people = _walkers(rng, scene, duration, float(rng.uniform(0.06, 0.17)), windows)
    others, effects, said = _distractions(rng, scene, duration, int(rng.integers(1, 4)), windows)
    for incident in incidents:
        if incident.panic:
            people = [flee(p, incident.start + 0.4, scene.edge(8.0)) for p in people]
            others = [flee(p, incident.start + 0.4, scene.edge(8.0)) for p in others]
    quiet = [(i.start - 3.5, i.end + 4) for i in incidents if i.label == "road_accident"]
    cars = _traffic(rng, scene, duration, quiet)
    if scene.layout.till and label != "robbery":
        people.append(
            Person(
                random_look(rng),
                (
                    Key(-1, *scene.layout.till, "stand", face=int(-np.sign(scene.layout.till[0]))),
                    Key(9999, *scene.layout.till),
                ),
            )
        )
    usual = (
        "cars and people pass"
        if scene.layout.roads
        else "customers walk around"
        if scene.place == "shop"
        else "people walk by"
    )
    return Story(
        seed=seed,
        label=label,
        scene=scene,
        n_frames=round(duration * FPS),
        incidents=tuple(incidents),
        people=(*people, *others, *(p for i in incidents for p in i.people)),
        cars=(*cars, *(c for i in incidents for c in i.cars)),
        effects=(*effects, *(e for i in incidents for e in i.effects)),
        props=scene.layout.props,
        activities=(usual, *said),
        clock=int(rng.integers(21 * 3600, 28 * 3600) % 86400 if scene.night else rng.integers(8 * 3600, 18 * 3600)),
    )
