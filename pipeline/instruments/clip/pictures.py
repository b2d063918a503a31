"""Pictures on their way into the model: cut and sized by Pillow, or on a graphics card just as Pillow does it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose, InterpolationMode, functional  # type: ignore[import-untyped]

MARGIN = 256 / 224  # crops of 5 and 10 are cut from a picture this much larger than the model's input
LARGEST = 1 << 20  # pixels: a larger picture is made small before it is brought to a card (chosen here)
Place = tuple[int, int]  # down and right


@dataclass(frozen=True)
class Views:
    """What a model sees of a picture. `config`: its preprocessing, as open_clip keeps it."""

    config: PreprocessCfg

    @cached_property
    def size(self) -> Place:
        """Height and width of the model's input."""
        size = self.config.size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def cut(self, image: np.ndarray, crops: int) -> np.ndarray:
        """(H, W, 3) uint8 -> (crops, h, w, 3) uint8 by Pillow; `crops` as in `Clip.encode_images`."""
        picture = Image.fromarray(image)
        if crops == 1:
            return np.asarray(self._own(picture))[None]
        size, places = self._places(image.shape[0], image.shape[1], crops)
        large = np.asarray(functional.resize(picture, list(size), InterpolationMode(self.config.interpolation)))
        height, width = self.size
        views = [large[top:top + height, left:left + width] for top, left in places]
        return np.stack([*views, *(view[:, ::-1] for view in views)][:crops])

    def for_card(self, image: np.ndarray, crops: int) -> bool:
        """Whether `cut_on_card` is to have this picture."""
        simple = self.config.resize_mode == "shortest" and self.size[0] == self.size[1]
        return (crops > 1 or simple) and self.config.interpolation in KERNELS and image[..., 0].size <= LARGEST

    def cut_on_card(self, images: torch.Tensor, crops: int) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N x crops, 3, h, w) float32 levels, on any device: what `cut` gives, but for some
        values in a thousand that lie at a half and are rounded the other way."""
        size, places = self._places(images.shape[1], images.shape[2], crops)
        pixels = images.permute(0, 3, 1, 2).float()
        first, last = np.min(places, axis=0), np.max(places, axis=0) + self.size
        for axis in (1, 0):  # Pillow's order; it rounds after each
            weights = resampling(images.shape[1 + axis], size[axis], self.config.interpolation, images.device)
            needed = weights[first[axis]:last[axis]]
            pixels = (pixels @ needed.T if axis else needed @ pixels).add_(0.5).floor_().clamp_(0, 255)
        height, width = self.size
        views = [pixels[..., top:top + height, left:left + width] for top, left in places - first]
        return torch.stack([*views, *(view.flip(-1) for view in views)][:crops], dim=1).flatten(0, 1)

    def normal(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(N, 3, h, w) float32 levels of 255, which are overwritten -> the model's input, on the same device."""
        mean, spread = (_colours(tuple(values), pixels.device) for values in (self.config.mean, self.config.std))
        return pixels.div_(255).sub_(mean).div_(spread).to(dtype)

    @cached_property
    def _own(self) -> Callable[[Image.Image], Image.Image]:
        """open_clip's preprocessing without its last two steps, which make numbers of the picture."""
        own: Callable[[Image.Image], Image.Image] = Compose(image_transform_v2(self.config, False).transforms[:-2])
        return own

    def _places(self, height: int, width: int, crops: int) -> tuple[Place, np.ndarray]:
        """The size that a picture is brought to, and where in it the views begin that are not mirrored."""
        inner = self.size
        if crops == 1:
            short = min(height, width)
            size = int(inner[0] * height / short), int(inner[1] * width / short)
        else:
            scale = MARGIN * max(inner[0] / height, inner[1] / width)
            size = round(height * scale), round(width * scale)
        down, right = size[0] - inner[0], size[1] - inner[1]
        centre = (round(down / 2), round(right / 2))
        corners = [(0, 0), (0, right), (down, 0), (down, right)] if crops > 1 else []
        return size, np.array([centre, *corners])


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), -0.5
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


# Of Pillow's name: the kernel and how far it reaches.
KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bilinear": (_triangle, 1), "bicubic": (_cubic, 2)}


# What is kept lies on the device already: to bring it there would wait for all that the device is doing.
@lru_cache(maxsize=64)
def _colours(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


@lru_cache(maxsize=64)
def resampling(before: int, after: int, interpolation: str, device: torch.device) -> torch.Tensor:
    """How much of each of `before` pixels is in each of `after`: (after, before) float32; each row adds up to 1.

    As Pillow has it: the kernel widens with the shrinking, is cut at the border, and its weights have 22 binary places.
    """
    kernel, reach = KERNELS[interpolation]
    wide = max(before / after, 1.0)
    centre = (np.arange(after) + 0.5) * (before / after)
    first = np.maximum((centre - reach * wide + 0.5).astype(int), 0)[:, None]
    last = np.minimum((centre + reach * wide + 0.5).astype(int), before)[:, None]
    pixel = np.arange(before)
    weights = kernel((pixel - centre[:, None] + 0.5) / wide) * ((pixel >= first) & (pixel < last))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy((np.round(weights * 2**22) / 2**22).astype(np.float32)).to(device)
