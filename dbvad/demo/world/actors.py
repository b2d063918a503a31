"""Who moves where: people and vehicles as keyframes in time, so that any moment can be asked for directly."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dbvad.demo.world.sprites import Look, Vehicle

STRIDE = {"walk": 1.35, "carry": 1.35, "run": 2.4}  # metres that one cycle of the legs covers
BEAT = {"talk": 1.6, "punch": 0.7, "kick": 0.8, "swing": 0.8, "grab": 0.6, "reach": 0.9, "pour": 0.8}  # seconds a cycle


@dataclass(frozen=True)
class Key:
    """From time `t` on: at (x, z), in `pose` with `prop` in hand, facing `face` (-1 left, 1 right, 0 as it moves)."""

    t: float
    x: float
    z: float
    pose: str = "walk"
    prop: str = ""
    face: int = 0


@dataclass(frozen=True)
class State:
    x: float
    z: float
    pose: str
    phase: float
    prop: str
    left: bool
    front: bool


@dataclass(frozen=True)
class Person:
    look: Look
    keys: tuple[Key, ...]

    def at(self, t: float) -> State | None:
        """State at time t; None before the first and after the last key."""
        n = bisect_right(self.keys, t, key=lambda k: k.t) - 1
        if n < 0 or n >= len(self.keys) - 1:
            return None
        a, b = self.keys[n], self.keys[n + 1]
        share = (t - a.t) / max(1e-6, b.t - a.t)
        dx, dz = b.x - a.x, b.z - a.z
        path = math.hypot(dx, dz)
        phase = (
            share * path / STRIDE[a.pose] if a.pose in STRIDE else (t - self.keys[0].t) / BEAT.get(a.pose, 1.0)
        ) % 1
        left = a.face < 0 if a.face else dx < 0
        return State(
            a.x + share * dx, a.z + share * dz, a.pose, phase, a.prop, left, abs(dz) > 1.2 * abs(dx) and path > 0.3
        )

    def until(self, t: float) -> tuple[Key, ...]:
        """The keys before t, closed by one at t where the person then is; empty if not there at t."""
        now = self.at(t)
        if now is None:
            return ()
        return (*(k for k in self.keys if k.t < t), Key(t, now.x, now.z, "stand", now.prop))


def travel(
    start: float, points: Sequence[tuple[float, float]], speed: float, pose: str = "walk", prop: str = ""
) -> list[Key]:
    """Keys along points at `speed` metres a second from time `start`; the last one ends the walk."""
    keys, t = [], start
    for n, (x, z) in enumerate(points):
        if n:
            t += math.hypot(x - points[n - 1][0], z - points[n - 1][1]) / speed
        keys.append(Key(t, x, z, pose, prop))
    return keys


def arrive(
    end: float, points: Sequence[tuple[float, float]], speed: float, pose: str = "walk", prop: str = ""
) -> list[Key]:
    """As `travel`, but timed so that the last point is reached at `end`."""
    keys = travel(0.0, points, speed, pose, prop)
    return [replace(k, t=k.t + end - keys[-1].t) for k in keys]


def flee(person: Person, t: float, edge: float, speed: float = 3.6) -> Person:
    """The same person, running out of the picture (to |x| = edge) from time t on."""
    keys = person.until(t)
    if not keys:
        return person
    here = keys[-1]
    out = math.copysign(edge, here.x if abs(here.x) > 0.3 else 1.0)
    return replace(person, keys=(*keys[:-1], *travel(t, [(here.x, here.z), (out, here.z)], speed, "run", here.prop)))


@dataclass(frozen=True)
class Drive:
    """A vehicle at time `t`: place and heading (radians, 0 towards +x)."""

    t: float
    x: float
    z: float
    heading: float


@dataclass(frozen=True)
class Car:
    body: Vehicle
    drives: tuple[Drive, ...]
    hazard: tuple[float, float] = (-1.0, -1.0)  # seconds between which its indicators blink

    def at(self, t: float) -> Drive | None:
        """Interpolated drive at t; None before the first and after the last."""
        n = bisect_right(self.drives, t, key=lambda d: d.t) - 1
        if n < 0 or n >= len(self.drives) - 1:
            return None
        a, b = self.drives[n], self.drives[n + 1]
        s = (t - a.t) / max(1e-6, b.t - a.t)
        return Drive(t, a.x + s * (b.x - a.x), a.z + s * (b.z - a.z), a.heading + s * (b.heading - a.heading))

    def moving(self, t: float) -> bool:
        now, soon = self.at(t), self.at(t + 0.1)
        return now is not None and (soon is None or math.hypot(soon.x - now.x, soon.z - now.z) > 0.02)
