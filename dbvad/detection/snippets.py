"""From a stream of frames to snippet features, as decode and score make them of a recording."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.stages.decode import DecodeParams
from pipeline.stages.score import ScoreParams


@dataclass(frozen=True)
class Made:
    """A snippet and its feature (crops, D) float16; ends are exclusive."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    feature: np.ndarray


class Maker:
    """CLIP, and how the trained model's snippets were made (`dbvad.detection.road.recipe`)."""

    def __init__(self, decode: DecodeParams, score: ScoreParams) -> None:
        self.clip, self.params, self.decode = score.load(), score, decode

    def snippets(self, frames: Iterable[tuple[float, np.ndarray]]) -> Iterator[Made]:
        """Each snippet as soon as the next one begins, the last at the end."""
        span = self.decode.stride * self.params.frames_per_snippet
        pictures: list[np.ndarray] = []
        start_s, before_s, now_s, index = 0.0, 0.0, 0.0, -1
        for index, (seconds, image) in enumerate(frames):
            if index % span == 0:
                if pictures:
                    yield Made(start_s, seconds, index - span, index, self._feature(pictures))
                pictures, start_s = [], seconds
            if index % self.decode.stride == 0:
                pictures.append(self._seen(image))
            before_s, now_s = now_s, seconds
        if pictures:
            step = now_s - before_s if index else 0.0
            yield Made(start_s, now_s + step, index - index % span, index + 1, self._feature(pictures))

    def _feature(self, pictures: list[np.ndarray]) -> np.ndarray:
        mean = self.clip.encode_images(pictures, crops=self.params.crops).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float16)

    def _seen(self, image: np.ndarray) -> np.ndarray:
        """The picture as decode keeps it: shrunk, and through a JPEG."""
        picture = Image.fromarray(image)
        short, limit = min(picture.size), self.decode.short_side
        if short > limit:
            width, height = (max(2, round(side * limit / short / 2) * 2) for side in picture.size)
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=self.decode.quality)
        return np.asarray(Image.open(buffer).convert("RGB"))
