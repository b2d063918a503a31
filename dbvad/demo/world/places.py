"""Street, shop, car park, plaza: what stands where, and how it is drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dbvad.demo.world.camera import Brush, Camera, Colour, shade
from dbvad.demo.world.objects import Prop, Target, objects, stand, vary
from dbvad.demo.world.sprites import CAR, CLOTHES, VAN, vehicle_patch


@dataclass(frozen=True)
class Layout:
    """Where things happen at a place: `lanes` people walk along, nearest first, and `roads` (z, direction).

    Events take place on the first two lanes. `targets` can be damaged, `props` stand about, `till` is where a cashier
    stands.
    """

    lanes: tuple[float, ...]
    roads: tuple[tuple[float, int], ...]
    targets: tuple[Target, ...]
    props: tuple[Prop, ...]
    till: tuple[float, float] | None = None


def _facade(rng: np.random.Generator, brush: Brush, z: float, half: float, night: bool) -> None:
    """A row of houses with doors, shop windows and upper windows."""
    x = -half - 2 - rng.uniform(0, 2)
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
        wall = vary(rng, walls[rng.integers(len(walls))])
        brush.wall(x, x + width, 0, 9, z, wall)
        brush.wall(x, x + width, 0, 0.35, z, shade(wall, 0.6))
        door = x + width * 0.12
        brush.wall(door, door + 0.95, 0, 2.1, z, vary(rng, (84, 60, 44), 0.3))
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
        x += width


def _tree(brush: Brush, rng: np.random.Generator, x: float, z: float) -> None:
    brush.wall(x - 0.09, x + 0.09, 0, 1.9, z, (78, 60, 44))
    for _ in range(16):
        cx, cy, r = x + rng.normal(0, 0.55), 2.6 + rng.normal(0, 0.5), rng.uniform(0.3, 0.55)
        ring = [(cx + r * math.cos(a), cy + r * math.sin(a), z) for a in np.linspace(0, 2 * math.pi, 9)]
        brush.polygon(ring, vary(rng, (64, 96, 52), 0.25))


def _lamp(brush: Brush, x: float, z: float) -> None:
    brush.wall(x - 0.06, x + 0.06, 0, 5.2, z, (70, 72, 76))
    brush.wall(x - 0.5, x + 0.06, 5.1, 5.25, z, (70, 72, 76))


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
    wall = float(rng.uniform(11.4, 12.0))
    half = camera.half_width(wall) + 1
    brush.ground(-30, 30, 2.5, wall, vary(rng, (142, 138, 132)))
    brush.ground(-30, 30, 6.3, 10.5, vary(rng, (84, 84, 88)))
    for z in (6.3, 10.4):
        brush.ground(-30, 30, z, z + 0.14, (176, 172, 164))
    for x in np.arange(-28, 28, 3.2):
        brush.ground(x, x + 1.6, 8.36, 8.46, (208, 206, 196))
    if rng.random() < 0.5:
        at = float(rng.uniform(-3.5, 3.5))
        for z in np.arange(6.6, 10.2, 0.8):
            brush.ground(at - 1.1, at + 1.1, z, z + 0.45, (206, 204, 196))
    for x in np.arange(-16, 16, 1.6):
        brush.ground(x, x + 0.03, 2.5, 6.3, (120, 116, 112))
    _facade(rng, brush, wall, half, night)
    targets, props = objects(rng, camera, "street", 5.3)
    x = float(rng.uniform(-0.6, 0.6)) * half
    props.append(_thing(camera, 11.2, lambda b: _tree(b, rng, x, 11.2), lambda b: _lamp(b, x + 2.0, 11.2)))
    return Layout(
        lanes=(4.25, 4.65, 4.45, 10.9), roads=((7.35, 1), (9.4, -1)), targets=tuple(targets), props=tuple(props)
    )


def car_park(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = 15.5
    brush.ground(-30, 30, 2.5, wall, vary(rng, (96, 96, 98)))
    brush.wall(-30, 30, 0, 2.2, wall, vary(rng, (132, 122, 112)))
    brush.wall(-30, 30, 2.2, 12, wall, (46, 54, 70) if night else (172, 190, 206))
    for x in np.arange(-15, 15, 1.0):
        for y in (0.6, 1.2, 1.8):
            brush.wall(x, x + 0.95, y, y + 0.03, wall, (104, 96, 90))
    bays = np.arange(-13.5, 13.5, 2.7)
    for x in bays:
        brush.ground(x - 0.06, x + 0.06, 10.4, 15.2, (202, 200, 190))
    brush.ground(-14, 14, 9.4, 9.5, (202, 200, 190))
    for x in (-3.0, 3.0):
        arrow = ((-0.6, -0.1), (0.3, -0.1), (0.3, -0.25), (0.8, 0.0), (0.3, 0.25), (0.3, 0.1), (-0.6, 0.1))
        brush.polygon([(x + u, 0, 7.6 + v) for u, v in arrow], (190, 188, 180))
    targets, props = objects(rng, camera, "car park", 5.3)
    if rng.random() < 0.4:
        side = math.copysign(1, targets[0].x)
        at = side * float(rng.uniform(0.5, 0.75)) * camera.half_width(6.2)
        near = _parked(camera, rng, at, 6.2, 0.0 if side < 0 else math.pi, 0.2)
        if near is not None:
            targets, props = [Target("parked car", at - side * 0.8, 0.8, 5.3, 2.0, 1.0)], [near]
    for x in bays[:-1] + 1.35:
        car = _parked(camera, rng, float(x), 12.0, -math.pi / 2 + float(rng.normal(0, 0.03)), 0.2)
        if car and rng.random() < 0.72 and abs(x) < camera.half_width(12) * 1.2:
            props.append(car)
    x = float(rng.uniform(-3, 3))
    props.append(_thing(camera, 15.0, lambda b: _lamp(b, x, 15.0), lambda b: _tree(b, rng, -x - 3, 15.2)))
    return Layout(lanes=(4.25, 4.65, 4.45, 9.0), roads=((7.6, 1),), targets=tuple(targets), props=tuple(props))


def shop(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = float(rng.uniform(7.9, 8.5))
    half = camera.half_width(wall) + 0.4
    tile, paint = vary(rng, (176, 170, 158)), vary(rng, (186, 180, 164))
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
                good = shade(vary(rng, goods[rng.integers(6)], 0.25), 0.8)
                brush.wall(x, x + w, y, y + float(rng.uniform(0.2, 0.38)), wall - 0.27, good)
                x += w + 0.02
        rack += 2.6
    side = float(rng.choice((-1, 1)))
    near = camera.half_width(5.6)
    x0 = near - 1.9 if side > 0 else -near - 0.1

    def draw(b: Brush) -> None:
        b.box(x0, x0 + 2.0, 0, 0.95, 5.4, 5.9, (124, 88, 58))
        b.box(x0 + 0.2, x0 + 0.7, 0.95, 1.25, 5.5, 5.8, (48, 48, 54))
        b.box(x0 + 1.2, x0 + 1.6, 0.95, 1.15, 5.5, 5.7, (190, 190, 60))

    target, display = stand(rng, camera, "shop", 5.3, -side * float(rng.uniform(0.2, 0.6)) * camera.half_width(5.3))
    return Layout(
        lanes=(4.15, 4.55, 4.35, 7.0),
        roads=(),
        targets=(target,),
        props=(_thing(camera, 5.6, draw), display),
        till=(x0 + 1.0, 6.2),
    )


def plaza(rng: np.random.Generator, camera: Camera, brush: Brush, night: bool) -> Layout:
    wall = float(rng.uniform(11.2, 12.6))
    base = vary(rng, (168, 154, 134))
    brush.ground(-30, 30, 2.5, wall, base)
    for i, x in enumerate(np.arange(-18, 18, 1.5)):
        for j, z in enumerate(np.arange(2.5, wall - 0.3, 1.5)):
            if (i + j) % 2:
                brush.ground(x, x + 1.5, z, min(wall, z + 1.5), shade(base, 0.9))
    _facade(rng, brush, wall, camera.half_width(wall) + 1, night)
    targets, props = objects(rng, camera, "plaza", 5.3)
    x = float(rng.uniform(0.3, 0.6) * rng.choice((-1, 1)) * camera.half_width(10))

    def bench(b: Brush) -> None:
        b.box(-x - 0.9, -x + 0.9, 0.35, 0.45, 9.6, 10.1, (122, 86, 54))
        b.wall(-x - 0.9, -x + 0.9, 0.55, 0.9, 10.1, (122, 86, 54))
        b.wall(-x - 0.8, -x - 0.7, 0, 0.4, 9.6, (50, 50, 52))
        b.wall(-x + 0.7, -x + 0.8, 0, 0.4, 9.6, (50, 50, 52))

    props.append(_thing(camera, 9.8, bench))
    trees = [lambda b: _tree(b, rng, -x - 2.2, 10.8), lambda b: _tree(b, rng, x + 2.2, 11.0),
             lambda b: _lamp(b, x + 1, 10.8)]  # fmt: skip
    props.append(_thing(camera, 10.8, *trees))
    return Layout(lanes=(4.25, 4.65, 4.45, 7.4, 9.0), roads=(), targets=tuple(targets), props=tuple(props))


BUILDERS = {"street": street, "shop": shop, "car park": car_park, "plaza": plaza}
PLACES = tuple(BUILDERS)
