"""One camera's view of a place: background, light and geometry."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dbvad.demo.world.camera import HEIGHT, WIDTH, Brush, Camera
from dbvad.demo.world.places import BUILDERS, Layout


@dataclass(frozen=True)
class Scene:
    """One camera's view. `background` (H, W, 3) float32 is lit; `light` (H, W, 3) lights what moves."""

    place: str
    camera: Camera
    night: bool
    mono: bool
    sun: float
    background: np.ndarray
    light: np.ndarray
    layout: Layout

    def edge(self, z: float) -> float:
        """|x| just outside the picture at distance z."""
        return self.camera.half_width(z) + 1.2

    def light_at(self, x: float, z: float) -> np.ndarray:
        px, py, _ = self.camera.ground(x, z)
        return self.light[min(HEIGHT - 1, max(0, int(py))), min(WIDTH - 1, max(0, int(px)))]


def _smooth(rng: np.random.Generator, cells: int, size: float) -> np.ndarray:
    """Low-frequency noise (H, W), mean 0."""
    small = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) * np.float32(size)


def _light(rng: np.random.Generator, place: str, night: bool) -> np.ndarray:
    yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    vignette = 1 - 0.28 * (((xx - WIDTH / 2) / WIDTH) ** 2 + ((yy - HEIGHT / 2) / HEIGHT) ** 2) * 2
    if place == "shop":
        level = rng.uniform(0.74, 0.88) if night else rng.uniform(0.88, 1.05)
        tint = np.array((1.0, 0.98, 0.9)) * level
        return (vignette[..., None] * tint).astype(np.float32)
    if not night:
        tint = np.array((1.0, 1.0, 1.0)) + rng.normal(0, 0.025, 3)
        return (vignette[..., None] * tint * rng.uniform(0.8, 1.08)).astype(np.float32)
    light = np.ones((HEIGHT, WIDTH, 3), dtype=np.float32) * (
        np.array((0.56, 0.60, 0.70)) * rng.uniform(0.88, 1.15)
    ).astype(np.float32)
    for _ in range(int(rng.integers(2, 4))):
        cx, cy = rng.uniform(0, WIDTH), rng.uniform(50, 140)
        pool = np.exp(-(((xx - cx) / rng.uniform(40, 70)) ** 2 + ((yy - cy) / rng.uniform(24, 44)) ** 2))
        light += pool[..., None] * np.array((0.50, 0.42, 0.26), dtype=np.float32)
    return light * vignette[..., None]


def build_scene(rng: np.random.Generator, place: str, night: bool) -> Scene:
    """A new view of `place`: another camera height, angle, colours and light each time."""
    height, focal = (2.6, 218.0) if place == "shop" else (3.1, 242.0)
    height, focal = height * float(rng.uniform(0.95, 1.08)), focal * float(rng.uniform(0.96, 1.05))
    nearest = float(rng.uniform(3.6, 3.9))  # metres to the ground that the picture's last rows show
    pitch = math.atan(height / nearest) - math.atan(0.49 * HEIGHT / focal)
    camera = Camera(height, pitch, focal, math.radians(float(rng.normal(0, 2.5))))
    brush = Brush(camera)
    brush.draw.rectangle(
        (0, 0, brush.image.width, brush.image.height), fill=(38, 42, 56, 255) if night else (170, 186, 200, 255)
    )
    layout = BUILDERS[place](rng, camera, brush, night)
    texture = 1 + _smooth(rng, 60, 0.025) + _smooth(rng, 9, 0.03)
    light = _light(rng, place, night)
    albedo = np.asarray(brush.image.convert("RGB").reduce(brush.factor), dtype=np.float32) * texture[..., None]
    mono = night and place != "shop" and bool(rng.random() < 0.2)
    return Scene(
        place=place,
        camera=camera,
        night=night,
        mono=mono,
        sun=float(rng.uniform(-0.55, 0.55)),
        background=albedo * light,
        light=light,
        layout=layout,
    )
