"""Fire, smoke, blasts, debris and glare: each is a function of time alone, so any frame can be drawn first."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from dbvad.demo.world.camera import HEIGHT, WIDTH, Camera, Patch, blend


class Effect(Protocol):
    """Something drawn at depth `z` in paint order (a small z is drawn late); `t` in seconds of the video."""

    @property
    def x(self) -> float: ...

    @property
    def z(self) -> float: ...

    @property
    def span(self) -> tuple[float, float]:
        """Seconds between which it can be seen."""

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None: ...


@lru_cache(maxsize=128)
def ball(radius: int) -> np.ndarray:
    """A soft disc (2r+1, 2r+1, 1), 1 in the middle and 0 at the rim."""
    axis = np.arange(-radius, radius + 1, dtype=np.float32) / max(1, radius)
    return (np.clip(1 - axis[:, None] ** 2 - axis[None, :] ** 2, 0, 1) ** 0.8)[..., None]


def soft(
    canvas: np.ndarray,
    x: float,
    y: float,
    radius: float,
    colour: tuple[float, float, float],
    alpha: float,
    add: bool = False,
) -> None:
    """A soft ball laid over the canvas, or added as light."""
    r = max(1, min(140, round(radius)))
    if alpha <= 0 or x + r < 0 or x - r > WIDTH or y + r < 0 or y - r > HEIGHT:
        return
    mask = ball(r) * np.float32(alpha)
    paint = mask * np.asarray(colour, dtype=np.float32)
    blend(canvas, Patch(paint, np.ones_like(mask) if add else 1 - mask, round(x) - r, round(y) - r))


def fade(t: float, start: float, end: float, rise: float, fall: float) -> float:
    """0 outside [start, end], 1 inside, with linear flanks."""
    return max(0.0, min(1.0, (t - start) / rise, (end - t) / fall))


@dataclass(frozen=True)
class Fire:
    """Flames `size` metres high that grow after `start` and die before `end`."""

    x: float
    y: float
    z: float
    start: float
    end: float
    size: float
    seed: int
    rise: float = 2.0

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        strength = fade(t, self.start, self.end, self.rise, 1.2)
        if strength <= 0:
            return
        px, py, depth = camera.project([(self.x, self.y, self.z)])[0]
        height = self.size * camera.focal / depth * (0.25 + 0.75 * strength)
        flicker = 0.85 + 0.15 * math.sin(23 * t + self.seed)
        soft(canvas, px, py - height * 0.4, height * 2.2, (96, 44, 8), 0.75 * strength * flicker, add=True)
        rng = np.random.default_rng((self.seed, int(t * 10)))
        for tongue in rng.uniform(-1, 1, (14, 4)):
            rise = abs(tongue[1]) ** 0.7
            x = px + tongue[0] * height * 0.42 * (1 - 0.7 * rise) + 0.06 * height * math.sin(9 * t + rise * 5)
            radius = height * (0.40 - 0.26 * rise) * (0.8 + 0.2 * tongue[2])
            colour = (255.0, 235 - 165 * rise, 120 - 110 * rise)
            soft(canvas, x, py - rise * height, radius, colour, 1.0 - 0.3 * rise)


@dataclass(frozen=True)
class Smoke:
    """Puffs that leave (x, y, z) between `start` and `end`, rise, spread and thin out."""

    x: float
    y: float
    z: float
    start: float
    end: float
    size: float
    shade: float
    seed: int
    rise: float = 1.1
    life: float = 3.5
    density: float = 0.55

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end + self.life

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        if not self.start <= t <= self.end + self.life:
            return
        px, py, depth = camera.project([(self.x, self.y, self.z)])[0]
        scale, every = camera.focal / depth, self.life / 12
        first = max(0, math.ceil((t - self.life - self.start) / every))
        last = min(int((t - self.start) / every), int((self.end - self.start) / every))
        tone = self.shade * (0.35 + 0.65 * float(np.mean(light)))
        for n in range(first, last + 1):
            age = (t - self.start - n * every) / self.life
            wobble = math.sin(n * 2.4 + self.seed)
            x = px + scale * (self.size * 0.5 * wobble * (0.4 + age) + 0.5 * age)
            y = py - scale * self.rise * self.life * age * 0.75
            soft(
                canvas,
                x,
                y,
                scale * self.size * (0.35 + 0.9 * age),
                (tone, tone, tone * 1.03),
                self.density * min(1.0, 6 * age) * (1 - age),
            )


@dataclass(frozen=True)
class Blast:
    """A flash, a fireball and a shaking camera. Drawn last: `z` is in front of everything."""

    x: float
    y: float
    depth: float
    start: float
    size: float
    z: float = 0.0

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.start + 1.6

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        age = t - self.start
        if not 0 <= age < 2.0:
            return
        px, py, depth = camera.project([(self.x, self.y, self.depth)])[0]
        scale = camera.focal / depth
        radius = scale * self.size * min(1.0, 0.35 + 2.2 * age)
        glow = math.exp(-2.2 * age)
        soft(canvas, px, py, radius * 2.4, (255, 150, 50), 0.8 * glow, add=True)
        for ring, colour in ((1.0, (225.0, 90.0, 20.0)), (0.75, (255.0, 160.0, 40.0)), (0.5, (255.0, 240.0, 170.0))):
            soft(canvas, px, py - 0.5 * radius * age, radius * ring, colour, min(1.0, 1.3 * glow))
        if age < 0.5:
            canvas += (250 - canvas) * np.float32(0.6 * math.exp(-6 * age))
        shake = round(4 * math.exp(-3 * age) * math.cos(30 * age))
        canvas[:] = np.roll(canvas, (shake, -shake), axis=(0, 1))


@dataclass(frozen=True)
class Debris:
    """Pieces thrown from a point at `start`; they lie on the ground until `end`."""

    x: float
    y: float
    z: float
    start: float
    end: float
    speed: float
    colour: tuple[float, float, float]
    seed: int
    count: int = 24

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        age = t - self.start
        if age < 0 or t > self.end:
            return
        rng = np.random.default_rng(self.seed)
        way, speed = rng.uniform(0, 2 * math.pi, self.count), self.speed * rng.uniform(0.3, 1, self.count)
        up = self.speed * rng.uniform(0.2, 1.0, self.count)
        landed = (up + np.sqrt(up**2 + 19.6 * self.y)) / 9.8
        when = np.minimum(age, landed)
        y = np.maximum(0, self.y + up * when - 4.9 * when**2)
        points = np.stack([self.x + speed * np.cos(way) * when, y, self.z + 0.6 * speed * np.sin(way) * when], axis=1)
        colour = np.asarray(self.colour, dtype=np.float32) * light
        for n, (px, py, depth) in enumerate(camera.project(points)):  # type: ignore[arg-type]
            row, column, size = int(py), int(px), max(2, round((0.05 + 0.04 * (n % 3)) * camera.focal / depth))
            if 0 <= row < HEIGHT - 1 and 0 <= column < WIDTH - 1:
                canvas[max(0, row - size // 2) : row + 1, column : column + size] = colour * (0.75 + 0.25 * (n % 2))


@dataclass(frozen=True)
class Glare:
    """Headlights that sweep over the lens: a harmless flash."""

    x: float
    y: float
    start: float
    end: float
    strength: float
    z: float = 0.0

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.end

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        if not self.start < t < self.end:
            return
        share = (t - self.start) / (self.end - self.start)
        force = self.strength * math.sin(math.pi * share) ** 2
        x, y = self.x + 50 * (share - 0.5), self.y
        for offset in (-6, 6):
            soft(canvas, x + offset, y, 9, (255, 250, 225), force, add=True)
        soft(canvas, x, y, 95, (190, 185, 160), 0.7 * force, add=True)
        canvas += np.float32(60 * force)


@dataclass(frozen=True)
class Beam:
    """The light that a vehicle throws on the road at night; its place is given by a moving vehicle each frame."""

    x: float
    z: float
    heading: float

    def draw(self, canvas: np.ndarray, camera: Camera, t: float, light: np.ndarray) -> None:
        for reach, alpha in ((3.4, 0.5), (5.0, 0.4), (7.0, 0.28)):
            px, py, scale = camera.ground(
                self.x + reach * math.cos(self.heading), self.z + reach * math.sin(self.heading)
            )
            soft(canvas, px, py, scale * (0.5 + 0.22 * reach), (120, 112, 84), alpha, add=True)
