"""What events leave behind: paint and its mist, holes, pools on the ground, bags; functions of time alone."""

import math
from dataclasses import dataclass

import numpy as np

from dbvad.demo.world.camera import Camera, Patch, blend
from dbvad.demo.world.effects import ball, fade, soft


@dataclass(frozen=True)
class Paint:
    """Graffiti that grows on a wall from `start` to `done` and stays; once dry it is paler."""

    x: float
    y: float
    z: float
    start: float
    done: float
    colour: tuple[float, float, float]
    seed: int
    width: float = 1.3

    @property
    def span(self) -> tuple[float, float]:
        return self.start, math.inf

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        share = (t - self.start) / max(0.1, self.done - self.start)
        if share <= 0:
            return
        s = np.linspace(0, 1, 46)[: max(1, round(46 * min(1.0, share)))]
        a, b = 5 + self.seed % 3, 7 + self.seed % 4
        dry = 0.95 - 0.5 * min(1.0, max(0.0, (t - self.done) / 2))
        points = np.stack(
            [
                self.x + self.width * (s - 0.5) + 0.1 * np.sin(9 * s),
                self.y + 0.36 * np.sin(a * 3 * s) + 0.14 * np.cos(b * 5 * s),
                np.full_like(s, self.z),
            ],
            axis=1,
        )
        for px, py, depth in camera.project(points):  # type: ignore[arg-type]
            soft(canvas, px, py, max(1.5, 0.13 * camera.focal / depth), tuple(np.asarray(self.colour) * light), dry)


@dataclass(frozen=True)
class Mist:
    """A cloud of paint in front of a wall between `start` and `end`, moving from x to `to`."""

    x: float
    y: float
    z: float
    start: float
    end: float
    to: float
    colour: tuple[float, float, float]
    seed: int

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        if not self.start <= t <= self.end:
            return
        rng = np.random.default_rng((self.seed, int(t * 10)))
        middle = self.x + (self.to - self.x) * (t - self.start) / max(0.1, self.end - self.start)
        tone = 0.5 * np.asarray(self.colour) * np.maximum(light, 0.7) + 0.5 * 235 * np.maximum(light, 0.7)
        for dx, dy, size in rng.uniform(-1, 1, (9, 3)):
            px, py, depth = camera.project([(middle + 0.3 * dx, self.y + 0.3 * dy, self.z)])[0]
            soft(canvas, px, py, (0.3 + 0.12 * size) * camera.focal / depth, tuple(tone), 0.5)


@dataclass(frozen=True)
class Hole:
    """Damage to the front of a thing: a dark star with pale cracks from `start` on, larger with each blow."""

    x: float
    y: float
    z: float
    start: float
    done: float
    size: float
    seed: int

    @property
    def span(self) -> tuple[float, float]:
        return self.start, math.inf

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        if t < self.start:
            return
        share = 0.5 + 0.5 * min(1.0, (t - self.start) / max(0.1, self.done - self.start))
        rng = np.random.default_rng(self.seed)
        px, py, depth = camera.project([(self.x, self.y, self.z)])[0]
        reach = share * self.size * camera.focal / depth
        for way in np.arange(7) * 2 * math.pi / 7 + rng.uniform(0, 0.7, 7):
            for step in np.linspace(0.3, 1.25, 9):
                x, y = px + reach * step * math.cos(way), py - reach * step * math.sin(way)
                soft(canvas, x, y, max(1.2, reach * 0.07), (232.0, 238.0, 240.0), 0.8 * float(np.mean(light)))
        for dx, dy in rng.uniform(-0.3, 0.3, (6, 2)):
            soft(canvas, px + dx * reach, py + dy * reach, reach * 0.55, (14.0, 14.0, 16.0), 0.9)


@dataclass(frozen=True)
class Stain:
    """A pool on the ground (oil, soot, fuel) that spreads after `start` and is gone after `end`."""

    x: float
    middle: float
    start: float
    end: float
    size: float
    colour: tuple[float, float, float] = (20.0, 18.0, 18.0)

    @property
    def z(self) -> float:
        return self.middle + self.size  # what stands on it is drawn later

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        strength = fade(t, self.start, self.end, 1.0, 1.0)
        if strength <= 0:
            return
        px, py, scale = camera.ground(self.x, self.middle)
        r = max(4, min(140, round(self.size * scale * (0.4 + 0.6 * strength))))
        mask = np.minimum(1, 1.6 * ball(r)[:: 3]) * np.float32(0.8 * strength)
        blend(canvas, Patch(mask * np.asarray(self.colour, np.float32) * light, 1 - mask, round(px) - r,
                            round(py) - len(mask) // 2))  # fmt: skip


@dataclass(frozen=True)
class Sack:
    """A full bag, or something else of its size, that lies on the ground between `start` and `end`."""

    x: float
    z: float
    start: float
    end: float
    colour: tuple[float, float, float] = (236.0, 150.0, 40.0)

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        if not self.start <= t <= self.end:
            return
        px, py, scale = camera.ground(self.x, self.z)
        for dx, dy, size in ((0.0, 0.2, 0.26), (-0.14, 0.14, 0.2), (0.14, 0.14, 0.2), (0.03, 0.42, 0.11)):
            tone = tuple(np.array(self.colour) * light)
            for _ in range(2):
                soft(canvas, px + dx * scale, py - dy * scale, size * scale, tone, 0.95)
