"""A fixed pinhole camera over flat ground, and a supersampled brush that draws in its world coordinates.

World: metres, x to the right, y up from the ground, z away from the camera. Picture: pixels, origin top left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS = 224, 168, 10
SUPERSAMPLE = 3

Colour = tuple[int, int, int]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """`height` in metres, `pitch` (downwards) and `yaw` in radians, `focal` in pixels."""

    height: float
    pitch: float
    focal: float
    yaw: float = 0.0

    def project(self, points: Sequence[Point]) -> np.ndarray:
        """World points (N, 3) as rows (pixel x, pixel y, depth in metres), shape (N, 3)."""
        p = np.asarray(points, dtype=np.float64) - (0.0, self.height, 0.0)
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        x, z = cos * p[:, 0] - sin * p[:, 2], sin * p[:, 0] + cos * p[:, 2]
        depth = z * math.cos(self.pitch) - p[:, 1] * math.sin(self.pitch)
        up = p[:, 1] * math.cos(self.pitch) + z * math.sin(self.pitch)
        return np.stack([WIDTH / 2 + self.focal * x / depth, HEIGHT / 2 - self.focal * up / depth, depth], axis=1)

    def ground(self, x: float, z: float) -> tuple[float, float, float]:
        """Pixel of the ground point (x, z) and the scale there in pixels a metre."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        across, along = cos * x - sin * z, sin * x + cos * z
        depth = along * math.cos(self.pitch) + self.height * math.sin(self.pitch)
        up = along * math.sin(self.pitch) - self.height * math.cos(self.pitch)
        return WIDTH / 2 + self.focal * across / depth, HEIGHT / 2 - self.focal * up / depth, self.focal / depth

    def half_width(self, z: float) -> float:
        """Half the width in metres that the picture shows at distance z."""
        return WIDTH / 2 / self.ground(0.0, z)[2]


@dataclass(frozen=True)
class Patch:
    """A premultiplied picture part: `colour` (h, w, 3), `keep` = 1 - alpha (h, w, 1), float32, at pixel (left, top)."""

    colour: np.ndarray
    keep: np.ndarray
    left: int
    top: int


def patch_of(image: Image.Image, left: float, top: float, factor: int = SUPERSAMPLE) -> Patch | None:
    """A supersampled RGBA picture as a Patch, cut to what is visible; None if nothing is."""
    box = image.getbbox()
    if box is None:
        return None
    x0, y0 = box[0] // factor * factor, box[1] // factor * factor
    x1, y1 = -(-box[2] // factor) * factor, -(-box[3] // factor) * factor
    rgba = np.asarray(image.crop((x0, y0, x1, y1)).reduce(factor), dtype=np.float32)
    alpha = rgba[..., 3:] / 255
    return Patch(rgba[..., :3] * alpha, 1 - alpha, round(left + x0 / factor), round(top + y0 / factor))


def blend(canvas: np.ndarray, patch: Patch, light: np.ndarray | float = 1.0, dx: int = 0, dy: int = 0) -> None:
    """Lay `patch`, lit by `light` (3,), over canvas (H, W, 3) float32 in place, moved by (dx, dy) pixels."""
    left, top = patch.left + dx, patch.top + dy
    h, w = patch.keep.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, canvas.shape[1]), min(top + h, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    view = canvas[y0:y1, x0:x1]
    view *= patch.keep[part]
    view += patch.colour[part] * light


class Brush:
    """Draws flat-shaded geometry through a camera on a supersampled RGBA picture of the whole frame."""

    def __init__(self, camera: Camera, factor: int = SUPERSAMPLE) -> None:
        self.camera, self.factor = camera, factor
        self.image = Image.new("RGBA", (WIDTH * factor, HEIGHT * factor), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: int = 255) -> None:
        pixels = self.camera.project(points)[:, :2] * self.factor
        self.draw.polygon([(float(x), float(y)) for x, y in pixels], fill=(*colour, alpha))

    def ground(self, x0: float, x1: float, z0: float, z1: float, colour: Colour) -> None:
        self.polygon([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], colour)

    def wall(self, x0: float, x1: float, y0: float, y1: float, z: float, colour: Colour) -> None:
        self.polygon([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour)

    def side(self, x: float, y0: float, y1: float, z0: float, z1: float, colour: Colour) -> None:
        self.polygon([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], colour)

    def box(self, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, colour: Colour) -> None:
        """A box with its visible side, top and front faces."""
        self.side(x1 if x1 < 0 else x0, y0, y1, z0, z1, shade(colour, 0.7))
        self.polygon([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], shade(colour, 1.15))
        self.wall(x0, x1, y0, y1, z0, shade(colour, 0.9))

    def patch(self) -> Patch | None:
        return patch_of(self.image, 0, 0, self.factor)


def shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, max(0, int(c * factor))) for c in colour)
    return r, g, b
