"""From a story to pixels: any frame of it, alone or in a row, always the same for one seed."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dbvad.demo.world.actors import Car, Drive, State
from dbvad.demo.world.camera import FPS, HEIGHT, WIDTH, Patch, blend
from dbvad.demo.world.effects import Beam
from dbvad.demo.world.sprites import Look, person_patch, pose, vehicle_patch
from dbvad.demo.world.story import Story

_CYCLE = 8  # steps in which a movement's cycle is drawn
_GREY = np.array((0.30, 0.59, 0.11), dtype=np.float32)


class Renderer:
    """Draws frames of one story. Figures are kept once drawn: use one renderer a video."""

    def __init__(self, story: Story) -> None:
        self.story = story
        rng = np.random.default_rng((story.seed, 1))
        scene = story.scene
        grain = float(rng.uniform(5, 9) if scene.night else rng.uniform(2, 5))
        self._noise = rng.normal(0, grain, (HEIGHT + 48, WIDTH + 48, 3)).astype(np.float32)
        if scene.mono:
            self._noise[:] = self._noise[..., :1]
        self._shadow = (
            (0.0 if scene.place == "shop" else 0.16) if scene.night else 0.34 if scene.place != "shop" else 0.2
        )
        self._camera_name = f"CAM {rng.integers(1, 24):02d}"
        self._day = f"2024-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        self._props = sorted(story.props, key=lambda prop: -prop.z)
        self._backdrops: dict[int, np.ndarray] = {}
        self._figures: dict[tuple[object, ...], Patch | None] = {}
        self._stamps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as (H, W, 3) uint8 RGB."""
        story, scene, t = self.story, self.story.scene, index / FPS
        canvas = np.empty_like(scene.background)
        layers: list[tuple[float, int, Callable[[], None]]] = []  # depth, order among equals, how to paint
        for car in story.cars:
            drive = car.at(t)
            if drive is not None:
                layers.append((drive.z, 1, partial(self._draw_car, canvas, car, drive)))
        for person in story.people:
            state = person.at(t)
            if state is not None and abs(state.x) < scene.edge(state.z):
                layers.append((state.z, 2, partial(self._draw_person, canvas, person.look, state)))
        for effect in story.effects:
            light = scene.light_at(effect.x, max(3.0, effect.z))
            layers.append((effect.z, 3, partial(effect.draw, canvas, scene.camera, t, light)))
        farthest = max((z for z, _, _ in layers), default=0.0)
        behind = sum(prop.z >= farthest for prop in self._props)  # nothing moves behind these
        canvas[:] = self._backdrop(behind)
        for prop in self._props[behind:]:
            layers.append((prop.z, 0, partial(blend, canvas, prop.patch, self._light_of(prop.patch))))
        for _, _, paint in sorted(layers, key=lambda layer: (-layer[0], layer[1])):
            paint()
        if scene.mono:
            canvas = np.repeat((canvas @ _GREY)[..., None], 3, axis=2)
        rng = np.random.default_rng((story.seed, 3, index))
        dy, dx = rng.integers(0, 48, 2)
        canvas += self._noise[dy : dy + HEIGHT, dx : dx + WIDTH]
        self._stamp(canvas, index // FPS)
        return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame in order."""
        return map(self.frame, range(self.story.n_frames))

    def _backdrop(self, count: int) -> np.ndarray:
        """The background with its `count` farthest props painted on it."""
        if count not in self._backdrops:
            canvas = self.story.scene.background.copy()
            for prop in self._props[:count]:
                blend(canvas, prop.patch, self._light_of(prop.patch))
            self._backdrops[count] = canvas
        return self._backdrops[count]

    def _light_of(self, patch: Patch) -> np.ndarray:
        h, w = patch.keep.shape[:2]
        row, column = min(HEIGHT - 1, max(0, patch.top + h)), min(WIDTH - 1, max(0, patch.left + w // 2))
        return self.story.scene.light[row, column]

    def _draw_person(self, canvas: np.ndarray, look: Look, state: State) -> None:
        scene = self.story.scene
        px, py, scale = scene.camera.ground(state.x, state.z)
        step, size = int(state.phase * _CYCLE), round(math.log(scale) / 0.06)
        key = (look, state.pose, state.prop, step, size, state.left, state.front)
        if key not in self._figures:
            posture = pose(state.pose, (step + 0.5) / _CYCLE, state.front)
            self._figures[key] = person_patch(
                look, posture, state.prop, math.exp(size * 0.06), state.left, scene.sun, self._shadow
            )
        patch = self._figures[key]
        if patch is not None:
            blend(canvas, patch, scene.light_at(state.x, state.z), round(px), round(py))

    def _draw_car(self, canvas: np.ndarray, car: Car, drive: Drive) -> None:
        scene, (on, off) = self.story.scene, car.hazard
        blink = on < drive.t < off and int(3 * drive.t) % 2 == 0
        patch = vehicle_patch(
            car.body,
            scene.camera,
            drive.x,
            drive.z,
            drive.heading,
            lights=scene.night,
            hazard=blink,
            shadow=self._shadow,
        )
        if patch is None:
            return
        if scene.night and car.moving(drive.t):
            Beam(drive.x, drive.z, drive.heading).draw(canvas, scene.camera, drive.t, scene.light[0, 0])
        blend(canvas, patch, np.maximum(scene.light_at(drive.x, drive.z), np.float32(0.42)))

    def _stamp(self, canvas: np.ndarray, second: int) -> None:
        if second not in self._stamps:
            now = (self.story.clock + second) % 86400
            text = f"{self._camera_name}  {self._day} {now // 3600:02d}:{now // 60 % 60:02d}:{now % 60:02d}"
            image = Image.new("L", (WIDTH, 11), 0)
            ImageDraw.Draw(image).text((4, 0), text, fill=255, font=ImageFont.load_default_imagefont())
            mask = np.asarray(image, dtype=np.float32)[..., None] / 255
            edge = np.maximum(mask, np.maximum(np.roll(mask, 1, 0), np.roll(mask, 1, 1))) * np.float32(0.7)
            self._stamps = {second: (mask, edge)}
        mask, edge = self._stamps[second]
        band = canvas[3:14]
        band *= 1 - edge
        band += (238 - band) * mask
