"""Street, shop, car park, plaza: what stands where, and how it is drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dbvad.demo.world.camera import Brush, Camera, Colour, Patch, shade
from dbvad.demo.world.sprites import CAR, CLOTHES, VAN, vehicle_patch


@dataclass(frozen=True)
class Target:
    """Something that can be damaged, burnt or blown up: `kind` is its noun; people act on it from (x, z - reach)."""

    kind: str
    x: float
    y: float
    z: float
    reach: float = 0.6


@dataclass(frozen=True)
class Prop:
    """A fixed thing that people may pass in front of or behind."""

    z: float
    patch: Patch


@dataclass(frozen=True)
class Layout:
    """Where things happen at a place: `lanes` people walk along, nearest first, and `roads` (z, direction).

    `targets` can be damaged, `props` stand about, `till` is where a cashier stands.
    """

    lanes: tuple[float, ...]
    roads: tuple[tuple[float, int], ...]
    targets: tuple[Target, ...]
    props: tuple[Prop, ...]
    till: tuple[float, float] | None = None


def _vary(rng: np.random.Generator, colour: Colour, by: float = 0.12) -> Colour:
    return shade(colour, float(rng.uniform(1 - by, 1 + by)))


def _facade(rng: np.random.Generator, brush: Brush, z: float, half: float, night: bool) -> list[tuple[float, str]]:
    """A row of houses with doors, shop windows and upper windows; returns x and kind of its doors and windows."""
    x, found = -half - 2 - rng.uniform(0, 2), []
    walls: tuple[Colour, ...] = (
        (150, 120, 100),
        (172, 160, 140),
        (128, 128, 132),
        (166, 108, 84),
        (188, 180, 160),
        (112, 120, 128),
    )
    while x < half + 2:
        width = float(rng.uniform(3.6, 5.5))
        wall = _vary(rng, walls[rng.integers(len(walls))])
        brush.wall(x, x + width, 0, 9, z, wall)
        brush.wall(x, x + width, 0, 0.35, z, shade(wall, 0.6))
        door = x + width * 0.12
        brush.wall(door, door + 0.95, 0, 2.1, z, _vary(rng, (84, 60, 44), 0.3))
        left, right = door + 1.25, x + width - 0.3
        brush.wall(left - 0.08, right + 0.08, 0.55, 2.3, z, shade(wall, 0.5))
        glow = (196, 178, 120) if night and rng.random() < 0.5 else (74, 92, 104)
        brush.wall(left, right, 0.65, 2.2, z, glow)
        brush.polygon(
            [(left + 0.2, 0.65, z), (left + 0.7, 0.65, z), (left + 1.1, 2.2, z), (left + 0.6, 2.2, z)], shade(glow, 1.2)
        )
        sign = CLOTHES[list(CLOTHES)[rng.integers(4)]]
        brush.wall(left - 0.2, right + 0.2, 2.42, 2.85, z, shade(sign, 0.8))
        brush.wall(left + 0.3, right - 0.3, 2.56, 2.70, z, (226, 222, 206))
        for upper in np.arange(x + 0.5, x + width - 0.9, 1.25):
            lit = night and rng.random() < 0.25
            brush.wall(upper, upper + 0.75, 3.4, 4.7, z, (206, 184, 120) if lit else (62, 74, 88))
            brush.wall(upper, upper + 0.75, 3.32, 3.42, z, shade(wall, 1.2))
        found += [(door + 0.5, "door"), ((left + right) / 2, "window")]
        x += width
    return found


def _tree(brush: Brush, rng: np.random.Generator, x: float, z: float) -> None:
    brush.wall(x - 0.09, x + 0.09, 0, 1.9, z, (78, 60, 44))
    for _ in range(16):
        cx, cy, r = x + rng.normal(0, 0.55), 2.6 + rng.normal(0, 0.5), rng.uniform(0.3, 0.55)
        ring = [(cx + r * math.cos(a), cy + r * math.sin(a), z) for a in np.linspace(0, 2 * math.pi, 9)]
        brush.polygon(ring, _vary(rng, (64, 96, 52), 0.25))


def _lamp(brush: Brush, x: float, z: float) -> None:
    brush.wall(x - 0.06, x + 0.06, 0, 5.2, z, (70, 72, 76))
    brush.wall(x - 0.5, x + 0.06, 5.1, 5.25, z, (70, 72, 76))


def _bin(brush: Brush, x: float, z: float) -> None:
    brush.box(x - 0.3, x + 0.3, 0, 0.95, z, z + 0.5, (52, 84, 62))
    brush.box(x - 0.34, x + 0.34, 0.95, 1.05, z - 0.03, z + 0.53, (40, 62, 48))


def _thing(camera: Camera, z: float, *draws: Callable[[Brush], None]) -> Prop:
    brush = Brush(camera)
    for draw in draws:
        draw(brush)
    patch = brush.patch()
    assert patch is not None
    return Prop(z, patch)


def _parked(camera: Camera, rng: np.random.Generator, x: float, z: float, heading: float, shadow: float) -> Prop | None:
    body = replace(VAN if rng.random() < 0.2 else CAR, colour=list(CLOTHES)[rng.integers(len(CLOTHES))])
    patch = vehicle_patch(body, camera, x, z, heading, lights=False, hazard=False, shadow=shadow)
    return Prop(z, patch) if patch else None


def street(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = float(rng.uniform(12.9, 13.5))
    half = camera.half_width(wall) + 1
    brush.ground(-30, 30, 2.5, wall, _vary(rng, (142, 138, 132)))
    brush.ground(-30, 30, 7.0, 11.8, _vary(rng, (84, 84, 88)))
    for z in (7.0, 11.65):
        brush.ground(-30, 30, z, z + 0.16, (176, 172, 164))
    for x in np.arange(-28, 28, 3.2):
        brush.ground(x, x + 1.6, 9.36, 9.48, (208, 206, 196))
    if rng.random() < 0.5:
        at = float(rng.uniform(-3.5, 3.5))
        for z in np.arange(7.4, 11.5, 0.9):
            brush.ground(at - 1.1, at + 1.1, z, z + 0.48, (206, 204, 196))
    for x in np.arange(-16, 16, 1.6):
        brush.ground(x, x + 0.03, 2.5, 7.0, (120, 116, 112))
    openings = _facade(rng, brush, wall, half, night)
    targets = [Target(kind, x, 1.2, wall) for x, kind in openings if abs(x) < half * 0.62]
    x = float(rng.uniform(0.35, 0.6) * rng.choice((-1, 1)) * camera.half_width(12.2))
    bin_ = _thing(camera, 12.3, lambda b: _bin(b, x, 12.2))
    tree_x = -x + float(rng.uniform(-0.8, 0.8))
    tree = _thing(camera, 12.6, lambda b: _tree(b, rng, tree_x, 12.6), lambda b: _lamp(b, tree_x + 2.2, 12.6))
    targets = [t for t in targets if abs(t.x - tree_x) > 1.7]  # nothing that the tree would hide
    targets.append(Target("rubbish bin", x, 0.6, 12.2))
    return Layout(
        lanes=(5.7, 6.1, 6.6, 12.5, 13.1),
        roads=((8.2, 1), (10.6, -1)),
        targets=tuple(targets),
        props=(bin_, tree),
    )


def car_park(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = 17.0
    brush.ground(-30, 30, 2.5, wall, _vary(rng, (96, 96, 98)))
    brush.wall(-30, 30, 0, 2.2, wall, _vary(rng, (132, 122, 112)))
    brush.wall(-30, 30, 2.2, 12, wall, (46, 54, 70) if night else (172, 190, 206))
    for x in np.arange(-15, 15, 1.0):
        for y in (0.6, 1.2, 1.8):
            brush.wall(x, x + 0.95, y, y + 0.03, wall, (104, 96, 90))
    bays = np.arange(-13.5, 13.5, 2.7)
    for x in bays:
        brush.ground(x - 0.06, x + 0.06, 12.0, 17.0, (202, 200, 190))
    brush.ground(-14, 14, 10.6, 10.7, (202, 200, 190))
    for x in (-3.0, 3.0):
        brush.polygon(
            [
                (x - 0.6, 0, 7.9),
                (x + 0.3, 0, 7.9),
                (x + 0.3, 0, 7.75),
                (x + 0.8, 0, 8.0),
                (x + 0.3, 0, 8.25),
                (x + 0.3, 0, 8.1),
                (x - 0.6, 0, 8.1),
            ],
            (190, 188, 180),
        )
    props, targets = [], []
    for x in bays[:-1] + 1.35:
        if rng.random() < 0.72:
            car = _parked(camera, rng, float(x), 12.9, -math.pi / 2 + float(rng.normal(0, 0.03)), 0.2)
            if car and abs(x) < camera.half_width(13) * 1.2:
                props.append(car)
                if abs(x) < camera.half_width(11) * 0.6:
                    targets.append(Target("parked car", float(x), 0.9, 10.8))
    x = float(rng.uniform(-3, 3))
    if not targets:
        targets.append(Target("rubbish bin", x, 0.6, 10.6))
        props.append(_thing(camera, 10.7, lambda b: _bin(b, x, 10.6)))
    props.append(_thing(camera, 16.0, lambda b: _lamp(b, x, 16.0), lambda b: _tree(b, rng, -x - 4, 16.5)))
    return Layout(
        lanes=(5.7, 6.3, 9.8, 10.2),
        roads=((8.0, 1),),
        targets=tuple(targets),
        props=tuple(props),
    )


def shop(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = float(rng.uniform(8.9, 9.6))
    half = camera.half_width(wall) + 0.4
    tile, paint = _vary(rng, (176, 170, 158)), _vary(rng, (186, 180, 164))
    brush.ground(-30, 30, 1.5, wall, tile)
    for x in np.arange(-12, 12, 0.8):
        brush.ground(x, x + 0.03, 1.5, wall, shade(tile, 0.86))
    for z in np.arange(1.6, wall, 0.8):
        brush.ground(-12, 12, z, z + 0.03, shade(tile, 0.86))
    brush.wall(-30, 30, 0, 6, wall, paint)
    goods = [CLOTHES[c] for c in ("red", "blue", "green", "yellow", "white", "orange")]
    rack = -half - float(rng.uniform(0, 1))
    while rack < half:
        brush.wall(rack, rack + 2.3, 0, 2.15, wall - 0.25, (92, 84, 76))
        for y in (0.15, 0.65, 1.15, 1.65):
            brush.wall(rack + 0.06, rack + 2.24, y, y + 0.42, wall - 0.26, (58, 54, 50))
            x = rack + 0.1
            while x < rack + 2.1:
                w = float(rng.uniform(0.09, 0.22))
                brush.wall(
                    x,
                    x + w,
                    y,
                    y + float(rng.uniform(0.2, 0.38)),
                    wall - 0.27,
                    _vary(rng, goods[rng.integers(6)], 0.25),
                )
                x += w + 0.02
        rack += 2.6
    side = float(rng.choice((-1, 1)))
    near = camera.half_width(6.9)
    x0 = near - 2.3 if side > 0 else -near + 0.1
    counter = (x0, x0 + 2.2)

    def draw(b: Brush) -> None:
        b.box(*counter, 0, 1.0, 6.4, 7.0, (124, 88, 58))
        b.box(counter[0] + 0.2, counter[0] + 0.7, 1.0, 1.35, 6.6, 6.9, (48, 48, 54))
        b.box(counter[0] + 1.2, counter[0] + 1.6, 1.0, 1.2, 6.5, 6.8, (190, 60, 50))

    stand = -side * float(rng.uniform(0.25, 0.55)) * camera.half_width(7.2)

    def display(b: Brush) -> None:
        b.box(stand - 0.75, stand + 0.75, 0, 0.25, 7.2, 7.8, (92, 84, 76))
        b.box(stand - 0.7, stand + 0.7, 0.25, 1.2, 7.25, 7.75, (150, 140, 128))
        for y in (0.32, 0.78):
            for x in np.arange(stand - 0.62, stand + 0.55, 0.2):
                b.wall(x, x + 0.16, y, y + 0.34, 7.24, _vary(rng, goods[rng.integers(6)], 0.25))

    till = ((counter[0] + counter[1]) / 2, 7.4)
    return Layout(
        lanes=(4.7, 5.3, 5.9, 8.0),
        roads=(),
        targets=(Target("shelf", stand, 1.0, 7.3),),
        props=(_thing(camera, 6.8, draw), _thing(camera, 7.5, display)),
        till=till,
    )


def plaza(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = float(rng.uniform(12.6, 14.2))
    base = _vary(rng, (168, 154, 134))
    brush.ground(-30, 30, 2.5, wall, base)
    for i, x in enumerate(np.arange(-18, 18, 1.5)):
        for j, z in enumerate(np.arange(2.5, wall - 0.3, 1.5)):
            if (i + j) % 2:
                brush.ground(x, x + 1.5, z, min(wall, z + 1.5), shade(base, 0.9))
    half = camera.half_width(wall) + 1
    openings = _facade(rng, brush, wall, half, night)
    targets = [Target(kind, x, 1.2, wall) for x, kind in openings if abs(x) < half * 0.6]
    x = float(rng.uniform(0.3, 0.6) * rng.choice((-1, 1)) * camera.half_width(12))

    def bench(b: Brush) -> None:
        b.box(-x - 0.9, -x + 0.9, 0.35, 0.45, 11.3, 11.8, (122, 86, 54))
        b.wall(-x - 0.9, -x + 0.9, 0.55, 0.9, 11.8, (122, 86, 54))
        b.wall(-x - 0.8, -x - 0.7, 0, 0.4, 11.3, (50, 50, 52))
        b.wall(-x + 0.7, -x + 0.8, 0, 0.4, 11.3, (50, 50, 52))

    props = (
        _thing(camera, 8.7, lambda b: _bin(b, x, 8.6)),
        _thing(camera, 11.5, bench),
        _thing(
            camera,
            11.9,
            lambda b: _tree(b, rng, -x - 2.4, 11.9),
            lambda b: _tree(b, rng, x + 2.6, 12.1),
            lambda b: _lamp(b, x + 1, 11.9),
        ),
    )
    targets = [t for t in targets if min(abs(t.x + x + 2.4), abs(t.x - x - 2.6)) > 1.5]
    targets.append(Target("rubbish bin", x, 0.6, 8.6))
    return Layout(lanes=(5.8, 6.8, 7.8, 9.0, 10.2), roads=(), targets=tuple(targets), props=props)


BUILDERS = {"street": street, "shop": shop, "car park": car_park, "plaza": plaza}
PLACES = tuple(BUILDERS)
