"""What stands about and can be damaged, burnt or blown up: kiosks, boards, machines, containers, shelves."""

from dataclasses import dataclass

import numpy as np

from dbvad.demo.world.camera import Brush, Camera, Colour, Patch, shade
from dbvad.demo.world.sprites import CLOTHES


@dataclass(frozen=True)
class Target:
    """Something that can be damaged, burnt or blown up: `kind` is its noun; people act on it from (x, z - reach).

    (x, y, z) is the middle of its front, `width` and `height` in metres.
    """

    kind: str
    x: float
    y: float
    z: float
    width: float = 1.2
    height: float = 1.1
    reach: float = 0.55


@dataclass(frozen=True)
class Prop:
    """A fixed thing that people may pass in front of or behind."""

    z: float
    patch: Patch


def vary(rng: np.random.Generator, colour: Colour, by: float = 0.12) -> Colour:
    return shade(colour, float(rng.uniform(1 - by, 1 + by)))


def _kiosk(rng: np.random.Generator, b: Brush, x: float, z: float) -> Target:
    colour = vary(rng, CLOTHES[("white", "yellow", "grey")[rng.integers(3)]])
    b.box(x - 0.95, x + 0.95, 0, 2.0, z, z + 0.9, colour)
    b.wall(x - 0.8, x + 0.8, 1.0, 1.65, z - 0.01, (58, 70, 82))
    b.wall(x - 0.8, x + 0.8, 0.92, 1.0, z - 0.02, shade(colour, 0.6))
    for n, stripe in enumerate(np.arange(x - 1.05, x + 1.0, 0.3)):
        b.wall(stripe, stripe + 0.3, 1.75, 2.05, z - 0.15, (226, 224, 216) if n % 2 else (70, 96, 150))
    return Target("kiosk", x, 1.0, z, 1.9, 2.0)


def _poster(rng: np.random.Generator, b: Brush, x: float, z: float) -> Target:
    for leg in (x - 0.6, x + 0.5):
        b.box(leg, leg + 0.1, 0, 0.5, z, z + 0.1, (70, 72, 76))
    b.box(x - 0.75, x + 0.75, 0.4, 2.0, z, z + 0.15, (82, 84, 88))
    b.wall(x - 0.68, x + 0.68, 0.48, 1.92, z - 0.01, vary(rng, (214, 208, 190)))
    b.wall(x - 0.5, x + 0.5, 1.3, 1.8, z - 0.02, vary(rng, CLOTHES[("blue", "green", "grey")[rng.integers(3)]]))
    b.wall(x - 0.5, x + 0.3, 0.95, 1.05, z - 0.02, (110, 108, 104))
    return Target("poster board", x, 1.1, z, 1.4, 1.5)


def _machine(rng: np.random.Generator, b: Brush, x: float, z: float) -> Target:
    colour = vary(rng, CLOTHES[("blue", "green", "white")[rng.integers(3)]])
    b.box(x - 0.55, x + 0.55, 0, 1.85, z, z + 0.7, colour)
    b.wall(x - 0.45, x + 0.2, 0.6, 1.7, z - 0.01, (176, 196, 206))
    for y in (0.7, 1.05, 1.4):
        for item in np.arange(x - 0.4, x + 0.1, 0.16):
            b.wall(item, item + 0.1, y, y + 0.2, z - 0.02, shade(CLOTHES[list(CLOTHES)[rng.integers(8)]], 0.85))
    b.wall(x + 0.28, x + 0.46, 0.8, 1.5, z - 0.01, (44, 46, 50))
    return Target("vending machine", x, 1.0, z, 1.1, 1.7)


def _container(rng: np.random.Generator, b: Brush, x: float, z: float) -> Target:
    b.box(x - 0.65, x + 0.65, 0.08, 1.05, z, z + 0.8, vary(rng, (62, 98, 74)))
    b.box(x - 0.7, x + 0.7, 1.05, 1.18, z - 0.04, z + 0.84, (44, 66, 52))
    return Target("rubbish container", x, 0.65, z, 1.3, 1.1)


def _shelf(rng: np.random.Generator, b: Brush, x: float, z: float) -> Target:
    b.box(x - 0.8, x + 0.8, 0, 1.4, z, z + 0.5, (150, 140, 128))
    for y in (0.15, 0.55, 0.95):
        for item in np.arange(x - 0.74, x + 0.6, 0.2):
            goods = CLOTHES[("red", "blue", "green", "yellow", "white", "orange")[rng.integers(6)]]
            b.wall(item, item + 0.15, y, y + 0.3, z - 0.01, vary(rng, goods, 0.25))
    return Target("shelf", x, 0.8, z, 1.6, 1.3)


_OBJECTS = {"street": (_kiosk, _poster, _machine, _container), "plaza": (_kiosk, _poster, _machine, _container),
            "car park": (_machine, _container, _poster), "shop": (_shelf, _machine, _shelf)}  # fmt: skip


def stand(rng: np.random.Generator, camera: Camera, place: str, z: float, at: float) -> tuple[Target, Prop]:
    """One of the place's objects on the ground, its front at z, and at x = `at`."""
    brush = Brush(camera)
    target = _OBJECTS[place][rng.integers(len(_OBJECTS[place]))](rng, brush, at, z)
    patch = brush.patch()
    assert patch is not None
    return target, Prop(z + 0.1, patch)


def objects(rng: np.random.Generator, camera: Camera, place: str, z: float) -> tuple[list[Target], list[Prop]]:
    """One or two objects beside the middle of the picture, where people can walk up to them."""
    side, half = float(rng.choice((-1, 1))), camera.half_width(z)
    places = [side * float(rng.uniform(0.25, 0.62)) * half]
    if rng.random() < 0.4:
        places.append(-side * float(rng.uniform(0.6, 0.8)) * half)
    stands = [stand(rng, camera, place, z, at) for at in places]
    return [target for target, _ in stands], [prop for _, prop in stands]
