"""People as jointed figures and vehicles as projected boxes, each drawn supersampled."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from dbvad.demo.world.camera import SUPERSAMPLE, Camera, Colour, Patch, patch_of, shade

CLOTHES: dict[str, Colour] = {
    "red": (188, 40, 42),
    "blue": (44, 78, 172),
    "green": (48, 126, 66),
    "yellow": (212, 180, 58),
    "white": (218, 218, 212),
    "black": (36, 36, 42),
    "grey": (122, 122, 126),
    "orange": (214, 112, 40),
}
TROUSERS: tuple[Colour, ...] = ((38, 42, 62), (62, 56, 50), (34, 34, 38), (96, 92, 84), (52, 66, 92))
SKIN: tuple[Colour, ...] = ((224, 180, 150), (196, 146, 112), (140, 96, 70), (98, 66, 48))
HAIR: tuple[Colour, ...] = ((38, 30, 26), (82, 58, 38), (150, 120, 76), (120, 120, 120))


@dataclass(frozen=True)
class Look:
    """What one person looks like; `build` scales the height of 1.75 m."""

    top: str = "blue"
    trousers: Colour = TROUSERS[0]
    skin: Colour = SKIN[0]
    hair: Colour = HAIR[0]
    noun: str = "man"
    hood: bool = False
    mask: bool = False
    build: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees (0 hangs down, positive forward); `hip` height in metres; `turn` tips the whole body."""

    lean: float = 3
    legs: tuple[float, float, float, float] = (4, 0, -4, 0)  # thigh, knee bend of one leg, then of the other
    arms: tuple[float, float, float, float] = (8, 10, -6, 10)  # shoulder, elbow bend
    hip: float = 0.92
    turn: float = 0
    front: bool = False


def pose(name: str, phase: float, front: bool = False) -> Pose:
    """The pose called `name` at `phase` in [0, 1) of its cycle."""
    wave, beat = math.sin(2 * math.pi * phase), phase < 0.5
    match name:
        case "walk":
            swing = 26 * wave
            return Pose(
                4,
                (swing, max(0.0, -34 * wave), -swing, max(0.0, 34 * wave)),
                (-swing, 14, swing, 14),
                0.90 + 0.02 * abs(wave),
                front=front,
            )
        case "run":
            swing = 48 * wave
            return Pose(
                16,
                (swing + 8, 20 + max(0.0, -80 * wave), 8 - swing, 20 + max(0.0, 80 * wave)),
                (-swing, 85, swing, 85),
                0.86 + 0.06 * abs(wave),
                front=front,
            )
        case "talk":
            return Pose(2, arms=(30 + 25 * wave, 70, -6, 14))
        case "phone":
            return Pose(5, arms=(38, 95, -4, 10))
        case "hug":
            return Pose(10, (8, 4, -8, 4), (78, 10, 62, 20))
        case "crouch":
            return Pose(38, (92, 120, 50, 125), (62, 30, 40, 30), 0.48)
        case "reach":
            return Pose(14, arms=(104 + 14 * wave, 8, -6, 14))
        case "punch":
            arms = (88.0, 4.0, 40.0, 110.0) if beat else (42.0, 115.0, 82.0, 6.0)
            return Pose(20 if beat else 8, (30, 16, -28, 8), arms, 0.86)
        case "kick":
            return Pose(-14, (92, 8, -10, 6), (40, 90, -40, 60), 0.90) if beat else pose("guard", 0)
        case "guard":
            return Pose(10, (22, 20, -22, 12), (52, 112, 40, 118), 0.86)
        case "stagger":
            return Pose(-30, (-10, 14, 34, 30), (-40, 30, 60, 40), 0.84)
        case "lie":
            return Pose(0, (6, 10, -8, 24), (150, 10, 20, 20), 0.16, turn=86)
        case "aim":
            return Pose(2, (24, 4, -24, 4), (92, 0, 84, 12), 0.88)
        case "hands up":
            return Pose(-6, (10, 0, -10, 0), (142, 22, 214, -22))
        case "grab":
            return Pose(24, (24, 18, -20, 8), (76 + 10 * wave, 6, 60, 10), 0.86)
        case "swing":
            arms = (165.0, 40.0, 150.0, 40.0) if beat else (62.0, 4.0, 54.0, 8.0)
            return Pose(-8 if beat else 30, (24, 10, -24, 6), arms, 0.88)
        case "pour":
            return Pose(22, (14, 12, -12, 6), (58 + 10 * wave, 16, 46, 26), 0.88)
        case "carry":
            return replace(pose("walk", phase, front), arms=(46, 62, 40, 62))
        case _:
            return Pose(front=front)


def _limb(start: tuple[float, float], angle: float, bend: float, length: float) -> list[tuple[float, float]]:
    """Three joints of a limb that hangs from `start`; `bend` moves its lower part forward or, if negative, back."""
    a, b = math.radians(angle), math.radians(angle + bend)
    middle = (start[0] + length * math.sin(a), start[1] - length * math.cos(a))
    return [start, middle, (middle[0] + length * math.sin(b), middle[1] - length * math.cos(b))]


def person_patch(
    look: Look, pose_: Pose, prop: str, scale: float, left: bool, sun: float, shadow: float
) -> Patch | None:
    """One figure around its foot point (0, 0) at `scale` pixels a metre; `sun` shears its shadow."""
    k = SUPERSAMPLE
    unit = scale * look.build * k
    half_w, above, below = round(2.3 * unit), round(2.3 * unit), round(0.75 * unit)
    half_w, above, below = (v + (-v) % k for v in (half_w, above, below))
    image = Image.new("RGBA", (2 * half_w, above + below), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    sign = -1 if left else 1
    swing = 0.3 if pose_.front else 1.0
    turn = math.radians(pose_.turn)

    def place(p: tuple[float, float]) -> tuple[float, float]:
        x, y = p[0], p[1] - pose_.hip
        return sign * (x * math.cos(turn) - y * math.sin(turn)), x * math.sin(turn) + y * math.cos(turn) + pose_.hip

    lean = math.radians(pose_.lean)
    hip, neck = (0.0, pose_.hip), (0.54 * math.sin(lean), pose_.hip + 0.54 * math.cos(lean))
    head = (neck[0] + 0.17 * math.sin(lean), neck[1] + 0.17 * math.cos(lean))
    spread = 0.09 if pose_.front else 0.0
    legs = [
        _limb((hip[0] + o, hip[1]), a * swing, -b * swing, 0.46)
        for o, a, b in ((spread, *pose_.legs[:2]), (-spread, *pose_.legs[2:]))
    ]
    shoulders = ((neck[0] + 2 * spread, neck[1] - 0.04), (neck[0] - 2 * spread, neck[1] - 0.04))
    arms = [_limb(s, a * swing, b, 0.29) for s, (a, b) in zip(shoulders, (pose_.arms[:2], pose_.arms[2:]), strict=True)]
    width = 0.36 if pose_.front else 0.27
    hand = arms[0][-1]

    def figure(to_pixel: Callable[[float, float], tuple[float, float]], flat: tuple[int, int, int, int] | None) -> None:
        def pixel(p: tuple[float, float]) -> tuple[float, float]:
            x, y = place(p)
            return to_pixel(x, y)

        def line(points: list[tuple[float, float]], thick: float, colour: Colour) -> None:
            xy, w, fill = [pixel(p) for p in points], max(1, round(thick * unit)), flat or (*colour, 255)
            draw.line(xy, fill=fill, width=w, joint="curve")
            for x, y in (xy[0], xy[-1]):
                draw.ellipse((x - w / 2, y - w / 2, x + w / 2, y + w / 2), fill=fill)

        def disc(p: tuple[float, float], radius: float, colour: Colour) -> None:
            (x, y), r = pixel(p), radius * unit
            draw.ellipse((x - r, y - r, x + r, y + r), fill=flat or (*colour, 255))

        top = CLOTHES[look.top]
        line(arms[1], 0.10, shade(top, 0.72))
        line(legs[1], 0.15, shade(look.trousers, 0.72))
        line(legs[0], 0.15, look.trousers)
        for leg in legs:
            foot = leg[-1]
            line([foot, (foot[0] + 0.12 * swing, foot[1])], 0.09, (28, 26, 26))
        line([(hip[0], hip[1] + 0.02), neck], width, top)
        line([(hip[0], hip[1] - 0.02), (hip[0], hip[1] + 0.05)], width * 0.9, look.trousers)
        disc(head, 0.135, shade(top, 0.8) if look.hood else look.hair)
        disc((head[0] + 0.045 * swing, head[1] - 0.03), 0.10, look.skin)
        if look.mask:
            line([(head[0], head[1] - 0.07), (head[0] + 0.1 * swing, head[1] - 0.09)], 0.11, (18, 18, 20))
        if prop == "bag":
            line([(hip[0] - 0.16, hip[1] + 0.36), (hip[0] - 0.17, hip[1] + 0.14)], 0.20, (120, 78, 40))
        line(arms[0], 0.10, shade(top, 1.12))
        disc(hand, 0.055, look.skin)
        hand_angle = math.radians(pose_.arms[0] + pose_.arms[1])
        forward = (math.sin(hand_angle), -math.cos(hand_angle))
        if prop == "gun":
            tip = (hand[0] + 0.4 * forward[0], hand[1] + 0.4 * forward[1])
            line([hand, (hand[0] + 0.04, hand[1] - 0.16)], 0.11, (16, 16, 18))
            line([hand, tip], 0.15, (16, 16, 18))
            line([(hand[0], hand[1] + 0.05), (tip[0], tip[1] + 0.05)], 0.04, (190, 194, 204))
        elif prop == "bat":
            line([hand, (hand[0] + 0.95 * forward[0], hand[1] + 0.95 * forward[1] + 0.15)], 0.12, (222, 178, 96))
        elif prop == "canister":
            line([(hand[0] + 0.08, hand[1] - 0.08), (hand[0] + 0.16, hand[1] - 0.30)], 0.34, (226, 26, 22))
            line([(hand[0] + 0.2, hand[1] - 0.02), (hand[0] + 0.36, hand[1] - 0.02)], 0.07, (240, 214, 60))
        elif prop == "spray":
            line([hand, (hand[0] + 0.06, hand[1] + 0.16)], 0.13, (236, 236, 236))
        elif prop == "phone":
            line([hand, (hand[0] + 0.02, hand[1] + 0.10)], 0.06, (20, 20, 24))
        elif prop == "loot":
            line([(hand[0], hand[1] - 0.08), (hand[0] + 0.02, hand[1] - 0.26)], 0.34, (214, 132, 40))
        elif prop == "box":
            line([(hand[0] - 0.06, hand[1] + 0.04), (hand[0] + 0.24, hand[1] + 0.04)], 0.32, (176, 138, 92))
        elif prop == "cloth":
            disc((hand[0] + 0.03, hand[1] + 0.03), 0.09, (236, 236, 200))

    if shadow > 0:
        figure(lambda x, y: (half_w + (x + y * sun) * unit, above - 0.20 * y * unit), (0, 0, 0, round(255 * shadow)))
    figure(lambda x, y: (half_w + x * unit, above - y * unit), None)
    return patch_of(image, -half_w / k, -above / k)


@dataclass(frozen=True)
class Vehicle:
    """Body of a vehicle in metres; `noun` is what a description calls it."""

    noun: str = "car"
    colour: str = "blue"
    length: float = 3.9
    width: float = 1.75
    roof: float = 1.42
    cabin: tuple[float, float, float, float] = (-1.65, -1.2, 0.4, 0.95)  # rear foot, rear top, front top, front foot


CAR = Vehicle()
VAN = Vehicle("van", length=4.4, width=1.85, roof=1.95, cabin=(-2.15, -2.1, 1.05, 1.5))


def vehicle_patch(
    body: Vehicle, camera: Camera, x: float, z: float, heading: float, *, lights: bool, hazard: bool, shadow: float
) -> Patch | None:
    """A vehicle on the ground at (x, z); `heading` in radians, 0 drives towards +x, pi/2 away from the camera."""
    cos, sin = math.cos(heading), math.sin(heading)
    half_l, half_w, waist, sill = body.length / 2, body.width / 2, 0.82, 0.26

    def world(u: float, v: float, y: float) -> tuple[float, float, float]:
        return x + u * cos - v * sin, y, z + u * sin + v * cos

    outline = [world(u, v, y) for u in (-half_l, half_l) for v in (-half_w, half_w) for y in (0, body.roof)]
    flat = camera.project(outline)[:, :2]
    k = 2
    x0, y0 = np.floor(flat.min(axis=0) - 6)
    x1, y1 = np.ceil(flat.max(axis=0) + 6)
    if x1 < -4 or x0 > 228 or x1 - x0 > 600:
        return None
    image = Image.new("RGBA", (int(x1 - x0) * k, int(y1 - y0) * k), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)

    def face(points: list[tuple[float, float, float]], colour: Colour, alpha: int = 255) -> None:
        pixels = (camera.project([world(*p) for p in points])[:, :2] - (x0, y0)) * k
        draw.polygon([(float(a), float(b)) for a, b in pixels], fill=(*colour, alpha))

    view = np.array([-x, camera.height - 0.7, -z])
    view /= np.linalg.norm(view)
    colour = CLOTHES[body.colour]
    end_u, w = half_l, half_w
    face(
        [
            (-end_u - 0.1, -w - 0.15, 0),
            (end_u + 0.1, -w - 0.15, 0),
            (end_u + 0.1, w + 0.15, 0),
            (-end_u - 0.1, w + 0.15, 0),
        ],
        (0, 0, 0),
        round(255 * min(0.8, shadow + 0.25)),
    )
    rear_foot, rear_top, front_top, front_foot = body.cabin
    glass, dark = (42, 54, 66), (20, 20, 22)
    across = float(-sin * view[0] + cos * view[2])  # the left flank (v > 0) is seen if positive
    along = float(cos * view[0] + sin * view[2])  # the nose is seen if positive
    v = w if across > 0 else -w
    flank = 0.78 + 0.16 * abs(across)
    nose = end_u if along > 0 else -end_u
    face(
        [(nose, -w, sill), (nose, w, sill), (nose, w, waist), (nose, -w, waist)], shade(colour, 0.68 + 0.2 * abs(along))
    )
    face([(-end_u, v, sill), (end_u, v, sill), (end_u, v, waist), (-end_u, v, waist)], shade(colour, flank))
    for u in (-end_u * 0.62, end_u * 0.62):
        ring = [(u + 0.33 * math.cos(a), v, 0.33 + 0.33 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 12)]
        face(ring, dark)
        face(
            [(u + 0.16 * math.cos(a), v, 0.33 + 0.16 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 8)],
            (120, 120, 124),
        )
    face([(-end_u, -w, waist), (end_u, -w, waist), (end_u, w, waist), (-end_u, w, waist)], shade(colour, 1.08))
    tw = w * 0.86
    tv = tw if across > 0 else -tw
    if along > 0:
        face(
            [(front_foot, -w, waist), (front_foot, w, waist), (front_top, tw, body.roof), (front_top, -tw, body.roof)],
            glass,
        )
    else:
        face(
            [(rear_foot, -w, waist), (rear_foot, w, waist), (rear_top, tw, body.roof), (rear_top, -tw, body.roof)],
            glass,
        )
    face(
        [(rear_foot, v, waist), (front_foot, v, waist), (front_top, tv, body.roof), (rear_top, tv, body.roof)],
        shade(colour, flank),
    )
    inset = 0.14
    back = rear_foot + inset if body.noun == "car" else front_top - 1.0
    face(
        [
            (back + 0.06, v, waist + 0.04),
            (front_foot - inset, v, waist + 0.04),
            (front_top - 0.04, tv, body.roof - 0.12),
            (back + 0.35, tv, body.roof - 0.12),
        ],
        glass,
    )
    face(
        [
            (rear_top, -tw, body.roof),
            (front_top, -tw, body.roof),
            (front_top, tw, body.roof),
            (rear_top, tw, body.roof),
        ],
        shade(colour, 1.2),
    )
    for end, lamp in (
        (end_u, (255, 250, 214) if lights else (206, 206, 196)),
        (-end_u, (255, 60, 40) if lights else (150, 30, 28)),
    ):
        tint = (255, 170, 20) if hazard else lamp
        if (end > 0) == (along > 0):
            for c in (-w * 0.75, w * 0.75):
                face([(end, c - 0.2, 0.52), (end, c + 0.2, 0.52), (end, c + 0.2, 0.70), (end, c - 0.2, 0.70)], tint)
        size = 0.16 if hazard else 0.06
        face([(end * (1 - size), v, 0.52), (end, v, 0.52), (end, v, 0.74), (end * (1 - size), v, 0.74)], tint)
    return patch_of(image, float(x0), float(y0), k)
